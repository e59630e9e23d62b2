"""The metric that one layer learns from one training example or two, as a program: to order 1/n in its width n."""

from sympy import Expr, Matrix, Symbol, diag, eye, sqrt, symbols

from infgeo.arguments import instance, positive_integer
from infgeo.conventions import c, d, p, q, s
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.symbolic.algebra.program import Names, Program
from infgeo.symbolic.algebra.simplify import tidy
from infgeo.symbolic.analysis.learned_curvature import ricci_shift
from infgeo.symbolic.analysis.unit_weights import pair_expectations, slope_tilts
from infgeo.symbolic.networks.network import MLP


def learned_metric(mlp: MLP, examples: int = 1) -> Program:
    """Return what the posterior of one or two training examples adds to the metric, times n: see `infgeo.learned`.

    Its outputs are the coefficients of I, x x^T and x_i x_j^T, and of x x_i^T + x_i x^T for "x x_i", and the shifts of
    log sqrt det g and of R (positive on spheres) for any dimension d. Its inputs are s = |x|^2, the products
    xx_i = x.x_i and x_ix_j, the labels y_i and the variance `noise`. In it v, k_i and p_ij are variances and
    covariances of preactivations, u_ij those where phi'(z_x)^2 has tilted the weights, and M_ij is
    (G^-1 y y^T G^-1 - G^-1)/2 with G = K + noise I. `.at(noise=0)` is the limit of small noise; for large noise
    M_ij = -1/(2 noise) for i = j, else 0.

    Args:
        mlp: an `infgeo.MLP` of depth 1 whose phi'^2 is a sum of Gaussians, such as erf.
        examples: 1 or 2.

    Raises NoClosedForm for other activations.

    Example:
        >>> import infgeo
        >>> print(learned_metric(infgeo.MLP("erf", weight_std=1, bias_std=0)).select(["x_1 x_1"]))
        x_1 x_1 = e_11
          where K_11 = 2*atan(x_1x_1/sqrt(2*x_1x_1 + 1))/pi
                M_11 = y_1**2/(2*(K_11 + noise)**2) - 1/(2*(K_11 + noise))
                rho = 1/sqrt(2*s + 1)
                t = 2/(2*s + 1)
                u_11 = -t*xx_1**2 + x_1x_1
                Q_11 = -4*M_11*u_11/(pi*(u_11 + 1)*sqrt(2*u_11 + 1)) + 4*M_11/(pi*sqrt(2*u_11 + 1))
                e_11 = 2*Q_11*rho/pi
    """
    instance(mlp, "mlp", MLP, "an infgeo.MLP of depth 1")
    points = range(positive_integer(examples, "examples", maximum=2))
    if len(mlp.layers) != 1:
        raise InvalidInput(f"mlp is {mlp}; learned metrics in closed form are those of one layer: pass depth=1")
    (layer,) = mlp.with_weights
    tilts, pair = slope_tilts(layer.activation), pair_expectations(layer.activation)
    if any(tilt.power for tilt in tilts):
        raise NoClosedForm(f"phi'^2 of activation {layer.activation.name} is no sum of Gaussians; use infgeo.learned")
    (weight, bias), names = layer.variances, Names()
    beside = Matrix(symbols(f"xx_1:{examples + 1}", real=True))
    products = Matrix(examples, examples, lambda i, j: Symbol(f"x_{min(i, j) + 1}x_{max(i, j) + 1}", real=True))

    def expectations(values: Matrix, of: Expr) -> Matrix:
        def entry(i: int, j: int) -> Expr:
            return tidy(of.subs({p: values[i, i], q: values[j, j], c: values[i, j]}, simultaneous=True))

        return Matrix(examples, examples, entry)

    def named(name: str, values: Matrix, own: str = "") -> Matrix:
        pairs = [(i, j) for i in points for j in points if i <= j]
        found = {(i, j): names.let(f"{name}_{i + 1}{j + 1}{own}", values[i, j]) for i, j in pairs}
        return Matrix(examples, examples, lambda i, j: found[min(i, j), max(i, j)])

    v = names.let("v", weight * s + bias)
    k = Matrix([names.let(f"k_{i + 1}", weight * beside[i] + bias) for i in points])
    prior = named("p", weight * products + bias * Matrix(examples, examples, lambda i, j: 1))
    kernel = named("K", expectations(prior, pair[0]))
    inverse = (kernel + Symbol("noise", nonnegative=True) * eye(examples)).inv()
    fitted = inverse * Matrix(symbols(f"y_1:{examples + 1}", real=True))
    M = named("M", (fitted * fitted.T - inverse) / 2)
    alone, along, mixed, others = 0, 0, Matrix([0] * examples), Matrix.zeros(examples)
    for number, tilt in enumerate(tilts, start=1):
        own = f"_{number}" if len(tilts) > 1 else ""
        spread = 1 + 2 * tilt.decay * v
        mass, t = names.let(f"rho{own}", 1 / sqrt(spread)), names.let(f"t{own}", 2 * tilt.decay / spread)
        tilted = named("u", prior - t * k * k.T, own)
        both, slopes, first, _ = (expectations(tilted, part) for part in pair)
        value = sum(M.multiply_elementwise(both - kernel))
        rows = [sum(M.row(i).multiply_elementwise(first.row(i))) for i in points]
        Q = named("Q", 2 * M.multiply_elementwise(slopes) + 2 * diag(*rows), own)
        scale = tilt.coefficient * mass * weight
        alone += scale * value
        along += scale * weight * (t**2 * (k.T * Q * k)[0] - t * value)
        mixed -= scale * weight * t * Q * k
        others += scale * weight * Q
    alone, along = names.let("a", alone), names.let("b", along)
    mixed, others = Matrix([names.let(f"c_{i + 1}", mixed[i]) for i in points]), named("e", others)
    f, B = mlp.metric.A, mlp.metric.B
    quadratic = alone * s + along * s**2 + 2 * s * mixed.dot(beside) + (beside.T * others * beside)[0]
    trace = alone * d + along * s + 2 * mixed.dot(beside) + sum(others.multiply_elementwise(products))
    outputs = {"I": alone, "x x": along}
    outputs |= {f"x x_{i + 1}": mixed[i] for i in points}
    outputs |= {f"x_{i + 1} x_{j + 1}": others[i, j] for i in points for j in points}
    coefficients = Matrix([[along, *mixed], *([mixed[i], *others[i, :]] for i in points)])
    gram = Matrix([[s, *beside], *([beside[i], *products[i, :]] for i in points)])
    outputs["ricci_shift"] = ricci_shift(names, f, alone, coefficients, gram)
    outputs["volume_shift"] = tidy(1 / (2 * f)) * trace - tidy(B / (2 * f * (f + s * B))) * quadratic
    return Program(tuple(names.bindings), outputs).substituted(mlp._dimension)
