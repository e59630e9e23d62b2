"""The symbols that results contain, to substitute into them and to write kernels, metrics and scales with.

    d                input dimension
    s, r             |x|^2 and |x|
    sigma_w, sigma_b the scales of weights and biases
    s_x, s_y, xy     |x|^2, |y|^2 and x.y, the arguments of a kernel
    coordinates(d)   x_1 ... x_d, the coordinates of `RadialMetric.matrix`

They carry assumptions (d is a positive integer, s >= 0, ...), and to SymPy a symbol of the same name without them is
another one: on a plain expression `R.subs("d", 2)` and `R.subs(Symbol("d"), 2)` change nothing. Substitute for these
symbols, or by name with `.at(d=2)` of networks, kernels, metrics and programs. Where infgeo takes an expression, it
takes namesakes by their name.

>>> import infgeo
>>> metric = infgeo.MLP("erf", weight_std=1, bias_std=0).metric
>>> metric.ricci_scalar.subs(infgeo.symbols.d, 2)
-2*pi*s/sqrt(2*s + 1)
>>> metric.at(d=2).ricci_scalar
-2*pi*s/sqrt(2*s + 1)
"""

from sympy import Symbol, symbols

from infgeo.arguments import positive_integer
from infgeo.conventions import d, r, s, s_x, s_y, sigma_b, sigma_w, xy

__all__ = ["coordinates", "d", "r", "s", "s_x", "s_y", "sigma_b", "sigma_w", "xy"]


def coordinates(dimension: int) -> tuple[Symbol, ...]:
    """Return the Cartesian coordinates x_1 ... x_d, real symbols, that `RadialMetric.matrix` uses.

    Raises InvalidInput unless `dimension` is an integer from 1 to 1000.

    >>> coordinates(2)
    (x_1, x_2)
    """
    dimension = positive_integer(dimension, "dimension", maximum=1000)
    return symbols(f"x_1:{dimension + 1}", real=True)
