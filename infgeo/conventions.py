"""The symbol table: every symbol that a result of infgeo may contain, with its assumptions, stated once.

    d        input dimension                    integer, d >= 1
    r, s     |x| and |x|^2                      r, s >= 0
    sigma_w  standard deviation of a weight     sigma_w > 0
    sigma_b  standard deviation of a bias       sigma_b >= 0
    s_x, s_y, xy   |x|^2, |y|^2 and x.y         the arguments of a kernel

First layer: z = w.x + b with w ~ N(0, sigma_w^2 I_d), b ~ N(0, sigma_b^2); hidden layers: weights
N(0, sigma_w^2 / n), biases N(0, sigma_b^2). The feature map is phi(z_j) / sqrt(n) at the last hidden layer.
The Ricci scalar is positive on spheres: R = d (d - 1) / a^2 on the d-sphere of radius a.
"""

from typing import Any

from sympy import Symbol


class Internal(Symbol):
    """A symbol of a derivation. It equals no symbol that a user makes, whatever the name and the assumptions."""

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), "internal")


Internal.__name__ = "Symbol"  # SymPy sorts the parts of sums and products by the names of their classes


class Parameter(Symbol):
    """A parameter of an activation that is called like a symbol of this table: d is printed as d_phi."""

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), "parameter")

    def _shown(self, printer: Any) -> Any:
        return printer._print(Symbol(f"{self.name}_phi"))

    _sympystr = _latex = _pretty = _pythoncode = _lambdacode = _numpycode = _mpmathcode = _shown


d = Symbol("d", integer=True, positive=True)
r = Symbol("r", nonnegative=True)
s = Symbol("s", nonnegative=True)
sigma_w = Symbol("sigma_w", positive=True)
sigma_b = Symbol("sigma_b", nonnegative=True)

s_x = Symbol("s_x", nonnegative=True)
s_y = Symbol("s_y", nonnegative=True)
xy = Symbol("xy", real=True)

# The argument of an activation, and the covariance of a pair of preactivations (u, v):
# p = Var u, q = Var v, c = Cov(u, v), Delta = p q - c^2. Delta is carried as a variable of its own because
# the difference cancels for nearly parallel inputs.
z = Symbol("z", real=True)
variance = Internal("v", positive=True)
p = Internal("p", nonnegative=True)
q = Internal("q", nonnegative=True)
c = Internal("c", real=True)
Delta = Internal("Delta", nonnegative=True)
# omega = p - q and delta = p + q - 2c, which are differences of points, not of p, q and c.
omega = Internal("omega", real=True)
delta = Internal("delta", nonnegative=True)

# The scales at which a network that leaves them symbolic is evaluated when nobody says otherwise:
# the parametrisation of arXiv 2301.11375, W, b ~ N(0, 1).
DEFAULT_WEIGHT_STD = 1.0
DEFAULT_BIAS_STD = 1.0
