"""The dual of an activation: k = E[phi(u) phi(v)] and k' = E[phi'(u) phi'(v)], and what they are at coincidence.

At coincidence, p = q = c = v and Delta = 0, one-dimensional functions of the variance v remain:

    m  = E[phi^2],  m0 = E[phi'^2],  psi = m0'/m0,  mu = m'/m0,  nu = mu - 1 = E[phi phi'']/m0.

The metric of a network of any depth needs nothing else (see `networks.recursion`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from sympy import (
    Add,
    Expr,
    I,
    Integer,
    Max,
    Pow,
    Rational,
    Symbol,
    cos,
    count_ops,
    exp,
    expand,
    gamma,
    nan,
    oo,
    pi,
    sin,
    zoo,
)

from infgeo.conventions import Delta, c, p, q, z
from infgeo.conventions import variance as v
from infgeo.errors import MetricDoesNotExist
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.activations.terms import (
    FACTOR_ONE,
    Term,
    collect_terms,
    derivative_of_factor,
    differentiate,
    product,
    real_part,
)
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.graph import distinct, is_long, substituted
from infgeo.symbolic.algebra.limits import EXPAND_LIMIT, FACTOR_LIMIT
from infgeo.symbolic.algebra.simplify import over_distributions, tidy, with_complements
from infgeo.symbolic.expectations.expectation import expectation
from infgeo.symbolic.expectations.one_variance import gathered

HALF, ONE = Rational(1, 2), Integer(1)
_COINCIDENCE = {p: v, q: v, c: v, Delta: 0}


@dataclass(frozen=True)
class Dual:
    """The dual activation, in p = Var u, q = Var v, c = Cov(u, v), Delta = p q - c^2 (symbols of `conventions`)."""

    name: str
    terms: tuple[Term, ...]

    @cached_property
    def derivative(self) -> Dual:
        """The dual of phi'."""
        return Dual(f"the derivative of {self.name}", differentiate(self.terms))

    @cached_property
    def growth(self) -> Expr | None:
        """The a of activations that grow like exp(a z^2), or may: E[phi^2] is finite where 4 a v < 1; else None."""
        # sin(z^2) is made of terms whose decay is imaginary.
        decays = [real_part(term.decay) for term in self.terms]
        growth = [-decay for decay in decays if not decay.is_nonnegative]
        return Max(*growth) if growth else None

    @cached_property
    def least_exponents(self) -> dict[Symbol, Expr]:
        """The numbers that symbols in the exponents of |z| must exceed for E[phi'^2] to be finite: a > 1/2 in |z|^a."""
        bounds: dict[Symbol, Expr] = {}
        for term in self.terms:
            for symbol in term.modulus.free_symbols:
                rate, rest = term.modulus.coeff(symbol), term.modulus.subs(symbol, 0)
                if rate.is_positive and rest.is_number:
                    bounds[symbol] = Max(bounds.get(symbol, -oo), (Rational(1, 2) - term.power - rest) / rate)
        return bounds

    @cached_property
    def jumps(self) -> dict[Expr, Expr]:
        """The jumps phi(t+) - phi(t-) that are not 0, by their places t."""
        sums: dict[Expr, Expr] = {}
        for term in self.terms:
            if term.factor.is_step and term.modulus == 0:
                t = term.factor.place
                weight, *_ = derivative_of_factor(term.factor)
                height = term.coefficient * t**term.power * exp(-term.decay * t**2 + term.slope * t)
                sums[t] = sums.get(t, Integer(0)) + weight * height
        return {place: jump for place, total in sums.items() if (jump := tidy(real_part(total))) != 0}

    @cached_property
    def cusp(self) -> tuple[Expr, Expr] | None:
        """The a and C of activations that grow like |z|^a, a < 1/2, from 0; None for others.

        With psi = even |t|^a + odd sign(t) |t|^a the leading part, C is the integral of (psi(t + 1/2) - psi(t - 1/2))^2
        over t, by Parseval's theorem; at a = 1/2 it is infinite.
        """
        powers = {term.power + term.modulus for term in self.terms if term.modulus != 0}
        a = min((power for power in powers if power.is_number), default=HALF)
        if not -HALF < a < HALF:
            return None
        left = right = Integer(0)
        for term in self.terms:
            if term.modulus != 0 and term.power + term.modulus == a:
                at_zero = [term.factor.expr.subs(z, side) for side in (-1, 1)] if term.factor.is_step else [ONE, ONE]
                left += term.coefficient * (-1) ** term.power * at_zero[0]
                right += term.coefficient * at_zero[1]
        even, odd = (right + left) / 2, (right - left) / 2
        share = even**2 * sin(pi * a / 2) ** 2 + odd**2 * cos(pi * a / 2) ** 2
        return a, 8 / pi * share * gamma(a + 1) ** 2 * gamma(-2 * a - 1) * sin(pi * a)

    @cached_property
    def value(self) -> Expr:
        """The expectation E[phi(u) phi(v)], as the expectation was built."""
        return expectation(self.terms, self.terms)

    @cached_property
    def kernel(self) -> Expr:
        """The kernel E[phi(u) phi(v)]."""
        if self.value.has(BivariateNormal):
            return min(over_distributions(self.value), self.value, key=count_ops)
        # Products of high powers of sums, as those of (z + 1)^30 exp(-z^2), stay as they are, and so do quotients
        # that are longer written out.
        quotients = any(isinstance(part, Pow) and part.exp.is_negative for part in distinct(self.value))
        if quotients and is_long(self.value):
            return self.value
        size = count_ops(self.value, visual=False)
        if size > (FACTOR_LIMIT if quotients else EXPAND_LIMIT):
            return self.value
        written = tidy(expand(self.value))
        return self.value if quotients and count_ops(written, visual=False) > 4 * size else written

    @cached_property
    def derivative_kernel(self) -> Expr:
        """The kernel of phi', E[phi'(u) phi'(v)], by Price's theorem d(kernel)/dc."""
        return self.derivative.kernel

    @cached_property
    def m(self) -> Expr:
        """The second moment E[phi^2] at variance v."""
        return with_complements(tidy(_diagonal(self)))

    @cached_property
    def mean(self) -> Expr:
        """The mean E[phi] at variance v."""
        return tidy(gathered(expectation(self.terms, (Term(Integer(1)),)).subs(_COINCIDENCE)))

    @cached_property
    def m0(self) -> Expr:
        """The second moment E[phi'^2] of the slope at variance v; raises MetricDoesNotExist where it is infinite."""
        if self.jumps:
            place, jump = next(iter(self.jumps.items()))
            raise MetricDoesNotExist(
                f"{self.name} has a jump of {jump} at {place}: E[phi'(u) phi'(v)] diverges as the inputs come together,"
                " so its kernel induces no Riemannian metric"
            )
        value = _diagonal(self.derivative)
        if value.has(zoo, oo, nan):
            raise MetricDoesNotExist(
                f"{self.name} is too steep at 0: E[phi'^2] is infinite, so its kernel induces no Riemannian metric;"
                " beside |z|^(1/2) |Phi(x) - Phi(y)|^2 falls as |x - y|^2 log(1/|x - y|)"
            )
        return with_complements(tidy(value))

    @property
    def moments(self) -> tuple[Expr, ...]:
        """All that the metric needs, m and m0; m alone where there is no metric."""
        try:
            return self.m, self.m0
        except MetricDoesNotExist:
            return (self.m,)

    @cached_property
    def m0_prime(self) -> Expr:
        """The derivative of m0 by v."""
        return tidy(self.m0.diff(v))

    @cached_property
    def m_prime(self) -> Expr:
        """The derivative of m by v, E[phi'^2 + phi phi'']."""
        return tidy(self.m.diff(v))

    @cached_property
    def psi(self) -> Expr:
        """The logarithmic derivative m0'/m0."""
        return tidy(self.m0_prime / self.m0)

    @cached_property
    def psi_prime(self) -> Expr:
        """The derivative of psi by v."""
        return tidy(self.psi.diff(v))

    @cached_property
    def mu(self) -> Expr:
        """The quotient m'/m0: dv/ds of the next layer relative to its metric."""
        return tidy(self.m_prime / self.m0)

    @cached_property
    def nu(self) -> Expr:
        """The difference mu - 1 = E[phi phi'']/m0, without cancellation."""
        return tidy(tidy(self.m_prime - self.m0) / self.m0)

    @cached_property
    def nu_prime(self) -> Expr:
        """The derivative of nu by v, which is that of mu."""
        return tidy(self.nu.diff(v))


def _diagonal(law: Dual) -> Expr:
    """Return the expectation of the square of a sum of terms: over one variable, where products are terms again."""
    terms: list[Term] = []
    rest: list[Expr] = []
    for left in law.terms:
        for right in law.terms:
            products = product(left, right)
            if products is None:
                rest.append(expectation((left,), (right,)))
            else:
                terms += products
    if not rest:
        rest.append(Integer(0))
    elif len(rest) == len(law.terms) ** 2:
        # Not of the kernel in its printed form, which may be expanded.
        return gathered(substituted(law.value, _COINCIDENCE))
    total = expectation(_symmetrised(collect_terms(terms)), (Term(Integer(1)),))
    return gathered(substituted(total + Add(*rest), _COINCIDENCE))


def _symmetrised(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Return terms of the same expectation, without waves beside error functions and steps where these are odd."""
    waves = [term for term in terms if term.slope.has(I) and term.factor != FACTOR_ONE]
    if not waves:
        return terms
    half = Rational(1, 2)
    even = collect_terms(part.times(half) for term in waves for part in (term, term.reflected()))
    return collect_terms([*(term for term in terms if term not in waves), *even])


@lru_cache(maxsize=256)
def dual(activation: Activation) -> Dual:
    """Return the dual of an activation, derived once."""
    return Dual(f"activation {activation.name}", activation.terms)
