# %% [markdown]
# # 7. The kernel of a GELU network
#
# $\varphi(z) = z\,\Phi(z) = \frac z2\left(1 + \mathrm{erf}\frac z{\sqrt2}\right)$ (D. Hendrycks & K. Gimpel, *Gaussian
# error linear units*, arXiv 1606.08415). Derivation 1 finds its kernel by two derivatives in the covariance and two
# integrals back. Here Stein's lemma does the work, only the kernel of erf (derivation 2) is integrated, and the results
# come out as sums of positive terms if $c > 0$: for centred Gaussian $(u, v)$ with variances $p, q$, covariance $c$,
#
# $$ k = \frac c4 + \frac c{2\pi} \arctan\frac c{\sqrt N} + \frac{pqN + c^2}{2\pi\,(1+p)(1+q)\sqrt N}, $$
#
# $$ \dot k = \mathrm E[\varphi'\varphi'] = \frac14 + \frac1{2\pi} \arctan\frac c{\sqrt N} + \frac{c}{2\pi\sqrt N}
#    \left( \frac1{1+p} + \frac1{1+q} + \frac1N \right), \qquad N = 1 + p + q + \Delta, \quad \Delta = pq - c^2 . $$
#
# The metric of one layer, its two limits (linear, ReLU) and its curvature follow. Unlike that of erf, the curvature is
# not of one sign.

# %%
import math
from itertools import pairwise, product

import mpmath as mp
import sympy as sp

p, q, v = sp.symbols("p q v", positive=True)
c, z = sp.symbols("c z", real=True)
R_ = sp.Rational
e = sp.erf(z / sp.sqrt(2))
phi = z * (1 + e) / 2
determinant = p * q - c**2
N = 1 + p + q + determinant

# %% [markdown]
# ## 7.1 What has to be integrated
#
# With $e(z) = \mathrm{erf}(z/\sqrt2)$, an odd function,
#
# $$ \varphi = \tfrac12 z + \tfrac12 z\,e, \qquad \varphi' = \tfrac12 + \tfrac12 \left(e + z\,e'\right), \qquad
#    e'' = -z\,e' . $$
#
# $z\,e$ is even and $e + z e'$ is odd. The joint law of $(u, v)$ does not change under $(u, v) \to (-u, -v)$, so that
# the products of an even function and an odd one have mean zero:
#
# $$ k = \tfrac14 c + \tfrac14 \mathrm E[u\,v\,e(u)\,e(v)], \qquad
#    \dot k = \tfrac14 + \tfrac14 \mathrm E\!\left[(e + u e')(u)\,(e + v e')(v)\right] . $$

# %%
assert sp.simplify(phi.diff(z) - R_(1, 2) - (e + z * e.diff(z)) / 2) == 0
assert sp.simplify(e.diff(z, 2) + z * e.diff(z)) == 0
assert [sp.simplify(f + f.subs(z, -z)) for f in (e, e + z * e.diff(z))] == [0, 0]

# %% [markdown]
# ## 7.2 Stein's lemma
#
# Let $a = \mathrm E[e(u)e(v)]$ and $D = \mathrm E[e'(u)e'(v)]$. Derivation 2 has
#
# $$ a = \frac2\pi \arctan\frac c{\sqrt N}, \qquad D = \frac{\partial a}{\partial c} = \frac2{\pi\sqrt N} . $$
#
# Two more unknowns are $X = \mathrm E[e''(u)\,e(v)]$ and $Y = \mathrm E[e(u)\,e''(v)]$. As $e'' = -z e'$, Stein's lemma
# for $\mathrm E[u\,e'(u)e(v)]$ and $\mathrm E[v\,e(u)e'(v)]$ returns them, and makes an equation of each:
#
# $$ -X = pX + cD, \qquad -Y = cD + qY . $$
#
# Stein's lemma in $u$, and then in $v$, takes the two factors out of $\mathrm E[uv\,ee]$:
#
# $$ \mathrm E[uv\,ee] = c\,a + p\,\mathrm E[v\,e'(u)e(v)] + c\,\mathrm E[v\,e(u)e'(v)]
#    = c\,a + p\,(cX + qD) + c\,(cD + qY) . $$
#
# In $\dot k$ one more expectation is needed, $T = \mathrm E[uv\,e'e']$. Stein's lemma makes a linear system of it,
# $U = \mathrm E[u^2 e'e']$ and $V = \mathrm E[v^2 e'e']$, with $T = Dc/N$. (Tilting, as in derivation 1, is shorter.)

# %%
a_, D_, X, Y, T, U, V = sp.symbols("a D X Y T U V")
((X_value, Y_value),) = sp.linsolve([X + p * X + c * D_, Y + c * D_ + q * Y], X, Y)
system = [T - (-p * T + c * (D_ - V)), U - (p * (D_ - U) - c * T), V - (q * (D_ - V) - c * T)]
T_value = next(iter(sp.linsolve(system, T, U, V)))[0]
expected = -c * D_ / (1 + p), -c * D_ / (1 + q), c * D_ / N
assert [sp.simplify(x - y) for x, y in zip((X_value, Y_value, T_value), expected, strict=True)] == [0, 0, 0]

solved = {X: X_value, Y: Y_value}
arc = {a_: 2 / sp.pi * sp.atan(c / sp.sqrt(N)), D_: 2 / (sp.pi * sp.sqrt(N))}
assert sp.simplify(arc[a_].diff(c) - arc[D_]) == 0
k_stein = c / 4 + (c * a_ + p * (c * X + q * D_) + c * (c * D_ + q * Y)).subs(solved).subs(arc) / 4
k_dot_stein = R_(1, 4) + (a_ - X - Y + T_value).subs(solved).subs(arc) / 4

angle, w = sp.atan(c / sp.sqrt(N)) / (2 * sp.pi), 2 * sp.pi * sp.sqrt(N)
k = c / 4 + c * angle + (p * q * N + c**2) / ((1 + p) * (1 + q) * w)
k_dot = R_(1, 4) + angle + c / w * (1 / (1 + p) + 1 / (1 + q) + 1 / N)
assert sp.simplify(k - k_stein) == 0 and sp.simplify(k_dot - k_dot_stein) == 0

# %% [markdown]
# The two were found apart from each other, and Price's theorem, $\partial k/\partial c = \dot k$, tests all signs and
# factors. What it cannot see is a function of $p$ and $q$ alone. At $c = 0$ the pair is independent, and
# $k = \mathrm E[\varphi(u)]\,\mathrm E[\varphi(v)]$ with $\mathrm E[\varphi(u)] = \frac p2\,\mathrm E[e'(u)]
# = p/\sqrt{2\pi(1+p)}$.

# %%
assert sp.simplify(k.diff(c) - k_dot) == 0
mean = sp.integrate(phi * sp.exp(-(z**2) / (2 * p)) / sp.sqrt(2 * sp.pi * p), (z, -sp.oo, sp.oo))
assert sp.simplify(mean - p / sp.sqrt(2 * sp.pi * (1 + p))) == 0
assert sp.simplify(k.subs(c, 0) ** 2 - (mean * mean.subs(p, q)) ** 2) == 0 and k.subs({c: 0, p: 1, q: 2}) > 0

# %% [markdown]
# ## 7.3 Quadrature
#
# The trapezoidal rule on the plane of two independent standard normal variables $\xi, \eta$, with $u = \sqrt p\,\xi$,
# $v = (c\,\xi + \sqrt\Delta\,\eta)/\sqrt p$, sees the activation only. For entire integrands with Gaussian decay its
# error is exponentially small in $1/h^2$ (derivation 1, section 1.7): more than 30 digits at $h = \frac14$.

# %%
DIGITS = 40
phi_mp, slope_mp = (sp.lambdify(z, f, "mpmath") for f in (phi, phi.diff(z)))


@mp.workdps(DIGITS)
def plane_quadrature(f, P, Q, C, reach=13):
    """E[f(u) f(v)] by the trapezoidal rule in two dimensions."""
    P, Q, C = (mp.mpf(value.p) / value.q for value in (P, Q, C))
    step, root_p, root_d = mp.mpf(1) / 4, mp.sqrt(P), mp.sqrt(P * Q - C**2)
    nodes = [j * step for j in range(-4 * reach, 4 * reach + 1)]
    weights = [step * mp.npdf(node) for node in nodes]
    rows = [mp.fdot(weights, [f((C * x + root_d * y) / root_p) for y in nodes]) for x in nodes]
    return mp.fdot(weights, [f(root_p * x) * row for x, row in zip(nodes, rows, strict=True)])


@mp.workdps(DIGITS)
def number(expression, values):
    """The expression at exact values, as an mpmath number of 40 digits."""
    return mp.mpf(sp.N(expression.subs(values), DIGITS))


@mp.workdps(DIGITS)
def deviation(value, reference):
    """The relative deviation of two numbers of 40 digits."""
    return abs(mp.mpf(value) / mp.mpf(reference) - 1)


for P, Q, C in ((R_(4, 5), R_(3, 2), R_(-2, 3)), (R_(1, 100), R_(2), R_(1, 10)), (R_(1), R_(1), R_(9, 10))):
    at = {p: P, q: Q, c: C}
    errors = [deviation(number(form, at), plane_quadrature(f, P, Q, C)) for form, f in ((k, phi_mp), (k_dot, slope_mp))]
    print(f"p, q, c = {P}, {Q}, {C}: relative deviations {[mp.nstr(x, 2) for x in errors]}")
    assert max(errors) < 1e-32

# %% [markdown]
# ## 7.4 The arc in floating point
#
# The angle whose tangent is $c/\sqrt N$ has the sine $c/\sqrt{(1+p)(1+q)}$, because $c^2 + N = (1+p)(1+q)$. For inputs
# that are long and nearly parallel this sine is near 1, where the arcsine turns a rounding error $\epsilon$ of its
# argument into one of order $\sqrt\epsilon$. The tangent has no such point, provided that $\Delta$ is given and not
# computed as the difference $pq - c^2$. In double precision at $p = q = c$, where $\Delta = 0$:

# %%
assert sp.expand(c**2 + N - (1 + p) * (1 + q)) == 0
with mp.workdps(DIGITS):
    for value in (3 * 10**4, 3 * 10**8, 3 * 10**16):
        exact = mp.atan(value / mp.sqrt(1 + 2 * value))
        by_tangent = abs(math.atan2(value, math.sqrt(1 + 2 * value)) - exact)
        by_sine = abs(math.asin(value / math.sqrt((1 + value) * (1 + value))) - exact)
        print(
            f"p = {value:.0e}: error of the arctangent {mp.nstr(by_tangent, 2)}, of the arcsine {mp.nstr(by_sine, 2)}"
        )
        assert by_tangent < 2.0**-52 and by_sine > 20 * by_tangent
    assert by_sine > 1e-9

# %% [markdown]
# ## 7.5 The moments and the metric
#
# At coincidence, $p = q = c = v$ and $N = 1 + 2v$,
#
# $$ m = \frac v4 + \frac v{2\pi} \arctan\frac v{\sqrt{1+2v}} + \frac{v^2}{\pi\,(1+v)\sqrt{1+2v}}, \qquad
#    m_0 = \frac14 + \frac1{2\pi} \arctan\frac v{\sqrt{1+2v}} + \frac{v\,(3+5v)}{2\pi\,(1+v)(1+2v)^{3/2}}, $$
#
# $$ m_0' = \frac{4 + 12v + 9v^2 - v^3}{2\pi\,(1+v)^2(1+2v)^{5/2}} . $$
#
# The metric of one layer is $g = A\,I + B\,xx^{\mathsf T}$ with $A = \sigma_w^2 m_0(q)$,
# $B = 2\sigma_w^4 m_0'(q)$ at $q = \sigma_b^2 + \sigma_w^2 s$, $s = |x|^2$ (derivation 4). The derivatives of the
# kernel itself give the same: $m_0 = k_c$, and $\frac12 m_0'$ is
# $\frac14 k_{cc} + \frac12 k_{pc} + \frac12 k_{qc} + k_{pq}$ at coincidence.

# %%
same = {p: v, q: v, c: v}
root = sp.sqrt(1 + 2 * v)
quarter_and_arc = R_(1, 4) + sp.atan(v / root) / (2 * sp.pi)
m = v * quarter_and_arc + v**2 / (sp.pi * (1 + v) * root)
m0 = quarter_and_arc + v * (3 + 5 * v) / (2 * sp.pi * (1 + v) * root**3)
m0_prime = (4 + 12 * v + 9 * v**2 - v**3) / (2 * sp.pi * (1 + v) ** 2 * root**5)
assert sp.simplify(k.subs(same) - m) == 0 and sp.simplify(k_dot.subs(same) - m0) == 0
assert sp.simplify(m0.diff(v) - m0_prime) == 0
bracket = k_dot.diff(c) / 4 + (k_dot.diff(p) + k_dot.diff(q)) / 2 + k.diff(p, q)
assert sp.simplify(bracket.subs(same) - m0_prime / 2) == 0

# %% [markdown]
# A check by numbers without $m_0'$: the eigenvalues of $g = \mathrm E[\varphi'(z)^2\,ww^{\mathsf T}]$ are $A$ across
# $x$ and $A + sB$ along it. The weight along $x$, given $z$, is Gaussian with mean $\sigma_w^2 |x| z/q$ and variance
# $\sigma_w^2 - \sigma_w^4 s/q = \sigma_w^2\sigma_b^2/q$; so that the second is an integral over $z$ alone,
# $\mathrm E[\varphi'(z)^2\,(\sigma_w^4 s z^2/q^2 + \sigma_w^2\sigma_b^2/q)]$.


# %%
@mp.workdps(DIGITS)
def line_quadrature(f, variance, reach=14):
    """E[f(z)] for z of that variance, by the trapezoidal rule."""
    variance = mp.mpf(variance.p) / variance.q
    step = 1 / (8 * mp.ceil(mp.sqrt(1 + variance)))
    nodes = [j * step for j in range(-int(reach / step), int(reach / step) + 1)]
    return mp.fsum(step * mp.npdf(x) * f(mp.sqrt(variance) * x) for x in nodes)


for weight2, bias2, s in ((R_(169, 100), R_(4, 25), R_(9, 4)), (R_(1), R_(0), R_(1, 100)), (R_(4), R_(1), R_(9))):
    at = {v: bias2 + weight2 * s}
    A, B = weight2 * m0, 2 * weight2**2 * m0_prime
    squares = weight2, weight2**2 * s * z**2 / at[v] ** 2 + weight2 * bias2 / at[v]  # E[w^2 | z] across and along x
    for eigenvalue, square in zip((A, A + s * B), squares, strict=True):
        by_quadrature = line_quadrature(sp.lambdify(z, phi.diff(z) ** 2 * square, "mpmath"), at[v])
        assert deviation(number(eigenvalue, at), by_quadrature) < 1e-32

# %% [markdown]
# ## 7.6 Two limits
#
# *Small variance.* $\varphi = \frac z2 + \frac{z^2}{\sqrt{2\pi}} + \dots$ is linear: $k = \frac c4 +
# \frac{pq + 2c^2}{2\pi} + \dots$, $A \to \sigma_w^2/4$, $B \to 2\sigma_w^4 m_0'(0) = 4\sigma_w^4/\pi$.
#
# *Large variance.* $\varphi(\lambda z)/\lambda \to \max(z, 0)$. So $k(\lambda^2 p, \lambda^2 q, \lambda^2 c)/\lambda^2$
# tends to the ReLU kernel $\frac c4 + \frac1{2\pi}\left(c \arctan\frac c{\sqrt\Delta} + \sqrt\Delta\right)$ of
# derivation 3, and $m_0 \to \frac12$, from above:
#
# $$ m_0 = \frac12 + \frac{1}{4\sqrt2\,\pi\sqrt v} + O(v^{-3/2}), \qquad
#    m_0' = -\frac{1}{8\sqrt2\,\pi\, v^{3/2}} \left(1 + O(1/v)\right) . $$

# %%
eps = sp.Symbol("epsilon", positive=True)
small = k.subs({p: eps * p, q: eps * q, c: eps * c}, simultaneous=True)
terms = [sp.simplify(small.diff(eps, order).subs(eps, 0) / sp.factorial(order)) for order in (0, 1, 2)]
assert terms[:2] == [0, c / 4] and sp.simplify(terms[2] - (p * q + 2 * c**2) / (2 * sp.pi)) == 0
assert m0.subs(v, 0) == R_(1, 4) and 2 * m0_prime.subs(v, 0) == 4 / sp.pi

root_delta = sp.Symbol("delta", positive=True)  # sqrt(Delta); q is expressed by it
large = k.subs({p: p / eps**2, q: q / eps**2, c: c / eps**2}, simultaneous=True) * eps**2
large = sp.simplify(large.subs(q, (root_delta**2 + c**2) / p))
relu = c / 4 + (c * sp.atan(c / root_delta) + root_delta) / (2 * sp.pi)
assert sp.simplify(large.subs(eps, 0) - relu) == 0 and sp.simplify(large.subs(eps, 1) - relu) != 0

approach = sp.series(m0.subs(v, 1 / eps**2), eps, 0, 3).removeO()
assert sp.simplify(approach - R_(1, 2) - eps / (4 * sp.sqrt(2) * sp.pi)) == 0
assert sp.limit(m0_prime.subs(v, 1 / eps**2) / eps**3, eps, 0) == -1 / (8 * sp.sqrt(2) * sp.pi)

# %% [markdown]
# Starting at $\frac14$ and ending at $\frac12$ from above, $m_0$ has a maximum, at the one positive root
# $v_* = 10.21\dots$ of $v^3 - 9v^2 - 12v - 4$. There $m_0' = 0$, hence $B = 0$, and all curvatures vanish.
#
# ## 7.7 Curvature
#
# For one layer and any activation (derivation 5, section 5.7), with $u = \sigma_w^2 s$, $f = \sigma_w^2 m_0(q)$,
# $h = f + 2uf'$ and $J = ff' + u\,(ff'' - f'^2)$,
#
# $$ K_{\mathrm{tan}} = -\frac{\sigma_w^2 u f'^2}{f^2 h} \le 0, \qquad
#    K_{\mathrm{rad}} = -\frac{2\sigma_w^2 u f' J}{(fh)^2}, \qquad
#    R = (d-1)\left(2K_{\mathrm{rad}} + (d-2)K_{\mathrm{tan}}\right) . $$
#
# *Near the origin*, without biases: $f \to \sigma_w^2/4$, $f' \to 2\sigma_w^2/\pi$, $J \to ff'$, and
# $R \to -\frac{256}{\pi^2}(d-1)(d+2)\,\sigma_w^2 s$.
#
# *Far away* $u \sim q$ and $f'/f \sim -\frac{1}{4\sqrt2\,\pi}\, q^{-3/2}$, so that $J \sim -\frac12 ff'$ has the other
# sign, and the two sectional curvatures become opposite to each other:
#
# $$ K_{\mathrm{rad}} \sim \frac{1}{16\pi^2 q^2}, \qquad K_{\mathrm{tan}} \sim -\frac{1}{16\pi^2 q^2}, \qquad
#    R \sim \frac{(d-1)(4-d)}{16\pi^2 q^2} . $$
#
# The metric becomes flat, like that of ReLU, but from the side of positive curvature for $d = 2$ and $3$.

# %%
d, sw, sb = sp.symbols("d sigma_w sigma_b", positive=True)
u = v - sb**2
f, f1, f2 = sw**2 * m0, sw**2 * m0_prime, sw**2 * m0_prime.diff(v)
h, J = f + 2 * u * f1, f * f1 + u * (f * f2 - f1**2)
K_tan, K_rad = -(sw**2) * u * f1**2 / (f**2 * h), -2 * sw**2 * u * f1 * J / (f * h) ** 2
R = (d - 1) * (2 * K_rad + (d - 2) * K_tan)

near = (d - 1) * (2 * (K_rad / u) + (d - 2) * (K_tan / u)).subs({sb: 0, v: 0})
assert sp.simplify(near + 256 * (d - 1) * (d + 2) / sp.pi**2) == 0

for K, sign in ((K_rad, 1), (K_tan, -1)):
    far = [(16 * sp.pi**2 * v**2 * K).subs({sw: 2, sb: 1, v: 10**n}).evalf(DIGITS) - sign for n in (12, 16, 20)]
    print("16 pi^2 q^2 K departs from", sign, "by", [x.n(3) for x in far])
    assert abs(far[-1]) < 1e-9 and all(99 < x / y < 101 for x, y in pairwise(far))  # like 1/sqrt(q)

# %% [markdown]
# In between, $R$ for $d = 2$, $\sigma_b = 0$ changes its sign at $v_*$ and at the two roots of $J$, $0.3089...$ and
# $33.69...$.

# %%
unbiased = {sw: 1, sb: 0, d: 2}
factors = [sp.lambdify(v, factor.subs(unbiased), "mpmath") for factor in (f1, J)]
with mp.workdps(DIGITS):
    grid = [mp.mpf(10) ** (mp.mpf(n) / 10) for n in range(-40, 81)]
    brackets = [(F, pair) for F in factors for pair in pairwise(grid) if F(pair[0]) * F(pair[1]) < 0]
    roots = sorted(mp.findroot(F, pair, solver="anderson") for F, pair in brackets)
    between = [mp.sqrt(x * y) for x, y in pairwise([grid[0], *roots, grid[-1]])]
    signs = [int(mp.sign(number(R.subs(unbiased), {v: R_(str(x))}))) for x in between]
print("q at the changes of sign:", [mp.nstr(x, 8) for x in roots], "  signs of R:", signs)
assert signs == [-1, 1, -1, 1] and [mp.nstr(x, 4) for x in roots] == ["0.3089", "10.21", "33.69"]
(maximum,) = (x for x in sp.Poly(v**3 - 9 * v**2 - 12 * v - 4, v).real_roots() if x.is_positive)
assert min(deviation(x, number(maximum, {})) for x in roots) < 1e-32

# %% [markdown]
# ## 7.8 The package
#
# Given the expression of $\varphi$, `infgeo.MLP("gelu")` derives the same kernel, moments, $A$ and $B$. Its numbers for
# $R$, in the backends `mpmath` and `numpy`, are those of 7.7; so are those of the slow twin, `infgeo.Metric`, which
# forms Christoffel symbols from the matrix of the metric.

# %%
import infgeo
from infgeo import conventions as conv

gelu = infgeo.MLP("gelu")
ours = {conv.p: p, conv.q: q, conv.c: c, conv.Delta: determinant, conv.variance: v}
dual = gelu.dual
print(dual.kernel)
pairs = ((dual.kernel, k), (dual.derivative_kernel, k_dot), (dual.m, m), (dual.m0, m0))
assert [sp.simplify(package.subs(ours) - here) for package, here in pairs] == [0, 0, 0, 0]
variance = conv.sigma_b**2 + conv.sigma_w**2 * conv.s
A, B = conv.sigma_w**2 * m0.subs(v, variance), 2 * conv.sigma_w**4 * m0_prime.subs(v, variance)
assert sp.simplify(gelu.metric.A - A) == 0 and sp.simplify(gelu.metric.B - B) == 0

# %%
weight, bias = R_(13, 10), R_(2, 5)


def closed_form(point):
    """R of 7.7 at a point."""
    s = sum(x**2 for x in point)
    return number(R, {v: bias**2 + weight**2 * s, sw: weight, sb: bias, d: len(point)})


for backend, to_number, tolerance in (("mpmath", lambda x: mp.mpf(x.p) / x.q, 1e-30), ("numpy", float, 1e-12)):
    geometry = gelu.numeric(weight_std=weight, bias_std=bias, backend=backend)
    for length, dimension in product(("1/1000", "1/2", "2", "9", "1000"), (2, 3, 7)):
        point = [R_(length) * R_(3, 5), R_(length) * R_(-4, 5), *([R_(0)] * (dimension - 2))]
        with mp.workdps(DIGITS):
            value = mp.mpf(geometry.ricci_scalar([to_number(x) for x in point]))
        assert deviation(value, closed_form(point)) < tolerance, (backend, length, dimension)

x = sp.symbols("x_1:4", real=True)
matrix = gelu.metric.matrix(3).subs({conv.sigma_w: weight, conv.sigma_b: bias})
for point in ((R_(1, 2), R_(-2, 3), R_(3, 4)), (R_(2), R_(1), R_(-3))):
    tensor = infgeo.Metric(matrix, x, simplify=False).at(dict(zip(x, point, strict=True))).ricci_scalar
    print(f"R at {point} = {mp.nstr(closed_form(point), 25)}")
    assert deviation(tensor, closed_form(point)) < 1e-32

# %% [markdown]
# ## In the package
#
# Everything here is `infgeo.MLP("gelu")`: `.kernel`, `.ntk`, `.metric`. Nothing about GELU is typed in: the catalogue
# has its expression only ([Activations](../reference/activations.md)).
