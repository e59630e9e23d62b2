"""The metric that a feature map pulls back to its inputs, with its volume element and Ricci scalar, at given points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from infgeo.errors import InvalidInput
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, as_points, positive_integer, rank_deficient, too_narrow
from infgeo.finite.local import LocalGeometry
from infgeo.finite.network import SampledNetwork
from infgeo.finite.propagation import deep_geometry, feature_count, general_geometry
from infgeo.finite.shallow import shallow_geometry

PIECEWISE_LINEAR = "the activation is piecewise linear: the network is locally linear, so R = 0 exactly off the kinks"
ONE_DIMENSION = "a one-dimensional metric has no intrinsic curvature: R = 0 exactly"


def is_sampled(features: Any) -> bool:
    """Return whether the stored weights of `features` say all about it: a sampled network, without hooks on it."""
    return (
        type(features) is SampledNetwork
        and not features._forward_hooks
        and not features._forward_pre_hooks
        and not features._buffers
    )


def local_geometry(
    features: Any, x: torch.Tensor, ricci: bool, memory_budget: int = DEFAULT_MEMORY_BUDGET
) -> LocalGeometry:
    """Return metric, log determinant and (if asked for) R at x (N, d) by the fastest route that applies."""
    if x.shape[0] == 0:
        d = x.shape[1]
        empty = torch.empty(0, dtype=torch.float64, device=x.device)
        return LocalGeometry(empty.reshape(0, d, d), empty, empty if ricci else None)
    if not is_sampled(features):
        return general_geometry(features, x, ricci, memory_budget)
    with torch.no_grad():
        if features.depth == 1:
            return shallow_geometry(features, x, ricci, memory_budget)
        return deep_geometry(features, x, ricci, memory_budget)


def weights_of(features: Any) -> tuple[tuple[torch.Tensor, int, int], ...]:
    """Return parameters and buffers of a module, each with the number of changes in place and its address in memory.

    torch counts every operation in place, except through `.data` and on tensors made in inference mode.
    """
    if not isinstance(features, torch.nn.Module):
        return ()
    tensors = (*features.parameters(), *features.buffers())
    return tuple((t, 0 if t.is_inference() else t._version, t.data_ptr()) for t in tensors)


@dataclass(frozen=True)
class Pullback:
    """The pulled-back geometry at `x` (..., d), computed when first asked for. All results are float64.

    `width` is the number n of features. `note` says why R is 0 where it is so by construction, else it is empty.
    `weights` are the parameters and buffers of a module as they were: so that no two quantities are of different
    weights, what has not been computed raises InvalidInput once they have changed. Build it with `pullback`.
    """

    features: Callable[[torch.Tensor], torch.Tensor] = field(repr=False)
    x: torch.Tensor = field(repr=False)
    width: int
    note: str = ""
    memory_budget: int = DEFAULT_MEMORY_BUDGET
    weights: tuple[tuple[torch.Tensor, int, int], ...] = field(default=(), repr=False)

    @property
    def input_dim(self) -> int:
        """Number d of coordinates."""
        return int(self.x.shape[-1])

    @property
    def is_flat_by_construction(self) -> bool:
        """Whether R = 0 exactly (off the kinks): the activation is piecewise linear, or d = 1. See `note`."""
        return bool(self.note)

    def _compute(self, ricci: bool) -> LocalGeometry:
        now = weights_of(self.features)
        # tensors are compared by identity
        if [(id(t), *state) for t, *state in now] != [(id(t), *state) for t, *state in self.weights]:
            raise InvalidInput("features changed since pullback was called; call it again")
        return local_geometry(self.features, self.x.reshape(-1, self.input_dim), ricci, self.memory_budget)

    @cached_property
    def _first_order(self) -> LocalGeometry:
        return self.__dict__["_second_order"] if "_second_order" in self.__dict__ else self._compute(ricci=False)

    @cached_property
    def _second_order(self) -> LocalGeometry:
        return self._compute(ricci=True)

    def _require_regular(self, geometry: LocalGeometry) -> None:
        singular = torch.isinf(geometry.log_determinant)
        if bool(singular.any()):
            first = int(singular.nonzero()[0])
            index = tuple(int(i) for i in torch.unravel_index(torch.tensor(first), self.x.shape[:-1]))
            point = self.x.reshape(-1, self.input_dim)[first]
            raise rank_deficient(int(singular.sum()), index, point, self.width)

    @cached_property
    def metric(self) -> torch.Tensor:
        """The metric g = JᵀJ of shape (..., d, d). Exists at every width."""
        return self._first_order.metric.reshape(*self.x.shape, self.input_dim)

    @cached_property
    def log_volume_element(self) -> torch.Tensor:
        """Log √det g of shape (...). Raises SingularMetric where g has no full rank."""
        if self.width < self.input_dim:
            raise too_narrow(self.width, self.input_dim)
        self._require_regular(self._first_order)
        return 0.5 * self._first_order.log_determinant.reshape(self.x.shape[:-1])

    @cached_property
    def volume_element(self) -> torch.Tensor:
        """√det g of shape (...). Raises SingularMetric where g has no full rank."""
        return self.log_volume_element.exp()

    @cached_property
    def ricci_scalar(self) -> torch.Tensor:
        """The Ricci scalar R of shape (...), positive on spheres: R = d(d−1)/a² on S^d of radius a.

        Raises SingularMetric where g has no full rank. Exactly 0 for d = 1 and for piecewise linear activations.
        """
        if self.width < self.input_dim:
            raise too_narrow(self.width, self.input_dim)
        geometry = self._second_order
        self._require_regular(geometry)
        assert geometry.ricci_scalar is not None
        return geometry.ricci_scalar.reshape(self.x.shape[:-1])


def pullback(
    features: Callable[[torch.Tensor], torch.Tensor], x: Any, *, memory_budget: int = DEFAULT_MEMORY_BUDGET
) -> Pullback:
    """Pull the flat metric of feature space back through `features` at the points `x`.

    g = JᵀJ with J = ∂Φ/∂x; R = |tr_g II|² − |II|²_g with II = (1 − J g⁻¹ Jᵀ) ∂²Φ (Gauss equation). A network from
    `sample_network` takes a route made for it: the Hessian-metric form at one layer, J and H by matrix products at
    more. Anything else is differentiated by torch.func, so it must be made of torch operations and act on one
    point of shape (d,) as on a batch; put a trained module in eval mode first. The points are copied; the features are
    not: ask for all quantities before the next training step.

    Args:
        features: callable or module, x (..., d) -> (..., n).
        x: points (..., d): a float32 or float64 tensor, or anything array-like, which becomes float64 (or the dtype
            and device of the module's parameters).
        memory_budget: bytes that intermediate arrays may take, about.

    Returns:
        An object with lazy `.metric` (..., d, d), `.log_volume_element`, `.volume_element` and `.ricci_scalar` (...).

    Raises:
        InvalidInput: for x of a wrong dtype or shape or with NaN or infinities, or features that are not (..., n); on
            access, when parameters or buffers of the module have changed since.
        SingularMetric: when a quantity needs the inverse of a metric without full rank (on access).

    Source: arXiv 2301.11375, section 2; the Gauss equation as in any text on submanifolds.

    >>> import torch
    >>> def sphere(u):  # the unit sphere in polar coordinates
    ...     t, p = u.unbind(-1)
    ...     return torch.stack((t.sin() * p.cos(), t.sin() * p.sin(), t.cos()), -1)
    >>> f"{pullback(sphere, [1.0, 0.5]).ricci_scalar:.12f}"
    '2.000000000000'
    """
    if not callable(features):
        raise InvalidInput(f"features is {features!r}; pass a callable or module x (..., d) -> (..., n)")
    sampled = is_sampled(features)
    points = as_points(x, features.input_dim if sampled else None)  # type: ignore[attr-defined]
    points = _match(features, points, convert=not isinstance(x, torch.Tensor)).clone()
    d = points.shape[-1]
    width = features.width if sampled else feature_count(features, points.reshape(-1, d))  # type: ignore[attr-defined]
    note = ""
    if d == 1:
        note = ONE_DIMENSION
    elif sampled and features.activation.piecewise_linear:  # type: ignore[attr-defined]
        note = PIECEWISE_LINEAR
    budget = positive_integer(memory_budget, "memory_budget")
    return Pullback(features, points, width, note, budget, weights_of(features))


def _match(features: Any, points: torch.Tensor, convert: bool) -> torch.Tensor:
    """Return `points` in the dtype and on the device of the module's parameters; only convert what was no tensor."""
    if not isinstance(features, torch.nn.Module):
        return points
    parameter = next((p for p in features.parameters() if p.dtype.is_floating_point), None)
    if parameter is None or (parameter.dtype == points.dtype and parameter.device == points.device):
        return points
    if convert:
        return points.to(device=parameter.device, dtype=parameter.dtype)
    raise InvalidInput(
        f"x is {points.dtype} on {points.device}, the module's parameters are {parameter.dtype} on {parameter.device}; "
        f"pass x.to({str(parameter.device)!r}, {parameter.dtype})"
    )
