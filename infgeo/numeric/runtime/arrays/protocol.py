"""What the functions of this package ask of an array library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from infgeo.numeric.runtime.records import Array, Law, Pairs


class Arrays(Protocol):
    """An array library. `Array` stands for its arrays: ndarray, Tensor, jax.Array; for mpmath numbers and lists."""

    largest_scale: float

    def points(self, X: Array, name: str = "X", rows: bool = False) -> Any:
        """Return `X` as points (..., d), or (N, d) with `rows`; raises InputError."""

    def scalar(self, name: str, value: Any) -> Any:
        """Return the value of a parameter as a number; raises InputError."""

    def several(self, name: str, value: Any) -> Any:
        """Return a list or an array of numbers as an array (n,), for mpmath a list; raises InputError."""

    def scaled(self, X: Array, scales: Array) -> Any:
        """Return points with each coordinate times its scale."""

    def scaled_matrix(self, g: Array, scales: Array) -> Any:
        """Return matrices with each row and column times its scale."""

    def geometric_mean(self, scales: Array) -> Any:
        """Return the geometric mean of positive numbers."""

    def dimension(self, X: Array) -> Any:
        """Return d of points (..., d)."""

    def all(self, condition: Any) -> bool:
        """Return whether a condition holds everywhere, as far as that is known."""

    def known(self, x: Array) -> Any:
        """Return values, or None inside a transformation, where they may not be looked at."""

    def largest(self, v: Array) -> Any:
        """Return the largest value, for a message."""

    def double(self, X: Array) -> Any:
        """Return an array in double precision."""

    def cast(self, result: Array, like: Array) -> Any:
        """Return a result in the format of the array `like`."""

    def at_points(self, function: Callable, X: Array) -> Any:
        """Return the function of points (..., d), which may be called for some of them at a time."""

    def constant(self, like: Array, value: Any) -> Any:
        """Return an array of one value, in the shape of another."""

    def sqrt(self, x: Array) -> Any:
        """Return the square root, with derivative 0 at 0."""

    def log(self, x: Array) -> Any:
        """Return the logarithm, -inf at 0."""

    def positive(self, x: Array) -> Any:
        """Return max(x, 0)."""

    def ratio(self, a: Array, b: Array) -> Any:
        """Return a/b, and 0 where b is 0."""

    def where_nonnegative(self, x: Array, yes: Any, no: Any) -> Any:
        """Return `yes` where x >= 0, else `no`."""

    def sum_squares(self, X: Array) -> Any:
        """Return |x|^2 of points (..., d)."""

    def metric_matrix(self, X: Array, A: Array, shear: Array, eta: Array, B: Array = None) -> Any:
        """Return g = A I + B x x^T of points, from A, s B/A and (A + s B)/A; B is for derivatives at x = 0."""

    def pairs_of(self, x: Array, y: Array) -> Pairs:
        """Return the pairs of points x and y (..., d), one by one."""

    def gram(self, X: Array, Y: Array, layers: Sequence[Any], scalars: Sequence[Any], wanted: str) -> tuple:
        """Return matrices (N, M): the "kernel", the tangent kernel ("ntk") or "both"; Y is None for X with itself."""

    def distance(self, X: Array, Y: Array, layers: Sequence[Any], scalars: Sequence[Any], squared: bool) -> Any:
        """Return the distances of the features of all rows of X and Y, or their squares, (N, M)."""

    def kernel(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> Any:
        """Return E[phi(u) phi(v)]."""

    def derivative_kernel(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> Any:
        """Return E[phi'(u) phi'(v)]."""

    def differences(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> tuple[Any, Any]:
        """Return E[(phi(u) - phi(v))^2] and E[phi(u)^2] - E[phi(v)^2]."""

    def representable(self, result: Array, X: Array, what: str, positive: bool = False) -> Any:
        """Return a result at points, checked to be finite and in the format's range; raises InputError."""

    def formats(self) -> list[tuple[str, int, Callable]]:
        """Return the formats of the self-test: name, bits, and what makes points of numbers."""
