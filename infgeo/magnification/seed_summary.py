"""Many networks: measurements for each layer, and what independent seeds say together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from infgeo.arguments import fraction, instance, one_of, seed_integer, shown
from infgeo.errors import InfgeoError, InvalidInput
from infgeo.magnification.checks import vector
from infgeo.report_text import Record, align

_ENUMERATED = 16  # seeds up to which all sign flips are tried
_RANDOM_FLIPS = 99_999
_TIE = 1e-12


@dataclass(frozen=True)
class SummaryRow:
    """One statistic over independent seeds.

    `mean`; `low` and `high` at the level of the summary; `p` of the sign-flip test against the side `alternative`, None
    where one seed leaves no interval, and where a sign means nothing. `missing` seeds did not have this statistic.
    """

    name: str
    mean: float
    low: float | None
    high: float | None
    p: float | None
    alternative: str | None
    values: tuple[float, ...]
    missing: int = 0


@dataclass(frozen=True, repr=False)
class SeedSummary(Record):
    """Statistics over independent seeds, one row each; intervals at `level`."""

    rows: tuple[SummaryRow, ...]
    level: float

    def __getitem__(self, name: str) -> SummaryRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no statistic {name!r}: this summary has {', '.join(row.name for row in self.rows)}")

    def _facts(self) -> dict[str, Any]:
        return {row.name: (row.mean, row.low, row.high) for row in self.rows} | {"level": self.level}

    def table(self) -> str:
        """Return the summary as text: one line for each statistic."""
        cells = [["statistic", "mean", f"{100 * self.level:g} % interval", "p (signs)", "side", "seeds"]]
        for row in self.rows:
            interval = "-" if row.low is None else f"[{row.low:.3f}, {row.high:.3f}]"
            p = "-" if row.p is None else f"{row.p:.3g}"
            seeds = f"{len(row.values)}" + (f" ({row.missing} without)" if row.missing else "")
            cells.append([row.name, f"{row.mean:.3f}", interval, p, row.alternative or "-", seeds])
        return align(cells, left=(0, 4, 5))

    def __str__(self) -> str:
        return self.table()


def by_layer(measure: Callable[..., Any], log_volumes: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
    """Return {layer: measure(log_volume, **arguments)}: the same measurement for the log volume of each layer.

    Args:
        measure: `magnification`, or a function of the log volume first, such as lambda v: symmetry(points, v).
        log_volumes: {layer: (P,)}.
        arguments: the same for all layers.

    Raises InvalidInput without layers; errors of a layer name it.

    Example:
        >>> import numpy as np
        >>> from infgeo.magnification import symmetry
        >>> x = np.random.default_rng(0).standard_normal((200, 2))
        >>> volumes = {"1": -(x**2).sum(axis=1), "2": x[:, 0]}
        >>> for layer, result in by_layer(lambda v: symmetry(x, v), volumes).items():
        ...     print(layer, f"{result.share:.2f}")
        1 1.00
        2 0.01
    """
    if not isinstance(log_volumes, Mapping) or not log_volumes:
        raise InvalidInput(f"log_volumes = {shown(log_volumes)}; pass a mapping from layers to log volumes (P,)")
    if not callable(measure):
        raise InvalidInput(f"measure is {shown(measure)}; pass a function of log volumes, such as symmetry")
    results = {}
    for layer, values in log_volumes.items():
        try:
            results[layer] = measure(values, **arguments)
        except InfgeoError as error:
            error.add_note(f"layer {layer!r}")
            raise
    return results


def change(before: Any, after: Any) -> dict[str, float]:
    """Return the statistics of `after` less those of `before`, of one network: what training did to them.

    Takes two results of one kind, or mappings from layers to such, and gives names to differences for `over_seeds`.
    """
    first, second = _flat(before), _flat(after)
    common = {name: value - first[name][0] for name, (value, _) in second.items() if name in first}
    if not common:
        raise InvalidInput(
            f"before has {', '.join(first) or 'nothing'} and after has {', '.join(second) or 'nothing'}: no statistic "
            "in common; pass two results of one kind"
        )
    return common


def sign_flip_p(values: ArrayLike, alternative: str = "two-sided", seed: int = 0) -> float:
    """Return the p-value of the sign-flip test that independent values are symmetric about 0.

    p = the share of all 2^n assignments of signs whose sum is at least as extreme as that of the values: exact, with at
    least 1/2^n one-sided (1/32 for five seeds) and twice that two-sided. Beyond 16 values 99999 random assignments are
    taken besides the one at hand, which keeps the test valid.

    Args:
        values: (n,), one for each seed.
        alternative: "greater", "less" or "two-sided".
        seed: of the random signs.

    Source: Fisher 1935, *The Design of Experiments*, section 21.

    Example:
        >>> sign_flip_p([0.3, 0.1, 0.4, 0.2, 0.5], "greater") == 1 / 32
        True
        >>> sign_flip_p([0.3, -0.1, 0.4, 0.2, 0.5], "greater") == 2 / 32
        True
    """
    alternative = one_of(alternative, "alternative", ("greater", "less", "two-sided"))
    seed = seed_integer(seed, 63)
    x = vector("values", values)
    if x.size <= _ENUMERATED:
        signs = np.array(list(product((1.0, -1.0), repeat=x.size)))
    else:
        signs = np.random.default_rng(seed).choice([1.0, -1.0], size=(_RANDOM_FLIPS + 1, x.size))
        signs[0] = 1.0
    sums = signs @ x * (-1.0 if alternative == "less" else 1.0)
    sums = np.abs(sums) if alternative == "two-sided" else sums
    return float(np.mean(sums >= sums[0] - _TIE * np.abs(x).sum()))


def over_seeds(
    results: Sequence[Any], *, level: float = 0.95, alternatives: Mapping[str, str | None] | None = None
) -> SeedSummary:
    """Return mean, interval and sign-flip p-value of each statistic over networks of independent seeds.

    Intervals are mean -+ t s / sqrt(n) with Student's t of n - 1 degrees of freedom: seeds are independent and alike,
    and of the five or ten there are in practice a bootstrap, which knows their spread no better than they do, covers
    too rarely. They may reach beyond the bounds of a share or of a correlation.

    The sign-flip test asks whether the statistic is symmetric about 0 over seeds. It is exact, and needs nothing of the
    spatial correlation within a network. Take the measures at equal |x|: the others are not about 0 where boundary and
    volume both follow |x|. A share has no sign, and no p-value; its change through training (`change`) has.

    Args:
        results: one for each seed: results of `magnification`, `symmetry` or `agreement`, mappings from names to
            numbers (of `change`, for example), or mappings from layers to results (of `by_layer`).
        level: of the intervals.
        alternatives: {statistic: side}, for those that do not have one or another one; default two-sided for numbers.

    Raises InvalidInput without results, and for results of different kinds.

    Example:
        >>> print(over_seeds([{"change": value} for value in (-0.31, -0.22, -0.40, -0.28, -0.35)]))
          statistic    mean     95 % interval  p (signs)  side       seeds
          change     -0.312  [-0.397, -0.227]     0.0625  two-sided  5
    """
    level = fraction(level, "level")
    if isinstance(results, Mapping | str) or not isinstance(results, Sequence) or not results:
        what = "an empty list" if isinstance(results, Sequence) and not results else f"a {type(results).__name__}"
        raise InvalidInput(f"results is {what}; pass a list with the result of each seed")
    kinds = sorted({type(result).__name__ for result in results})
    if len(kinds) > 1:
        raise InvalidInput(f"results are of different kinds ({', '.join(kinds)}); sum up one kind at a time")
    flats = [_flat(result) for result in results]
    sides = {name: side for flat in reversed(flats) for name, (_, side) in flat.items()}
    names = list(dict.fromkeys(name for flat in flats for name in flat))
    if alternatives is not None:
        instance(alternatives, "alternatives", Mapping, "a mapping from statistics to 'greater', 'less' or 'two-sided'")
    if unknown := sorted(map(str, set(alternatives or {}) - set(names))):
        raise InvalidInput(f"alternatives names {', '.join(unknown)}; the statistics are {', '.join(names)}")
    sides = sides | dict(alternatives or {})
    rows = []
    for name in names:
        values = vector(name, [flat[name][0] for flat in flats if name in flat])
        rows.append(_row(name, values, level, sides[name], len(flats) - len(values)))
    return SeedSummary(tuple(rows), level)


def _row(name: str, values: np.ndarray, level: float, side: str | None, missing: int) -> SummaryRow:
    n, mean = values.size, float(values.mean())
    low = high = p = None
    if n > 1:
        half = float(special.stdtrit(n - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(n))
        low, high = mean - half, mean + half
        p = None if side is None else sign_flip_p(values, side)
    return SummaryRow(name, mean, low, high, p, side, tuple(values.tolist()), missing)


def _flat(result: Any) -> dict[str, tuple[float, str | None]]:
    """Return the statistics of a result by name, each with the side of its claim; those of layers as "layer: name".

    The side is None for statistics without a sign, and "two-sided" for plain numbers.
    """
    if hasattr(result, "statistics"):
        sides = result.alternatives() if hasattr(result, "alternatives") else {}
        return {name: (value, sides.get(name)) for name, value in result.statistics().items()}
    if not isinstance(result, Mapping):
        raise InvalidInput(f"{type(result).__name__} is no result of infgeo.magnification, nor a mapping from names")
    flat: dict[str, tuple[float, str | None]] = {}
    for name, value in result.items():
        if isinstance(value, Mapping) or hasattr(value, "statistics"):
            flat |= {f"{name}: {inner}": found for inner, found in _flat(value).items()}
        elif value is not None:
            flat[str(name)] = value, "two-sided"
    return flat
