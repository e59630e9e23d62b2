"""The volume element layer by layer: which layer of a network magnifies where."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from infgeo.arguments import words
from infgeo.display import Displayed
from infgeo.errors import InfgeoError, InvalidInput
from infgeo.finite.pullback import pullback


@dataclass(frozen=True, repr=False)
class LayerVolumes(Displayed):
    """Log √det g of the features of each of L layers at points (...): `log_volume` (L, ...), made by `volume_by_layer`.

    `increments` (L, ...) are those of a layer less those of the one before it (of the input, 0): what each layer does
    to volumes. They sum to the log volume of the last layer. Behind a layer without full rank they are NaN.
    """

    layers: tuple[str, ...]
    log_volume: torch.Tensor

    @property
    def increments(self) -> torch.Tensor:
        """What each layer adds to the log volume, (L, ...)."""
        return torch.diff(self.log_volume, dim=0, prepend=torch.zeros_like(self.log_volume[:1]))

    def _facts(self) -> dict[str, Any]:
        means = self.increments.flatten(1).mean(1).tolist()
        return {"points": tuple(self.log_volume.shape[1:]), **dict(zip(self.layers, means, strict=True))}


def volume_by_layer(
    features: nn.Module | Mapping[str, Callable[..., Any]],
    x: ArrayLike,
    *,
    layers: Sequence[str] | None = None,
    **options: Any,
) -> LayerVolumes:
    """Return the log volume element of every layer of a network at the points x, and what each layer adds to it.

    Args:
        features: a torch module, or feature maps of the input by name, in the order of the layers.
        x: points (..., d), or (..., *input_shape).
        layers: names of submodules, in their order in the network; of nn.Sequential by default all its children. Layers
            beside each other have no such order: what they add then is a comparison.
        options: those of `pullback`: input_shape, freeze, dtype, ...; singular="nan" gives −inf for layers without
            full rank, such as those with fewer features than coordinates, instead of an error.

    Raises InvalidInput as `pullback` does and where there is no default; SingularMetric where a layer has no full rank.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh()).double()
    >>> with torch.no_grad():
    ...     _, _ = model[0].weight.copy_(3 * torch.eye(2)), model[0].bias.fill_(0.0)
    >>> volumes = volume_by_layer(model, [0.0, 0.0])  # 9 times the area, and tanh has slope 1 at 0
    >>> volumes.layers, [f"{value:.6f}" for value in volumes.increments.tolist()]
    (('0', '1'), ['2.197225', '0.000000'])
    """
    if isinstance(features, Mapping):
        names = words(list(features), "features")
    elif layers is not None:
        names = words(layers, "layers")
    elif isinstance(features, nn.Sequential):
        names = tuple(name for name, _ in features.named_children())
    else:
        raise InvalidInput("features is no nn.Sequential, whose children are in order; pass layers=[...]")
    if not names:
        raise InvalidInput("features has no layers; pass a network with some")
    found = []
    for name in names:
        one, layer = (features[name], None) if isinstance(features, Mapping) else (features, name)
        try:
            found.append(pullback(one, x, layer=layer, **options).log_volume_element)
        except InfgeoError as error:
            error.add_note(f"layer {name!r}")
            raise
    return LayerVolumes(names, torch.stack(found))
