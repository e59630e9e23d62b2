# %% [markdown]
# # 3. The kernel of a ReLU network
#
# For $\varphi(z) = \max(z, 0)$ and $(u, v)$ centred Gaussian with variances $p, q$ and covariance $c$,
#
# $$ k = \mathrm E[\varphi(u)\varphi(v)]
#    = \frac c4 + \frac1{2\pi}\left( c\,\arcsin\frac{c}{\sqrt{pq}} + \sqrt\Delta \right), \qquad \Delta = pq - c^2, $$
#
# which is half of the arc-cosine kernel of degree 1 of Y. Cho & L. K. Saul, *Kernel methods for deep learning*, NIPS 22
# (2009). Price's theorem (derivation 1) reduces it to the density of $(u, v)$ at the origin. The same route gives
# $\mathrm E[\varphi'\varphi']$, and shows which of the kernels of this activation induce a metric.

# %%
from itertools import pairwise

import mpmath as mp
import sympy as sp

p, q = sp.symbols("p q", positive=True)
c, theta, angle = sp.symbols("c theta alpha", real=True)
t, P, r = sp.symbols("t P r", positive=True)
determinant = p * q - c**2

# %% [markdown]
# ## 3.1 Two derivatives
#
# In the sense of distributions $\varphi' = H$, the unit step, and $\varphi'' = \delta$. Price's theorem, twice:
#
# $$ \frac{\partial^2 k}{\partial c^2} = \mathrm E[\delta(u)\,\delta(v)] = \rho(0, 0) = \frac{1}{2\pi\sqrt\Delta} . $$
#
# ## 3.2 Two integrals
#
# At $c = 0$ the variables are independent:
#
# $$ \frac{\partial k}{\partial c}\Big|_0 = \mathrm P(u > 0)\,\mathrm P(v > 0) = \frac14, \qquad
#    k\big|_0 = \mathrm E[u_+]\,\mathrm E[v_+]
#    = \sqrt{\frac{p}{2\pi}}\sqrt{\frac{q}{2\pi}} = \frac{\sqrt{pq}}{2\pi} . $$

# %%
density = sp.exp(-(r**2) / (2 * p)) / sp.sqrt(2 * sp.pi * p)
assert sp.simplify(sp.integrate(density, (r, 0, sp.oo))) == sp.Rational(1, 2)
mean = sp.simplify(sp.integrate(r * density, (r, 0, sp.oo)))
assert sp.simplify(mean - sp.sqrt(p / (2 * sp.pi))) == 0

second = 1 / (2 * sp.pi * sp.sqrt(P**2 - t**2))  # P = sqrt(pq)
first = sp.integrate(second, t)
first = first - first.subs(t, 0) + sp.Rational(1, 4)
zeroth = sp.integrate(first, t)
zeroth = zeroth - zeroth.subs(t, 0) + P / (2 * sp.pi)
print("dk/dc =", first)
print("k     =", sp.expand(zeroth))
assert sp.simplify(zeroth.diff(t, 2) - second) == 0
assert zeroth.diff(t).subs(t, 0) == sp.Rational(1, 4) and sp.simplify(zeroth.subs(t, 0) - P / (2 * sp.pi)) == 0

at_pq = {P: sp.sqrt(p * q), t: c}
k, k_dot = zeroth.subs(at_pq), first.subs(at_pq)
written = c / 4 + (c * sp.asin(c / sp.sqrt(p * q)) + sp.sqrt(determinant)) / (2 * sp.pi)
assert sp.simplify(k - written) == 0
assert sp.simplify(k_dot - sp.Rational(1, 4) - sp.asin(c / sp.sqrt(p * q)) / (2 * sp.pi)) == 0

# %% [markdown]
# The other ends of the interval were not used, and confirm it. At $u = v$ half of the second moment is left,
# $k = p/2$ and $\partial_c k = \frac12$; at $u = -v$ the two are never positive together, and both vanish.

# %%
ends = {sign: (k.subs({q: p, c: sign * p}), k_dot.subs({q: p, c: sign * p})) for sign in (1, -1)}
assert [sp.simplify(value) for value in ends[1]] == [p / 2, sp.Rational(1, 2)]
assert [sp.simplify(value) for value in ends[-1]] == [0, 0]

# %% [markdown]
# ## 3.3 A direct integral
#
# Cho and Saul write the kernel with the angle $\theta = \arccos(c/\sqrt{pq})$ between the vectors that $u$ and $v$ are
# projections onto: $u = \sqrt p\, r\cos\alpha$ and $v = \sqrt q\, r\cos(\alpha - \theta)$ with a standard normal point
# $(r, \alpha)$ of the plane. Both are positive for $\theta - \frac\pi2 < \alpha < \frac\pi2$, and
#
# $$ k = \frac{\sqrt{pq}}{2\pi} \int_0^\infty r^3 e^{-r^2/2}\, dr \int_{\theta - \pi/2}^{\pi/2}
#    \cos\alpha\,\cos(\alpha - \theta)\, d\alpha = \frac{\sqrt{pq}}{2\pi}
#    \left( \sin\theta + (\pi - \theta)\cos\theta \right) . $$
#
# No Gaussian calculus enters here: it is an independent proof of the same formula.

# %%
radial = sp.integrate(r**3 * sp.exp(-(r**2) / 2), (r, 0, sp.oo))
product = sp.expand_trig(sp.cos(angle - theta)) * sp.cos(angle)
angular = sp.integrate(product, (angle, theta - sp.pi / 2, sp.pi / 2))
direct = sp.sqrt(p * q) / (2 * sp.pi) * radial * angular
cho_saul = sp.sqrt(p * q) / (2 * sp.pi) * (sp.sin(theta) + (sp.pi - theta) * sp.cos(theta))
assert sp.simplify(direct - cho_saul) == 0

# With x = cos(theta), 0 < theta < pi: theta = arccos(x), c = sqrt(pq) x and sqrt(Delta) = sqrt(pq) sin(theta).
x = sp.Symbol("x", real=True)
in_x = cho_saul.subs(theta, sp.acos(x)).rewrite(sp.asin)
assert sp.simplify(in_x - k.subs(c, sp.sqrt(p * q) * x)) == 0

# %% [markdown]
# ## 3.4 The package
#
# `infgeo.MLP("relu")` is given $\max(z, 0)$, and writes $\varphi$ as $\frac z2 + \frac z2\,\mathrm{sign}(z)$. The dual
# keeps the angle as $\mathrm{atan2}(c, \sqrt\Delta)$: as for erf (derivation 2), the arcsine would lose half of the
# digits for nearly parallel inputs.

# %%
import infgeo
from infgeo import conventions as conv
from infgeo.errors import MetricDoesNotExist
from infgeo.symbolic.kernels.kernel import metric_by_definition

relu = infgeo.MLP("relu")
print("dual kernel:           ", relu.dual.kernel)
print("its derivative:        ", relu.dual.derivative_kernel)

sw, sb, s = conv.sigma_w, conv.sigma_b, conv.s
s_x, s_y, xy = relu.kernel.symbols
first_layer = {p: sb**2 + sw**2 * s_x, q: sb**2 + sw**2 * s_y, c: sb**2 + sw**2 * xy}
assert sp.simplify(relu.kernel.expr - k.subs(first_layer, simultaneous=True)) == 0

ours = {conv.p: p, conv.q: q, conv.c: c, conv.Delta: determinant}
assert sp.simplify((relu.dual.kernel.subs(ours) - k).diff(c, 2)) == 0
for here, package in ((k, relu.dual.kernel), (k_dot, relu.dual.derivative_kernel)):
    for numbers in ({p: 2, q: 3, c: 1}, {p: 5, q: 1, c: -2}, {p: 4, q: 9, c: 6}, {p: 4, q: 9, c: -6}):
        value, reference = (sp.N(form.subs(numbers), 30) for form in (package.subs(ours), here))
        assert abs(value - reference) < sp.Float("1e-27", 30)

# %% [markdown]
# ## 3.5 Homogeneity
#
# $\varphi(\lambda z) = \lambda\varphi(z)$ for $\lambda > 0$ makes $k$ homogeneous of degree 1 in $(p, q, c)$, and
# $\mathrm E[\varphi'\varphi']$ of degree 0. Then, by Euler's identity at coincidence, $m(v) = v\,m(1)$ and
# $m_0(v) = m_0(1)$: the first is $v/2$, the second $\frac12$. Every layer multiplies the metric by
# $\sigma_w^2 m_0 = \sigma_w^2/2$ and adds nothing ($m_0' = 0$; derivation 4): with any biases and at any depth
#
# $$ g = \left(\sigma_w^2/2\right)^L I, \qquad R = 0 . $$

# %%
scale = sp.Symbol("lambda", positive=True)
scaled = {p: scale * p, q: scale * q, c: scale * c}
assert sp.simplify(k.subs(scaled, simultaneous=True) - scale * k) == 0
assert sp.simplify(k_dot.subs(scaled, simultaneous=True) - k_dot) == 0
variance = conv.variance
assert (relu.dual.m, relu.dual.m0) == (variance / 2, sp.Rational(1, 2))
assert relu.metric.A == sw**2 / 2 and relu.metric.B == 0
deep = infgeo.MLP("relu", depth=3).metric
assert sp.simplify(deep.A - (sw**2 / 2) ** 3) == 0 and deep.B == 0 and deep.ricci_scalar == 0 and deep.is_flat

# %% [markdown]
# ## 3.6 The second derivative of the kernel diverges term by term
#
# The metric is $g_{\mu\nu} = \partial_{x^\mu}\partial_{y^\nu} k$ at $y = x$ (derivation 4). Off coincidence,
#
# $$ \partial_{x^\mu}\partial_{y^\nu} k = k_t\,\delta_{\mu\nu} + k_{tt}\, y_\mu x_\nu + 2 k_{t s_x}\, x_\mu x_\nu +
#    2 k_{t s_y}\, y_\mu y_\nu + 4 k_{s_x s_y}\, x_\mu y_\nu, \qquad
#    s_x = |x|^2,\ s_y = |y|^2,\ t = x\cdot y . $$
#
# With $c, p, q$ instead of $t, s_x, s_y$ (a factor $\sigma_w^2$ for each derivative), the four second derivatives of
# the ReLU kernel are
#
# $$ k_{cc} = \frac{1}{2\pi\sqrt\Delta}, \qquad k_{pc} = -\frac{c}{4\pi p\sqrt\Delta}, \qquad
#    k_{qc} = -\frac{c}{4\pi q\sqrt\Delta}, \qquad k_{pq} = \frac{1}{8\pi\sqrt\Delta} . $$
#
# Each grows like $1/|x - y|$, since $\sqrt\Delta$ vanishes linearly at coincidence. Their combination is
#
# $$ B = k_{cc} + 2k_{pc} + 2k_{qc} + 4k_{pq} = \frac{1}{2\pi\sqrt\Delta}\left( 2 - \frac cp - \frac cq \right), $$
#
# where the bracket is of second order: $B$ vanishes linearly. SymPy, asked to substitute $y = x$, sees
# $\infty - \infty$, and so would floating point. The limit has to be taken under the expectation, where
# $g = \sigma_w^2\,\mathrm E[\varphi'(z)^2]\,I + \dots$ is finite term by term.

# %%
second_derivatives = {
    "cc": 1 / (2 * sp.pi * sp.sqrt(determinant)),
    "pc": -c / (4 * sp.pi * p * sp.sqrt(determinant)),
    "qc": -c / (4 * sp.pi * q * sp.sqrt(determinant)),
    "pq": 1 / (8 * sp.pi * sp.sqrt(determinant)),
}
for names, formula in second_derivatives.items():
    one, other = ({"p": p, "q": q, "c": c}[name] for name in names)
    assert sp.simplify(k.diff(one, other) - formula) == 0, names

B_terms = [weight * second_derivatives[names] for weight, names in ((1, "cc"), (2, "pc"), (2, "qc"), (4, "pq"))]
bracket = 2 - c / p - c / q
assert sp.simplify(sum(B_terms) - bracket / (2 * sp.pi * sp.sqrt(determinant))) == 0

# %% [markdown]
# Along $y = x + \epsilon\,w$ with symbolic $w$: the terms behave like $\epsilon^{-1}$, their sum like $\epsilon^{+1}$.

# %%
e = sp.Symbol("epsilon", positive=True)
along, across, radius = sp.symbols("w_1 w_2 rho", positive=True)  # x = (rho, 0), w = (w_1, w_2)
approach = {
    p: sb**2 + sw**2 * radius**2,
    q: sb**2 + sw**2 * ((radius + e * along) ** 2 + e**2 * across**2),
    c: sb**2 + sw**2 * radius * (radius + e * along),
}
delta_over_e2 = sp.cancel(determinant.subs(approach) / e**2)
assert sp.simplify(delta_over_e2.subs(e, 0)).is_positive
bracket_over_e2 = sp.limit(sp.cancel(bracket.subs(approach) / e**2), e, 0)
print("Delta / eps^2  ->", sp.factor(delta_over_e2.subs(e, 0)))
print("(2 - c/p - c/q) / eps^2  ->", sp.factor(bracket_over_e2))
assert bracket_over_e2.is_finite and bracket_over_e2 != 0

# For a kernel that is given as a formula alone the package expands the distance along lines instead:
typed = metric_by_definition(relu.kernel.expr)
assert sp.simplify(typed.A - sw**2 / 2) == 0 and sp.simplify(typed.B) == 0
assert relu.kernel.metric.A == sw**2 / 2

# %% [markdown]
# The limit of the whole matrix, from any direction, is the metric that the package gives. By numbers: the matrix
# $\partial_x\partial_y k$ at distance $\epsilon$, by the four terms in 40 digits, approaches $\frac12\sigma_w^2 I$
# linearly in $\epsilon$.

# %%
with mp.workdps(40):
    weight2, bias2 = mp.mpf("1.7"), mp.mpf("0.3")
    point, direction = mp.matrix(["0.6", "-0.8"]), mp.matrix(["0.5", "1.2"])
    deviations = []
    for power in (2, 4, 6):
        other = point + direction * mp.mpf(10) ** -power
        numbers = {
            p: bias2 + weight2 * mp.fdot(point, point),
            q: bias2 + weight2 * mp.fdot(other, other),
            c: bias2 + weight2 * mp.fdot(point, other),
        }
        value = {name: mp.mpf(sp.N(f.subs(numbers), 40)) for name, f in second_derivatives.items()}
        slope = mp.mpf(sp.N(k_dot.subs(numbers), 40))
        matrix = weight2 * slope * mp.eye(2) + weight2**2 * (
            value["cc"] * other * point.T
            + 2 * value["pc"] * point * point.T
            + 2 * value["qc"] * other * other.T
            + 4 * value["pq"] * point * other.T
        )
        deviations.append(mp.norm(matrix - weight2 / 2 * mp.eye(2)))
        divergent = mp.nstr(weight2**2 * value["cc"], 3)
        print(f"epsilon = 1e-{power}: k_tt = {divergent:>7}, |matrix - metric| = {mp.nstr(deviations[-1], 3)}")
    assert all(0.009 < later / earlier < 0.011 for earlier, later in pairwise(deviations))

# %% [markdown]
# ## 3.7 Kernels without a metric
#
# The tangent kernel of one layer is $\Theta = k + c\,\mathrm E[\varphi'\varphi']$, and
# $\mathrm E[\varphi'\varphi'] = \frac12 - \frac{\theta}{2\pi}$ falls linearly in the angle $\theta$, hence in the
# distance $|x - y|$. The second derivative of a distance *along* the separation vanishes, but *across* it is
# $1/|x - y|$, and here nothing compensates it: for $y - x = (0, \epsilon)$ the entry
# $\partial_{x^1}\partial_{y^1}\Theta$ has a pole in $\epsilon$. (For $d = 2$ without bias there is nothing across,
# because $\theta$ does not depend on the radius. Then the second derivative is a delta function at $y = x$, and exists
# as little.) The package says that there is no metric.
#
# For the step function it is so one derivative earlier: its own kernel is an arc, and
# $\mathrm E[\varphi'\varphi'] = \rho(0,0) = 1/(2\pi\sqrt\Delta)$ diverges.

# %%
x1, x2, y1, y2 = sp.symbols("x1 x2 y1 y2", real=True)
plane = {p: sb**2 + sw**2 * (x1**2 + x2**2), q: sb**2 + sw**2 * (y1**2 + y2**2), c: sb**2 + sw**2 * (x1 * y1 + x2 * y2)}
separated = {sb: 1, sw: 1, x1: 1, x2: 0, y1: 1, y2: e}


def entry(kernel, i, j):
    """The derivative d^2 kernel / dx_i dy_j at y - x = (0, eps)."""
    return sp.simplify(kernel.subs(plane, simultaneous=True).diff(i, j).subs(separated))


poles = [sp.limit(e * entry(c * k_dot, i, j), e, 0) for i, j in ((x1, y1), (x2, y2))]
print("eps d^2(c E[phi' phi'])/dx_i dy_i, across and along the separation:", poles)
# theta^2 = (y - x)' Q (y - x) to second order, with Q the round metric of the directions of (sigma_b, x) = (1, 1, 0).
Q = (sp.eye(2) - sp.diag(1, 0) / 2) / 2
assert sp.simplify(poles[0] - 2 / (2 * sp.pi) * Q[0, 0] / sp.sqrt(Q[1, 1])) == 0 and poles[1] == 0
assert [sp.limit(entry(k, i, j), e, 0) for i, j in ((x1, y1), (x2, y2), (x1, y2))] == [sp.Rational(1, 2)] * 2 + [0]

messages = []
for attempt in (lambda: relu.ntk.metric, lambda: infgeo.MLP(sp.sign(conv.z)).metric):
    try:
        attempt()
    except MetricDoesNotExist as error:
        messages.append(str(error))
print("\n".join(messages))
assert len(messages) == 2

# %% [markdown]
# ## In the package
#
# `infgeo.MLP("relu").kernel` and `.metric` are those of this chapter; `.ntk.metric` raises `MetricDoesNotExist` with
# the leading order of the distance (chapter 8). Kernels of near points are computed from the difference of the points
# ([Accuracy](../reference/accuracy.md)).
