# %% [markdown]
# # 12. Finite width: fluctuations of the metric, its determinant, and biases of order 1/n
#
# One hidden layer of $n$ independent units, $z = w\cdot x + b$. In an orthonormal frame with $e_1 = x/|x|$ let
# $a = \varphi'(z)^2$, $c = \varphi'(z)\varphi''(z)$; the metric and $T = \tfrac12\partial g$ (derivation 6) are means
# over units,
#
# $$ g = \frac1n\sum_j a_j\, w_j w_j^{\mathsf T}, \qquad T = \frac1n\sum_j c_j\, w_j w_j w_j . $$
#
# $z$ depends on $w_1$ alone; the transverse weights $w_\perp \sim N(0, \sigma_w^2 I_{d-1})$ are independent of
# $(a, c, w_1)$. So all that follows is made of one-dimensional moments $\mathrm E[a^2 w_1^k]$,
# $\mathrm E[ac\,w_1^k]$, and these are derivatives of $F(v) = \mathrm E[\varphi'(z)^4]$,
# $v = \sigma_b^2 + \sigma_w^2 s$. Signs as in derivation 5: $R > 0$ on spheres.

# %%
from itertools import product

import sympy as sp

import infgeo
from infgeo import conventions as conv
from infgeo.symbolic.analysis import unit_moments

s, d, v = conv.s, conv.d, conv.variance
sw, sb = conv.sigma_w, conv.sigma_b
u = sp.Symbol("u", positive=True)  # sigma_w^2 s

# %% [markdown]
# ## 12.1 Moments of a unit
#
# Stein's lemma in the direction of $x$: $\mathrm{Cov}(w_1, z) = \sigma_w^2|x|$, and $\mathrm E[G''] = 2\,\mathrm
# E[G]_{,v}$, so that
#
# $$ \mathrm E[G w_1^2] = \sigma_w^2 (F + 2uF'), \qquad \mathrm E[G w_1^4] = \sigma_w^4 (3F + 12uF' + 4u^2F''), \qquad
#    \mathrm E[G' w_1^{k}] = \partial_{|x|}\mathrm E[G w_1^{k-1}] . $$
#
# With $G = \varphi'^4$, $G' = 4\varphi'^3\varphi''$. For $G = z^m$ both sides are polynomials: the check.

# %%
x1, y1 = sp.symbols("x1 y1", positive=True)  # |x|, and the bias in units of sigma_b


def mean(expr, *gaussians):
    """E of a polynomial in independent Gaussian variables, given as (symbol, variance)."""
    expr = sp.expand(expr)
    for symbol, variance in gaussians:
        poly = sp.Poly(expr, symbol)
        expr = sum(
            coefficient * (sp.factorial2(power - 1) * variance ** sp.Rational(power, 2) if power % 2 == 0 else 0)
            for (power,), coefficient in poly.terms()
        )
    return sp.expand(expr)


w1, bias = sp.symbols("w1 bias")
laws = ((w1, sw**2), (bias, sb**2))
z = w1 * x1 + bias
for m in (2, 4, 6):
    F = sp.factorial2(m - 1) * v ** sp.Rational(m, 2)
    at = {v: sb**2 + sw**2 * x1**2}
    uu = sw**2 * x1**2
    second = sw**2 * (F + 2 * uu * F.diff(v))
    fourth = sw**4 * (3 * F + 12 * uu * F.diff(v) + 4 * uu**2 * F.diff(v, 2))
    assert sp.expand(mean(z**m * w1**2, *laws) - second.subs(at)) == 0
    assert sp.expand(mean(z**m * w1**4, *laws) - fourth.subs(at)) == 0
    for k in (1, 3, 5):
        lower = mean(z**m * w1 ** (k - 1), *laws)
        assert sp.expand(mean(m * z ** (m - 1) * w1**k, *laws) - lower.diff(x1)) == 0

# %% [markdown]
# ## 12.2 Covariance of the metric
#
# $$ n\,\mathrm{Cov}(g_{\mu\nu}, g_{\rho\sigma})
#    = \mathrm E[a^2 w_\mu w_\nu w_\rho w_\sigma] - \mathrm E g_{\mu\nu}\,\mathrm E g_{\rho\sigma} , $$
#
# and Isserlis' theorem for $w_\perp$ leaves, with $h = \mathrm E[a w_1^2]$ and $f = \sigma_w^2\mathrm E[a]$,
#
# $$ \mathrm{Var}\,g_{11}: \mathrm E[a^2w_1^4] - h^2,\quad \mathrm{Var}\,g_{tt}: 3\sigma_w^4\mathrm E[a^2] - f^2,\quad
#    \mathrm{Var}\,g_{1t}: \sigma_w^2\mathrm E[a^2w_1^2],\quad
#    \mathrm{Var}\,g_{ts}: \sigma_w^4\mathrm E[a^2],\ \ldots $$
#
# It is exact at every $n$. For the erf network $F = \frac{4}{\pi^2}(1+4v)^{-1/2}$; write $q = 1 + 2v$, $Q = 1 + 4v$,
# $b = 1 + 2\sigma_b^2$, $\beta = 1 + 4\sigma_b^2$.

# %%
erf = infgeo.finite_width(infgeo.MLP("erf"))
V = sb**2 + sw**2 * s
q, Q, b, beta = 1 + 2 * V, 1 + 4 * V, 1 + 2 * sb**2, 1 + 4 * sb**2
quarter = 4 / sp.pi**2
expected = {
    "radial": sw**4 * (3 * quarter * beta**2 * Q ** sp.Rational(-5, 2) - quarter * b**2 / q**3),
    "tangential": sw**4 * quarter * (3 / sp.sqrt(Q) - 1 / q),
    "radial, tangential": sw**4 * quarter * (beta * Q ** sp.Rational(-3, 2) - b / q**2),
    "tangential, tangential": sw**4 * quarter * (1 / sp.sqrt(Q) - 1 / q),
    "mixed": sw**4 * quarter * beta * Q ** sp.Rational(-3, 2),
    "off-diagonal": sw**4 * quarter / sp.sqrt(Q),
}
for name, value in expected.items():
    assert sp.simplify(erf.metric_covariance[name] - value) == 0

# %% [markdown]
# For a linear network $g$ is a Wishart matrix: variances $2$ on the diagonal and $1$ beside it, in units of
# $\sigma_w^4$, and no covariance between them.

# %%
linear = infgeo.finite_width(infgeo.MLP("identity")).metric_covariance
assert [sp.simplify(linear[name] / sw**4) for name in expected] == [2, 2, 0, 0, 1, 1]

# %% [markdown]
# ## 12.3 The determinant at every width
#
# By Cauchy–Binet $n^d\det g = \sum_S |v_S|^2$ over sets $S$ of $d$ units, $v = \varphi' w$, where $|v_S|^2$ is the
# squared volume. In the square, two sets share $k$ units; the others average to $(d-k)!\det g_\infty$ times the
# volume of what is shared, whitened. With $D_k = \mathrm E[\mathrm{vol}^4]$ of $k$ whitened units,
#
# $$ \frac{\mathrm E[(\det g)^2]}{(\det g_\infty)^2} = \frac1{n^{2d}}\sum_{k=0}^d \frac{n!}{k!\,(n-2d+k)!}\,D_k . $$
#
# $\mathrm{vol}^2 = \prod a\,\big(\kappa^k\det W + \kappa^{k-1} p^{\mathsf T}\mathrm{adj}(W)\,p\big)$,
# $p = w_1/\sqrt h$, $\kappa = \sigma_w^2/f$, $W$ a $k\times k$ Wishart matrix of $d-1$ degrees of freedom. Rotated so
# that $p$ is along the first axis, $\det W = \chi^2_{d-k}\det W'$ and the adjugate gives $|p|^2\det W'$ with the same
# $W'$. For the linear network $D_k$ is known otherwise: a Wishart determinant.

# %%
identity = infgeo.finite_width(infgeo.MLP("identity"))
for n, dim in ((2, 1), (2, 2), (3, 2), (5, 3)):
    first, second = identity.determinant_moments(n, dim)
    chi = [(n - i, (n - i) * (n - i + 2)) for i in range(dim)]  # first and second moments of chi^2
    assert sp.simplify(first - sp.prod(one for one, _ in chi) / sp.Integer(n) ** dim) == 0
    assert sp.simplify(second - sp.prod(two for _, two in chi) / sp.Integer(n) ** (2 * dim)) == 0

# %% [markdown]
# ## 12.4 Bias of the volume element
#
# For $g = g_\infty^{1/2}(1 + \delta)g_\infty^{1/2}$,
# $\log\sqrt{\det g} = \tfrac12\mathrm{tr}\,\delta - \tfrac14\mathrm{tr}\,\delta^2 + \ldots$, and $\delta$ is a mean
# of $n$ independent $vv^{\mathsf T} - 1$ ($v$ whitened):
#
# $$ n\,\mathrm{bias}(\log\sqrt{\det g}) = -\tfrac14\left(\mathrm E|v|^4 - d\right), \qquad
#    n\,\mathrm{Var} = \tfrac14\left(\mathrm E|v|^4 - d^2\right) . $$
#
# For erf, with $t = q\beta/(bQ)$, $\mathrm E|v|^4 = \frac{q}{\sqrt Q}\left(3t^2 + 2(d-1)t + d^2 - 1\right)$.

# %%
t = q * beta / (b * Q)
fourth = q / sp.sqrt(Q) * (3 * t**2 + 2 * (d - 1) * t + d**2 - 1)
assert sp.simplify(erf.log_volume_bias + (fourth - d) / 4) == 0
assert sp.simplify(erf.log_volume_variance - (fourth - d**2) / 4) == 0
assert sp.simplify(erf.volume_bias - (d - d**2 / 2 - fourth / 2) / 4) == 0

# %% [markdown]
# and for the linear network $\mathrm E|v|^4 = d(d+2)$: the bias $-d(d+1)/4n$ of half the log determinant of a Wishart
# matrix, a sum of $\mathrm E\log\chi^2_{n-i} = \log(n-i) - 1/(n-i) + \ldots$

# %%
n = sp.Symbol("n", positive=True)
for dim in (1, 2, 3, 4):
    wishart = sum(sp.log(1 - sp.Rational(i) / n) - 1 / (n - i) for i in range(dim)) / 2
    assert sp.limit(n * wishart, n, sp.oo) == identity.log_volume_bias.subs(d, dim) == -sp.Rational(dim * (dim + 1), 4)

# %% [markdown]
# ## 12.5 Bias of the Ricci scalar
#
# $R = \|T\|^2 - \|\mathrm{tr}\,T\|^2$ in the metric $1 + P$, with $P$ and $Q$ the fluctuations of $g$ and $T$,
# whitened. The terms of second order, with $g^{-1} = 1 - P + P^2$:
#
# $$ N_2 = |Q|^2 - 6 P_{ad}T_{abc}Q_{dbc} + 3 (P^2)_{ad}T_{abc}T_{dbc} + 3 P_{ad}P_{be}T_{abc}T_{dec} $$
#
# for the first norm, and for the second $M_2 = |t_1|^2 + 2t_0\cdot t_2 - 2t_0Pt_1 + t_0P^2t_0$ with
# $t_0 = \mathrm{tr}\,T$, $t_1 = \mathrm{tr}\,Q - PT$, $t_2 = -PQ + P^2T$. The bias is $\mathrm E[N_2 - M_2]$ over one
# unit, $P = a\,yy^{\mathsf T}$ and $Q = c\,yyy$ less their means. Here is the expansion, from the definition, in two
# dimensions with general symmetric $T$, $P$, $Q$.

# %%
e = sp.Symbol("e")
T3 = {key: sp.Symbol(f"T{key}") for key in range(4)}  # by the number of indices that are 1
Q3 = {key: sp.Symbol(f"Q{key}") for key in range(4)}
P2 = sp.Matrix(2, 2, lambda i, j: sp.Symbol(f"P{min(i, j)}{max(i, j)}"))
pair = range(2)


def entry(tensor, *index):
    return tensor[sum(index)]


def curvature(inverse, tensor):
    norm = sum(
        inverse[a, x] * inverse[bb, y] * inverse[cc, w] * tensor(a, bb, cc) * tensor(x, y, w)
        for a, bb, cc, x, y, w in product(pair, repeat=6)
    )
    trace = [sum(inverse[a, bb] * tensor(a, bb, cc) for a, bb in product(pair, repeat=2)) for cc in pair]
    return norm - sum(inverse[cc, w] * trace[cc] * trace[w] for cc, w in product(pair, repeat=2))


inverse = sp.eye(2) - e * P2 + e**2 * P2 * P2
whole = curvature(inverse, lambda *index: entry(T3, *index) + e * entry(Q3, *index))
second_order = sp.expand(whole).coeff(e, 2)

# %% [markdown]
# With $P = a\,yy^{\mathsf T}$ and $Q = c\,yyy$ ($L = |y|^2$, $\tau = T(y,y,y)$) it becomes the expression of the
# package,
#
# $$ -4acL\tau + 3a^2L|T(y)|^2 + 2a^2|T(y,y)|^2 + 4acL^2\,t_0\cdot y
#    {} - 2a^2L\,T(y,y)\cdot t_0 - 2a^2(t_0\cdot y)\tau - a^2L(t_0\cdot y)^2 : $$
#
# the terms in $c^2$ cancel.

# %%
a, c, y0, y2 = sp.symbols("a c y0 y2")
y = (y0, y2)
unit = {P2[i, j]: a * y[i] * y[j] for i, j in product(pair, repeat=2)} | {
    Q3[k]: c * y0 ** (3 - k) * y2**k for k in range(4)
}
L = y0**2 + y2**2
Ty = sp.Matrix(2, 2, lambda i, j: sum(entry(T3, i, j, k) * y[k] for k in pair))
Tyy = [sum(Ty[i, j] * y[j] for j in pair) for i in pair]
tau = sum(Tyy[i] * y[i] for i in pair)
t0 = [sum(entry(T3, i, i, k) for i in pair) for k in pair]
ty = sum(t0[k] * y[k] for k in pair)
claimed = (
    -4 * a * c * L * tau
    + 3 * a**2 * L * sum(Ty[i, j] ** 2 for i, j in product(pair, repeat=2))
    + 2 * a**2 * sum(part**2 for part in Tyy)
    + 4 * a * c * L**2 * ty
    - 2 * a**2 * L * sum(Tyy[k] * t0[k] for k in pair)
    - 2 * a**2 * ty * tau
    - a**2 * L * ty**2
)
assert sp.expand(second_order.subs(unit) - claimed) == 0

# %% [markdown]
# The mean of the centred form is that of $(a\,yy^{\mathsf T}, c\,yyy)$ less the form at the means, $P = 1$ and
# $Q = T$, which is $R$ itself.

# %%
means = {P2[0, 0]: 1, P2[0, 1]: 0, P2[1, 1]: 1} | {Q3[k]: T3[k] for k in range(4)}
assert sp.expand(second_order.subs(means) - curvature(sp.eye(2), lambda *index: entry(T3, *index))) == 0

# %% [markdown]
# For erf $T_{111} = 3T_{1tt}$, $R = -(d-1)(d+2)\,T_{1tt}^2$ with $T_{1tt}^2 = \pi\sigma_w^2s/(2b\sqrt q)$, and the
# bias has a readable form,
#
# $$ n\,\mathrm{bias}(R) = \frac{\pi\sigma_w^2 s\,(d-1)}{2b\sqrt q}\Big\{
#    \frac{4q^2}{Q^{3/2}}\big[15t^2 + 6(d-1)t + d^2 - 1\big]
#    - \frac{q}{\sqrt Q}\big[3(d+14)t^2 + (d^2+15d-18)t + 2(d-2)(d+1)\big] + d + 2 \Big\} . $$

# %%
size = sp.pi * sw**2 * s / (2 * b * sp.sqrt(q))
closed = (
    size
    * (d - 1)
    * (
        4 * q**2 * Q ** sp.Rational(-3, 2) * (15 * t**2 + 6 * (d - 1) * t + d**2 - 1)
        - q / sp.sqrt(Q) * (3 * (d + 14) * t**2 + (d**2 + 15 * d - 18) * t + 2 * (d - 2) * (d + 1))
        + d
        + 2
    )
)
for dim, s_, sw_, sb_ in product((1, 2, 5), (sp.Rational(1, 3), 4), (1, sp.Rational(3, 2)), (0, 1)):
    at = {d: dim, s: s_, sw: sw_, sb: sb_}
    difference = sp.N((erf.ricci_bias - closed).subs(at), 40)
    assert abs(difference) < sp.Float("1e-30") * (1 + abs(sp.N(closed.subs(at), 40)))
assert sp.simplify(unit_moments.ricci(erf.moments, d) + (d - 1) * (d + 2) * size) == 0

# %% [markdown]
# ## Depth
#
# In deep networks each layer is a mean over $n$ units whose law is random. At a point it has the moments
# $S = (v, r, G)$ of chapter 14.9, of bias $\beta/n$ and covariance $\Xi/n$. The means of the layer,
# $F(S) = (m,\; m'r,\; m_0G + 2m_0'rr^{\mathsf T})$, have
#
# $$ \text{bias} = \tfrac1n\big(F'\beta + \tfrac12F'':\Xi\big), \qquad
#    \text{covariance} = \tfrac1n\big(F'\,\Xi\,F'^{\mathsf T} + V\big), $$
#
# with $V$ the covariance over one unit, and $\sigma_w^2$ times them are the moments of the next law. For a linear
# network of $L$ layers the metric is a product of $L$ Wishart matrices: no bias, and $\log\sqrt{\det g}$ has the bias
# $-Ld(d+1)/4$ and the variance $Ld/2$ over $n$. For ReLU with $\sigma_w^2 = 2$ and no biases the kernel is a product of
# independent factors, each of variance $5/n$:

# %%
deep = infgeo.finite_width(infgeo.MLP("identity", depth=3, weight_std=1, bias_std=0)).at([0.3, 0.4, 0.0, 0.0])
assert abs(deep.log_volume_bias + 3 * 4 * 5 / 4) < 1e-10 and abs(deep.log_volume_variance - 3 * 4 / 2) < 1e-10
relu = infgeo.finite_width(infgeo.MLP("relu", depth=3, weight_std=sp.sqrt(2), bias_std=0)).at([0.3, 0.4])
assert abs(relu.kernel_bias) < 1e-10 and abs(relu.kernel_variance - 3 * 5 * 0.25**2) < 1e-10

# %% [markdown]
# ## In the package
#
# `infgeo.finite_width(mlp)` has, for one layer, the covariance of the metric, the biases of volume element and Ricci
# scalar, and the exact mean of the determinant ([Monte Carlo](../guide/monte_carlo.md)); its method `at(x)` has bias
# and spread at points for any depth. `infgeo.validate` judges the trend in width by them
# ([Validate](../guide/validate.md)).
