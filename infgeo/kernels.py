"""Kernels of the field as `Kernel` objects, in the names of Rasmussen & Williams, and any kernel of coordinates."""

from sympy import Expr, Integer, Rational, Symbol, binomial, exp, factorial, sqrt

from infgeo.arguments import positive_integer, shown
from infgeo.conventions import d, s, s_x, s_y, xy
from infgeo.errors import InvalidInput
from infgeo.symbolic.activations.catalogue import LARGEST_DEGREE
from infgeo.symbolic.kernels.kernel import Kernel, divided
from infgeo.symbolic.kernels.of_coordinates import CoordinateKernel
from infgeo.symbolic.networks.layers import checked_std
from infgeo.symbolic.networks.network import MLP

__all__ = [
    "CoordinateKernel",
    "arc_cosine",
    "exponential_dot_product",
    "linear",
    "matern",
    "polynomial",
    "radial_units",
    "rational_quadratic",
    "rbf",
]

LENGTH_SCALE = Symbol("length_scale", positive=True)
SHAPE = Symbol("alpha", positive=True)
OFFSET = Symbol("offset", nonnegative=True)
CENTRE_STD = Symbol("centre_std", positive=True)
_SMOOTHEST = Rational(41, 2)
_SQUARED_DISTANCE = s_x + s_y - 2 * xy


def rbf(length_scale: object = LENGTH_SCALE) -> Kernel:
    """Return the Gaussian kernel exp(-|x - y|^2 / (2 l^2)); its metric is flat, I / l^2 (Burges 1999).

    >>> rbf().metric.A, rbf().metric.is_flat
    (length_scale**(-2), True)
    """
    return Kernel(exp(-_SQUARED_DISTANCE / (2 * checked_std(length_scale, "length_scale", zero_allowed=False) ** 2)))


def linear(offset: object = OFFSET) -> Kernel:
    """Return x.y + offset, offset >= 0."""
    return polynomial(1, offset)


def polynomial(degree: int, offset: object = OFFSET) -> Kernel:
    """Return (x.y + offset)^degree, degree an integer >= 1, offset >= 0.

    >>> polynomial(2, 0).metric.ricci_scalar
    -(d - 2)*(d - 1)/(2*s**2)
    """
    power = positive_integer(degree, "degree", maximum=100)
    return Kernel((xy + checked_std(offset, "offset", zero_allowed=True)) ** power)


def exponential_dot_product(length_scale: object = LENGTH_SCALE) -> Kernel:
    """Return exp(x.y / l^2), whose feature space is that of all polynomials.

    >>> exponential_dot_product(1).metric.A
    exp(s)
    """
    return Kernel(exp(xy / checked_std(length_scale, "length_scale", zero_allowed=False) ** 2))


def rational_quadratic(alpha: object = SHAPE, length_scale: object = LENGTH_SCALE) -> Kernel:
    """Return (1 + |x - y|^2 / (2 alpha l^2))^(-alpha), alpha and l > 0 (Rasmussen & Williams 2006, eq. 4.19)."""
    shape, length = checked_std(alpha, "alpha", False), checked_std(length_scale, "length_scale", False)
    return Kernel((1 + _SQUARED_DISTANCE / (2 * shape * length**2)) ** -shape)


def matern(nu: object, length_scale: object = LENGTH_SCALE) -> Kernel:
    """Return the Matern kernel of half-integer smoothness nu = 1/2, 3/2, ... (Rasmussen & Williams 2006, eq. 4.16).

    At nu = 1/2 it has a cusp, and asking for its metric raises MetricDoesNotExist.

    >>> from sympy import Rational
    >>> matern(Rational(5, 2)).metric.A
    5/(3*length_scale**2)
    """
    twice = 2 * checked_std(nu, "nu", zero_allowed=False)
    if not (twice.is_Integer and twice % 2 == 1 and twice <= 2 * _SMOOTHEST):
        raise InvalidInput(
            f"nu = {shown(nu)} must be a half-integer 1/2, 3/2, ..., {_SMOOTHEST}: others are not elementary, and"
            " smoother ones hardly differ from rbf()"
        )
    p = int(twice - 1) // 2
    length = checked_std(length_scale, "length_scale", zero_allowed=False)
    t = sqrt(twice) * sqrt(_SQUARED_DISTANCE) / length
    terms: list[Expr] = [binomial(p, i) * factorial(p + i) * (2 * t) ** (p - i) for i in range(p + 1)]
    return Kernel(exp(-t) / factorial(2 * p) * sum(terms, Integer(0)))


def radial_units(length_scale: object = LENGTH_SCALE, centre_std: object = CENTRE_STD) -> Kernel:
    r"""Return E_u[phi(x) phi(y)], phi(x) = exp(-|x - u|^2 / (2 l^2)): a layer of radial units with random centres u.

    The centres are N(0, c^2 I). With m^2 = 2 c^2 + l^2 and t^2 = l^2 m^2 / c^2

        k = (l/m)^d exp(-(|x|^2 + |y|^2)/(2 m^2) - |x - y|^2/(2 t^2)),    g = k(x, x) (I/t^2 + x x^T/m^4).

    For c much larger than |x| it tends to a multiple of rbf(sqrt(2) l). Its factor depends on d: numeric functions are
    those of `radial_units().at(d=...)`.

    >>> radial_units(1, 1).at(d=2).metric.A
    exp(-s/3)/9

    Source: Williams 1998, Computation with infinite neural networks; Rasmussen & Williams 2006, section 4.2.3.
    """
    length = checked_std(length_scale, "length_scale", zero_allowed=False)
    centre = checked_std(centre_std, "centre_std", zero_allowed=False)
    m = sqrt(2 * centre**2 + length**2)
    return divided(rbf(length * m / centre), exp(s / m**2)) * (length / m) ** d


def arc_cosine(order: int) -> Kernel:
    """Return the arc-cosine kernel (1/pi) |x|^n |y|^n J_n(theta) = 2 E[(w.x)_+^n (w.y)_+^n].

    Order 0 has no metric, order 1 is flat. Source: Cho & Saul 2009, for J_n equations 4 to 7, as GPflow's ArcCosine
    cites them.

    >>> arc_cosine(2).metric.A, arc_cosine(2).metric.B
    (4*s, 8)
    """
    n = positive_integer(order, "order", 0, maximum=LARGEST_DEGREE)
    return 2 * MLP(f"rectified_power_{n}", weight_std=1, bias_std=0).kernel
