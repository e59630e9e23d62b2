"""The tangent kernel of any torch module, in blocks that fit a memory budget."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from infgeo.arguments import positive_integer
from infgeo.errors import InvalidInput
from infgeo.finite import by_parameters
from infgeo.finite.by_parameters import Function, LinearLayer, Way, Weights, factors, split
from infgeo.finite.evaluation import plain_torch
from infgeo.finite.inputs import DEFAULT_MEMORY_BUDGET, points_for
from infgeo.finite.point_blocks import in_blocks, is_out_of_memory

Gradients = list[tuple[torch.Tensor | None, float, torch.Tensor]]  # as `_Kernel._gradients` gives them


@plain_torch()
def ntk(
    module: nn.Module,
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    output: Any = "full",
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    freeze: bool = False,
    dtype: torch.dtype | None = None,
    memory_budget: int = DEFAULT_MEMORY_BUDGET,
) -> torch.Tensor:
    """Return the neural tangent kernel of a module at points X (N, d) and Y (M, d).

    Θ(x, y) = J(x) J(y)ᵀ with J = ∂f/∂θ over all parameters that require a gradient, as they are now. No array of N
    points times P parameters is made where it does not fit. Of linear layers J is an outer product that is never
    formed; other parameters' J is taken for blocks of points; and where not two points' fit, for a few outputs of
    points, whose J is carried on by forward mode.

    Args:
        module: a torch module, x (B, *input_shape) -> (B, C), which is left as it is.
        X: points (N, d) or (N, *input_shape), of the dtype of the weights.
        Y: points (M, d); None for X.
        output: "full" (N, M, C, C), all pairs of outputs; "trace" (N, M), the sum of Θ_cc, and "mean", its C-th part;
            or (N, M) of one output, by its index, or of a sum of outputs with weights (C,).
        layer, input_shape, freeze, dtype: as for `pullback`.
        memory_budget: bytes that intermediate arrays may take, about; by default 256 MiB. The kernel comes on top.

    Returns:
        Θ in float64, with the digits of the weights' dtype.

    Raises InvalidInput as `pullback` does, without parameters that require a gradient, and for kernels that are not
    finite.

    Source: Jacot, Gabriel & Hongler 2018; its costs, Novak, Sohl-Dickstein & Schoenholz 2022.

    >>> import torch
    >>> model = torch.nn.Linear(2, 3).double()
    >>> X = torch.tensor([[1.0, 2.0], [3.0, 0.0]], dtype=torch.float64)
    >>> ntk(model, X, output="trace").tolist()  # 3 (x·y + 1)
    [[18.0, 12.0], [12.0, 30.0]]
    """
    budget = positive_integer(memory_budget, "memory_budget")
    source, w, x = by_parameters.of_parameters(module, X, "X", layer, input_shape, freeze, dtype)
    x = _rows(x, source.input_shape, "X")
    y = x
    if Y is not None:
        y = _rows(points_for(module, Y, source.input_shape, dtype, name="Y")[0], source.input_shape, "Y")
    with by_parameters.ready(source) as f:
        r, divisor = by_parameters.cotangents(output, f(w, by_parameters.some(x)), ("full", "trace", "mean"))
        way = by_parameters.way_to_gradients(f, w, x)
        layers, rest = split(f, w, module, x) if way is by_parameters.gradients else ([], w)
        kernel = _Kernel(f, w, layers, rest, way, r, output == "full", source.largest, budget // x.element_size())
        value = kernel.between(x, y).div_(divisor)
    wild = ~torch.isfinite(value)
    if bool(wild.any()):
        i, j = (int(k) for k in wild.nonzero()[0, :2])
        raise InvalidInput(
            f"the tangent kernel is not finite at {int(wild.sum())} of {wild.numel()} entries, first of X[{i}] and "
            f"point {j} of the others: outputs overflow or have no derivative there; leave such points out"
        )
    return value


def _rows(points: torch.Tensor, shape: tuple[int, ...], name: str) -> torch.Tensor:
    if points.ndim != len(shape) + 1:
        raise InvalidInput(f"{name} has shape {tuple(points.shape)}; pass N points, (N, {', '.join(map(str, shape))})")
    return points.flatten(1)


@dataclass(frozen=True)
class _Kernel:
    """Θ of sums r f (R, C) of outputs: of all pairs of them if `pairs`, else the sum of Θ_rr.

    The parameters w are those of linear `layers` and the `rest`. `numbers` fit in the memory budget, `largest` of them
    are the largest array of a forward pass at a point.
    """

    f: Function
    w: Weights
    layers: list[LinearLayer]
    rest: Weights
    way: Way
    r: torch.Tensor
    pairs: bool
    largest: int
    numbers: int

    def between(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return Θ of points x (N, d) and y (M, d), which may be x itself: (N, M) or (N, M, R, R)."""
        count = len(self.r)
        parameters = sum(value.numel() for value in self.rest.values())
        passed = (count + 4) * self.largest + sum(
            one.module.in_features + 2 * count * one.module.out_features for one in self.layers
        )
        size = self.numbers // (2 * count * parameters + passed)
        explicit = size > 1 or not self.rest or not len(x) * len(y)
        if explicit or self.way is not by_parameters.gradients or not self._has_forward_mode(x):
            return self._in_blocks(x, y, size)
        value = self._carried(x, y, self.numbers // 2, parameters)
        return value + replace(self, rest={})._in_blocks(x, y, self.numbers // passed) if self.layers else value

    def _in_blocks(self, x: torch.Tensor, y: torch.Tensor, size: int) -> torch.Tensor:
        """Return Θ from J, of which that of so many points fits in memory: most of them of x, few of y at a time."""
        # of a block of the kernel, with its products
        side = isqrt(self.numbers // (4 * len(self.r) ** (2 * self.pairs)))
        few, many = max(1, min(side, size // 4)), max(1, min(side, size - size // 4))
        value = x.new_zeros(len(x), len(y), *(len(self.r),) * (2 * self.pairs), dtype=torch.float64)

        def fill(i: torch.Tensor) -> None:
            left = self._gradients(x[i])
            if x is y:
                value[i[:, None], i] = self._product(left, left)

            def column(j: torch.Tensor) -> None:
                found = value[i[:, None], j] = self._product(left, self._gradients(y[j]))
                if x is y:  # the other half of a symmetric kernel
                    value[j[:, None], i] = found.transpose(0, 1).mT if self.pairs else found.T

            in_blocks(column, torch.arange(int(i[-1]) + 1 if x is y else 0, len(y), device=x.device), few)

        in_blocks(fill, torch.arange(len(x), device=x.device), many)
        return value

    def _gradients(self, x: torch.Tensor) -> Gradients:
        """Return J at points x (B, d): of each layer h (B, m), 1 where it has a bias, and δ (B, R, n); of others J."""
        found: Gradients = [
            (h if layer.weight else None, float(layer.bias is not None), sent)
            for layer, (h, sent) in zip(self.layers, factors(self.f, self.w, self.layers, x, self.r), strict=True)
        ]
        others = self.way(self._of_rest, self.rest, x, self.r) if self.rest else {}
        return found + [(None, 1.0, rows.reshape(*rows.shape[:2], -1)) for rows in others.values()]

    def _of_rest(self, rest: Weights, x: torch.Tensor) -> torch.Tensor:
        return self.f({**self.w, **rest}, x)

    def _product(self, left: Gradients, right: Gradients) -> torch.Tensor:
        """Return the share of Θ of blocks (B, ...) and (M, ...) of J, (B, M) or (B, M, R, R)."""
        total = torch.zeros((), dtype=torch.float64, device=self.r.device)
        for (h, bias, a), (other, _, b) in zip(left, right, strict=True):
            inputs = bias if h is None or other is None else h @ other.T + bias
            if self.pairs:
                inputs = inputs[..., None, None] if isinstance(inputs, torch.Tensor) else inputs
                sent = (a.flatten(0, 1) @ b.flatten(0, 1).T).reshape(len(a), a.shape[1], len(b), b.shape[1])
                total = total + (inputs * sent.transpose(1, 2)).double()
            else:
                total = total + (inputs * (a.flatten(1) @ b.flatten(1).T)).double()
        return total

    def _along(self, v: Weights, x: torch.Tensor) -> torch.Tensor:
        """Return the derivatives of f at points x (B, d) along directions v (k, *shape) of the rest, (k, B, C)."""

        def one(v: Weights) -> torch.Tensor:
            return torch.func.jvp(lambda rest: self._of_rest(rest, x), (self.rest,), (v,))[1]

        return torch.func.vmap(one)(v)

    def _has_forward_mode(self, x: torch.Tensor) -> bool:
        """Return whether forward mode gives derivatives by the rest that are those of the gradients."""
        points, r, v = by_parameters.probe(self._of_rest, self.rest, x)
        try:
            found = self._along({name: value[None] for name, value in v.items()}, points)[0] @ r[0]
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return False
        wanted = by_parameters.inner(self.way(self._of_rest, self.rest, points, r), v)[:, 0]
        return bool((found - wanted).abs().max() <= torch.finfo(found.dtype).eps ** 0.5 * wanted.abs().max())

    def _carried(self, x: torch.Tensor, y: torch.Tensor, numbers: int, parameters: int) -> torch.Tensor:
        """Return the share of the rest in Θ by forward mode along the gradients of a few sums r at points x."""
        count = len(self.r)
        size = max(1, numbers // (2 * parameters))
        beside = max(1, numbers // (4 * min(size, len(x) * count) * self.largest))

        def row(which: torch.Tensor) -> torch.Tensor:
            r = self.r[which % count]

            def gradient(point: torch.Tensor, one: torch.Tensor) -> Weights:
                return torch.func.vjp(lambda rest: self._of_rest(rest, point[None])[0], self.rest)[1](one)[0]

            v = torch.func.vmap(gradient)(x[which // count], r)
            found = torch.cat(in_blocks(lambda block: self._along(v, block), y, beside), 1)
            return (found @ self.r.T if self.pairs else (found @ r[..., None])[..., 0]).double()

        rows = torch.cat(in_blocks(row, torch.arange(len(x) * count, device=x.device), size))
        rows = rows.reshape(len(x), count, *rows.shape[1:])
        return rows.transpose(1, 2) if self.pairs else rows.sum(1)
