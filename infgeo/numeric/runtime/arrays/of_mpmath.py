"""mpmath: any precision (`mpmath.mp.dps`), point by point. Arrays are numbers, points are lists of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import mpmath

from infgeo.numeric.runtime.errors import InputError, NotAgreed
from infgeo.numeric.runtime.layers import pairs_after, point_after
from infgeo.numeric.runtime.nearly_parallel import of_pairs, subtracted
from infgeo.numeric.runtime.normal_tails import NEAR, scaled_quadrant
from infgeo.numeric.runtime.records import Array, Law, Pairs


def converted(nested: Any) -> Any:
    """Return nested lists of mpf."""
    if isinstance(nested, (list, tuple)):
        return [converted(item) for item in nested]
    value = mpmath.mpf(nested)
    if not mpmath.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


def shape_of(nested: Any, name: str) -> tuple[int, ...]:
    """Return the shape of nested lists; raises InputError where they are ragged."""
    if not isinstance(nested, list):
        return ()
    shapes = {shape_of(item, name) for item in nested}
    if len(shapes) > 1:
        raise InputError(f"{name} is ragged: every point needs the same number of coordinates")
    return (len(nested), *(shapes.pop() if shapes else ()))


def remembered(function: Callable) -> Callable:
    """Return a function of numbers that keeps its last values, at the precision they were asked for."""
    known: dict[tuple, Any] = {}

    def with_memory(*arguments: Any) -> Any:
        key = (mpmath.mp.prec, *arguments)
        if key not in known:
            if len(known) >= 4096:
                known.clear()
            known[key] = function(*arguments)
        return known[key]

    with_memory.__doc__ = function.__doc__
    return with_memory


def lost_digits(x: Sequence[Any], y: Sequence[Any]) -> int:
    """Return how many digits differences of features of x and y may cancel."""
    distance = mpmath.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    size = 1 + mpmath.fsum(x, squared=True) + mpmath.fsum(y, squared=True)
    return 10 + (int(2 * mpmath.log10(size / distance)) if distance else 0)


class Numbers:
    """What `normal_tails` asks of numbers."""

    root_half = property(lambda self: mpmath.sqrt(0.5))
    least = property(lambda self: mpmath.ldexp(1, -10 * mpmath.mp.prec))
    largest_exponent = mpmath.inf
    lib = SimpleNamespace(exp=mpmath.exp, sqrt=mpmath.sqrt)

    def where_nonnegative(self, x: mpmath.mpf, yes: mpmath.mpf, no: mpmath.mpf) -> mpmath.mpf:
        """Return `yes` where x >= 0, else `no`."""
        return yes if x >= 0 else no

    def erfcx(self, x: mpmath.mpf) -> mpmath.mpf:
        """Return e^(x^2) erfc(x)."""
        if x > mpmath.ldexp(1, mpmath.mp.prec):  # mpmath's own takes no numbers beyond floats
            return 1 / (x * mpmath.sqrt(mpmath.pi))
        return mpmath.exp(x * x) * mpmath.erfc(x)

    def wedge_integrals(
        self, h: mpmath.mpf, m: mpmath.mpf, reach: mpmath.mpf, slope: mpmath.mpf, bounded: mpmath.mpf
    ) -> tuple[mpmath.mpf, mpmath.mpf]:
        """Return the integral in W(h, m), and Owen's T with its factor by his series."""
        if max(h, m) >= NEAR:
            size = 2 * mpmath.mp.prec * mpmath.log(2)
            reach = size / (m + mpmath.sqrt(m * m + size))
            far = mpmath.quadgl(
                lambda t: mpmath.exp(-(t / 2 + m) * t) * h / (h * h + (m + t) ** 2), [0, reach / 4, reach]
            )
            return far / (2 * mpmath.pi), mpmath.mpf(0)
        # T(b, a) = (1/2 pi) sum_j (-1)^j a^(2j+1)/(2j+1) e^(-u) sum_(i <= j) u^i/i!,  u = b^2/2, and atan a = the same
        # with 1 for the last factor: what is left of it falls faster than any power.
        u = bounded * bounded / 2
        term = total = mpmath.exp(-u)
        missing, j, power = 1 - total, 0, slope
        left = mpmath.mpf(0)
        while abs(power * missing) > mpmath.ldexp(slope, -mpmath.mp.prec - 10) or j < 4:
            left += (-1) ** j * power * missing / (2 * j + 1)
            j, power = j + 1, power * slope * slope
            term = term * u / j
            total += term
            missing = 1 - total
        return mpmath.mpf(0), mpmath.exp((1 + slope * slope) * u) * (mpmath.atan(slope) - left) / (2 * mpmath.pi)


class MpmathArrays:
    """mpmath, see `protocol.Arrays`."""

    lib = None
    largest_scale = mpmath.inf
    sqrt = staticmethod(mpmath.sqrt)

    def points(self, X: Array, name: str = "X", rows: bool = False) -> list:
        """Return `X` as nested lists of mpf: one point, or lists of points of equal length; with `rows`, N points."""
        try:
            points = converted(X.tolist() if hasattr(X, "tolist") else X)
        except (TypeError, ValueError, RuntimeError) as error:  # tensors without values raise the last
            raise InputError(
                f"{name} = {X!r} is not an array of real numbers: pass lists of floats, strings or mpf"
            ) from error
        shape = shape_of(points, name)
        if not shape or shape[-1] == 0 or (rows and len(shape) != 2):
            expected = "(N, d)" if rows else "(..., d)"
            raise InputError(f"{name} has shape {shape}, expected {expected} with d >= 1: reshape it to rows of points")
        return points

    def scalar(self, name: str, value: Any) -> Any:
        """Return the value of a parameter as a mpf; raises InputError."""
        try:
            return mpmath.mpf(None if isinstance(value, bool) else value)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} = {value!r} must be a number") from error

    def several(self, name: str, value: Any) -> list:
        """Return a list or an array of numbers as a list of mpf; raises InputError."""
        numbers = list(value)
        if not numbers:
            raise InputError(f"{name} = {value!r} is empty: pass a number, or one for each coordinate")
        return [self.scalar(f"{name}[{i}]", part) for i, part in enumerate(numbers)]

    def scaled(self, X: list, scales: list) -> list:
        """Return points with each coordinate times its scale, exactly."""
        if isinstance(X[0], list):
            return [self.scaled(item, scales) for item in X]
        return [mpmath.fmul(x, scale, exact=True) for x, scale in zip(X, scales, strict=True)]

    def scaled_matrix(self, g: Any, scales: list) -> Any:
        """Return a matrix with each row and column times its scale."""
        return mpmath.diag(scales) * g * mpmath.diag(scales)

    def geometric_mean(self, scales: list) -> Any:
        """Return the geometric mean of positive numbers."""
        return mpmath.exp(mpmath.fsum(map(mpmath.log, scales)) / len(scales))

    def dimension(self, X: list) -> Any:
        """Return d; 1/d of an int would be a float."""
        while isinstance(X[0], list):
            X = X[0]
        return mpmath.mpf(len(X))

    def all(self, condition: Any) -> bool:
        """Return a condition."""
        return bool(condition)

    def known(self, x: Array) -> Any:
        """Return a value."""
        return x

    def largest(self, v: Array) -> Any:
        """Return a number."""
        return v

    def double(self, X: Array) -> Any:
        """Return what it is given: every format is at hand."""
        return X

    def cast(self, result: Array, like: Array) -> Any:
        """Return a result."""
        return result

    def at_points(self, function: Callable, X: list) -> Any:
        """Return the function of every point of nested lists."""
        if isinstance(X[0], list):
            return [self.at_points(function, item) for item in X]
        with mpmath.workdps(2 * mpmath.mp.dps + 10):  # as many as cancel where terms of deep networks meet
            result = function(X)
        return result.apply(mpmath.mpf.__pos__) if isinstance(result, mpmath.matrix) else +result

    def weighted_sum(
        self, function: Callable, arrays: Sequence[Any], scalars: Sequence[Any], a: Sequence, b: Sequence, w: Sequence
    ) -> Any:
        """Return sum_k w_k function(*arrays, a_k, b_k, *scalars); of several results each."""
        nodes = [tuple(map(mpmath.mpf, node)) for node in zip(a, b, w, strict=True)]
        found = [function(*arrays, left, right, *scalars) for left, right, _ in nodes]
        weights = [weight for *_, weight in nodes]
        if not isinstance(found[0], tuple):
            return mpmath.fdot(weights, found)
        return tuple(mpmath.fdot(weights, part) for part in zip(*found, strict=True))

    def as_array(self, v: Any) -> Any:
        """Return a number."""
        return mpmath.mpf(v)

    def at_least(self, x: Any, bound: float) -> Any:
        """Return the larger of the two."""
        return max(x, mpmath.mpf(bound))

    def in_parts(self, function: Callable, arrays: Sequence[Any], numbers: int) -> tuple:
        """Return what `function` makes of numbers."""
        return function(*arrays)

    def normal_mean(self, function: Callable, places: Sequence[Any], width: Any, level: int, power: float) -> tuple:
        """Return E[f(t)], t ~ N(0, 1), for each f that `function` returns, by the tanh-sinh rule between the places."""
        edge = 2 + 2 * mpmath.sqrt(mpmath.mp.prec * mpmath.log(2))
        known = remembered(function)
        points = {place + k * width for place in places for k in (-8, 0, 8)}
        ends = [-edge, *sorted(point for point in points if -edge < point < edge), edge]
        found = []
        for i in range(len(known(mpmath.mpf(1)))):
            value, error = mpmath.quad(lambda t, i=i: known(t)[i] * mpmath.npdf(t), ends, error=True)
            if error > mpmath.sqrt(mpmath.eps) * (1 + abs(value)):
                raise NotAgreed(
                    f"quadrature in {mpmath.mp.dps} digits errs by {mpmath.nstr(error, 2)}: use more digits"
                )
            found.append(value)
        return tuple(found)

    def constant(self, like: Array, value: Any) -> Any:
        """Return a number."""
        return mpmath.mpf(value)

    def log(self, x: Array) -> Any:
        """Return the logarithm."""
        return mpmath.log(x)

    def positive(self, x: Array) -> Any:
        """Return max(x, 0)."""
        return max(x, mpmath.mpf(0))

    def ratio(self, a: Array, b: Array) -> Any:
        """Return a/b, and 0 where b is 0."""
        return a / b if b else mpmath.mpf(0)

    def where_nonnegative(self, x: Array, yes: Any, no: Any) -> Any:
        """Return `yes` where x >= 0, else `no`."""
        return yes if x >= 0 else no

    def scaled_erfc(self, a: Array, x: Array, rest: Any) -> Any:
        """Return e^a erfc(x)."""
        return mpmath.exp(a) * mpmath.erfc(x)

    def scaled_quadrant(self, a: Array, h: Array, k: Array, n: Array, n_: Array, rest: Any) -> Any:
        """Return e^a P(X > h, Y > k), see `normal_tails`."""
        return scaled_quadrant(Numbers(), a, h, k, n, n_, rest)

    def sum_squares(self, X: Sequence[Any]) -> Any:
        """Return |x|^2."""
        return mpmath.fsum(X, squared=True)

    def metric_matrix(self, X: Sequence[Any], A: Array, shear: Array, eta: Array, B: Array = None) -> Any:
        """Return A (I + shear x^ x^T), a mpmath.matrix."""
        s, d = self.sum_squares(X), len(X)
        g = mpmath.matrix(d, d)
        for i in range(d):
            for j in range(d):
                if i != j:
                    g[i, j] = A * shear * X[i] * X[j] / s if s else mpmath.mpf(0)
            part = X[i] ** 2 / s if s else mpmath.mpf(0)
            rest = mpmath.fsum(x**2 for j, x in enumerate(X) if j != i) / s if s else mpmath.mpf(1)
            g[i, i] = A * (rest + eta * part)
        return g

    def pairs_of(self, x: Sequence[Any], y: Sequence[Any]) -> Pairs:
        """Return one pair of points."""
        differences = [a - b for a, b in zip(x, y, strict=True)]
        p, q, distance = self.sum_squares(x), self.sum_squares(y), self.sum_squares(differences)
        along = mpmath.fdot(x if p <= q else y, differences)  # of the longer one both terms of Delta may be much larger
        omega = mpmath.fdot(differences, [a + b for a, b in zip(x, y, strict=True)])
        return Pairs(p, q, mpmath.fdot(x, y), omega, distance, self.positive(min(p, q) * distance - along**2))

    def kernel(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> Any:
        """Return E[phi(u) phi(v)]."""
        return self.of_pairs(law.kernel, law.kernel_of_squares, pairs, scalars)

    def derivative_kernel(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> Any:
        """Return E[phi'(u) phi'(v)]."""
        return self.of_pairs(law.derivative_kernel, law.derivative_of_squares, pairs, scalars)

    def of_pairs(
        self, function: Callable | None, of_squares: Callable | None, pairs: Pairs, scalars: Sequence[Any]
    ) -> Any:
        """Return a function of a pair; of parallel ones its limit, where it divides by Delta."""
        assert function is not None
        try:
            return of_pairs(self, function, of_squares, pairs, scalars)
        except ZeroDivisionError as error:
            product = pairs.p * pairs.q
            if product == 0:
                raise InputError(
                    "the kernel of this activation is not computed where a preactivation has variance 0: give a bias,"
                    " or drop x = 0"
                ) from error
            apart = replace(pairs, Delta=mpmath.ldexp(product, -4 * mpmath.mp.prec))
            return of_pairs(self, function, of_squares, apart, scalars)

    def differences(self, law: Law, pairs: Pairs, scalars: Sequence[Any]) -> tuple[Any, Any]:
        """Return E[(phi(u) - phi(v))^2] and E[phi(u)^2] - E[phi(v)^2], by subtraction at a raised precision."""
        return subtracted(self, law, pairs, scalars)

    def gram(self, X: list, Y: list | None, layers: Sequence[Any], scalars: Sequence[Any], wanted: str) -> tuple:
        """Return the Gram matrices of all pairs, each a mpmath.matrix (N, M)."""
        if wanted == "both":
            return tuple(self.gram(X, Y, layers, scalars, kind)[0] for kind in ("kernel", "ntk"))
        other, result = X if Y is None else Y, mpmath.matrix(len(X), len(X if Y is None else Y))
        for i, x in enumerate(X):
            for j, y in enumerate(other):
                if other is X and j < i:
                    result[i, j] = result[j, i]
                elif x == y:
                    result[i, j] = self.at_points(lambda x: self.diagonal(x, layers, scalars, wanted), x)
                else:
                    with mpmath.workdps(mpmath.mp.dps + lost_digits(x, y)):
                        after = pairs_after(self, layers, self.pairs_of(x, y), scalars, wanted)
                        value = after.c + after.D
                    result[i, j] = +value
        return (result,)

    def diagonal(self, x: Sequence[Any], layers: Sequence[Any], scalars: Sequence[Any], wanted: str) -> Any:
        """Return the kernel, or the tangent kernel, at (x, x)."""
        h = point_after(self, layers, self.sum_squares(x), scalars, wanted == "ntk")
        return h.f + h.D if wanted == "ntk" else h.f

    def distance(self, X: list, Y: list, layers: Sequence[Any], scalars: Sequence[Any], squared: bool) -> Any:
        """Return |Phi(x) - Phi(y)|, or its square, for every pair of points, a mpmath.matrix (N, M)."""
        result = mpmath.matrix(len(X), len(Y))
        for i, x in enumerate(X):
            for j, y in enumerate(Y):
                if Y is X and j < i:
                    result[i, j] = result[j, i]
                if x == y or (Y is X and j < i):
                    continue
                with mpmath.workdps(mpmath.mp.dps + lost_digits(x, y)):
                    square = self.positive(pairs_after(self, layers, self.pairs_of(x, y), scalars, "distance").delta)
                    distance = square if squared else mpmath.sqrt(square)
                result[i, j] = +distance
        return result

    def representable(self, result: Array, X: Array, what: str, positive: bool = False) -> Any:
        """Return a result: every number is one of this format."""
        return result

    def formats(self) -> list[tuple[str, int, Callable]]:
        """Return the format of the self-test: name, bits that are compared, what makes points."""
        mpmath.mp.dps = 40
        return [("mpmath", 80, list)]
