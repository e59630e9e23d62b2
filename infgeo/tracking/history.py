"""What a tracker has recorded: arrays with the recorded steps on the first axis."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy
from scipy import special

from infgeo.arguments import instance, optional_import
from infgeo.display import Displayed
from infgeo.errors import InvalidInput
from infgeo.tracking.probes import Probe

_FROM_LOGITS = ("predictions", "probabilities")


@dataclass(frozen=True)
class Column:
    """One recorded array: a quantity of a layer (None: the output) on a probe, of this shape and dtype a record."""

    quantity: str
    layer: str | None
    probe: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, eq=False, repr=False)
class History(Displayed):
    """S records. Build it with `infgeo.tracking.load`, or read it off a tracker.

    Args:
        steps: (S,) int64, ascending; where a step was recorded twice, as after going back to a checkpoint, the later
            record counts.
        times: (S,) seconds of wall time since the tracker was made, and
        costs: (S,) those that the record itself took.
        skipped: number of records that were left out to keep within a time budget.
        probes: by name.
        columns: what there is; `quantity` finds the arrays.
    """

    steps: numpy.ndarray
    times: numpy.ndarray = field(repr=False)
    costs: numpy.ndarray = field(repr=False)
    skipped: int
    probes: Mapping[str, Probe] = field(repr=False)
    columns: tuple[Column, ...] = field(repr=False)
    arrays: tuple[numpy.ndarray, ...] = field(repr=False)

    def _facts(self) -> dict[str, Any]:
        """Return what was recorded: each array with its mean at the first step and at the last."""
        facts: dict[str, Any] = {"steps": self.steps, "skipped": self.skipped}
        for column, array in zip(self.columns, self.arrays, strict=True):
            name = " of ".join(filter(None, (column.quantity, column.layer))) + f" on {column.probe}"
            means = [f"{numpy.mean(array[i], dtype=float):.4g}" for i in (0, -1)] if array.size else []
            facts[name] = f"{array.shape}" + (f", mean {' to '.join(means)}" if means else "")
        return facts

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def layers(self) -> tuple[str | None, ...]:
        """The layers whose geometry was recorded, None standing for the output."""
        return tuple(dict.fromkeys(c.layer for c in self.columns if c.quantity not in ("logits", "entropy")))

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names that `quantity` takes."""
        names = list(dict.fromkeys(c.quantity for c in self.columns))
        return tuple(names + list(_FROM_LOGITS if "logits" in names else ()))

    def quantity(self, name: str, layer: str | None = None, probe: str | None = None) -> numpy.ndarray:
        """Return an array (S, P, ...), P being the number of points of the probe.

        Args:
            name: "log10_volume" (S, P); "rank" (S, P), where there are fewer features than coordinates; "spectrum"
                (S, P, min(n, k)), descending; "ricci" (S, P); "logits" (S, P, C), "predictions" (S, P), the class,
                "probabilities" (S, P, C), for one logit C = 2; "entropy" (S, P), in nats.
            layer: None is the output, or the one layer that was recorded.
            probe: may be left out where there is one.

        Raises:
            InvalidInput: for what was not recorded; the message says what was.
        """
        for key, value in (("name", name), ("layer", layer), ("probe", probe)):
            if value is not None:
                instance(value, key, str, "a word")
        derived = name in _FROM_LOGITS
        if probe is None:
            if len(self.probes) > 1:
                raise InvalidInput(
                    f"probe is None, and there are several: {', '.join(map(repr, self.probes))}; name one"
                )
            probe = next(iter(self.probes))
        of_output = derived or name in ("logits", "entropy")
        if layer is None and not of_output and None not in self.layers and len(self.layers) == 1:
            layer = self.layers[0]
        wanted = ("logits" if derived else name, None if of_output else layer, probe)
        for column, array in zip(self.columns, self.arrays, strict=True):
            if (column.quantity, column.layer, column.probe) == wanted:
                if not derived:
                    return array
                z = array.astype(numpy.float64)
                z = numpy.concatenate((numpy.zeros_like(z), z), axis=-1) if z.shape[-1] == 1 else z
                return z.argmax(axis=-1) if name == "predictions" else special.softmax(z, axis=-1)
        there = sorted({(c.quantity, str(c.layer), c.probe) for c in self.columns})
        said = "; ".join(f"{quantity} of layer {where} on {p}" for quantity, where, p in there)
        raise InvalidInput(f"there is no {name!r} of layer {layer!r} on probe {probe!r}; recorded: {said or 'nothing'}")

    def to_xarray(self) -> Any:
        """Return the arrays as an xarray Dataset: "quantity_layer_probe" (step, point of the probe, ...).

        The coordinates of the points are there as "coordinates_probe". Raises MissingExtra without xarray
        (`pip install 'infgeo[frames]'`).
        """
        with optional_import("to_xarray", "frames"):
            from xarray import Dataset
        data: dict[str, Any] = {}
        for column, array in zip(self.columns, self.arrays, strict=True):
            name = "_".join(filter(None, (column.quantity, column.layer, column.probe)))
            inner = [f"{column.quantity}_{i}" for i in range(array.ndim - 2)]
            data[name] = (["step", f"point_{column.probe}", *inner], array)
        places = {
            f"coordinates_{name}": ([f"point_{name}", f"axis_{name}"], probe.coordinates.numpy())
            for name, probe in self.probes.items()
        }
        return Dataset(data, {"step": self.steps, "time": ("step", self.times), **places}, {"skipped": self.skipped})
