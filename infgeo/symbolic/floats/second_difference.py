r"""Squared feature distances without cancellation: second differences of a kernel, carried symbolically.

For a dual kernel k(p, q, c, Delta) = E[phi(u) phi(v)], (u, v) ~ N(0, [[p, c], [c, q]]), Delta = p q - c^2,

    D^2 = k(p,p,p,0) + k(q,q,q,0) - 2 k(p,q,c,Delta) = E[(phi(u) - phi(v))^2]

loses every digit for neighbouring inputs. It is a mixed second difference, and every subexpression X has one: with

    X11 = X(p,p,p,0)   X22 = X(q,q,q,0)   X12 = X(p,q,c,Delta)   X21 = X(q,p,c,Delta)

carry, besides these corners, f = X11 - X22, g = X12 - X21 (0 if X is symmetric) and s = X11 + X22 - X12 - X21
(T = X11 + X22 + X12 + X21; then D^2 = s(k) and m(p) - m(q) = f(k)). With omega = p - q and delta = p + q - 2c:

    leaves       p: f = g = omega, s = 0      c: f = omega, s = delta      Delta: f = 0, s = -2 Delta
                 c^2: f = omega (p + q), s = omega^2 + 2 Delta            near = p + q - 2c: f = 0, s = -2 delta
    product      s = (T_X s_Y + s_X T_Y)/4 + (f_X f_Y - g_X g_Y)/2                      (group algebra of Z2 x Z2)
    root S       s = [s_X (1 + T_X/(2Q)) + (g_X^2 - f_X^2)/(2Q)] / T_S,  Q = S11 S22 + S12 S21
    1/X          s = [-s (A B/4 + (f^2 + g^2)/8) + T (f^2 - g^2)/8] / (X11 X22 X12 X21),  A = X11+X22, B = X12+X21
    log X        s = log1p(w / (X12 X21)),  w = X11 X22 - X12 X21 = (T s - f^2 + g^2)/4
    sin X        s = 4 cos(T/4) sin(s/4) cos(f/2) - 4 sin(B/2) sin((f+g)/4) sin((f-g)/4)      (cos and sinh likewise)
    exp X        s = 2 (e^(A/2) - e^(B/2)) + (e^(X11/2) - e^(X22/2))^2 - (e^(X12/2) - e^(X21/2))^2,  A - B = s
    atan2(y, x)  s = arg(1 + w_Z/(Z12 Z21)) with Z = x + i y and w_Z as for log (no wrap while y12, y21 >= 0)

Three families have better forms. (1) exp(-a(p+q)) cosh(2ac) and its sinh, of trigonometric activations:

    s = (e^(-2ap) - e^(-2aq))^2/2 + expm1(-a delta) expm1(-a (p+q+2c))     (cosh; the sinh follows likewise)

(2) theta_h = atan2(c, S), S^2 = h^2 + h(p+q) + Delta, h > 0 (erf, GELU); in units of h, with E = sqrt((1+2p)(1+2q)),
    s = 2 atan2(N, M),  M = c(E - 1) + S(S11 + S22),
    N = S(E - 1) - c(S11 + S22)
      = (1+p)(1+q) (2 delta + 4 Delta) (E - 1 + 2c) / [(E + 1 + 2c)(S(E - 1) + c(S11 + S22))],
    the second form, a product of positive numbers, for c >= 0. At large p, c theta_h + S and its like cancel; there
    c theta_h = pi c/2 + B_h - S with B_h = sqrt((h+p)(h+q)) (sin psi - psi cos psi), psi = pi/2 - theta_h.
(3) theta_0 = pi/2 - psi, psi = atan2(sqrt(Delta), c) (ReLU, the step): psi and B_0 = sqrt(p q)(sin psi - psi cos psi)
    vanish at X11 and X22. Reducing p q psi = (c^2 + Delta) psi and c psi = sqrt(Delta) - B_0 cancels, symbolically, the
    terms that would cancel numerically: D^2(ReLU) = delta/2 - B_0/pi.

A kernel that is even in c has D^2 = 0 at y = -x as well; its program reflects c < 0 to |c|, with delta replaced by
|x + y|^2 = (4 Delta + omega^2)/delta.
"""

from typing import NamedTuple

import sympy as sp
from sympy.codegen.cfunctions import expm1, log1p

from infgeo.conventions import Delta as DELTA
from infgeo.conventions import c as C
from infgeo.conventions import delta, omega
from infgeo.conventions import p as P
from infgeo.conventions import q as Q
from infgeo.errors import NoClosedForm
from infgeo.symbolic.algebra.graph import distinct
from infgeo.symbolic.algebra.limits import FACTOR_LIMIT
from infgeo.symbolic.algebra.primitives import exp_difference, ratio, sin_minus_theta_cos, where_nonnegative
from infgeo.symbolic.algebra.simplify import longer
from infgeo.symbolic.floats.exponentials import near
from infgeo.symbolic.floats.kernel_forms import Angle, Arctangent, Bulge, Psi, reduced

_AT_ZERO = dict.fromkeys((P, Q, C, DELTA, near), 0)
_APART = 32  # a plain difference of angles is used where it loses less than a factor of 32


class Square(NamedTuple):
    """The four corners of a subexpression, and its differences f, g, s (see the module)."""

    x11: sp.Expr
    x22: sp.Expr
    x12: sp.Expr
    x21: sp.Expr
    f: sp.Expr
    g: sp.Expr
    s: sp.Expr

    @property
    def total(self) -> sp.Expr:
        """The sum of the corners."""
        return self.x11 + self.x22 + self.x12 + self.x21

    @property
    def vanishes_on_diagonal(self) -> bool:
        """Whether X(p,p,p,0) and X(q,q,q,0) are 0."""
        return self.x11 == 0 and self.x22 == 0


class Builder:
    """Turns an expression into its `Square`, one binding per distinct operation."""

    def __init__(self, kernel: sp.Expr, even: bool) -> None:
        nodes = distinct(kernel)
        names = {node.name for node in nodes if node.is_Symbol}
        exclude = [sp.Symbol(name, real=True) for name in names]
        self._names = sp.numbered_symbols("t", real=True, exclude=exclude)
        self._bound: dict[sp.Expr, sp.Symbol] = {}
        self._squares: dict[sp.Expr, Square] = {}
        self._known_to_vary: dict[sp.Basic, bool] = dict.fromkeys((P, Q, C, DELTA, near), True)
        if not longer(kernel, FACTOR_LIMIT):
            reflected = kernel.subs(C, -C).replace(Angle, lambda h: -Angle(h))
            reflected = reflected.replace(Arctangent, lambda y, x: -Arctangent(-y, x))
            even = bool(sp.expand(kernel - reflected) == 0) and kernel.has(C)
        self.even = even and not kernel.has(near)
        self.fragile = any(isinstance(node, Arctangent) for node in nodes)
        self.c, self.delta = C, delta
        if self.even:
            self.c = self.let(where_nonnegative(C, C, -C))  # not Abs, whose derivative at 0 is 0
            self.delta = self.let(where_nonnegative(C, delta, ratio(4 * DELTA + omega**2, delta)))

    def let(self, e: sp.Expr) -> sp.Expr:
        """Bind `e` to a symbol, once; numbers, symbols and their negatives stand for themselves."""
        if e.is_Atom or (isinstance(e, sp.Mul) and len(e.args) == 2 and e.args[0].is_Number and e.args[1].is_Symbol):
            return e
        if e.has(sp.nan, sp.zoo):
            raise NoClosedForm("difference_program: the kernel divides by 0 at coincident points")
        if not e.free_symbols:
            return e
        if e not in self._bound:
            self._bound[e] = next(self._names)
        return self._bound[e]

    def live(self, *outputs: sp.Expr) -> list[tuple[sp.Symbol, sp.Expr]]:
        """Return the bindings that `outputs` need, in order."""
        needed = set().union(*(e.free_symbols for e in outputs))
        kept = []
        for e, t in reversed(self._bound.items()):
            if t in needed:
                kept.append((t, e))
                needed |= e.free_symbols
        return kept[::-1]

    def pack(self, *entries: sp.Expr) -> Square:
        """Bind seven entries."""
        return Square(*(self.let(sp.sympify(e, strict=True)) for e in entries))

    def varies(self, e: sp.Basic) -> bool:
        """Return whether an expression depends on the points."""
        if e not in self._known_to_vary:
            named = isinstance(e, Angle | Psi | Bulge)
            self._known_to_vary[e] = named or any([self.varies(part) for part in e.args])
        return self._known_to_vary[e]

    def square(self, e: sp.Expr) -> Square:
        """Return corners and differences of `e`."""
        if e not in self._squares:
            self._squares[e] = self._rule(e)
        return self._squares[e]

    def _rule(self, e: sp.Expr) -> Square:
        zero = sp.S.Zero
        if not self.varies(e):
            return Square(e, e, e, e, zero, zero, zero)
        if e == P:
            return Square(P, Q, P, Q, omega, omega, zero)
        if e == Q:
            return Square(P, Q, Q, P, omega, -omega, zero)
        if e == C:
            return Square(P, Q, self.c, self.c, omega, zero, self.delta)
        if e in (DELTA, near):
            apart = DELTA if e == DELTA else self.delta
            return Square(zero, zero, apart, apart, zero, zero, -2 * apart)
        if isinstance(e, sp.Add):
            return self.pack(*map(sp.Add, *map(self.square, e.args)))
        if isinstance(e, sp.Mul):
            return self._product(e)
        if isinstance(e, sp.Pow):
            return self._power(e.base, e.exp)
        if isinstance(e, sp.exp):
            return self._exp(self._exponent(sp.expand(e.args[0])))
        if isinstance(e, sp.log):
            return self._log(self.square(reduced(e.args[0])))
        if isinstance(e, sp.cosh | sp.sinh):
            return self._sine_or_cosine(e.func, self.square(e.args[0]))
        if isinstance(e, sp.cos | sp.sin):
            return self._sine_or_cosine(e.func, self.square(sp.expand(e.args[0])))
        if isinstance(e, Angle):
            return self._theta(e.args[0])
        if isinstance(e, Psi):
            return self._psi(e.args[0])
        if isinstance(e, Bulge):
            return self._bulge(e.args[0])
        if isinstance(e, Arctangent) and not e.has(near):  # S - c psi, as of ReLU, would cancel
            return self._atan2(self.square(e.args[0]), self.square(e.args[1]))
        raise NoClosedForm(f"difference_program has no second-difference rule for {e}; evaluate the kernel directly")

    def _product(self, e: sp.Mul) -> Square:
        constant = sp.Mul(*(a for a in e.args if not self.varies(a)))
        factors = [a for a in e.args if self.varies(a)]
        waves = [a for a in factors if isinstance(a, sp.cosh | sp.sinh)]
        exponents = [a for a in factors if isinstance(a, sp.exp)]
        if waves and exponents:
            others = sp.Mul(*(a for a in factors if a not in (*waves, *exponents)))
            exponent = sp.expand(sum(a.args[0] for a in exponents))
            wave = self._wave(waves[0], exponent) if len(waves) == 1 else None
            if wave is None and exponent.coeff(P).is_nonnegative is not True:
                both = sp.expand(sp.Mul(*(a.rewrite(sp.exp) for a in waves), sp.exp(exponent)))
                wave = self.square(sp.powsimp(both, combine="exp"))
                if isinstance(waves[0], sp.cosh):  # whose two exponentials cancel at small p and q, unlike a sinh's
                    plain = self._multiply(self.square(sp.exp(exponent)), self.square(waves[0]))
                    sign = self.let(1 + exponent.coeff(P) * P + exponent.coeff(P) * Q + exponent.coeff(Q) * (P + Q))
                    wave = self._where(sign, plain, wave)
            if wave is not None:
                rest_square = self.square(others)
                result = wave if others == 1 else self._multiply(wave, rest_square)
                return self._scale(constant, result)
        if not self.fragile and len(factors) > 1:
            nodes = distinct(*factors)
            divides = any(isinstance(a, sp.Pow) and a.exp.is_negative and self.varies(a) for a in nodes)
            self.fragile = divides or any(isinstance(a, Angle | Arctangent) for a in nodes)
        result = self.square(factors[0])
        for factor in factors[1:]:
            result = self._multiply(result, self.square(factor))
        return self._scale(constant, result)

    def _scale(self, constant: sp.Expr, x: Square) -> Square:
        return self.pack(*(constant * y for y in x))

    def _where(self, sign: sp.Expr, x: Square, y: Square) -> Square:
        return self.pack(*(a if a == b else where_nonnegative(sign, a, b) for a, b in zip(x, y, strict=True)))

    def _multiply(self, x: Square, y: Square) -> Square:
        half, quarter = sp.Rational(1, 2), sp.Rational(1, 4)
        x12, x21 = self.let(x.x12 * y.x12), self.let(x.x21 * y.x21)
        g = self.let(((x.x12 + x.x21) * y.g + x.g * (y.x12 + y.x21)) * half)
        if x.vanishes_on_diagonal or y.vanishes_on_diagonal:
            return self.pack(0, 0, x12, x21, 0, g, -x12 - x21)
        f = ((x.x11 + x.x22) * y.f + x.f * (y.x11 + y.x22)) * half
        s = (x.total * y.s + x.s * y.total) * quarter + (x.f * y.f - x.g * y.g) * half
        return self.pack(x.x11 * y.x11, x.x22 * y.x22, x12, x21, f, g, s)

    def _power(self, base: sp.Expr, exponent: sp.Expr) -> Square:
        if base == sp.E:
            return self._exp(self._exponent(sp.expand(exponent)))
        if self.varies(exponent):
            raise NoClosedForm(f"difference_program has no rule for {base**exponent}; evaluate the kernel directly")
        if exponent.is_negative:
            return self._inverse(self.square(base**-exponent))
        if base == C and exponent == 2:
            values = (P**2, Q**2, C**2, C**2)
            return self.pack(*values, omega * (P + Q), 0, omega**2 + 2 * DELTA)
        if exponent == sp.Rational(1, 2):
            return self._sqrt(self.square(base), bool(base.subs(_AT_ZERO) == 0))
        if exponent.is_Integer:
            half = self.square(base ** (exponent // 2))
            whole = self.square(C**2) if base == C and exponent == 3 else self._multiply(half, half)
            return self._multiply(whole, self.square(base)) if exponent % 2 else whole
        if (2 * exponent).is_integer:
            return self._multiply(self.square(sp.sqrt(base)), self.square(base ** (exponent - sp.Rational(1, 2))))
        if not base.subs(_AT_ZERO).is_positive:
            raise NoClosedForm(f"difference_program: {base**exponent} has a base that may vanish")
        return self._exp(self._scale(exponent, self._log(self.square(base))))

    def _sqrt(self, x: Square, may_vanish: bool) -> Square:
        divide = ratio if may_vanish else (lambda a, b: a / b)
        s11, s22, s12, s21 = (self.let(sp.sqrt(v)) for v in x[:4])
        g = self.let(divide(x.g, s12 + s21)) if x.g != 0 else sp.S.Zero
        if x.vanishes_on_diagonal:
            return self.pack(0, 0, s12, s21, 0, g, -s12 - s21)
        f = self.let(divide(x.f, s11 + s22)) if x.f != 0 else sp.S.Zero
        product = self.let(2 * s11 * s22 + 2 * s12 * s21)
        numerator = x.s + divide(self.let(x.s * x.total + x.g**2 - x.f**2), product)
        if x.s == 0 and x.g**2 == x.f**2:
            return self.pack(s11, s22, s12, s21, f, g, 0)
        return self.pack(s11, s22, s12, s21, f, g, divide(self.let(numerator), s11 + s22 + s12 + s21))

    def _exponent(self, e: sp.Expr) -> Square:
        """A sum a p + b q + 2h c, whose corners lose the digits of p + q - 2c where a = b = -h."""
        a, b, h = (e.coeff(x) for x in (P, Q, C))
        rest = sp.expand(e - a * P - b * Q - h * C)
        if any(self.varies(part) for part in (a, b, h, rest)) or sp.expand(2 * a + h) != 0 or a != b or self.even:
            return self.square(e)
        corner = rest + a * self.delta
        return self.pack(rest, rest, corner, corner, 0, 0, -2 * a * self.delta)

    def _inverse(self, x: Square) -> Square:
        eighth = sp.Rational(1, 8)
        y11, y22, y12, y21 = (self.let(1 / v) for v in x[:4])
        diagonal, other = self.let(y11 * y22), self.let(y12 * y21)
        weight = (x.x11 + x.x22) * (x.x12 + x.x21) / 4 + (x.f**2 + x.g**2) * eighth
        s = (x.total * (x.f**2 - x.g**2) * eighth - x.s * weight) * diagonal * other
        return self.pack(y11, y22, y12, y21, -x.f * diagonal, -x.g * other, s)

    def _log(self, x: Square) -> Square:
        w = (x.total * x.s - x.f**2 + x.g**2) / 4
        differences = (log1p(a / b) if a != 0 else 0 for a, b in ((x.f, x.x22), (x.g, x.x21), (w, x.x12 * x.x21)))
        return self.pack(*map(sp.log, x[:4]), *differences)

    def _exp(self, x: Square) -> Square:
        def root_difference(a: sp.Expr, b: sp.Expr, d: sp.Expr) -> sp.Expr:
            return exp_difference(a / 2, b / 2, d / 2) if d != 0 else sp.S.Zero

        values = (self.let(sp.exp(v)) for v in x[:4])
        f = exp_difference(x.x11, x.x22, x.f) if x.f != 0 else 0
        g = exp_difference(x.x12, x.x21, x.g) if x.g != 0 else 0
        s = 2 * root_difference(x.x11 + x.x22, x.x12 + x.x21, x.s)
        s += root_difference(x.x11, x.x22, x.f) ** 2 - root_difference(x.x12, x.x21, x.g) ** 2
        return self.pack(*values, f, g, s)

    def _sine_or_cosine(self, function: type[sp.Function], x: Square) -> Square:
        """Apply F = sinh, cosh, sin or cos: F(a) - F(b) = 2 F'((a+b)/2) sine((a-b)/2), F'' = sign F."""
        sine, cosine, sign = (sp.sin, sp.cos, -1) if function in (sp.sin, sp.cos) else (sp.sinh, sp.cosh, 1)

        def slope(argument: sp.Expr) -> sp.Expr:
            return cosine(argument) if function is sine else sign * sine(argument)

        f = 2 * slope((x.x11 + x.x22) / 2) * sine(x.f / 2)
        g = 2 * slope((x.x12 + x.x21) / 2) * sine(x.g / 2)
        s = 4 * slope(x.total / 4) * sine(x.s / 4) * cosine(x.f / 2)
        s += sign * 4 * function((x.x12 + x.x21) / 2) * sine((x.f + x.g) / 4) * sine((x.f - x.g) / 4)
        return self.pack(*map(function, x[:4]), f, g, s)

    def _wave(self, wave: sp.Expr, exponent: sp.Expr) -> Square | None:
        """exp(-a(p+q)) cosh(2ac) or sinh; None if `exponent` and `wave` do not match."""
        a = -exponent.coeff(P)
        matches = sp.expand(exponent + a * (P + Q)) == 0 and sp.expand(wave.args[0] ** 2 - (2 * a * C) ** 2) == 0
        if not (a.is_positive and matches):
            return None
        cosh = isinstance(wave, sp.cosh)
        sign = 1 if cosh else -1
        total = self.let(a * (P + Q + 2 * self.c))
        close = self.let(a * self.delta)
        far = self.let(expm1(-total))
        root = self.let(exp_difference(-2 * a * P, -2 * a * Q, -2 * a * omega))
        f = sign * exp_difference(-4 * a * P, -4 * a * Q, -4 * a * omega) / 2
        s = sign * root**2 / 2 + expm1(-close) * (far if cosh else -2 - far)
        if cosh:
            x11, x22 = (1 + sp.exp(-4 * a * P)) / 2, (1 + sp.exp(-4 * a * Q)) / 2
            x12 = (sp.exp(-close) + sp.exp(-total)) / 2
        else:
            x11, x22 = -expm1(-4 * a * P) / 2, -expm1(-4 * a * Q) / 2
            x12 = exp_difference(-close, -total, 4 * a * self.c) / 2
        result = self.pack(x11, x22, x12, x12, f, 0, s)
        flipped = not cosh and wave.args[0].coeff(C).is_negative
        return self._scale(sp.S.NegativeOne, result) if flipped else result

    def _theta(self, h: sp.Expr) -> Square:
        """theta_h, h > 0, in units of h (family 2 of the module docstring)."""
        p, q, c, w, d, det = (self.let(v / h) for v in (P, Q, self.c, omega, self.delta, DELTA / h))
        r11, r22, r12 = (self.let(sp.sqrt(v)) for v in (1 + 2 * p, 1 + 2 * q, 1 + p + q + det))
        e, total = self.let(r11 * r22), self.let(r11 + r22)
        excess = self.let((2 * p + 2 * q + 4 * p * q) / (1 + e))
        plain, lifted = self.let(r12 * excess), self.let(c * total)
        quotient = ratio(excess + 2 * c, self.let(plain + lifted)) / (1 + e + 2 * c)
        stable = self.let((2 * d + 4 * det) * self.let((1 + p) * (1 + q) * quotient))
        numerator = stable if self.even else where_nonnegative(C, stable, plain - lifted)  # even kernels: |c|
        s = 2 * sp.atan2(self.let(numerator), self.let(c * excess + r12 * total))
        f = 2 * sp.atan2(self.let(2 * w / total), 1 + e)
        x12 = sp.atan2(c, r12)
        return self.pack(sp.atan2(p, r11), sp.atan2(q, r22), x12, x12, f, 0, s)

    def _psi(self, h: sp.Expr) -> Square:
        if h != 0:
            theta = self._theta(h)
            root = self.square(sp.sqrt(h**2 + h * (P + Q) + DELTA))
            values = (sp.atan2(root.x11, P), sp.atan2(root.x22, Q), *2 * (sp.atan2(root.x12, self.c),))
            return self.pack(*values, -theta.f, 0, -theta.s)
        psi = self.let(sp.atan2(self.let(sp.sqrt(DELTA)), self.c))
        return self.pack(0, 0, psi, psi, 0, 0, -2 * psi)

    def _bulge(self, h: sp.Expr) -> Square:
        """B_h = R G(psi), G = sin - psi cos; G(u+t) + G(u-t) = 2 [G(u) cos t + t sin u sin t]."""
        radius, psi = self.square(sp.sqrt(h + P) * sp.sqrt(h + Q)), self.square(Psi(h))
        g11, g22, g12 = (self.let(sin_minus_theta_cos(v)) if v != 0 else 0 for v in (psi.x11, psi.x22, psi.x12))
        if h == 0:
            return self._multiply(radius, self.pack(0, 0, g12, g12, 0, 0, -2 * g12))
        # corners u +- t on the diagonal and v elsewhere; u - v = 2 gap, u + v = 2 mid
        u, t, gap, mid = (self.let(v) for v in ((psi.x11 + psi.x22) / 2, psi.f / 2, psi.s / 4, psi.total / 4))
        curved = t * sp.cos(t / 2) * sp.sin(u) - sin_minus_theta_cos(u) * sp.sin(t / 2)
        small = sp.sign(gap) * sin_minus_theta_cos(sp.Abs(gap))
        s = 4 * (sp.cos(mid) * small + mid * sp.sin(mid) * sp.sin(gap)) + 4 * sp.sin(t / 2) * curved
        f = 2 * (sp.cos(u) * sp.sign(t) * sin_minus_theta_cos(sp.Abs(t)) + u * sp.sin(u) * sp.sin(t))
        return self._multiply(radius, self.pack(g11, g22, g12, g12, f, 0, s))

    def _atan2(self, y: Square, x: Square) -> Square:
        def turn(fy: sp.Expr, xs: sp.Expr, fx: sp.Expr, ys: sp.Expr, den: sp.Expr) -> sp.Expr:
            return sp.atan2(self.let((fy * xs - fx * ys) / 2), self.let(den)) if (fy, fx) != (0, 0) else sp.S.Zero

        corners = list(zip(y[:4], x[:4], strict=True))
        t11, t22, t12, t21 = (self.let(sp.atan2(b, a)) if b != 0 else sp.S.Zero for b, a in corners)
        f = turn(y.f, x.x11 + x.x22, x.f, y.x11 + y.x22, x.x11 * x.x22 + y.x11 * y.x22)
        g = turn(y.g, x.x12 + x.x21, x.g, y.x12 + y.x21, x.x12 * x.x21 + y.x12 * y.x21)
        if y.vanishes_on_diagonal:
            return self.pack(0, 0, t12, t21, 0, g, -t12 - t21)
        real = (x.total * x.s - y.total * y.s - x.f**2 + y.f**2 + x.g**2 - y.g**2) / 4
        imag = (x.total * y.s + y.total * x.s) / 4 - (x.f * y.f - x.g * y.g) / 2
        a, b = self.let(x.x12 * x.x21 - y.x12 * y.x21), self.let(x.x12 * y.x21 + x.x21 * y.x12)
        real, imag = self.let(real), self.let(imag)
        stable = self.let(sp.atan2(self.let(imag * a - real * b), self.let(a**2 + b**2 + real * a + imag * b)))
        # far apart (and for y12 < 0): sums of the angles or of their complements that do not cancel
        first, second = self.let(t11 + t22), self.let(t12 + t21)
        u11, u22, u12, u21 = (self.let(sp.atan2(a, b)) for b, a in corners)
        complements = self.let(u12 + u21)
        angles, turned = self.let(first - second), self.let(complements - u11 - u22)
        s = self.let(where_nonnegative(self.let(_APART * turned - complements), turned, stable))
        s = where_nonnegative(self.let(_APART * angles - first), angles, s)
        return self.pack(t11, t22, t12, t21, f, g, s)
