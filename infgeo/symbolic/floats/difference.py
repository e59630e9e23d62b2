"""The squared distance of features without cancellation, as a program; see `second_difference` for its rules."""

import mpmath
import sympy as sp

from infgeo.conventions import Delta as DELTA
from infgeo.conventions import c as C
from infgeo.conventions import p as P
from infgeo.conventions import q as Q
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.graph import distinct, evaluated, symbols_of
from infgeo.symbolic.algebra.limits import FACTOR_LIMIT
from infgeo.symbolic.algebra.primitives import where_nonnegative
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.algebra.simplify import longer
from infgeo.symbolic.floats.kernel_forms import Angle, in_waves, normalise, partial_fractions, split_angle
from infgeo.symbolic.floats.second_difference import Builder

_LARGE = 16  # (p + q)/h beyond which c theta_h is split off as pi c/2 + B_h - S: both forms lose < 1 digit there
LONGEST = 3000  # distinct subexpressions of a kernel


def difference_program(kernel: sp.Expr) -> Program:
    """Return the program that evaluates D^2 = k(p,p,p,0) + k(q,q,q,0) - 2 k(p,q,c,Delta) to full relative accuracy.

    Its outputs are squared_distance = D^2 and moment_difference = m(p) - m(q), in p, q, omega = p - q,
    delta = p + q - 2c, c, Delta (symbols of `conventions`) and the kernel's own parameters; its operations are +, *, /,
    powers, exp, log, expm1, log1p, sinh, cosh, sin, cos, atan2, Abs, sign, Max and `PRIMITIVES`.

    Arguments: `kernel`, an expression in p, q, c, Delta from +, *, integer and half-integer powers, log, exp, sinh,
    cosh, sin, cos, atan2(y, x) with x >= 0, atan, asin and acos (other rational powers of a positive base are allowed).
    Domain: p, q >= 0, |c| <= sqrt(p q); omega, delta and Delta accurate. The relative error of Delta enters D^2 of erf
    multiplied by up to p (nearly radial displacements), of the step by 1/2: for p = b + w |x|^2, c = b + w x.y it is
    Delta = w^2 (|x|^2 |y|^2 - (x.y)^2) + b w |x - y|^2; do not take it from 4 Delta = delta (2(p+q) - delta) - omega^2.
    Limits: a zero vector under a discontinuous phi (the value phi(0) is a convention); results below 1e-290. Branches
    not taken may overflow.
    Errors: NoClosedForm, naming the subexpression, where a rule is missing; evaluate the kernel directly then.
    """
    kernel = sp.sympify(kernel, strict=True)
    nodes = distinct(kernel)
    if len(nodes) > LONGEST:
        raise NoClosedForm(f"the kernel has more than {LONGEST} distinct subexpressions")
    if any(node.is_Float for node in nodes):
        raise NoClosedForm(f"kernel {kernel} contains floating-point constants; give exact rationals (sympy.nsimplify)")
    if tails := [node for node in nodes if isinstance(node, sp.erf | sp.erfc | BivariateNormal)]:
        raise NoClosedForm(f"there is no rule for {tails[0].func.__name__} of the variances")
    even = longer(kernel, FACTOR_LIMIT) and _even_at_a_point(kernel)
    kernel = normalise(in_waves(kernel))
    builder = Builder(kernel, even)
    large = kernel
    angles = [node for node in distinct(kernel) if isinstance(node, Angle)]
    for angle in sorted(angles, key=sp.default_sort_key):
        if angle.args[0] == 0:
            kernel = split_angle(kernel, angle)
            large = split_angle(large, angle)
        elif sp.expand(kernel).coeff(angle).has(C):
            large = partial_fractions(split_angle(large, angle), angle.args[0])
    result = builder.square(kernel)
    distance, moment = result.s, result.f
    if large != kernel:
        scale = sp.Max(*(a.args[0] for a in kernel.atoms(Angle)))
        switch = builder.let(P + Q - _LARGE * scale)
        other = builder.square(large)
        distance = builder.let(where_nonnegative(switch, other.s, distance))
        moment = builder.let(where_nonnegative(switch, other.f, moment))
    if builder.fragile:
        first, second = builder.let(result.x11 + result.x22), builder.let(result.x12 + result.x21)
        direct = builder.let(first - second)
        distance = builder.let(where_nonnegative(builder.let(2 * direct - first), direct, distance))
        direct = builder.let(result.x11 - result.x22)
        if direct != moment:
            moment = builder.let(where_nonnegative(builder.let(3 * sp.Abs(direct) - first), direct, moment))
    return Program(tuple(builder.live(distance, moment)), {"squared_distance": distance, "moment_difference": moment})


def _even_at_a_point(kernel: sp.Expr) -> bool:
    """Return whether a long kernel has the same value at c and -c to 40 digits at one point (expanding is slow)."""
    free = symbols_of(kernel)
    with mpmath.workdps(50):
        third = mpmath.mpf(1) / 3
        own = sorted(free - {P, Q, C, DELTA}, key=lambda symbol: symbol.name)
        at = {symbol: 2 * third + i * third / 8 for i, symbol in enumerate(own)} | {P: 7 * third / 3, Q: 8 * third / 3}
        at |= {C: 9 * third / 8, DELTA: at[P] * at[Q] - (9 * third / 8) ** 2}
        here, there = (evaluated(kernel, at | {C: c}) for c in (at[C], -at[C]))
        return bool(abs(here - there) <= mpmath.mpf(10) ** -40 * abs(here)) and C in free
