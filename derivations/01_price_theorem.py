# %% [markdown]
# # 1. Gaussian expectations: Price, Stein and tilting
#
# Everything that a wide network does to its inputs goes through expectations of two correlated Gaussian variables,
#
# $$ k(p, q, c) = \mathrm E[\varphi(u)\,\varphi(v)], \qquad (u, v) \sim \mathcal N(0, \Sigma), \qquad
#    \Sigma = \begin{pmatrix} p & c \\ c & q \end{pmatrix}, \qquad \Delta = \det \Sigma = pq - c^2 . $$
#
# Three facts about Gaussian measures give $k$ in closed form for a large class of activations:
#
# 1. **Price's theorem** takes a derivative of both factors:
#    $\partial k/\partial c = \mathrm E[\varphi'(u)\varphi'(v)]$.
# 2. **Stein's lemma** lowers powers of $u$ and $v$.
# 3. **Tilting** absorbs Gaussian factors $e^{-a u^2}$ into a new covariance.
#
# This script proves the three, combines them by hand for GELU, and compares the outcome with
# `infgeo.symbolic.expectations.expectation`, which is made of nothing else.
#
# Sources: R. Price, *A useful theorem for nonlinear devices having Gaussian inputs*, IRE Trans. Inf. Theory 4 (1958)
# 69; C. Stein, *Estimation of the mean of a multivariate normal distribution*, Ann. Statist. 9 (1981) 1135.

# %%
import mpmath as mp
import sympy as sp

half = sp.Rational(1, 2)
p, q = sp.symbols("p q", positive=True)
c, u, v, xi, eta = sp.symbols("c u v xi eta", real=True)

Sigma = sp.Matrix([[p, c], [c, q]])
determinant = p * q - c**2
log_density = -(q * u**2 - 2 * c * u * v + p * v**2) / (2 * determinant)
rho = sp.exp(log_density) / (2 * sp.pi * sp.sqrt(determinant))

# %% [markdown]
# ## 1.1 The density solves a heat equation
#
# The characteristic function of the pair is $e^{-\frac12 (p\xi^2 + 2c\,\xi\eta + q\eta^2)}$, so that
#
# $$ \rho(u, v) = \int \frac{d\xi\, d\eta}{(2\pi)^2}\; e^{i(\xi u + \eta v)}\,
#    e^{-\frac12 (p\xi^2 + 2c\,\xi\eta + q\eta^2)} . $$
#
# The covariance now stands in the exponent alone. A derivative with respect to $c$ brings down
# $-\xi\eta = (i\xi)(i\eta)$, which is what $\partial_u \partial_v$ brings down; a derivative with respect to $p$ brings
# down $-\xi^2/2$, half of what $\partial_u^2$ does:
#
# $$ \frac{\partial\rho}{\partial c} = \frac{\partial^2\rho}{\partial u\,\partial v}, \qquad
#    \frac{\partial\rho}{\partial p} = \frac12 \frac{\partial^2\rho}{\partial u^2}, \qquad
#    \frac{\partial\rho}{\partial q} = \frac12 \frac{\partial^2\rho}{\partial v^2} . $$
#
# First the Fourier form itself. One Gaussian integral, done by SymPy, is applied twice: over $\xi$, then over $\eta$.

# %%
alpha, beta = sp.symbols("alpha beta", positive=True)
one_integral = sp.integrate(sp.exp(-alpha * xi**2 / 2 + beta * xi), (xi, -sp.oo, sp.oo))
assert sp.simplify(one_integral - sp.sqrt(2 * sp.pi / alpha) * sp.exp(beta**2 / (2 * alpha))) == 0


def integrate_out(exponent, variable):
    """Return (w, E) with  integral exp(exponent) = sqrt(w) exp(E), for an exponent quadratic in the variable."""
    curvature = -sp.diff(exponent, variable, 2)
    slope = sp.diff(exponent, variable).subs(variable, 0)
    return 2 * sp.pi / curvature, exponent.subs(variable, 0) + slope**2 / (2 * curvature)


fourier_exponent = sp.I * (xi * u + eta * v) - half * (p * xi**2 + 2 * c * xi * eta + q * eta**2)
weight_xi, exponent = integrate_out(fourier_exponent, xi)
weight_eta, exponent = integrate_out(sp.expand(exponent), eta)

assert sp.simplify(exponent - log_density) == 0
assert sp.simplify(weight_xi * weight_eta / (2 * sp.pi) ** 4 - 1 / (2 * sp.pi * sp.sqrt(determinant)) ** 2) == 0

# %% [markdown]
# Then the three heat equations, directly on the closed form of the density.

# %%
assert sp.simplify((rho.diff(c) - rho.diff(u, v)) / rho) == 0
assert sp.simplify((rho.diff(p) - half * rho.diff(u, 2)) / rho) == 0
assert sp.simplify((rho.diff(q) - half * rho.diff(v, 2)) / rho) == 0

# %% [markdown]
# ## 1.2 Price's theorem
#
# Differentiate under the integral, use the heat equation, and integrate by parts once in $u$ and once in $v$:
#
# $$ \frac{\partial}{\partial c} \mathrm E[f(u)\,g(v)] = \iint f g\, \frac{\partial^2\rho}{\partial u\,\partial v}
#    = \iint f' g'\, \rho = \mathrm E[f'(u)\,g'(v)] . $$
#
# The boundary terms vanish when $f$ and $g$ grow more slowly than the inverse of the density. The derivatives on $f$
# and $g$ may be taken in the sense of distributions, because for $\Delta > 0$ the density is a Schwartz function: a
# kink of $f$ is a step of $f'$ and a delta function of $f''$. That is what makes one theorem enough for erf, ReLU and
# GELU. The equations in $p$ and $q$ give, in the same way, $\partial_p \mathrm E[fg] = \frac12 \mathrm E[f''g]$.
#
# Check on all monomials $u^m v^n$, $m, n \le 4$. Their moments are derivatives at zero of the moment generating
# function $e^{\frac12(p\xi^2 + 2c\,\xi\eta + q\eta^2)}$, of which Price's theorem knows nothing.

# %%
generating_exponent = half * (p * xi**2 + 2 * c * xi * eta + q * eta**2)
series = sp.Poly(sum(generating_exponent**order / sp.factorial(order) for order in range(5)), xi, eta)


def moment(m, n):
    """E[u^m v^n] for m + n <= 8, from the Taylor coefficients of the moment generating function."""
    return series.coeff_monomial(xi**m * eta**n) * sp.factorial(m) * sp.factorial(n)


assert moment(2, 2) == sp.expand(p * q + 2 * c**2)
for m in range(1, 5):
    for n in range(1, 5):
        assert sp.expand(sp.diff(moment(m, n), c) - m * n * moment(m - 1, n - 1)) == 0
        assert sp.expand(sp.diff(moment(m, n), p) - half * m * (m - 1) * moment(max(m - 2, 0), n)) == 0

# %% [markdown]
# ## 1.3 Stein's lemma
#
# The gradient of the density is linear in $(u, v)$ times the density: $\Sigma\, \nabla\rho = -(u, v)^{\mathsf T} \rho$.
# Multiply the first row by $F(u, v)$ and integrate by parts:
#
# $$ \mathrm E[u\,F] = p\,\mathrm E[\partial_u F] + c\,\mathrm E[\partial_v F] . $$
#
# For a Gaussian with mean $(\mu_u, \mu_v)$, shift the variables: $\mu_u \mathrm E[F]$ is added on the right.

# %%
gradient = sp.Matrix([rho.diff(u), rho.diff(v)])
assert sp.simplify((Sigma * gradient + sp.Matrix([u, v]) * rho) / rho) == sp.zeros(2, 1)

for m in range(5):
    for n in range(5 if m < 4 else 4):
        right = p * m * moment(max(m - 1, 0), n) + c * n * moment(m, max(n - 1, 0))
        assert sp.expand(moment(m + 1, n) - right) == 0

# %% [markdown]
# ## 1.4 Tilting
#
# A Gaussian factor times a Gaussian measure is another Gaussian measure. With $D = \mathrm{diag}(a, a')$,
#
# $$ e^{-a u^2 - a' v^2} \rho_\Sigma = w\, \rho_{\tilde\Sigma}, \qquad
#    \tilde\Sigma = (\Sigma^{-1} + 2D)^{-1} = \Sigma\,(1 + 2D\Sigma)^{-1}, \qquad w = \det(1 + 2D\Sigma)^{-1/2} . $$
#
# Written out, with $\Delta$ as a variable of its own,
#
# $$ N = 1 + 2ap + 2a'q + 4aa'\Delta, \qquad
#    \tilde p = \frac{p + 2a'\Delta}{N}, \quad \tilde q = \frac{q + 2a\Delta}{N}, \quad \tilde c = \frac{c}{N}, \quad
#    \tilde\Delta = \frac{\Delta}{N}, \quad w = \frac{1}{\sqrt N} . $$
#
# For $a, a' \ge 0$ every term is positive: nothing cancels, provided that $\Delta$ is *given*. A linear exponent
# $e^{bu + b'v}$ moves the mean to $\tilde\Sigma (b, b')^{\mathsf T}$ with one more factor
# $e^{\frac12 (b, b') \tilde\Sigma (b, b')^{\mathsf T}}$; imaginary slopes give trigonometric activations.

# %%
a, a_, b, b_ = sp.symbols("a a_prime b b_prime", positive=True)
Delta = sp.Symbol("Delta", positive=True)
D = sp.diag(a, a_)

N = 1 + 2 * a * p + 2 * a_ * q + 4 * a * a_ * Delta
Sigma_tilted = sp.Matrix([[p + 2 * a_ * Delta, c], [c, q + 2 * a * Delta]]) / N
with_determinant = {Delta: determinant}

assert sp.expand((sp.eye(2) + 2 * D * Sigma).det() - N.subs(with_determinant)) == 0
assert sp.simplify(Sigma_tilted.subs(with_determinant) - (Sigma.inv() + 2 * D).inv()) == sp.zeros(2)
assert sp.simplify((Sigma_tilted.det() - Delta / N).subs(with_determinant)) == 0

mean = Sigma_tilted.subs(with_determinant) * sp.Matrix([b, b_])
shifted = sp.Matrix([u, v]) - mean
exponent_left = log_density - a * u**2 - a_ * v**2 + b * u + b_ * v
exponent_right = (-half * shifted.T * (Sigma.inv() + 2 * D) * shifted)[0] + half * (sp.Matrix([[b, b_]]) * mean)[0]
assert sp.simplify(exponent_left - exponent_right) == 0

# %% [markdown]
# ## 1.5 Why $\Delta$ is carried, not recomputed
#
# For the first layer of a network, $p = \sigma_b^2 + \sigma_w^2 |x|^2$, $q = \sigma_b^2 + \sigma_w^2 |y|^2$ and
# $c = \sigma_b^2 + \sigma_w^2\, x\!\cdot\!y$. For neighbouring inputs $pq$ and $c^2$ agree in almost all their digits,
# and the difference of the two rounded numbers is noise. The same $\Delta$ as a sum of positive terms,
#
# $$ \Delta = \sigma_w^2 \sigma_b^2\, |x - y|^2 + \sigma_w^4 \left( |x|^2 |x-y|^2 - (x\cdot(x-y))^2 \right), $$
#
# in which the bracket is the squared area $\sum_{i<j} (x_i e_j - x_j e_i)^2$ with $e = y - x$, keeps them all.

# %%
x1, x2, y1, y2 = sp.symbols("x1 x2 y1 y2", real=True)
sw, sb = sp.symbols("sigma_w sigma_b", positive=True)
pair = {p: sb**2 + sw**2 * (x1**2 + x2**2), q: sb**2 + sw**2 * (y1**2 + y2**2), c: sb**2 + sw**2 * (x1 * y1 + x2 * y2)}
area = x1 * (y2 - x2) - x2 * (y1 - x1)
positive_sum = sw**2 * sb**2 * ((x1 - y1) ** 2 + (x2 - y2) ** 2) + sw**4 * area**2
assert sp.expand(determinant.subs(pair) - positive_sum) == 0

losses = []
for exponent10 in (2, 4, 6, 8):
    e = 10.0**-exponent10
    point = {x1: 1.0, x2: 0.5, y1: 1.0 + e, y2: 0.5 - 2 * e, sw: 1.0, sb: 0.5}
    floats = [
        sp.lambdify(list(point), form, "math")(*point.values()) for form in (determinant.subs(pair), positive_sum)
    ]
    exact = positive_sum.subs({symbol: sp.Rational(value) for symbol, value in point.items()})
    losses.append([abs(float(sp.Rational(value) / exact - 1)) for value in floats])
    print(
        f"|x - y| ~ 1e-{exponent10}: relative error of pq - c^2: {losses[-1][0]:.1e}, of the sum: {losses[-1][1]:.1e}"
    )

# At separation 1e-8 the difference has not a digit left, and the sum has nearly all that its rounded y - x allows.
assert losses[-1][0] > 0.1 and max(error for _, error in losses) < 1e-14

# %% [markdown]
# ## 1.6 The three together: GELU by hand
#
# $\varphi(z) = z\,\Phi(z)$ with $\Phi$ the normal distribution function and $n = \Phi'$ its density has
#
# $$ \varphi' = \Phi + z\,n, \qquad \varphi'' = (2 - z^2)\, n . $$
#
# The second derivative is polynomial × Gaussian. Price's theorem, twice, asks for
# $\mathrm E[\varphi''(u)\varphi''(v)]$; tilting with $a = a' = \frac12$ leaves a polynomial; Stein's lemma (or any
# table of Gaussian moments) does the rest:
#
# $$ \frac{\partial^2 k}{\partial c^2} = \frac{1}{2\pi\sqrt N}
#    \left( 4 - 2\tilde p - 2\tilde q + \tilde p \tilde q + 2 \tilde c^2 \right), \qquad N = 1 + p + q + \Delta . $$
#
# Two constants of integration remain, and at $c = 0$ the variables are independent:
# $\partial_c k = \mathrm E[\varphi'(u)]\,\mathrm E[\varphi'(v)] = \frac14$, because $\varphi' - \frac12$ is odd, and
# $k = \mathrm E[\varphi(u)]\,\mathrm E[\varphi(v)]$ with
# $\mathrm E[u\Phi(u)] = p\,\mathrm E[n(u)] = p/\sqrt{2\pi(1+p)}$.
#
# `infgeo` integrates differently: it never integrates in $c$ unless a product of two error functions is left over, and
# uses Stein's lemma on the factors $z$ first. So the comparison is between two routes.

# %%
import infgeo
from infgeo import conventions as conv
from infgeo.symbolic.activations.activation import from_expression
from infgeo.symbolic.expectations.expectation import expectation

z = conv.z
gelu = z * (1 + sp.erf(z / sp.sqrt(2))) / 2
normal = sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)
assert sp.simplify(gelu.diff(z, 2) - (2 - z**2) * normal) == 0

N_gelu = N.subs({a: half, a_: half})
pt, qt, ct = (Sigma_tilted[i].subs({a: half, a_: half}) for i in (0, 3, 1))
second_derivative = (4 - 2 * pt - 2 * qt + pt * qt + 2 * ct**2) / (2 * sp.pi * sp.sqrt(N_gelu))

package = infgeo.MLP(gelu).dual.kernel
to_ours = {conv.p: p, conv.q: q, conv.c: c, conv.Delta: determinant}
k_package = package.xreplace(to_ours)
print("k(GELU) =", package)

assert sp.simplify(k_package.diff(c, 2) - second_derivative.subs(with_determinant)) == 0
assert sp.simplify(k_package.diff(c).subs(c, 0) - sp.Rational(1, 4)) == 0

density = sp.exp(-(z**2) / (2 * p)) / sp.sqrt(2 * sp.pi * p)
mean_gelu = sp.integrate(gelu * density, (z, -sp.oo, sp.oo))
assert sp.simplify(mean_gelu - p / sp.sqrt(2 * sp.pi * (1 + p))) == 0
assert sp.simplify((k_package.subs(c, 0) / (mean_gelu * mean_gelu.subs(p, q))) ** 2) == 1

# %% [markdown]
# ## 1.7 The engine of the package
#
# `infgeo.symbolic.expectations.expectation` writes each activation as a sum of terms $C z^m e^{-a z^2 + b z} F(z)$,
# with $F$ one of $1$, $\mathrm{erf}(\lambda z)$, $\mathrm{sign}$, $\delta$, a class that contains the derivatives of
# its members (but not $\delta'$), and applies to a product of two terms
#
# 1. tilting, which removes the exponentials;
# 2. Stein's lemma, which trades a power of $u$ for a lower power, or for a derivative of $F$, which is Gaussian: each
#    step lowers (number of factors $F \ne 1$) + (sum of powers), so that the recursion ends;
# 3. Price's theorem for what is left, $\mathrm E[F(u) G(v)]$ with two error functions: the right side
#    $\mathrm E[F' G']$ is again tilting, $\propto 1/\sqrt{P - Qc^2}$, and integrates to an arc (derivation 2).
#
# The result is compared with a quadrature that knows none of this: in independent standard normal variables,
# $u = \sqrt p\,\xi$ and $v = (c\,\xi + \sqrt\Delta\,\eta)/\sqrt p$, the trapezoidal rule with step $h$ on the plane.
# For entire integrands with Gaussian decay its error falls like $e^{-\mathrm{const}/h^2}$ (Poisson summation; see
# Trefethen & Weideman, *The exponentially convergent trapezoidal rule*, SIAM Review 56 (2014) 385), so that a coarse
# grid gives twenty digits.


# %%
@mp.workdps(30)
def quadrature(f, g, variances, reach=11):
    """E[f(u) g(v)] by the trapezoidal rule in two dimensions."""
    P, Q, C = (mp.mpf(value.p) / value.q for value in variances)
    root_p, root_d = mp.sqrt(P), mp.sqrt(P * Q - C**2)
    step = mp.mpf(1) / 4
    nodes = [k * step for k in range(-int(reach / step), int(reach / step) + 1)]
    weights = [step * mp.npdf(node) for node in nodes]
    f, g = sp.lambdify(z, f, "mpmath"), sp.lambdify(z, g, "mpmath")
    total = mp.mpf(0)
    for node, weight in zip(nodes, weights, strict=True):
        inner = mp.fdot(weights, [g((C * node + root_d * other) / root_p) for other in nodes])
        total += weight * f(root_p * node) * inner
    return total


def closed_form(f, g, variances):
    """E[f(u) g(v)] by the package's engine, as a number."""
    P, Q, C = variances
    exact = expectation(from_expression(f).terms, from_expression(g).terms)
    return exact.subs({conv.p: P, conv.q: Q, conv.c: C, conv.Delta: P * Q - C**2}).evalf(30)


@mp.workdps(30)
def agree(f, g, variances, digits=20):
    """Whether the engine and the quadrature agree to that many digits."""
    one, other = mp.mpf(closed_form(f, g, variances)), quadrature(f, g, variances)
    return abs(one - other) <= mp.mpf(10) ** -digits * abs(other)


R = sp.Rational
variances = (R(4, 5), R(3, 2), R(-2, 3))
assert agree(gelu, gelu, variances)
assert agree(gelu.diff(z), gelu.diff(z), variances)
assert agree((z**3 - 2 * z) * sp.exp(-(z**2) / 3), z * sp.exp(-(z**2) / 2 + z / 5), variances)
assert agree(z * sp.erf(z), (1 - z**2) * sp.exp(-(z**2) / 2), variances)
assert agree(sp.cos(2 * z) * sp.exp(-(z**2) / 4), z * sp.sin(z), variances)
# The comparison can tell a wrong formula: with the sign of the covariance turned it fails in the first digit.
turned = (*variances[:2], -variances[2])
assert abs(closed_form(gelu, gelu, turned) / quadrature(gelu, gelu, variances) - 1) > 0.1

# %% [markdown]
# Price's theorem also checks the engine against itself, symbolically: $\mathrm E[\varphi\varphi]$ and
# $\mathrm E[\varphi'\varphi']$ are computed separately, from the terms of $\varphi$ and of $\varphi'$. Only the arcs of
# the first rest on an integral over $c$.

# %%
for activation in (sp.erf(z / sp.sqrt(2)), gelu, z**2 * sp.exp(-(z**2) / 2), z * sp.erf(z), sp.sin(z) + z**3):
    dual = infgeo.MLP(activation).dual
    kernel, derivative_kernel = (part.xreplace(to_ours) for part in (dual.kernel, dual.derivative_kernel))
    assert sp.simplify(kernel.diff(c) - derivative_kernel) == 0

# %% [markdown]
# ## In the package
#
# The engine is `infgeo.symbolic.expectations`: `one_variance` has the moments of one variable, `expectation` those of
# two. `infgeo.MLP(phi).dual` holds $\mathrm E[\varphi\varphi]$ and $\mathrm E[\varphi'\varphi']$ as functions of $p,
# q, c, \Delta$. Outside the class it raises `NoClosedForm` ([What it can derive](../reference/classes.md)).
