"""How nearly parallel features are: Delta = m(p) m(q) - k^2 after a layer, for pairs computed with all care.

A tangent kernel of kinked activations depends on the angle t of preactivations like 1 - t/pi, so sqrt(Delta) must keep
an error of one rounding of sqrt(p q). Of the features' distances alone it does not where these are nearly parallel and
of different lengths: Delta = (delta (2 (p + q) - delta) - omega^2)/4 then cancels. But

- the angle after a homogeneous activation depends on the angle before it alone: with u and v of variance 1,
  E[(phi(u) - phi(v))^2] = 2 m(1) (1 - rho'), and Delta = m(p) m(q) (1 - rho') (1 + rho');
- after an odd one the angle to -phi(v) is that of u to -v: what is nearly opposite is as good as parallel;
- of sums of independent features (biases, residual blocks) Delta is a sum of terms that are not negative.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above.
    from infgeo.numeric.runtime.for_numpy import (
        _differences,
        _kernel_of,
        _positive,
        _ratio,
        _sqrt,
        _where_nonnegative,
    )

_CANCELLED = 8  # determinants of less than this part of their terms are computed with twice the digits


def _apart_after(law: Any, state: SimpleNamespace, scalars: tuple) -> tuple[Any, Any, Any]:
    """Return |phi(u) - phi(v)|^2 and E[phi(u)^2 - phi(v)^2]; also |phi(u) + phi(v)|^2 where an odd law has c < 0."""
    if not law.odd:
        squared, moments = _differences(law, state, scalars)
        if law.kernel_of_squares:  # differences of exponentials may overflow at large angles
            sums = law.moment(state.p, *scalars) + law.moment(state.q, *scalars)
            direct = sums - 2 * _kernel_of(law, state, scalars)
            squared = _where_nonnegative(2 * direct - sums, direct, squared)
        return squared, moments, squared
    delta = _where_nonnegative(state.c, state.delta, _to_opposite(state))
    mirrored = SimpleNamespace(**vars(state) | {"c": abs(state.c), "delta": delta})
    apart, moments = _differences(law, mirrored, scalars)
    sums = law.moment(state.p, *scalars) + law.moment(state.q, *scalars)
    return _where_nonnegative(state.c, apart, 2 * sums - apart), moments, apart


def _of_pairs(kernel: Callable, of_squares: Callable | None, state: SimpleNamespace, scalars: tuple) -> Any:
    """Return a kernel; one of exponentials takes |u - v|^2 and |u + v|^2 as well, not to lose their digits."""
    pair = state.p, state.q, state.c, state.Delta
    if not of_squares:
        return kernel(*pair, *scalars)
    total = state.p + state.q
    near = _where_nonnegative(state.c, state.delta, total - 2 * state.c)
    far = _where_nonnegative(state.c, total + 2 * state.c, _to_opposite(state))
    return of_squares(*pair, near, far, *scalars)


def _to_opposite(state: SimpleNamespace) -> Any:
    """Return p + q + 2c, the squared distance of u to -v; 0 where u and v are the same."""
    return _ratio(4 * state.Delta + state.omega * state.omega, state.delta)


def _determinant_after(
    law: Any, state: SimpleNamespace, after: dict[str, Any], apart: Any, scalars: tuple, plain: bool
) -> Any:
    """Return Delta of the features `after` a law, from the pairs of its preactivations and the third of `_apart_after`.

    `plain` says that the features' distances will do, with an error of one rounding of p q.
    """
    p, q = after["p"], after["q"]
    if plain or not law.homogeneous:
        c = abs(after["c"]) if law.odd else after["c"]
        area, by_areas = apart * (2 * (p + q) - apart) / 4, p * q - apart * (p + q)
        Delta = _where_nonnegative(by_areas, area - after["omega"] * after["omega"] / 4, p * q - c * c)
        if plain or not law.determinant:
            return _positive(Delta)
        # Where nearly all of it cancels, with twice the digits.
        cancelled = _where_nonnegative(by_areas, area, p * q) - _CANCELLED * Delta
        return law.determinant(cancelled, state, scalars, _positive(Delta))
    lengths = _sqrt(state.p) * _sqrt(state.q)
    rho, square_of_sine = _ratio(state.c, lengths), _ratio(state.Delta, lengths * lengths)
    # Between 0 and x the angle is a right one, which jumps feel.
    square_of_sine = _where_nonnegative(-lengths, _ratio(state.delta, state.delta), square_of_sine)
    if law.odd:
        rho = abs(rho)
    delta = _where_nonnegative(rho, 2 * square_of_sine / (1 + abs(rho)), 2 * (1 - rho))
    one = 0 * rho + 1
    unit = SimpleNamespace(p=one, q=one, c=rho, omega=0 * rho, delta=delta, Delta=square_of_sine)
    versine = _differences(law, unit, scalars)[0] / (2 * law.moment(one, *scalars))
    return p * versine * (q * (2 - versine))


def _determinant_of_sum(state: SimpleNamespace, Delta: Any, after: dict[str, Any], skip: Any, branch: Any) -> Any:
    """Return Delta of sqrt(skip) h + sqrt(branch) phi from those of the features h (`state`) and phi (`after`, Delta).

    The mixed term p m(q) + q m(p) - 2 c k is the square of the difference of its roots, and twice that of the angles.
    """
    p, q, c = state.p, state.q, state.c
    first, second = _sqrt(p) * _sqrt(after["q"]), _sqrt(q) * _sqrt(after["p"])
    across = state.omega * (after["p"] + after["q"]) - after["omega"] * (p + q)
    # Of close lengths from their differences.
    lengths = _where_nonnegative(p + q - 4 * abs(state.omega), _ratio(across / 2, first + second), first - second)
    both, product = first * second, c * after["c"]
    close = _ratio(state.Delta * after["p"] * after["q"] + c * c * Delta, both + abs(product))
    mixed = lengths * lengths + 2 * _where_nonnegative(product, close, both - product)
    return skip * skip * state.Delta + branch * branch * Delta + skip * branch * mixed
