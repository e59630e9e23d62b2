"""J and H of a batch of points by torch, in the first of several ways that works and passes a check.

Torch's forward mode costs a pass per direction, d for J and d² for H, and is tried first. Some operations have no
forward rule, some cannot be batched over directions, and the rules of a few are silently wrong at second order
(pytorch issue 198017). So each way is tried on one point, and held against finite differences of what it rests on: J
against differences of Φ, H against differences of J. A way that errs where the differences are sure of themselves is
not used; where no way is left, the features are refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from infgeo.errors import InvalidInput
from infgeo.finite.blocks import in_blocks, is_out_of_memory

Flat = Callable[[torch.Tensor], torch.Tensor]
Derivatives = tuple[torch.Tensor, torch.Tensor | None]
_FIRST_ONCE: Any = (None, 0)  # of a pair only the second depends on the direction
_GROUPS = 16  # of features, whose sums are differentiated where a way would need a pass for each feature


@dataclass(frozen=True)
class Way:
    """One way to differentiate: f (B, d) -> (B, n), x (B, d), second -> J (B, n, d) and H (B, n, d, d) or None."""

    name: str
    run: Callable[[Flat, torch.Tensor, bool, int | None], Derivatives]

    def __call__(self, f: Flat, x: torch.Tensor, second: bool, chunk: int | None = None) -> Derivatives:
        """Return J and, if `second`, H; at most `chunk` directions at once where the way can do so."""
        with torch.no_grad():
            jacobian, hessian = self.run(f, x, second, chunk)
        return jacobian.detach(), None if hessian is None else hessian.detach()


def _jvp(f: Flat, x: torch.Tensor, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return f(x) and its derivative along one direction (d,), the same at every point."""
    value, slope = torch.func.jvp(f, (x,), (direction.expand_as(x),))[:2]
    return value, slope


def _basis(x: torch.Tensor) -> torch.Tensor:
    return torch.eye(x.shape[1], dtype=x.dtype, device=x.device)


def _forward(f: Flat, x: torch.Tensor, second: bool, chunk: int | None) -> Derivatives:
    basis = _basis(x)

    def jacobian(point: torch.Tensor) -> torch.Tensor:  # (B, n, d)
        # directions first, and then moved: what does not depend on them, vmap expands rightly in front only
        return torch.func.vmap(lambda e: _jvp(f, point, e)[1], chunk_size=chunk)(basis).movedim(0, -1)

    if not second:
        return jacobian(x), None

    def slope(e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _jvp(jacobian, x, e)

    if chunk is not None:  # nested transforms multiply their sizes: all inner directions, a few outer ones
        pairs = [slope(e) for e in basis]
        return pairs[0][0], torch.stack([h for _, h in pairs], dim=-1)
    first, hessian = torch.func.vmap(slope, out_dims=_FIRST_ONCE)(basis)
    return first, hessian.movedim(0, -1)


def _forward_one_by_one(f: Flat, x: torch.Tensor, second: bool, _chunk: int | None) -> Derivatives:
    """For features that cannot be batched over directions (in-place operations, operations without such a rule)."""
    basis = list(_basis(x))

    def jacobian(point: torch.Tensor) -> torch.Tensor:
        return torch.stack([_jvp(f, point, e)[1] for e in basis], dim=-1)

    if not second:
        return jacobian(x), None
    pairs = [_jvp(jacobian, x, e) for e in basis]
    return pairs[0][0], torch.stack([h for _, h in pairs], dim=-1)


def _reverse_jacobian(f: Flat, x: torch.Tensor, chunk: int | None) -> torch.Tensor:
    """Return J (B, n, d) by a backward pass per feature."""
    value, back = torch.func.vjp(f, x)[:2]
    rows = torch.eye(value.shape[1], dtype=value.dtype, device=value.device)
    return torch.func.vmap(lambda c: back(c.expand_as(value))[0], chunk_size=chunk)(rows).movedim(0, 1)


def _reverse(f: Flat, x: torch.Tensor, second: bool, chunk: int | None) -> Derivatives:
    if not second:
        return _reverse_jacobian(f, x, chunk), None

    def slope(e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _jvp(lambda p: _reverse_jacobian(f, p, chunk), x, e)

    if chunk is not None:
        pairs = [slope(e) for e in _basis(x)]
        return pairs[0][0], torch.stack([h for _, h in pairs], dim=-1)
    first, hessian = torch.func.vmap(slope, out_dims=_FIRST_ONCE)(_basis(x))
    return first, hessian.movedim(0, -1)


def _reverse_one_by_one(f: Flat, x: torch.Tensor, second: bool, _chunk: int | None) -> Derivatives:
    """Plain autograd: the slowest, and the one that asks least of the features."""
    with torch.enable_grad():
        point = x.detach().clone().requires_grad_()
        value = f(point)
        if not value.requires_grad:
            raise RuntimeError("the features do not depend on their input, as far as autograd can see")

        def gradient(scalar: torch.Tensor, again: bool) -> torch.Tensor:
            if not scalar.requires_grad:
                return torch.zeros_like(point)
            (g,) = torch.autograd.grad(scalar, point, retain_graph=True, create_graph=again, allow_unused=True)
            return torch.zeros_like(point) if g is None else g

        rows, hessians = [], []
        for k in range(value.shape[1]):
            row = gradient(value[:, k].sum(), second)
            rows.append(row.detach())
            if second:
                hessians.append(torch.stack([gradient(row[:, i].sum(), False).detach() for i in range(x.shape[1])], 1))
    return torch.stack(rows, 1), torch.stack(hessians, 1) if second else None


FORWARD = Way("forward", _forward)
FORWARD_ONE_BY_ONE = Way("forward, one direction at a time", _forward_one_by_one)
REVERSE = Way("reverse", _reverse)
REVERSE_ONE_BY_ONE = Way("reverse, one feature at a time", _reverse_one_by_one)


@lru_cache(maxsize=1)
def load_forward_mode() -> None:
    """Let torch load its forward-mode rules: the first use warns about torch's own use of torch.jit.script."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        torch.func.jacfwd(torch.sin)(torch.zeros(()))


def choose(f: Flat, x: torch.Tensor, second: bool) -> Way:
    """Return the first way that works at the one point x (1, d) and agrees with finite differences there."""
    load_forward_mode()
    with torch.no_grad():
        n, d = f(x).shape[1], x.shape[1]
    ways = (FORWARD, FORWARD_ONE_BY_ONE, REVERSE, REVERSE_ONE_BY_ONE)
    if n < d and not second:  # one pass per feature or per direction, whichever is fewer
        ways = (REVERSE, FORWARD, FORWARD_ONE_BY_ONE, REVERSE_ONE_BY_ONE)
    first_error: Exception | None = None
    disagreement = ""
    for way in ways:
        try:
            disagreement = _disagreement(f, x, way, second)
        except Exception as error:  # torch has no one exception for a missing rule
            if is_out_of_memory(error):
                raise
            first_error = first_error or error
            continue
        if not disagreement:
            return way
    if disagreement:
        raise InvalidInput(
            f"torch's derivatives of features are not those of its values: {disagreement}; something in it is hidden "
            "from autograd (detach, no_grad, numpy, round) or has a wrong derivative rule: write it in "
            "differentiable torch operations"
        )
    assert first_error is not None
    first_line = (str(first_error).splitlines() or [""])[0]
    raise InvalidInput(
        f"torch cannot differentiate the features{' twice' if second else ''}, in forward or reverse mode, in batches "
        f"or one by one; it says first: {type(first_error).__name__}: {first_line}; write that operation in "
        "differentiable torch operations"
    ) from first_error


def _direction(x: torch.Tensor) -> torch.Tensor:
    """Return a fixed unit vector (d,) with no special relation to the axes; no random state is read."""
    v = torch.cos(1.7 * torch.arange(1, x.shape[1] + 1, dtype=torch.float64)) + 0.1
    return (v / torch.linalg.vector_norm(v)).to(x)


def _grouped(f: Flat) -> Flat:
    """Return at most `_GROUPS` sums of the features (B, n), with fixed weights from 1/2 to 1 of no special relation.

    They are wrong where one feature is, unless it is small beside the others of its group.
    """

    def sums(x: torch.Tensor) -> torch.Tensor:
        value = f(x)
        size = -(-value.shape[1] // _GROUPS)
        weights = 0.75 + 0.25 * torch.cos(1.3 * torch.arange(value.shape[1], dtype=value.dtype, device=value.device))
        return torch.stack([part.sum(dim=1) for part in (value * weights).split(size, dim=1)], dim=1)

    return sums


def _disagreement(f: Flat, x: torch.Tensor, way: Way, second: bool) -> str:
    """Return where the derivatives of `way` and finite differences contradict each other, or nothing.

    Both are taken along one direction, whatever d is, and in reverse mode of few sums of features, whatever n is.
    Differences with four steps must agree with each other before they count against a way: at kinks, and in features
    too rough for them, they say nothing.
    """
    if way in (REVERSE, REVERSE_ONE_BY_ONE):
        f = _grouped(f)
    v = _direction(x)

    def along(points: torch.Tensor, second: bool) -> Derivatives:
        return way(lambda t: f(points + t * v), points.new_zeros(len(points), 1), second)

    def values(points: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return f(points)

    slope, curvature = along(x, second)
    found = _contradiction(slope[0, :, 0], values, x, v, (0.3, 0.45))
    if found:
        return f"along one direction the derivative is {found[0]:.3g} and the values change by {found[1]:.3g}"
    if curvature is not None:
        found = _contradiction(curvature[0, :, 0, 0], lambda p: along(p, False)[0][..., 0], x, v, (0.25, 0.4))
        if found:
            return (
                f"along one direction the second derivative is {found[0]:.3g} and the first derivative changes by "
                f"{found[1]:.3g}"
            )
    return ""


def _contradiction(
    derivative: torch.Tensor,
    function: Flat,
    x: torch.Tensor,
    direction: torch.Tensor,
    powers: tuple[float, float],
) -> tuple[float, float] | None:
    """Return the sizes of a derivative (n,) along a direction and of the differences that contradict it, or None.

    The steps are these powers of the rounding unit, and half of them: roundings of the differences stay below a
    thousandth of the function.
    """
    epsilon = float(torch.finfo(x.dtype).eps)
    scale = max(1e-3, float(x.abs().max()))
    steps = [scale * epsilon**power / halves for power in powers for halves in (1, 2)]
    h = x.new_tensor([sign * step for step in steps for sign in (1, -1)])[:, None]
    shifted = torch.cat(in_blocks(function, x + h * direction, len(h))).double()
    quotients = (shifted[::2] - shifted[1::2]) / (2 * h[::2].double())
    exact = derivative.double()
    if not torch.isfinite(quotients).all() or not torch.isfinite(exact).all():
        return None  # beyond the domain of the features: there is nothing to compare
    error = float((quotients - exact).abs().amax(dim=1).min())
    spread = float((quotients - quotients[0]).abs().max())
    change, size = float(quotients.abs().max()), float(exact.abs().max())
    rounding = 30 * epsilon * float(shifted.abs().max()) / min(steps)
    if error > 0.01 * max(change, size) and spread < 0.2 * error and spread < 0.05 * change + rounding:
        return float(torch.linalg.vector_norm(exact)), float(torch.linalg.vector_norm(quotients[0]))
    return None
