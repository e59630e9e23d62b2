"""What is known of an activation, and the states that layers act on: single points, and pairs of points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any  # of the library: np.ndarray, torch.Tensor, jax.Array; of mpmath a number, or a list of them


@dataclass(frozen=True)
class Law:
    """The formulas of one activation phi, functions of arrays that end in the activation's parameters.

    Args:
        kernel: E[phi(u) phi(v)] of (p, q, c, Delta).
        moment: E[phi(u)^2] of the variance.
        difference: E[(phi(u) - phi(v))^2] and E[phi(u)^2] - E[phi(v)^2] of (p, q, omega, delta, c, Delta); None where
            no form is known in which nothing cancels: kernels are subtracted, and neighbouring points lose digits.
        derivative_kernel: E[phi'(u) phi'(v)]; None where it is infinite at u = v, as are those below.
        derivative_moment: E[phi'(u)^2].
        kernel_of_squares: the kernel of (p, q, c, Delta, |u - v|^2, |u + v|^2, p - q), where digits need them; or None.
        derivative_of_squares: the same of the derivative.
        derivative_slope: the derivative of E[phi'(u)^2], for derivatives at coincident points.
        second_moment: E[phi''(u)^2].
        second_slope: its derivative.
        determinant: what makes Delta of features with twice the digits, see `double_double`; or None.
        neighbours: what makes differences of near features where `difference` is None, see `neighbours`; or None.
        growth: a, of the parameters, where phi grows like exp(a z^2); or None.
        homogeneous: whether phi(a z) = a^n phi(z) for a > 0.
        odd: whether phi is odd.
        steep: whether it jumps, or looks as if it did from afar, as erf does.
        between: the smallest and the largest variance at which the kernels keep their digits, or None.
    """

    kernel: Callable
    moment: Callable
    difference: Callable | None = None
    derivative_kernel: Callable | None = None
    derivative_moment: Callable | None = None
    kernel_of_squares: Callable | None = None
    derivative_of_squares: Callable | None = None
    derivative_slope: Callable | None = None
    second_moment: Callable | None = None
    second_slope: Callable | None = None
    determinant: Callable | None = None
    neighbours: Any = None
    growth: Callable | None = None
    homogeneous: bool = False
    odd: bool = False
    steep: bool = False
    between: tuple | None = None


@dataclass(frozen=True)
class Point:
    """Features h of single points: f = |h|^2 and D their tangent kernel.

    `reached` holds the variances and norms on the way, by which digits are lost where they leave the format.
    """

    f: Array
    D: Array
    reached: tuple = ()


@dataclass(frozen=True)
class Pairs:
    """Pairs (u, v): p = Var u, q = Var v, c = Cov(u, v), omega = p - q, delta = p + q - 2c, Delta = p q - c^2.

    The last three come from differences of inputs, so that nothing cancels. D is the tangent kernel. None is what a
    later layer does not ask for.
    """

    p: Array
    q: Array
    c: Array
    omega: Array
    delta: Array
    Delta: Array
    D: Array = 0.0
