"""The expectation E[f(u) g(v)] of a Gaussian pair (u, v) in closed form.

Var u = p, Var v = q, Cov(u, v) = c and Delta = p q - c^2.

Three exact steps reduce the product of any two terms (see `activations.terms`):

1. *Tilting.* Gaussian factors exp(-a u^2 + b u) exp(-a' v^2 + b' v) change the measure to another Gaussian one: with
   D = diag(a, a') the covariance becomes Sigma (1 + 2 D Sigma)^(-1), with weight det(1 + 2 D Sigma)^(-1/2).
2. *Stein's lemma* (Gaussian integration by parts) lowers powers: E[u F] = mu E[F] + p E[dF/du] + c E[dF/dv].
3. *Price's theorem*, dE[f g]/dc = E[f' g'], removes what is left, a product of two error functions or steps: the right
   side is a Gaussian integral, C / sqrt(P - Q c^2), and its integral from c = 0 is an arc, written as
   atan2(sine, cosine) with the cosine in terms of Delta, which stays accurate for nearly parallel inputs. Away from 0
   the product is one of the signs of two Gaussian variables with means: the bivariate normal distribution function,
   in which the arc is that of the correlation.

Source: Price, IRE Trans. Inf. Theory 4 (1958) 69; Williams, Computing with infinite networks (NIPS 1997).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product as product_of

from sympy import (
    Add,
    Expr,
    I,
    Integer,
    Mul,
    Rational,
    atan2,
    binomial,
    erf,
    erfc,
    exp,
    expand,
    factor_terms,
    factorial,
    factorial2,
    gamma,
    oo,
    pi,
    sqrt,
    together,
)

from infgeo.conventions import Delta, c, p, q
from infgeo.errors import NoClosedForm
from infgeo.symbolic.activations.terms import (
    FACTOR_ONE,
    Factor,
    Term,
    conjugated,
    derivative_of_factor,
)
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.limits import NESTED_POWERS
from infgeo.symbolic.expectations.complex_parts import real_part_of

HALF = Rational(1, 2)


@dataclass(frozen=True)
class _Product:
    """The integrand u^m v^n exp(-a u^2 + b u - a' v^2 + b' v) F(u) G(v), every pair in the order (u, v).

    Powers may be any where all else is a function of one variable, see `_modulus`.
    """

    powers: tuple[int, int]
    decays: tuple[Expr, Expr]
    slopes: tuple[Expr, Expr]
    factors: tuple[Factor, Factor]

    def swapped(self) -> _Product:
        return _Product(self.powers[::-1], self.decays[::-1], self.slopes[::-1], self.factors[::-1])

    def conjugate(self) -> _Product:
        """Return the conjugate of the wave, without its powers."""
        decays, slopes = (tuple(map(conjugated, pair)) for pair in (self.decays, self.slopes))
        return replace(self, powers=(0, 0), decays=decays, slopes=slopes)

    def lowered(self, index: int) -> _Product:
        return replace(self, powers=_set(self.powers, index, self.powers[index] - 1))

    def with_derivative(self, index: int) -> tuple[Expr, _Product]:
        """Return (weight, product) in which the factor at `index` is replaced by its derivative."""
        weight, decay, slope, factor = derivative_of_factor(self.factors[index])
        decays = _set(self.decays, index, self.decays[index] + decay)
        slopes = _set(self.slopes, index, self.slopes[index] + slope)
        return weight, replace(self, decays=decays, slopes=slopes, factors=_set(self.factors, index, factor))


def _set(pair: tuple, index: int, value: object) -> tuple:
    return (value, pair[1]) if index == 0 else (pair[0], value)


def expectation(left: Sequence[Term], right: Sequence[Term]) -> Expr:
    """Return E[f(u) g(v)] for sums of terms f and g, as an expression of p, q, c, Delta.

    Raises NoClosedForm where a pair of terms leads outside the elementary functions.
    """
    parts: list[Expr] = []
    waves: dict[_Product, dict[tuple[int, int], Expr]] = {}
    for f in left:
        for g in right:
            if f.modulus != 0 or g.modulus != 0:
                parts.append(f.coefficient * g.coefficient * _modulus(f, g))
                continue
            product = _Product((f.power, g.power), (f.decay, g.decay), (f.slope, g.slope), (f.factor, g.factor))
            coefficient = f.coefficient * g.coefficient
            if product.factors == (FACTOR_ONE, FACTOR_ONE) and product.slopes != (0, 0):
                # Of a wave and its conjugate the real parts are equal: they are added before anything is written out.
                wave, conjugate = replace(product, powers=(0, 0)), product.conjugate()
                if conjugate in waves:
                    wave, coefficient = conjugate, conjugated(coefficient)
                powers = waves.setdefault(wave, {})
                powers[product.powers] = powers.get(product.powers, Integer(0)) + coefficient
                continue
            try:
                parts.append(coefficient * _integral(product))
            except NoClosedForm as error:
                raise NoClosedForm(
                    f"the expectation of the terms {f.expr} of u and {g.expr} of v: {error};"
                    " numeric(..., method='quadrature') integrates it numerically"
                ) from None
    total = Add(*parts, *(_of_wave(wave, powers) for wave, powers in waves.items()))
    return real_part_of(total) if total.has(I) else total


def _of_wave(wave: _Product, powers: Mapping[tuple[int, int], Expr]) -> Expr:
    """Return E of a sum of coefficient u^m v^n times a wave: moments about the means that its slopes make."""
    (a, a_), (b, b_), det = wave.decays, wave.slopes, _determinant(*wave.decays)
    V, V_ = p + 2 * a_ * Delta, q + 2 * a * Delta  # variances times det, as the means are
    mean, mean_ = V * b + c * b_, c * b + V_ * b_
    sums: dict[int, list[Expr]] = {}
    for (m, n), coefficient in powers.items():
        for i, j in product_of(range(m + 1), range(n + 1)):
            if (m + n - i - j) % 2 == 0:
                moment = binomial(m, i) * binomial(n, j) * _moment(m - i, n - j, (V, V_), c)
                sums.setdefault((m + n + i + j) // 2, []).append(coefficient * mean**i * mean_**j * moment)
    boost = exp((b**2 * V + 2 * b * b_ * c + b_**2 * V_) / (2 * det))
    return boost / sqrt(det) * Add(*(Add(*terms) / det**k for k, terms in sums.items()))


@lru_cache(maxsize=4096)
def _integral(product: _Product) -> Expr:
    """Return the expectation of a product of terms."""
    if product.factors[1].kind == "delta" and product.factors[0].kind != "delta":
        return _integral(product.swapped()).xreplace({p: q, q: p})
    if product.factors[0].kind == "delta":
        return _integral_with_delta(product)
    (m, n), (b, b_) = product.powers, product.slopes
    if _is_odd(product):
        return Integer(0)
    var_u, var_v, cov, weight = _tilt(*product.decays)
    mean = (var_u * b + cov * b_, cov * b + var_v * b_)
    centred = product.slopes == (0, 0) and product.factors == (FACTOR_ONE, FACTOR_ONE)
    if m == n == 0 or centred:
        boost = exp(HALF * (b**2 * var_u + 2 * b * b_ * cov + b_**2 * var_v))
        return weight * boost * _moment(m, n, (var_u, var_v), cov) * _base(product, mean, var_u, var_v)
    index = 0 if m > 0 else 1
    variances = (var_u, cov) if index == 0 else (cov, var_v)
    rest = product.lowered(index)
    total = mean[index] * _integral(rest) if mean[index] != 0 else Integer(0)
    for other, covariance in enumerate(variances):
        if rest.powers[other] > 0:
            total += covariance * rest.powers[other] * _integral(rest.lowered(other))
        factor_weight, differentiated = rest.with_derivative(other)
        if factor_weight != 0:
            total += covariance * factor_weight * _integral(differentiated)
    # Nested, high powers share parts, and every walk over the tree visits them again and again; polynomials collect.
    polynomial = product.decays == (0, 0) and all(f.scale in (0, oo) and f.place == 0 for f in product.factors)
    return expand(total) if polynomial and m + n > NESTED_POWERS else total


def _moment(m: int, n: int, variances: tuple[Expr, Expr], cov: Expr) -> Expr:
    """Return E[u^m v^n] of centred variables by Isserlis' theorem: k of the factors u are paired with factors v."""
    terms = []
    for k in range(m % 2, min(m, n) + 1, 2) if (m + n) % 2 == 0 else ():
        pairs = factorial2(m - k - 1) * factorial2(n - k - 1) * binomial(m, k) * binomial(n, k) * factorial(k)
        terms.append(pairs * cov**k * variances[0] ** ((m - k) // 2) * variances[1] ** ((n - k) // 2))
    return Add(*terms)


def _is_odd(product: _Product) -> bool:
    """Whether (u, v) -> (-u, -v) changes the sign of the integrand."""
    if product.slopes != (0, 0) or any(f.kind == "erfc" or f.place != 0 for f in product.factors):
        return False
    return (sum(product.powers) + sum(factor.kind == "erf" for factor in product.factors)) % 2 == 1


def _modulus(f: Term, g: Term) -> Expr:
    """Return E of a term with a power of |z|, of coefficient 1, where it is a function of one variable."""
    if g.modulus != 0:
        f, g, variance = g, f, q
    else:
        variance = p
    alone = g.key == Term(Integer(1)).key
    if alone and f.slope == 0 and f.factor.place == 0 and (f.factor.is_step or f.factor == FACTOR_ONE):
        if f.power % 2 == 0 and f.factor.kind != "erf":
            power = f.power + f.modulus
            tilted = variance / (1 + 2 * f.decay * variance)
            if (power + 1).is_nonpositive:
                return oo
            return (2 * tilted) ** (power / 2) * gamma((power + 1) / 2) / sqrt(pi * (1 + 2 * f.decay * variance))
        if f.power % 2 == 1 and f.factor == FACTOR_ONE:
            return Integer(0)
    raise NoClosedForm(
        f"the expectation of the terms {f.expr} and {g.expr} of two variables is not elementary;"
        " numeric(..., method='quadrature') integrates it numerically"
    )


def _determinant(a: Expr, a_: Expr) -> Expr:
    """Return det(1 + 2 diag(a, a_) Sigma)."""
    return 1 + 2 * a * p + 2 * a_ * q + 4 * a * a_ * Delta


def _tilt(a: Expr, a_: Expr) -> tuple[Expr, Expr, Expr, Expr]:
    """Return the tilted Var u, Var v, Cov(u, v) and the weight of the measure exp(-a u^2 - a_ v^2)."""
    det = _determinant(a, a_)
    return (p + 2 * a_ * Delta) / det, (q + 2 * a * Delta) / det, c / det, 1 / sqrt(det)


def _base(product: _Product, mean: tuple[Expr, Expr], var_u: Expr, var_v: Expr) -> Expr:
    """Return E[F(u) G(v)] under the tilted measure (without its weight)."""
    f, g = product.factors
    if f == g == FACTOR_ONE:
        return Integer(1)
    if FACTOR_ONE in (f, g):
        return _of_one(0, mean[0], var_u, f) if g == FACTOR_ONE else _of_one(0, mean[1], var_v, g)
    if "erfc" in (f.kind, g.kind) and "erf" in (f.kind, g.kind):
        # erf = 1 - erfc
        i = 0 if f.kind == "erf" else 1
        others = FACTOR_ONE, replace((f, g)[i], kind="erfc")
        one, both = (_base(replace(product, factors=_set((f, g), i, x)), mean, var_u, var_v) for x in others)
        return one - both
    y, x = _arc(f.scale, g.scale, *product.decays)
    if mean == (0, 0) and f.place == g.place == 0:
        arc = 2 / pi * atan2(y, x)
        return arc if f.kind == "erf" else 1 + arc
    h, k = (sqrt(2) * _height(*part) for part in ((f, mean[0], var_u), (g, mean[1], var_v)))
    if f.kind == "erfc":
        return 4 * BivariateNormal(-h, -k, y, x)
    return 4 * BivariateNormal(h, k, y, x) - erf(h / sqrt(2)) - erf(k / sqrt(2)) - 1


def _height(factor: Factor, mu: Expr, variance: Expr) -> Expr:
    """Return t where E[F(z)] = erf(t), or its complement, for z of mean mu."""
    if mu.has(I):
        raise NoClosedForm("the product of a trigonometric function with an error function or a step is outside")
    scale, distance = factor.scale, _apart(mu, factor.place)
    if factor.is_step:
        return (1 if scale is oo else -1) * distance / sqrt(2 * variance)
    return scale * distance / sqrt(1 + 2 * scale**2 * variance)


def _arc(scale: Expr, scale_: Expr, a: Expr, a_: Expr) -> tuple[Expr, Expr]:
    """Return (y, x) with (pi/2) E[erf(scale u) erf(scale_ v)] = atan2(y, x) by Price's theorem, at decays a, a_.

    The derivative in the covariance is E[erf' erf'] = (4/pi) scale scale_ / sqrt(det) with det the determinant at the
    decays raised by scale^2 and scale_^2, which is P - Q c^2 with Q = 4 scale^2 scale_^2; the integral from c = 0
    is the arc whose sine is to its cosine as sqrt(Q) c is to sqrt(det). It is the arcsine of the correlation of the
    variables whose signs erf(scale u) and erf(scale_ v) are the means of.
    """
    weight: Expr = sqrt(_determinant(a, a_))
    sign = (-1 if scale is -oo else 1) * (-1 if scale_ is -oo else 1)
    first, second = scale in (oo, -oo), scale_ in (oo, -oo)
    if first and second:
        return sign * c, sqrt(Delta) * weight
    if first:
        return sign * sqrt(2) * scale_ * c, sqrt(p + 2 * (a_ + scale_**2) * Delta) * weight
    if second:
        return sign * sqrt(2) * scale * c, sqrt(q + 2 * (a + scale**2) * Delta) * weight
    return 2 * scale * scale_ * c, sqrt(_determinant(a + scale**2, a_ + scale_**2)) * weight


def _integral_with_delta(product: _Product) -> Expr:
    """Return the expectation where F(u) = delta(u - t): v is then a Gaussian of mean c t/p and variance Delta/p."""
    (m, n), (a, a_), (b, b_), (f, g) = product.powers, product.decays, product.slopes, product.factors
    t = f.place
    density = t**m * exp(-a * t**2 + b * t - t**2 / (2 * p)) / sqrt(2 * pi * p)
    if g.kind == "delta":
        t_ = g.place
        rest = t**m * exp(-a * t**2 + b * t) * t_**n * exp(-a_ * t_**2 + b_ * t_)
        return rest * exp(-(q * t**2 - 2 * c * t * t_ + p * t_**2) / (2 * Delta)) / (2 * pi * sqrt(Delta))
    # Completing the square: exp(-a' v^2 + b' v) takes N(mu, V) to N(mean, V/(1 + 2 a' V)).
    precision = p + 2 * a_ * Delta
    variance, mean = Delta / precision, (c * t + b_ * Delta) / precision
    exponent = (b_ * (2 * c * t + b_ * Delta) - 2 * a_ * (c * t) ** 2 / p) / (2 * precision)
    return density * sqrt(p) / sqrt(precision) * exp(exponent) * _of_one(n, mean, variance, g)


def _of_one(n: int, mean: Expr, variance: Expr, factor: Factor) -> Expr:
    """Return E[v^n G(v)] for v of a mean and a variance, by Stein's lemma."""
    if n == 0:
        if factor == FACTOR_ONE:
            return Integer(1)
        argument = _height(factor, mean, variance)
        return erf(argument) if factor.kind == "erf" else erfc(argument)
    total = mean * _of_one(n - 1, mean, variance, factor) if mean != 0 else Integer(0)
    if n > 1:
        total += variance * (n - 1) * _of_one(n - 2, mean, variance, factor)
    if factor != FACTOR_ONE:
        total += variance * _of_derivative(n - 1, mean, variance, factor)
    return total


def _apart(mean: Expr, place: Expr) -> Expr:
    """Return a mean less a place; c t/p - t is (c - p) t/p, which keeps its digits where c is nearly p.

    Of each sum and its negative one alone is written, so that equal terms are seen to be equal.
    """
    if place == 0:
        return mean
    parts = Mul.make_args(factor_terms(together(mean - place)))
    negative = [part for part in parts if isinstance(part, Add) and part.could_extract_minus_sign()]
    return Mul((-1) ** len(negative), *(-part if part in negative else part for part in parts))


def _of_derivative(n: int, mean: Expr, variance: Expr, factor: Factor) -> Expr:
    """Return E[v^n G'(v)] for v of a mean and a variance."""
    weight, decay, _, new = derivative_of_factor(factor)
    t = factor.place
    if new.kind == "delta":
        return weight * t**n * exp(-(_apart(mean, t) ** 2) / (2 * variance)) / sqrt(2 * pi * variance)
    # G' is a Gaussian around t.
    total = 1 + 2 * decay * variance
    centre = (mean + 2 * decay * variance * t) / total
    weight, *_ = derivative_of_factor(replace(factor, place=Integer(0)))
    height = weight * exp(-decay * (mean - t) ** 2 / total) / sqrt(total)
    return height * _of_one(n, centre, variance / total, FACTOR_ONE)
