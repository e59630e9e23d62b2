"""The Gram matrix of torch's points as a linear operator of GPyTorch, with derivatives block after block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import torch

from infgeo.arguments import real_number
from infgeo.errors import InvalidInput, MissingExtra
from infgeo.numeric.geometry import NumericGeometry
from infgeo.numeric.operators.products import BlockedGram
from infgeo.numeric.source.formulas import own_parameters
from infgeo.numeric.source.of_formula import Formula
from infgeo.numeric.source.scale_gradient import has_scale_gradient, scale_gradient

if TYPE_CHECKING:
    from infgeo.symbolic.networks.network import MLP

try:
    from linear_operator import LinearOperator
except ImportError as error:
    raise MissingExtra("operator for backend = 'torch'", "gpytorch") from error

_SIDE = 256  # points on a side of a block that is differentiated: some hundred numbers are held for each pair
_FEW = 48  # points on a side of a block of which the diagonal alone is used


class GramOperator(LinearOperator):
    """The Gram matrix K of points, which products compute block after block and never hold: O(N) memory.

    `NumericGeometry.operator` makes it. Its tensors are the points and the parameters of the geometry that are tensors;
    derivatives by them are computed again in blocks: for scales of constant points on the CPU by
    `infgeo.numeric.source.scale_gradient`, else by torch. It is no batch of matrices.
    """

    def __init__(
        self, *tensors: torch.Tensor, geometry: NumericGeometry, which: str, square: bool, threads: int | None
    ) -> None:
        super().__init__(*tensors, geometry=geometry, which=which, square=square, threads=threads)
        self.X, self.Y, self.values = tensors[0], tensors[0 if square else 1], tensors[1 if square else 2 :]
        self.which, self.square, self.threads, self.names = which, square, threads, _names(geometry)
        self.geometry = _with(geometry, self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and cross processes by the arguments."""
        return partial(type(self), **self._nondifferentiable_kwargs), self._args

    def _of(self, X: torch.Tensor, Y: torch.Tensor | None) -> GramOperator:
        """Return the operator of other points."""
        options = self._nondifferentiable_kwargs | {"square": Y is None}
        return type(self)(X, *(() if Y is None else (Y,)), *self.values, **options)

    def _kernel(self, X: torch.Tensor, Y: torch.Tensor) -> torch.Tensor:
        return getattr(self.geometry, self.which)(X, Y)

    @cached_property
    def blocks(self) -> BlockedGram:
        """The matrix in blocks, its points checked."""
        Y = None if self.square else self.Y.detach()
        return self.geometry._call(self.which, self.X.detach(), Y, self.threads, make=BlockedGram)

    def _size(self) -> torch.Size:
        return torch.Size((len(self.X), len(self.Y)))

    def _transpose_nonbatch(self) -> GramOperator:
        return self if self.square else self._of(self.Y, self.X)

    def _matmul(self, rhs: torch.Tensor) -> torch.Tensor:
        columns, gram = _columns(rhs), self.blocks
        found = torch.as_tensor(gram.product(columns.numpy() if gram.host else columns)).to(rhs)
        return found[:, 0] if rhs.ndim == 1 else found.reshape(-1, *rhs.shape[:-2], rhs.shape[-1]).movedim(0, -2)

    def _diagonal(self) -> torch.Tensor:
        if self.square:
            return getattr(self.geometry, f"{self.which}_diag")(self.X)
        index = torch.arange(min(self.shape), device=self.X.device)
        return self._get_indices(index, index)

    def _getitem(self, row_index: Any, col_index: Any, *batch_indices: Any) -> GramOperator:
        same = self.square and isinstance(row_index, slice) and isinstance(col_index, slice) and row_index == col_index
        return self._of(self.X[row_index], None if same else self.Y[col_index])

    def _get_indices(self, row_index: torch.Tensor, col_index: torch.Tensor, *batch_indices: Any) -> torch.Tensor:
        rows = row_index.unique()
        if len(rows) == 1:
            return self._kernel(self.X[rows], self.Y[col_index])[0]
        # A call costs as much as some thousand values: diagonals of square blocks.
        pairs = zip(row_index.split(_FEW), col_index.split(_FEW), strict=True)
        return torch.cat([self._kernel(self.X[i], self.Y[j]).diagonal() for i, j in pairs])

    def _bilinear_derivative(
        self, left_vecs: torch.Tensor, right_vecs: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        tensors, (left, right) = self.representation(), map(_columns, (left_vecs, right_vecs))
        sums = [torch.zeros_like(x, dtype=torch.float64) if x.requires_grad else None for x in tensors]
        add = self._add_slopes_of_scales if self._by_scales_alone(tensors) else self._add_slopes
        for i in range(0, len(left), _SIDE):
            for j in range(i if self.square else 0, len(right), _SIDE):
                rows, columns = slice(i, i + _SIDE), slice(j, j + _SIDE)
                weight = left[rows] @ right[columns].T
                if self.square and i != j:  # for the mirror image
                    weight = weight + right[rows] @ left[columns].T
                add(tensors, rows, columns, weight, sums)
        return tuple(None if s is None else s.to(x) for s, x in zip(sums, tensors, strict=True))

    def _by_scales_alone(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether there is a closed form of the derivatives that are wanted, on the processor."""
        mlp, count = self.geometry.mlp, len(tensors) - len(self.values)
        if isinstance(mlp, Formula) or any(x.requires_grad for x in tensors[:count]) or not self.blocks.host:
            return False
        if not has_scale_gradient(mlp):
            return False
        own = {symbol.name for symbol in own_parameters(mlp)}
        return not any(x.requires_grad and name in own for name, x in zip(self.names, self.values, strict=True))

    def _add_slopes(self, tensors: Any, rows: slice, columns: slice, weight: torch.Tensor, sums: list) -> None:
        """Add the derivatives of a block to `sums`, by torch."""
        first = len(tensors) - len(self.values)
        places = [(0, rows), (first - 1, columns), *((n, ...) for n in range(first, len(tensors)))]
        same = self.square and rows == columns
        with torch.enable_grad():
            parts = [tensors[n].detach()[place].requires_grad_(tensors[n].requires_grad) for n, place in places]
            value = getattr(_with(self.geometry, parts[2:]), self.which)(parts[0], None if same else parts[1])
            wanted = [k for k, part in enumerate(parts) if part.requires_grad]
            found = torch.autograd.grad((value * weight).sum(), [parts[k] for k in wanted], allow_unused=True)
        for k, slope in zip(wanted, found, strict=True):
            n, place = places[k]
            if slope is not None:
                sums[n][place] += slope

    def _add_slopes_of_scales(
        self, tensors: Any, rows: slice, columns: slice, weight: torch.Tensor, sums: list
    ) -> None:
        """Add the derivatives of a block by the scales to `sums`, in closed form."""
        values = {k: v.tolist() if torch.is_tensor(v) else v for k, v in self.geometry.parameters.items()}
        X, Y = (Z.detach().double().numpy() for Z in (self.X[rows], self.Y[columns]))
        wanted = [(name, s) for name, s in zip(reversed(self.names), reversed(sums), strict=False) if s is not None]
        found = scale_gradient(
            cast("MLP", self.geometry.mlp), X, None if self.square and rows == columns else Y, values,
            [name for name, _ in wanted], self.which == "ntk",
        )  # fmt: skip
        slopes = (torch.from_numpy(found) * weight).sum((1, 2)).split([s.numel() for _, s in wanted])
        for (_, s), slope in zip(wanted, slopes, strict=True):
            s += slope.reshape(s.shape)


def _names(geometry: NumericGeometry) -> tuple[str, ...]:
    """Return the names of the parameters that are tensors."""
    return tuple(name for name, value in geometry.parameters.items() if torch.is_tensor(value))


def _with(geometry: NumericGeometry, values: Sequence[torch.Tensor]) -> NumericGeometry:
    """Return a geometry with other tensors for its parameters."""
    return replace(geometry, parameters={**geometry.parameters, **dict(zip(_names(geometry), values, strict=True))})


def _columns(vectors: torch.Tensor) -> torch.Tensor:
    """Return vectors (..., N, k), or (N,), as columns."""
    return vectors.detach()[:, None] if vectors.ndim == 1 else vectors.detach().movedim(-2, 0).flatten(1)


def gram_operator(
    geometry: NumericGeometry, X: Any, Y: Any, which: str, noise: Any, threads: int | None
) -> LinearOperator:
    """Return the operator of points, checked, with the noise on the diagonal."""
    added = real_number(noise.reshape(()) if torch.is_tensor(noise) and noise.numel() == 1 else noise, "noise", 0.0)
    gram = geometry._call(which, X, Y, threads, make=BlockedGram)
    noisy = torch.is_tensor(noise) or added > 0
    if noisy and Y is not None:
        raise InvalidInput(f"noise = {added} is for the matrix of X with itself: leave Y or noise out")
    values = [geometry.parameters[name] for name in _names(geometry)]
    found = GramOperator(*gram.given, *values, geometry=geometry, which=which, square=Y is None, threads=threads)
    found.blocks = gram
    diagonal = noise.reshape(()) if torch.is_tensor(noise) else torch.tensor(added, dtype=torch.float64)
    return found.add_diagonal(diagonal.to(gram.given[0])) if noisy else found
