"""J and H of a batch of points by torch, in the first of several ways that works and passes a check.

Torch's forward mode costs a pass per direction, d for J and d² for H, and is tried first. Some operations have no
forward rule, some cannot be batched over directions, and the rules of a few are silently wrong at second order
(pytorch issue 198017). So each way is tried on a few points, and held against finite differences of what it rests on: J
against differences of Φ, H against differences of J. A way that errs where the differences are sure of themselves is
not used; where no way is left, the features are refused.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch

from infgeo.errors import InvalidInput
from infgeo.finite.point_blocks import in_blocks, is_out_of_memory

Flat = Callable[[torch.Tensor], torch.Tensor]
Derivatives = tuple[torch.Tensor, torch.Tensor | None]
_FIRST_ONCE: Any = (None, 0)  # of a pair only the second depends on the direction
_GROUPS = 16  # of features, whose sums are differentiated where a way would need a pass for each feature
_CHECKED = 8  # points, at most, at which a way is held against differences
_LEAST = 3  # directions, also where there are fewer points
_MOST_NUMBERS = 2**22  # of features at all steps from all of these points
_LEAST_SIZE = 1e-3  # of a point, to which steps are in proportion: features seldom change within less
_MOST_ERROR = 2e-3  # relative, of a derivative that is not held against a way
_TIP = 1e4  # times the typical derivative: where one is larger, it says nothing about other points
_TOGETHER = 2**20  # numbers in the largest array of a forward pass that is made for the check


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


def _with_second(jacobian: Flat, x: torch.Tensor, second: bool, together: bool) -> Derivatives:
    """Return J and, if `second`, its derivatives along each direction: all directions `together`, or in turn."""
    if not second:
        return jacobian(x), None

    def slope(e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _jvp(jacobian, x, e)

    if together:
        first, hessian = torch.func.vmap(slope, out_dims=_FIRST_ONCE)(_basis(x))
        return first, hessian.movedim(0, -1)
    pairs = [slope(e) for e in _basis(x)]
    return pairs[0][0], torch.stack([h for _, h in pairs], dim=-1)


def _forward(together: bool, f: Flat, x: torch.Tensor, second: bool, chunk: int | None) -> Derivatives:
    """In turn for features that cannot be batched over directions (in-place operations, or without such a rule)."""

    def jacobian(point: torch.Tensor) -> torch.Tensor:  # (B, n, d)
        if not together:
            return torch.stack([_jvp(f, point, e)[1] for e in _basis(x)], dim=-1)
        # directions first, and then moved: what does not depend on them, vmap expands rightly in front only
        return torch.func.vmap(lambda e: _jvp(f, point, e)[1], chunk_size=chunk)(_basis(x)).movedim(0, -1)

    # nested transforms multiply their sizes: all inner directions, a few outer ones
    return _with_second(jacobian, x, second, together and chunk is None)


def _reverse(f: Flat, x: torch.Tensor, second: bool, chunk: int | None) -> Derivatives:
    def jacobian(point: torch.Tensor) -> torch.Tensor:  # a backward pass per feature
        value, back = torch.func.vjp(f, point)[:2]
        rows = torch.eye(value.shape[1], dtype=value.dtype, device=value.device)
        found = torch.func.vmap(lambda c: back(c.expand_as(value))[0], chunk_size=chunk)(rows).movedim(0, 1)
        return found.to(value.dtype)  # a dtype says how many digits are known

    return _with_second(jacobian, x, second, together=chunk is None)


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
    return torch.stack(rows, 1).to(value.dtype), torch.stack(hessians, 1) if second else None


FORWARD = Way("forward", partial(_forward, True))
FORWARD_ONE_BY_ONE = Way("forward, one direction at a time", partial(_forward, False))
REVERSE = Way("reverse", _reverse)
REVERSE_ONE_BY_ONE = Way("reverse, one feature at a time", _reverse_one_by_one)


@lru_cache(maxsize=1)
def load_forward_mode() -> None:
    """Let torch load its forward-mode rules: the first use warns about torch's own use of torch.jit.script."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        torch.func.jacfwd(torch.sin)(torch.zeros((), device="cpu"))


def choose(f: Flat, x: torch.Tensor, second: bool, largest: int = 1, slack: float = 0.0) -> Way:
    """Return the first way that works and agrees with finite differences at some of the points x (N, d).

    `largest` is the size of the largest array of one forward pass at one point, and `slack` a relative error that is
    not held against a way. Raises InvalidInput where no way does.
    """
    load_forward_mode()
    with torch.no_grad():
        n, d = f(x[:1]).shape[1], x.shape[1]
    ways = (FORWARD, FORWARD_ONE_BY_ONE, REVERSE, REVERSE_ONE_BY_ONE)
    if n < d and not second:  # one pass per feature or per direction, whichever is fewer
        ways = (REVERSE, FORWARD, FORWARD_ONE_BY_ONE, REVERSE_ONE_BY_ONE)
    together = max(_CHECKED, _TOGETHER // max(1, largest))
    points, directions = _sample(x, max(1, min(_CHECKED, _MOST_NUMBERS // (8 * n))))
    first_error: Exception | None = None
    disagreement = ""
    for way in ways:
        try:
            disagreement = _disagreement(f, points, directions, way, second, together, slack)
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
            + ("; of a solver that chooses its steps, tighten the tolerance" if slack else "")
        )
    assert first_error is not None
    first_line = (str(first_error).splitlines() or [""])[0]
    raise InvalidInput(
        f"torch cannot differentiate the features{' twice' if second else ''}, in forward or reverse mode, in batches "
        f"or one by one; it says first: {type(first_error).__name__}: {first_line}; write that operation in "
        "differentiable torch operations"
    ) from first_error


def _sample(x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return some points (M, d) of x (N, d), and a random direction (M, d) of length √d at each.

    All points where there are few; else the first one, those with the extremes of a coordinate or two and of the norm,
    and random ones. Along coordinates that are a million times smaller than others, as in other units, directions are
    as much shorter. No random state is read.
    """
    generator = torch.Generator().manual_seed(0)
    n, d = x.shape
    if n <= count:
        # each as often, so that no median is that of one point
        rows = torch.arange(n * -(-min(count, _LEAST) // n), device="cpu") % n
    else:
        seen = torch.cat([x[:, :2], torch.linalg.vector_norm(x, dim=1, keepdim=True)], dim=1)
        ends = torch.cat([seen.argmax(dim=0), seen.argmin(dim=0)]).cpu()
        others = torch.randint(n, (count,), generator=generator, device="cpu")
        rows = torch.tensor(list(dict.fromkeys([0, *ends.tolist(), *others.tolist()]))[:count], device="cpu")
    directions = torch.randn(len(rows), d, dtype=torch.float64, generator=generator, device="cpu")
    length = torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    largest = x.abs().amax(dim=0).double().cpu()
    relative = largest / largest.max()
    unit = torch.where((relative > 0) & (relative < 1e-6), relative, 1.0)
    return x[rows.to(x.device)], (directions / length * d**0.5 * unit).to(x)


def _grouped(f: Flat) -> Flat:
    """Return at most `_GROUPS` sums of the features (B, n), with fixed weights from 1/2 to 1 of no special relation."""

    def sums(x: torch.Tensor) -> torch.Tensor:
        value = f(x)
        size = -(-value.shape[1] // _GROUPS)
        weights = 0.75 + 0.25 * torch.cos(1.3 * torch.arange(value.shape[1], dtype=value.dtype, device=value.device))
        return torch.stack([part.sum(dim=1) for part in (value * weights).split(size, dim=1)], dim=1)

    return sums


def _disagreement(
    f: Flat, x: torch.Tensor, v: torch.Tensor, way: Way, second: bool, together: int, slack: float
) -> str:
    """Return where the derivatives of `way` along v (M, d) at x (M, d) and finite differences contradict, or nothing.

    One direction at each point, whatever d is, and in reverse mode few sums of features, whatever n is; `together`
    points in one pass. Second derivatives at half of the points, where there are many.
    """
    if way in (REVERSE, REVERSE_ONE_BY_ONE):
        f = _grouped(f)

    def derivative(order: int) -> Flat:
        def block(rows: torch.Tensor) -> torch.Tensor:
            points, ways = rows.chunk(2, dim=1)
            if order == 0:
                with torch.no_grad():
                    return f(points)
            found = way(lambda t: f(points + t * ways), points.new_zeros(len(points), 1), order == 2)[order - 1]
            assert found is not None
            return found.flatten(1)

        return lambda rows: torch.cat(in_blocks(block, rows, together))

    for order, powers in ((1, (0.3, 0.45)), (2, (0.25, 0.4)))[: 2 if second else 1]:
        few = slice(None, None, 2 if order == 2 and len(x) == _CHECKED else 1)  # second derivatives cost the most
        found = contradiction(derivative(order), derivative(order - 1), x[few], v[few], powers, slack)
        if found:
            what, below = ("", "values change") if order == 1 else ("second ", "first derivative changes")
            return f"{what}derivative {found[0]:.6g} where the {below} by {found[1]:.6g}, {found[2]}"
    return ""


def contradiction(
    derivative: Flat, function: Flat, x: torch.Tensor, v: torch.Tensor, powers: tuple[float, float], slack: float
) -> tuple[float, float, str] | None:
    """Return a derivative, the difference that contradicts it, and where; or None.

    `derivative` and `function`, both (B, 2d) -> (B, n) of points and directions beside each other, are compared along
    v (M, d) at x (M, d). Differences are taken with four steps h to both sides: these powers of the rounding unit ε and
    half of them, times the size of the point, or some least size; where all points are smaller than that, with both
    fours. Their error is estimated by the spread of four steps, by the difference of the two sides, which no kink
    exceeds, and by ε/h; each for the feature itself, for the features of the point and for the typical point, since one
    of them may be small by chance. A difference counts where four steps agree within a fifth of its distance from the
    derivative, and a twentieth of itself, and no step agrees with the derivative.
    """
    exact, here = (g(torch.cat([x, v], dim=1)) for g in (derivative, function))
    epsilon = max(float(torch.finfo(t.dtype).eps) for t in (x, here))
    own = x.abs().amax(dim=1, keepdim=True).double()
    own = torch.maximum(own, 1e-3 * own.max())
    own = torch.where(own > 0, own, _LEAST_SIZE)
    sizes = torch.stack([own.clamp_min(_LEAST_SIZE), own][: 2 if float(own.max()) < _LEAST_SIZE else 1])
    fractions = own.new_tensor([epsilon**power / halves for power in powers for halves in (1, 2)])
    h = sizes[:, None] * fractions[:, None, None]  # (1 or 2, 4, M, 1)
    moved = torch.stack([x + (sign * h).to(x) * v for sign in (1, -1)]).reshape(-1, x.shape[1])
    rows = torch.cat([moved, v.repeat(len(moved) // len(v), 1)], dim=1)
    forward, backward = function(rows).double().reshape(2, *h.shape[:2], *here.shape)
    exact, here = exact.double(), here.double()
    quotients = (forward - backward) / (2 * h)
    finite = torch.isfinite(quotients).all(dim=1).all(dim=0) & torch.isfinite(exact) & torch.isfinite(here)
    quotients, exact = torch.where(finite, quotients, 0.0), torch.where(finite, exact, 0.0)
    sides = torch.where(finite, ((forward - here) - (here - backward)).abs() / h, 0.0).amin(dim=1)
    error = (quotients - exact).abs().amin(dim=1).amin(dim=0)
    spread = quotients.amax(dim=1) - quotients.amin(dim=1)  # (1 or 2, M, n)
    change = quotients.abs().amax(dim=1)
    # over points, the median of the differences and the largest derivative: a point where a feature has a tip or jumps,
    # and either is huge, says nothing about the others
    median = change.median(dim=1, keepdim=True).values
    largest = exact.abs().amax(dim=0)
    scale = torch.maximum(torch.where(largest > _TIP * median, median, largest), torch.maximum(median, exact.abs()))
    scale = torch.where(scale > 0, scale, 1.0)
    values = torch.where(finite, torch.maximum(here.abs(), forward.abs().amax(dim=1)), 0.0)
    rounding = 8 * epsilon / h[:, -1] * values
    doubt = (spread + sides) / scale
    of_point = doubt.square().mean(dim=2, keepdim=True).sqrt()
    typical = of_point.median(dim=1, keepdim=True).values
    tolerance = scale * (max(slack, min(epsilon**0.3, _MOST_ERROR)) + 2 * (doubt + of_point + typical)) + rounding.amax(
        dim=2, keepdim=True
    )
    sure = (spread < 0.2 * error) & (spread < 0.05 * change + rounding)
    wrong = torch.where(sure & (error > tolerance), error / tolerance, 0.0).amax(dim=0)
    if not bool(wrong.any()):
        return None
    point, feature = divmod(int(wrong.argmax()), wrong.shape[1])
    some = ", ".join(f"{c:.6g}" for c in x[point, :6].tolist()) + (", ..." if x.shape[1] > 6 else "")
    said, found = exact[point, feature], quotients[:, :, point, feature].flatten()
    return float(said), float(found[(found - said).abs().argmin()]), f"along one direction at the point ({some})"
