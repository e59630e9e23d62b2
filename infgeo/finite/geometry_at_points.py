"""The geometry at given points, computed when it is asked for."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from numpy.typing import ArrayLike

from infgeo.display import Displayed
from infgeo.errors import InfgeoError, InvalidInput, SingularMetric
from infgeo.finite import gauss_equation
from infgeo.finite.evaluation import modules_behind, refuse_training_mode
from infgeo.finite.feature_map import Source
from infgeo.finite.gauss_equation import LocalGeometry, Spectrum
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, as_points, rank_deficient, too_narrow
from infgeo.finite.output_metric import Curved
from infgeo.finite.routes import bent, measured, reduced, sectional, transverse_ricci

_SHOWN = ("metric", "singular_values", "rank", "log_volume_element", "volume_element", "ricci_scalar")
_FEW_NUMBERS = 1000  # in points whose volume element is computed to be shown
PIECEWISE_LINEAR = "the activation is piecewise linear: the network is locally linear, so R = 0 exactly off the kinks"
AS_MANY = "there are as many features as coordinates, which are coordinates of flat space: R = 0 exactly"
ONE_DIMENSION = "a one-dimensional metric has no intrinsic curvature: R = 0 exactly"


def weights_of(features: Any) -> tuple[tuple[torch.Tensor, int, int], ...]:
    """Return parameters and buffers behind `features`, each with its number of changes in place and its address.

    torch counts every operation in place, except through `.data` and on tensors made in inference mode.
    """
    tensors = [t for module in modules_behind(features) for t in (*module.parameters(), *module.buffers())]
    return tuple((t, 0 if t.is_inference() else t._version, t.data_ptr()) for t in tensors)


@dataclass(frozen=True, repr=False)
class Pullback(Displayed):
    """The pulled-back geometry at `x` (..., *input_shape), computed when first asked for. All results are float64.

    Shapes below are for points (...) with d coordinates (those of a point, flattened in row-major order) and n =
    `width` features. `weights` are the parameters and buffers of a module as they were: so that no two quantities are
    of different weights, what has not been computed raises InvalidInput once they have changed. Where the metric has no
    full rank, quantities that need its inverse raise SingularMetric, or are NaN with `singular="nan"`. Build it with
    `pullback`.
    """

    source: Source
    x: torch.Tensor
    singular: str = "raise"
    memory_budget: int = DEFAULT_MEMORY_BUDGET
    weights: tuple[tuple[torch.Tensor, int, int], ...] | None = None

    def _facts(self) -> dict[str, Any]:
        """Return what has been computed, besides the sizes: nothing is computed to be shown at a prompt."""
        sizes = {"points": self._batch, "input_shape": self.input_shape, "width": self.width, "note": self.note}
        return sizes | {name: self.__dict__[name] for name in _SHOWN if name in self.__dict__}

    def _repr_html_(self) -> str:
        """Return the table of a notebook, with the volume element where few numbers give it."""
        if self._points.numel() <= _FEW_NUMBERS:
            with suppress(InfgeoError):
                _ = self.log_volume_element
        return super()._repr_html_()

    @property
    def width(self) -> int:
        """Number n of features."""
        return self.source.width

    @property
    def note(self) -> str:
        """Why R is 0 by construction, and which precision the features have if not that of the points; else empty."""
        why = ONE_DIMENSION if self.input_dim == 1 else PIECEWISE_LINEAR if self.source.flat else ""
        why = why or (AS_MANY if self.source.invertible(self.input_dim) else "")
        return "; ".join(part for part in (why, self.source.note) if part)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one point: (d,), or such as (channels, height, width)."""
        return self.source.input_shape

    @property
    def input_dim(self) -> int:
        """Number d of coordinates."""
        return math.prod(self.input_shape)

    @property
    def is_flat_by_construction(self) -> bool:
        """Whether R = 0 exactly (off the kinks): features are piecewise linear, n = d, or d = 1. See `note`."""
        return self.input_dim == 1 or self.source.flat or self.source.invertible(self.input_dim)

    @cached_property
    def is_flat(self) -> torch.Tensor:
        """Whether R = 0 exactly, bool of shape (...): by construction, or where all second derivatives are 0.

        They are for residual networks of ReLUs. False says nothing: a cylinder is flat, and its features are bent.
        """
        if self.is_flat_by_construction or self.source.form is not None:
            return self._everywhere(self.is_flat_by_construction) > 0
        return torch.cat(self._reduced(lambda _, h: (h == 0).flatten(1).all(dim=1), second=True)).reshape(self._batch)

    @property
    def _batch(self) -> tuple[int, ...]:
        return tuple(self.x.shape[: self.x.ndim - len(self.input_shape)])

    @property
    def _points(self) -> torch.Tensor:
        return self.x.reshape(-1, self.input_dim)

    def _refuse_changes(self) -> None:
        if self.weights is None:
            return
        feature_map = self.source.feature_map
        now = weights_of(feature_map.features)
        # tensors are compared by identity
        if [(id(t), *state) for t, *state in now] != [(id(t), *state) for t, *state in self.weights]:
            raise InvalidInput("features changed since pullback was called; call it again")
        refuse_training_mode(feature_map.features, feature_map.freeze)

    def _measured(self, ricci: bool) -> LocalGeometry:
        self._refuse_changes()
        return measured(self.source, self._points, ricci, self.memory_budget)

    def _reduced(self, reduction: Callable[..., Any], second: bool = False, only: slice = slice(None)) -> list[Any]:
        self._refuse_changes()
        return reduced(self.source, self._points[only], second, reduction, self.memory_budget)

    @cached_property
    def _first_order(self) -> LocalGeometry:
        return self.__dict__["_second_order"] if "_second_order" in self.__dict__ else self._measured(ricci=False)

    @cached_property
    def _second_order(self) -> LocalGeometry:
        return self._measured(ricci=True)

    @cached_property
    def _log_volume(self) -> torch.Tensor:
        """Log √det g (N,), NaN where the metric is not finite: a sum tells that sooner than its entries."""
        finite = torch.isfinite(self._first_order.metric.sum(dim=(1, 2)))
        return torch.where(finite, self._first_order.log_determinant / 2, torch.nan)

    @cached_property
    def _spectrum(self) -> Spectrum:
        return self._spectra(slice(None))

    def _spectra(self, only: slice) -> Spectrum:
        return gauss_equation.concatenate(self._reduced(lambda j, _: gauss_equation.spectrum(j), only=only))

    @property
    def output(self) -> torch.Tensor | None:
        """What a readout of `source` gives (N, C), which comes with the metric; None before that, and without one."""
        known: LocalGeometry | None = self.__dict__.get("_first_order")
        return None if known is None else known.output

    @cached_property
    def metric(self) -> torch.Tensor:
        """The metric g = JᵀJ of shape (..., d, d). Exists at every width.

        Raises InvalidInput where features or J are not finite; with singular="nan" the metric is not finite there.
        """
        metric = self._first_order.metric
        if self.singular == "raise":
            wild = ~torch.isfinite(metric).all(dim=-1).all(dim=-1)
            why = "outside their domain, not differentiable, or overflowing"
            self._refuse(wild, "features or their derivatives", why)
        return metric.reshape(*self._batch, self.input_dim, self.input_dim)

    @cached_property
    def singular_values(self) -> torch.Tensor:
        """The singular values of J, descending, of shape (..., min(n, d)): square roots of the metric's eigenvalues."""
        if self.input_dim <= min(2, self.width):
            values = gauss_equation.few_singular_values(self._first_order.metric, self._log_volume)
            return values.reshape(*self._batch, self.input_dim)
        return self._spectrum.singular_values.reshape(*self._batch, min(self.width, self.input_dim))

    @cached_property
    def principal_directions(self) -> torch.Tensor:
        """The right singular vectors of J, rows (..., min(n, d), d) of length 1: signs are arbitrary.

        They come in the order of `singular_values`, the directions that are stretched most first.
        """
        rows = torch.cat(self._reduced(lambda j, _: torch.linalg.svd(j.double(), full_matrices=False)[2]))
        return rows.reshape(*self._batch, *rows.shape[1:])

    @cached_property
    def rank(self) -> torch.Tensor:
        """The numerical rank of the metric, int64 of shape (...); −1 where J is not finite.

        It counts the singular values of J, with its columns scaled to length 1, above 16 √d ε (of their dtype).
        """
        return self._spectrum.rank.reshape(self._batch)

    @cached_property
    def log_pseudo_volume(self) -> torch.Tensor:
        """The sum Σ log σ_i over the `rank` nonzero singular values of J, of shape (...); exists at every width.

        Where the rank is d it is the log volume element. Below (always when n < d) it is no volume of input space, but
        of the rank-dimensional complement of the kernel of J, which differs from point to point.
        """
        return self._spectrum.log_pseudo_volume.reshape(self._batch)

    @cached_property
    def log_volume_element(self) -> torch.Tensor:
        """Log √det g of shape (...): the sum of the logs of the singular values of J.

        Raises SingularMetric where g has no full rank; with singular="nan" it is −inf there.
        """
        if self._too_narrow():
            return self._everywhere(-torch.inf)
        known = set(self.__dict__)
        if {"_first_order", "_second_order"} & known or (self.input_dim <= 256 and "_spectrum" not in known):
            value = self._log_volume
        elif "_spectrum" in known:
            value, rank = self._spectrum.log_pseudo_volume, self._spectrum.rank
            value = torch.where((0 <= rank) & (rank < self.input_dim), -torch.inf, value)
        else:  # without the metric, which is large, and without singular values, which cost more than all the rest
            value = torch.cat(self._reduced(lambda j, _: gauss_equation.log_volume(j)))
        if self.singular == "raise":
            self._require_regular(~torch.isfinite(value))
        return value.reshape(self._batch)

    @cached_property
    def volume_element(self) -> torch.Tensor:
        """The volume element √det g of shape (...); where g has no full rank as `log_volume_element`, or 0."""
        return self.log_volume_element.exp()

    @cached_property
    def ricci_scalar(self) -> torch.Tensor:
        """The Ricci scalar R of shape (...), positive on spheres: R = d(d−1)/a² on S^d of radius a.

        Raises SingularMetric where g has no full rank. Exactly 0 for d = 1 and for piecewise linear features.
        """
        if self._too_narrow():
            return self._everywhere(torch.nan)
        value = self._second_order.ricci_scalar
        assert value is not None
        return self._regular(value, self._second_order.log_determinant)

    @cached_property
    def transverse_ricci_scalar(self) -> torch.Tensor:
        """R of the image of the features, of shape (...): also where the rank r of the metric is below d.

        Where r is constant nearby, slices across the leaves of equal output are isometric to the image (rank theorem),
        so that all have this R. It is R itself where r = d, 0 where r < 2, and with `output="fisher"` of C classes
        (C − 1)(C − 2)/4 where r = C − 1. It has no meaning where the rank changes.
        """
        self._refuse_changes()
        value = transverse_ricci(self.source, self._points, self.memory_budget) if len(self._points) else self.x[:0]
        if self.singular == "raise":
            self._refuse(~torch.isfinite(value), "features or their derivatives", "not twice differentiable there")
        return value.to(torch.float64).reshape(self._batch)

    @property
    def length_element(self) -> torch.Tensor:
        """The length element √g = |∂Φ/∂x| of shape (...), for d = 1."""
        if self.input_dim != 1:
            raise InvalidInput(
                f"length_element is that of a line, and d = {self.input_dim}; ask for volume_element, or measure a "
                "line with pullback_slice"
            )
        return self.volume_element

    @cached_property
    def gaussian_curvature(self) -> torch.Tensor:
        """The Gaussian curvature R/2 of shape (...), for d = 2: 1/a² on the sphere of radius a."""
        if self.input_dim != 2:
            raise InvalidInput(
                f"gaussian_curvature is that of a surface, and d = {self.input_dim}; ask for ricci_scalar or "
                "sectional_curvature(u, v), or measure a plane with pullback_slice"
            )
        return self.ricci_scalar / 2

    @cached_property
    def ricci_tensor(self) -> torch.Tensor:
        """The Ricci tensor R_ij of shape (..., d, d), (d−1)/a² times the metric on S^d of radius a.

        Raises SingularMetric where g has no full rank.
        """
        return self._tensor(gauss_equation.ricci_tensor, (self.input_dim,) * 2, Curved.ricci_tensor)

    @cached_property
    def christoffel(self) -> torch.Tensor:
        """The Christoffel symbols Γ^k_ij of shape (..., d, d, d), index [k, i, j].

        Raises SingularMetric where g has no full rank.
        """
        return self._tensor(gauss_equation.christoffel, (self.input_dim,) * 3, Curved.christoffel)

    @cached_property
    def second_fundamental_form(self) -> torch.Tensor:
        """The form II_ij = (1 − J g⁻¹ Jᵀ) ∂_i∂_jΦ, (..., n, d, d): vectors of feature space normal to the image.

        Raises SingularMetric where g has no full rank. Its memory is n d² numbers a point.
        """
        return self._tensor(gauss_equation.second_fundamental_form, (self.width, self.input_dim, self.input_dim))

    @cached_property
    def mean_curvature_vector(self) -> torch.Tensor:
        """The mean curvature vector tr_g II / d of shape (..., n), normal to the image: of length 1/a on spheres."""
        return self._tensor(gauss_equation.mean_curvature_vector, (self.width,))

    def sectional_curvature(self, u: ArrayLike, v: ArrayLike) -> torch.Tensor:
        """Return the sectional curvature of the plane spanned by u and v at each point, of shape (...).

        K = (⟨II(u,u), II(v,v)⟩ − |II(u,v)|²) / (|u|²|v|² − ⟨u,v⟩²), 1/a² on spheres of radius a. It costs J and second
        derivatives along two directions, also in high dimension. The curvature of the surface that is the image of the
        plane is another one: see `pullback_slice`.

        Args:
            u: tangent vector (..., *input_shape), the same for all points or one for each.
            v: another one.

        Raises:
            InvalidInput: when u and v do not fit the points, or d = 1, where there are no planes.
            SingularMetric: where g has no full rank, or u and v are parallel as far as the metric can tell.
        """
        if self.input_dim == 1:
            raise InvalidInput("sectional_curvature needs a plane, and d = 1; a line has no intrinsic curvature")
        directions = [self._directions(w, name) for w, name in ((u, "u"), (v, "v"))]
        if self._too_narrow():
            return self._everywhere(torch.nan)
        self._refuse_changes()
        value = sectional(self.source, self._points, directions[0], directions[1], self.memory_budget)
        bad = torch.isnan(value)
        if self.singular == "raise" and bool(bad.any()):
            self._require_regular(self._spectrum.rank < self.input_dim)
            where = self._index(int(bad.nonzero()[0]))
            raise SingularMetric(f"u and v span no plane at index {where}: they are parallel, or J u and J v are")
        return value.reshape(self._batch)

    def _directions(self, vector: ArrayLike, name: str) -> torch.Tensor:
        given = as_points(vector, name=name).to(self.x)
        try:
            return given.expand(self.x.shape).reshape(-1, self.input_dim)
        except RuntimeError:
            raise InvalidInput(
                f"{name} has shape {tuple(given.shape)}; it must broadcast to the points, {tuple(self.x.shape)}"
            ) from None

    def _tensor(
        self,
        reduction: Callable[..., torch.Tensor],
        shape: tuple[int, ...],
        of_curved: Callable[[Curved], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        if self._too_narrow():
            return self._everywhere(torch.nan, *shape)
        if self.source.form is None:
            parts = self._reduced(reduction, second=True)
        elif of_curved is None:
            raise InvalidInput("normal vectors are those of flat feature space, and this metric of the outputs varies")
        else:
            self._refuse_changes()
            parts = bent(self.source, self._points, of_curved, self.memory_budget)
        value = torch.cat(parts)
        first = value.reshape(len(value), math.prod(shape))[:, 0]
        if bool(torch.isnan(first).any()):
            self._regular(first, self._first_order.log_determinant)
        return value.reshape(*self._batch, *shape)

    def _too_narrow(self) -> bool:
        """Return whether n < d, so that no point has a regular metric; raise if that is to be raised."""
        if self.width < self.input_dim and self.singular == "raise":
            raise too_narrow(self.width, self.input_dim)
        return self.width < self.input_dim

    def _everywhere(self, value: float, *shape: int) -> torch.Tensor:
        return torch.full((*self._batch, *shape), value, dtype=torch.float64, device=self.x.device)

    def _index(self, number: int) -> tuple[int, ...]:
        return tuple(int(i) for i in torch.unravel_index(torch.tensor(number, device="cpu"), self._batch))

    def _require_regular(self, singular: torch.Tensor) -> None:
        if bool(singular.any()):
            first = int(singular.nonzero()[0])
            rank = int(self._spectra(slice(first, first + 1)).rank[0])
            raise rank_deficient(int(singular.sum()), self._index(first), self._points[first], self.width, rank)

    def _regular(self, value: torch.Tensor, log_determinant: torch.Tensor) -> torch.Tensor:
        """Return `value` (N,) as (...), or raise where the metric is singular or a second derivative is not finite."""
        if self.singular == "raise":
            self._require_regular(torch.isinf(log_determinant))
            wild = ~torch.isfinite(value) & torch.isfinite(log_determinant)
            cancels = "" if self.source.form is None else ", or curvature cancels to its last digits"
            why = f"the features are not twice differentiable there, or overflow{cancels}"
            self._refuse(wild, "the second derivatives of features", why)
        return value.reshape(self._batch)

    def _refuse(self, wild: torch.Tensor, what: str, why: str) -> None:
        if bool(wild.any()):
            where = self._index(int(wild.nonzero()[0]))
            raise InvalidInput(
                f"{what} are not finite at {int(wild.sum())} point(s), first at index {where}: {why}; move the points, "
                'or pass singular="nan"'
            )
