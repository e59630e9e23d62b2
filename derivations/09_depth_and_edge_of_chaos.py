# %% [markdown]
# # 9. Depth: fixed points, the edge of chaos, and what becomes of the metric
#
# In a deep network of equal layers, variances and metric are iterated. This derivation finds where they go, following
# B. Poole, S. Lahiri, M. Raghu, J. Sohl-Dickstein & S. Ganguli, *Exponential expressivity in deep neural networks
# through transient chaos*, NeurIPS 2016, and S. Schoenholz, J. Gilmer, S. Ganguli & J. Sohl-Dickstein, *Deep
# information propagation*, ICLR 2017, with the metric in place of the correlation of two inputs. At a fixed point $v^*$
# of the variance the metric is multiplied by
#
# $$ \chi_1 = \sigma_w^2\,\mathrm E[\varphi'(z)^2], \qquad z \sim \mathcal N(0, v^*), $$
#
# in every layer: it vanishes exponentially with depth where $\chi_1 < 1$ (order), grows where $\chi_1 > 1$ (chaos), and
# on the edge $\chi_1 = 1$ it is constant (ReLU) or falls like a power (erf).

# %%
import mpmath as mp
import sympy as sp

import infgeo
from infgeo import analysis
from infgeo import conventions as conv

v = conv.variance
s, sw, sb = conv.s, conv.sigma_w, conv.sigma_b

# %% [markdown]
# ## 9.1 Three iterations
#
# With $m(v) = \mathrm E[\varphi^2]$, $m_0(v) = \mathrm E[\varphi'^2]$ (derivation 4), per layer
#
# $$ v \leftarrow \sigma_b^2 + \sigma_w^2 m(v), \qquad A \leftarrow \sigma_w^2 m_0(v)\,A, \qquad
#    v' \leftarrow \sigma_w^2 m'(v)\,v', \qquad B \leftarrow \sigma_w^2 (m_0 B + 2 m_0' v'^2) . $$
#
# At a fixed point $v^*$ deviations of $v$ are multiplied by the slope $\sigma_w^2m'(v^*)$ and $A$ by
# $\chi_1 = \sigma_w^2 m_0(v^*)$. These are two numbers: $m' = \mathrm E[\varphi'^2 + \varphi\varphi'']$. And $\chi_1$
# is the slope of the correlation map at coincidence, by Price's theorem: $\partial k/\partial c = \dot k \to m_0$.

# %%
for name in ("erf", "gelu", "sin", "relu"):
    law = infgeo.MLP(name).dual
    gap = sp.simplify(law.m_prime - law.m0)
    print(f"{name}: m' - m0 = {gap}")
    assert (gap == 0) == (name == "relu")
    k = law.kernel.subs(conv.Delta, conv.p * conv.q - conv.c**2)
    with mp.workdps(40):
        # From inside: c = v (1 - epsilon).
        slope = sp.lambdify(conv.c, k.diff(conv.c).subs({conv.p: 2, conv.q: 2}), "mpmath")
        at_coincidence = mp.mpf(sp.N(law.m0.subs(v, 2), 40))
        assert abs(slope(2 * (1 - mp.mpf(10) ** -30)) - at_coincidence) < mp.mpf(10) ** -14

# %% [markdown]
# ## 9.2 ReLU
#
# $m = v/2$ and $m_0 = 1/2$: one fixed point $v^* = \sigma_b^2/(1-\sigma_w^2/2)$ for $\sigma_w^2 < 2$, slope and
# $\chi_1$ both $\sigma_w^2/2$ everywhere. The edge of chaos is the one point $\sigma_w^2 = 2$, $\sigma_b = 0$ (the
# initialisation of He et al. 2015), at which every $v$ is fixed. $A = (\sigma_w^2/2)^L$ exactly, $B = 0$: depth scales
# the flat metric.

# %%
(point,) = analysis.fixed_points(infgeo.MLP("relu"))
print("v* =", point.variance, "  chi =", point.chi, "  where", point.condition)
assert sp.simplify(point.variance - sb**2 / (1 - sw**2 / 2)) == 0
assert point.slope == point.chi == sw**2 / 2
curve = analysis.edge_of_chaos("relu")
assert (curve.weight_variance, curve.bias_variance) == (2, 0)
deep = infgeo.MLP("relu", depth=4).metric
assert sp.simplify(deep.A - (sw**2 / 2) ** 4) == 0 and deep.B == 0

# %% [markdown]
# ## 9.3 erf
#
# $m = \frac2\pi\arcsin\frac v{1+v}$ and $m_0 = \frac2\pi(1+2v)^{-1/2}$. The two equations $\chi_1 = 1$ and
# $v = \sigma_b^2+\sigma_w^2m(v)$ are linear in the variances of weights and biases, so that the edge is a curve with
# $v$ as its parameter:
#
# $$ \sigma_w^2 = \frac1{m_0} = \frac\pi2\sqrt{1+2v}, \qquad
#    \sigma_b^2 = v - \frac m{m_0} = v - \sqrt{1+2v}\,\arcsin\frac v{1+v} . $$
#
# It begins at $v = 0$ with $\sigma_w^2 = \pi/2$, $\sigma_b = 0$, where $\sigma_b^2 = \frac{v^3}{3}+\dots$, and
# $\sigma_b^2$ is positive at the values of $v$ below.

# %%
curve = analysis.edge_of_chaos("erf")
by_hand = v - sp.sqrt(1 + 2 * v) * sp.asin(v / (1 + v))
assert sp.simplify(curve.weight_variance - sp.pi / 2 * sp.sqrt(1 + 2 * v)) == 0
t = sp.Symbol("t", positive=True)
beginning = sp.series(by_hand.subs(v, t), t, 0, 4).removeO()
print("sigma_b^2 =", beginning, "+ ...")
assert sp.simplify(beginning - t**3 * beginning.coeff(t, 3)) == 0 and beginning.coeff(t, 3) > 0
for value in (sp.Rational(1, 10), 1, 10, 1000):
    assert abs(sp.N((curve.bias_variance - by_hand).subs(v, value), 40)) < sp.Float("1e-30", 40)
    assert curve.bias_variance.subs(v, value) > 0

# %% [markdown]
# ## 9.4 Two phases
#
# On either side of the curve the metric across $x$ falls or grows like $\chi_1^L$. The code iterates the recursion of
# 9.1 for 60 layers at 30 digits and compares the last factor with $\chi_1$ of the fixed point that the package finds;
# the number of layers per factor $e$ is $1/|\log\chi_1|$.

# %%
for weight, phase in ((1, "ordered"), (4, "chaotic")):
    mlp = infgeo.MLP("erf", weight_std=weight, bias_std=1)
    (point,) = analysis.fixed_points(mlp)
    with mp.workdps(30):
        m, m0 = (sp.lambdify(v, part, "mpmath") for part in (mlp.dual.m, mlp.dual.m0))
        variance, factors = mp.mpf("0.3"), []
        for _ in range(60):
            factors.append(weight**2 * m0(variance))
            variance = 1 + weight**2 * m(variance)
    print(
        f"sigma_w = {weight}: v* = {sp.N(point.variance, 10)}, chi = {sp.N(point.chi, 10)}, {point.phase}, "
        f"{sp.N(point.depth_scale, 5)} layers per factor e"
    )
    assert point.phase == phase and point.attracts
    assert abs(factors[-1] - mp.mpf(point.chi)) < mp.mpf("1e-12")
    assert abs(variance - mp.mpf(point.variance)) < mp.mpf("1e-12")

# %% [markdown]
# The shear $B/A$ obeys $\frac BA \leftarrow \frac BA + 2\psi\,\frac{v'^2}{A}$ with $\psi = m_0'/m_0$, and $v'^2/A$ is
# multiplied by $(\text{slope})^2/\chi_1$ per layer. Where that is below 1, $B/A$ converges: far down, layers change the
# scale of the geometry and no longer its form, and $R$ grows like $1/A$.

# %%
(point,) = analysis.fixed_points(infgeo.MLP("erf", weight_std=1, bias_std=1))
assert point.slope**2 / point.chi < 1
at = {s: sp.Rational(1, 2), conv.d: sp.Integer(3)}
shears, products = [], []
for depth in (12, 13, 14):
    program = infgeo.MLP("erf", depth=depth, weight_std=1, bias_std=1).metric_program
    A, B, R = (program.evaluate(name, at, 30) for name in ("A", "B", "R"))
    shears.append(B / A)
    products.append(R * A)
print("B/A:", [sp.N(value, 12) for value in shears], "  R A:", [sp.N(value, 12) for value in products])
assert abs(shears[2] - shears[1]) < abs(shears[1] - shears[0]) < sp.Float("1e-6") * abs(shears[0])
assert abs(products[2] - products[1]) < abs(products[1] - products[0]) < sp.Float("1e-5") * abs(products[0])

# %% [markdown]
# ## 9.5 On the edge
#
# At the beginning of erf's curve, $\sigma_w^2 = \pi/2$ and $\sigma_b = 0$, the variance falls to 0 by
# $v \leftarrow \arcsin\frac v{1+v} = v - v^2 + O(v^3)$, which is $v_\ell \sim 1/\ell$, and
# $A \leftarrow A\,(1+2v)^{-1/2} = A\,(1 - v + \dots)$ makes $A_\ell \sim C/\ell$: algebraic, between the exponentials
# on both sides.

# %%
edge = sp.series(sp.asin(t / (1 + t)), t, 0, 3).removeO()
assert sp.expand(edge - (t - t**2)) == 0
variance, A, scaled = mp.mpf(1), mp.mpf(1), {}
for layer in range(1, 20001):
    A /= mp.sqrt(1 + 2 * variance)
    variance = mp.asin(variance / (1 + variance))
    if layer in (10000, 20000):
        scaled[layer] = (layer * variance, layer * A)
        print(f"layer {layer}: l v = {mp.nstr(layer * variance, 8)}, l A = {mp.nstr(layer * A, 8)}")
assert all(abs(scaled[layer][0] - 1) < mp.mpf("2e-3") for layer in scaled)
assert abs(scaled[20000][1] / scaled[10000][1] - 1) < mp.mpf("2e-3")

# %% [markdown]
# ## In the package
#
# `infgeo.analysis.fixed_points`, `edge_of_chaos`, `correlations` and `great_circles` have these iterations for any
# activation ([What the formulas mean](../guide/analysis.md)).
