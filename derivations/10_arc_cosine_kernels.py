# %% [markdown]
# # 10. Arc-cosine kernels
#
# $\varphi_n(z) = \Theta(z)\,z^n$ in a layer with $\sigma_w = 1$ and without biases has the kernel
#
# $$ k_n(x, y) = 2\,\mathrm E[\varphi_n(w\cdot x)\,\varphi_n(w\cdot y)] = \frac1\pi\, |x|^n |y|^n\, J_n(\theta), \qquad
#    J_n(\theta) = (-1)^n (\sin\theta)^{2n+1} \left(\frac1{\sin\theta}\frac{d}{d\theta}\right)^{\!n}
#    \frac{\pi - \theta}{\sin\theta}, $$
#
# with the angle $\theta$ between $x$ and $y$: the family of Y. Cho & L. K. Saul, *Kernel methods for deep learning*,
# NIPS 22 (2009). Equations 4 to 7 there define $J_n$, in the account of the docstring of GPflow's `ArcCosine`
# (`gpflow/kernels/misc.py`), whose $J_0$, $J_1$ and $J_2$ are those of section 10.1. Their *Analysis and extension of
# arc-cosine kernels for large margin classification* (arXiv 1112.3712) studies its geometry. By its abstract it has the
# metric, the curvature and the volume element, and finds that the simplest kernel of the family has none. Here all of
# it is derived anew, for all degrees at once; the normalisation and the sign of the curvature (positive on spheres) are
# ours. The last section is about the metric of C. J. C. Burges, *Geometry and invariance in kernel based methods*
# (1999).

# %%
from itertools import product

import mpmath as mp
import sympy as sp

n, d = sp.symbols("n d", positive=True, integer=True)
x, theta, t = sp.symbols("x theta t", real=True)
s, r, ell = sp.symbols("s r ell", positive=True)
DEGREES = range(6)

# %% [markdown]
# ## 10.1 Price's theorem lowers the degree
#
# Let $E_n(p, q, c) = \mathrm E[\varphi_n(u)\varphi_n(v)]$ with $p = |x|^2$, $q = |y|^2$, $c = x\cdot y = \sqrt{pq}\,
# \cos\theta$. As $\varphi_n' = n\,\varphi_{n-1}$, Price's theorem (derivation 1) is a recursion,
#
# $$ \frac{\partial E_n}{\partial c} = n^2 E_{n-1} . $$
#
# As $\varphi_n(\lambda z) = \lambda^n\varphi_n(z)$, $\lambda > 0$, $E_n = \frac{1}{2\pi}(pq)^{n/2} J_n$ with a function
# $J_n$ of $\xi = \cos\theta$ alone, and the recursion is $dJ_n/d\xi = n^2 J_{n-1}$. At $\xi = -1$ the two factors are
# never positive together, so that $J_n(\pi) = 0$, and
#
# $$ J_n(\theta) = n^2 \int_\theta^\pi J_{n-1}(t)\,\sin t\; dt, \qquad
#    J_0 = 2\pi\,\mathrm P(u > 0, v > 0) = \pi - \theta , $$
#
# the last by the rotation invariance of the Gaussian law in the plane.

# %%
J_price = [sp.pi - theta]
for degree in DEGREES[1:]:
    integral = sp.integrate(sp.expand(J_price[-1].subs(theta, t) * sp.sin(t)), (t, theta, sp.pi))
    J_price.append(sp.simplify(degree**2 * integral))
    assert sp.simplify(J_price[-1].diff(theta) + degree**2 * sp.sin(theta) * J_price[-2]) == 0
    assert J_price[-1].subs(theta, sp.pi) == 0

sin, cos = sp.sin(theta), sp.cos(theta)
first_three = [sp.pi - theta, sin + (sp.pi - theta) * cos, 3 * sin * cos + (sp.pi - theta) * (1 + 2 * cos**2)]
assert [sp.simplify(J - formula) for J, formula in zip(J_price, first_three, strict=False)] == [0, 0, 0]

# %% [markdown]
# ## 10.2 Closed form, for every degree
#
# Now let $J_n$ be the closed form at the top, and $g = (\pi - \theta)/\sin\theta$. In $\xi = \cos\theta$ the operator
# $\frac{1}{\sin\theta}\frac d{d\theta}$ is $-\frac d{d\xi}$, and $J_n = (1 - \xi^2)^{n + 1/2} g^{(n)}$.
#
# * $g$ obeys $(1 - \xi^2)\,g' = 1 + \xi g$. Differentiated once and then again, by induction, for $n \ge 1$
#
#   $$ (1 - \xi^2)\, g^{(n+1)} = (2n + 1)\,\xi\, g^{(n)} + n^2 g^{(n-1)} . $$
#
# * Therefore $\frac{dJ_n}{d\xi} = (1 - \xi^2)^{n - 1/2} \left( (1 - \xi^2)\,g^{(n+1)} - (2n+1)\,\xi\,g^{(n)} \right)
#   = n^2 J_{n-1}$: Price's recursion. $g$ is analytic at $\theta = \pi$, so that $J_n(\pi) = 0$. Hence the closed form
#   is the kernel.
# * The same equation, multiplied by $(1 - \xi^2)^{n + 1/2}$, computes $J_n$ without any derivative or integral:
#
#   $$ J_{n+1} = (2n + 1) \cos\theta\, J_n + n^2 \sin^2\theta\, J_{n-1}, \qquad
#      J_1 = \sin\theta + \cos\theta\, J_0 . $$

# %%
g = (sp.pi - sp.acos(x)) / sp.sqrt(1 - x**2)
assert sp.simplify((1 - x**2) * g.diff(x) - 1 - x * g) == 0
F = sp.Function("F")(x)  # stands for the derivative of order n - 1 of g
first_order = (1 - x**2) * F.diff(x) - 1 - x * F


def relation(order, f):
    """What the induction claims to vanish, with f in the place of the derivative of order - 1."""
    return (1 - x**2) * f.diff(x, 2) - (2 * order + 1) * x * f.diff(x) - order**2 * f


assert sp.expand(first_order.diff(x) - relation(1, F)) == 0
assert sp.expand(relation(n, F).diff(x) - relation(n + 1, F.diff(x))) == 0  # for the symbol n
weight = (1 - x**2) ** (n + sp.Rational(1, 2))
lowered = (weight * F.diff(x)).diff(x) - n**2 * weight / (1 - x**2) * F
assert sp.simplify(lowered - weight / (1 - x**2) * relation(n, F)) == 0

J = [sp.pi - theta, sin + cos * (sp.pi - theta)]
for degree in DEGREES[1:-1]:
    J.append(sp.expand((2 * degree + 1) * cos * J[degree] + degree**2 * sin**2 * J[degree - 1]))
operated = (sp.pi - theta) / sin
for degree in DEGREES:
    assert sp.simplify(J[degree] - J_price[degree]) == 0
    assert sp.simplify(J[degree] - (-1) ** degree * sin ** (2 * degree + 1) * operated) == 0
    operated = operated.diff(theta) / sin
    print(f"J_{degree} =", sp.collect(sp.expand(J[degree].subs(theta, sp.pi - t)), t).subs(t, sp.pi - theta))

# %% [markdown]
# At $\theta = 0$, where $E_n = \frac12 \mathrm E[u^{2n}] = \frac12 (2n-1)!!\,p^n$, the recursion gives
# $J_n(0) = (2n-1)\,J_{n-1}(0) = (2n-1)!!\,\pi$, and $k_n(x, x) = (2n-1)!!\,|x|^{2n}$.
#
# ## 10.3 Quadrature, and the package
#
# A quadrature of the density over the quadrant: $u = e^{t - e^{-t}}$ maps the real line to $u > 0$ so that the
# integrand decays doubly exponentially at both ends, where the trapezoidal rule converges exponentially (H. Takahasi &
# M. Mori, *Double exponential formulas for numerical integration*, Publ. RIMS 9 (1974) 721). Nothing of 10.1 and 10.2
# enters. `infgeo.kernels.arc_cosine(n)` derives $k_n$ from $\max(z, 0)^n$ by its own engine (derivation 1).


# %%
@mp.workdps(40)
def quadrant(degree, P, Q, C):
    """E[u_+^degree v_+^degree] by a double exponential rule in u and in v."""
    delta, step = P * Q - C**2, mp.mpf(1) / 24
    nodes = [j * step for j in range(-110, 71)]
    points = [mp.exp(t - mp.exp(-t)) for t in nodes]
    jacobian = [step * u * (1 + mp.exp(-t)) * u**degree for u, t in zip(points, nodes, strict=True)]
    left = [w * mp.exp(-Q * u**2 / (2 * delta)) for w, u in zip(jacobian, points, strict=True)]
    right = [w * mp.exp(-P * u**2 / (2 * delta)) for w, u in zip(jacobian, points, strict=True)]
    rows = [mp.fsum(w * mp.exp(C / delta * u * v) for w, v in zip(right, points, strict=True)) for u in points]
    return mp.fdot(left, rows) / (2 * mp.pi * mp.sqrt(delta))


for degree, angle in ((0, "0.9"), (1, "2.1"), (2, "0.9"), (3, "2.1"), (5, "1.3")):
    with mp.workdps(40):
        P, Q = mp.mpf("0.8"), mp.mpf("1.5")
        expected = 2 * quadrant(degree, P, Q, mp.sqrt(P * Q) * mp.cos(mp.mpf(angle)))
        value = mp.sqrt(P * Q) ** degree * mp.mpf(J[degree].subs(theta, sp.Rational(angle)).evalf(40)) / mp.pi
        print(f"n = {degree}, theta = {angle}: k = {mp.nstr(value, 25)}, {mp.nstr(abs(value / expected - 1), 2)}")
        assert abs(value / expected - 1) < 1e-34

# %%
import infgeo
from infgeo import conventions as conv
from infgeo.errors import MetricDoesNotExist

lengths = sp.symbols("a b", positive=True)
for degree in DEGREES:
    kernel = infgeo.kernels.arc_cosine(degree)
    s_x, s_y, xy = kernel.symbols
    package = kernel.expr.subs({s_x: lengths[0] ** 2, s_y: lengths[1] ** 2, xy: sp.prod(lengths) * sp.cos(theta)})
    ours = (sp.prod(lengths) ** degree * J[degree] / sp.pi).subs(theta, sp.acos(x))
    difference = sp.simplify((package.subs(sp.cos(theta), x) - ours.rewrite(sp.asin)) / sp.prod(lengths) ** degree)
    assert difference == 0, degree
    assert J[degree].subs(theta, 0) == sp.factorial2(2 * degree - 1) * sp.pi
    assert sp.expand(kernel.diagonal - sp.factorial2(2 * degree - 1) * conv.s**degree) == 0

# %% [markdown]
# ## 10.4 Degree 0 has no metric
#
# $k_0 = 1 - \theta/\pi$. The feature vectors have length 1, and their distance is the root of an angle,
#
# $$ |\Phi(x) - \Phi(y)|^2 = 2 - 2k_0 = \frac{2\theta}\pi . $$
#
# With a metric it would be quadratic in $|x - y|$. The image of an arc of angle $\alpha$ has infinite length: in $N$
# pieces it measures $N\sqrt{2\alpha/(\pi N)}$. For every other degree the squared distance of two directions is
# quadratic in $\theta$, with the coefficient that 10.5 finds.

# %%
distances = [2 * (J[degree].subs(theta, 0) - J[degree]) / sp.pi for degree in DEGREES]
assert sp.simplify(distances[0] - 2 * theta / sp.pi) == 0
coefficients = [sp.limit(distance / theta**2, theta, 0, "+") for distance in distances]
print("|Phi(x) - Phi(y)|^2 / theta^2 at |x| = |y| = 1:", coefficients)
assert coefficients == [sp.oo, *(degree**2 * sp.factorial2(2 * degree - 3) for degree in DEGREES[1:])]

refused = False
try:
    _ = infgeo.kernels.arc_cosine(0).metric
except MetricDoesNotExist as error:
    refused = "jump" in str(error)
assert refused

# %% [markdown]
# ## 10.5 The metric of every other degree
#
# By derivation 4 the metric of one layer is $A\,I + B\,xx^{\mathsf T}$ with $A = m_0(s)$, $B = 2m_0'(s)$, $s = |x|^2$,
# and here, with the factor 2 of $k_n$,
#
# $$ m_0(v) = 2\,\mathrm E[\varphi_n'^2] = 2n^2\,\mathrm E[\Theta(z)\, z^{2n-2}] = n^2\,(2n-3)!!\;v^{n-1}, \qquad
#    (-1)!! = 1 , $$
#
# $$ g_n = n^2\,(2n-3)!!\;|x|^{2n-2} \left( I + 2(n-1)\, \frac{x x^{\mathsf T}}{|x|^2} \right) . $$
#
# For $n = 1$ this is $I$. For $n \ge 2$ it degenerates at the origin.

# %%
v, z = sp.symbols("v z", positive=True)
odd = sp.gamma(n - sp.Rational(1, 2)) * 2 ** (n - 1) / sp.sqrt(sp.pi)  # (2n - 3)!!
assert [odd.subs(n, degree) for degree in DEGREES[1:]] == [sp.factorial2(2 * degree - 3) for degree in DEGREES[1:]]
half_moment = sp.integrate(z ** (2 * n - 2) * sp.exp(-(z**2) / (2 * v)) / sp.sqrt(2 * sp.pi * v), (z, 0, sp.oo))
assert sp.powsimp(sp.simplify(2 * half_moment / (odd * v ** (n - 1))), force=True) == 1

A = n**2 * odd * s ** (n - 1)
B = 2 * (n - 1) * A / s
assert sp.simplify(B - 2 * A.diff(s)) == 0
for degree in DEGREES[1:]:
    metric = infgeo.kernels.arc_cosine(degree).metric
    for package, ours in ((metric.A, A), (metric.B, B)):
        assert sp.simplify(package - ours.subs({n: degree, s: conv.s})) == 0
    assert metric.is_flat == (degree == 1)

# %% [markdown]
# Burges's formula, $g_{\mu\nu} = \partial_{x^\mu}\partial_{y^\nu} k$ at $y = x$, must agree. For $n = 1$ its terms
# diverge (derivation 3); for $n = 2$ and $3$ each of them has a limit. With $A = k_t$ and
# $B = k_{tt} + 2k_{ts_x} + 2k_{ts_y} + 4k_{s_xs_y}$ (derivation 4.1), at $|x| = |y| = 1$ and $\theta \to 0$:

# %%
s_x, s_y, xy = sp.symbols("s_x s_y xy", positive=True)
for degree in (1, 2, 3):
    kernel = (s_x * s_y) ** sp.Rational(degree, 2) * J[degree].subs(theta, sp.acos(xy / sp.sqrt(s_x * s_y))) / sp.pi
    terms = [kernel.diff(xy, 2), 2 * kernel.diff(xy, s_x), 2 * kernel.diff(xy, s_y), 4 * kernel.diff(s_x, s_y)]
    at = [term.subs({s_x: 1, s_y: 1}).subs(xy, sp.cos(theta)) for term in (kernel.diff(xy), *terms)]
    at = [sp.simplify(sp.refine(term, sp.Q.positive(sp.sin(theta)))) for term in at]
    limits = [sp.limit(term.subs(sp.acos(sp.cos(theta)), theta), theta, 0, "+") for term in at]
    print(f"n = {degree}: k_t -> {limits[0]}; the terms of B -> {limits[1:]}")
    assert limits[0] == A.subs({n: degree, s: 1})
    assert [bool(term.is_finite) for term in limits[1:]] == [degree > 1] * 4
    assert degree == 1 or sum(limits[1:]) == B.subs({n: degree, s: 1})

# %% [markdown]
# ## 10.6 It is a cone
#
# In polar coordinates, with the eigenvalue $h = A + sB = (2n-1)\,A$ along the radius $r = |x|$ and
# $(2n-1)\,(2n-3)!! = (2n-1)!!$,
#
# $$ ds^2 = h\,dr^2 + A\,r^2 d\Omega^2 = d\varrho^2 + \kappa^2 \varrho^2\, d\Omega^2, \qquad
#    \varrho = \sqrt{(2n-1)!!}\;r^n = \sqrt{k_n(x, x)}, \qquad \kappa = \frac{n}{\sqrt{2n-1}} . $$
#
# The distance from the tip is the length of the feature vector: homogeneity makes the image a cone, over a sphere of
# radius $\kappa$. As $\kappa^2 - 1 = (n-1)^2/(2n-1)$, this radius is 1 for ReLU, and larger for every higher degree:
# the angle around the tip of a surface, $2\pi\kappa$, exceeds $2\pi$. Away from the tip radial planes are flat, and
# those across have the curvature $(1 - \kappa^2)/(\kappa\varrho)^2$:
#
# $$ K_{\mathrm{rad}} = 0, \qquad K_{\mathrm{tan}} = -\frac{(n-1)^2}{n^2\,(2n-1)!!\;|x|^{2n}}, \qquad
#    R = -\frac{(d-1)(d-2)\,(n-1)^2}{n^2\,(2n-1)!!\;|x|^{2n}}, $$
#
# $$ \sqrt{\det g} = \sqrt{2n-1}\; \left( n^2\,(2n-3)!! \right)^{d/2} |x|^{(n-1)d} . $$
#
# A *surface* ($d = 2$) is flat for every degree $n \ge 1$, except at the tip, which carries all of its curvature. From
# $d = 3$ on, $R < 0$ for $n \ge 2$.

# %%
kappa2 = n**2 / (2 * n - 1)
tip_distance = sp.sqrt((2 * n - 1) * odd) * r**n
assert sp.simplify((2 * n - 1) * odd / odd.subs(n, n + 1)) == 1
assert sp.simplify(A + s * B - (2 * n - 1) * A) == 0
assert sp.simplify(tip_distance.diff(r) ** 2 / ((2 * n - 1) * A).subs(s, r**2)) == 1
assert sp.simplify(kappa2 * tip_distance**2 / (A.subs(s, r**2) * r**2)) == 1
assert sp.factor(kappa2 - 1 - (n - 1) ** 2 / (2 * n - 1)) == 0

K_tan = -((n - 1) ** 2) / (n**2 * (2 * n - 1) * odd * s**n)
R = (d - 1) * (d - 2) * K_tan
assert sp.simplify((1 - kappa2) / (kappa2 * tip_distance**2) - K_tan.subs(s, r**2)) == 0

symbolic = infgeo.RadialMetric.from_functions(A.subs(s, conv.s), B.subs(s, conv.s))  # for any degree
to_ours = {conv.s: s, conv.d: d}
assert [sp.simplify(K.subs(to_ours)) for K in (symbolic.sectional_curvature[0], symbolic.ricci_scalar / R)] == [0, 1]
for degree in DEGREES[1:]:
    metric = infgeo.kernels.arc_cosine(degree).metric
    volume = sp.sqrt(2 * n - 1) * (n**2 * odd) ** (d / 2) * s ** ((n - 1) * d / 2)
    assert sp.simplify(metric.ricci_scalar.subs(to_ours) - R.subs(n, degree)) == 0
    assert sp.simplify((metric.volume_element.subs(to_ours) / volume.subs(n, degree)) ** 2) == 1
    print(f"n = {degree}: sqrt(det g) = {metric.volume_element},  R = {metric.ricci_scalar}")

# %% [markdown]
# ## 10.7 Christoffel symbols, and a factor of 3
#
# Against the slow twin, `infgeo.Metric`, in Cartesian coordinates. The same sum with the signs of the two quadratic
# Christoffel terms swapped ($\sigma = -1$ in derivation 5) gives exactly $3R$, as for any one layer (derivation 5.9).
# So $3(n-1)^2$ in the place of $(n-1)^2$ would be the trace of that error, not of a convention; the cone of 10.6, for
# which no Christoffel symbol was formed, decides between the two.


# %%
def ricci_scalar(metric, point, sign):
    """R at a point from Christoffel symbols, whose quadratic terms have the given sign."""
    gamma, X, axes = metric.christoffel, metric.coordinates, range(metric.dimension)
    total = sp.Integer(0)
    for i, j, m in product(axes, repeat=3):
        term = gamma[m, i, j].diff(X[m]) - gamma[m, i, m].diff(X[j])
        term += sign * sum(gamma[m, m, k] * gamma[k, i, j] - gamma[m, j, k] * gamma[k, i, m] for k in axes)
        total += (metric.inverse[i, j] * term).subs(point)
    return total


for degree, dimension in ((2, 2), (2, 3), (3, 3)):
    X = sp.symbols(f"x_1:{dimension + 1}", real=True)
    metric = infgeo.Metric(infgeo.kernels.arc_cosine(degree).metric.matrix(dimension), X)
    point = dict(zip(X, (sp.Rational(1, 2), sp.Rational(-2, 3), sp.Rational(3, 4)), strict=False))
    expected = R.subs({n: degree, d: dimension, s: sum(value**2 for value in point.values())})
    found = [ricci_scalar(metric, point, sign) for sign in (1, -1)]
    print(f"n = {degree}, d = {dimension}: R = {found[0]}; with the signs swapped {found[1]}")
    assert found == [expected, 3 * expected] and metric.ricci_scalar.subs(point) == expected

# %% [markdown]
# ## 10.8 The metrics of Burges
#
# For a function of the inner product, $k = F(x\cdot y)$, the formula gives $A = F'(s)$ and $B = F''(s)$, that is
# $B = A'$ (for a layer it is $2A'$). In the quantities of derivation 4.3 $\beta = -\alpha$ with $\alpha = sF''/F'$, and
#
# $$ K_{\mathrm{tan}} = -\frac{F''(s)}{F'(s)^2}, \qquad K_{\mathrm{rad}} = -\frac{\alpha'}{F'\,(1 + \alpha)} . $$
#
# *Polynomial*, $F = (c + s)^p$:
#
# $$ g = p\,(c + s)^{p-1} \left( I + \frac{p-1}{c+s}\, xx^{\mathsf T} \right), \qquad
#    K_{\mathrm{tan}} = -\frac{p-1}{p\,(c+s)^p}, \qquad K_{\mathrm{rad}} = -\frac{c\,(p-1)}{p\,(c+s)^p\,(c+ps)} . $$
#
# At $c = 0$ it is homogeneous, and again a cone, $\varrho = |x|^p$, $\kappa = \sqrt p$, with
# $R = -(d-1)(d-2)\,(p-1)/(p\,|x|^{2p})$. *Gaussian*, $k = e^{-|x-y|^2/(2\ell^2)}$: $g = I/\ell^2$ is flat, although the
# features all lie on a sphere. So is the metric of every smooth kernel of $x - y$: it is the same at every point.

# %%
of_s = sp.Function("F")(conv.s)
dot_product = infgeo.RadialMetric.from_functions(of_s.diff(conv.s), of_s.diff(conv.s, 2))
alpha = conv.s * of_s.diff(conv.s, 2) / of_s.diff(conv.s)
general = [-alpha.diff(conv.s) / (of_s.diff(conv.s) * (1 + alpha)), -of_s.diff(conv.s, 2) / of_s.diff(conv.s) ** 2]
assert [sp.simplify(K - L) for K, L in zip(dot_product.sectional_curvature, general, strict=True)] == [0, 0]

power, offset = sp.Symbol("p", positive=True), sp.Symbol("c", nonnegative=True)
polynomial = infgeo.Kernel((offset + conv.xy) ** power).metric
base = offset + conv.s
expected = (
    (polynomial.A, power * base ** (power - 1)),
    (polynomial.B, power * (power - 1) * base ** (power - 2)),
    (polynomial.sectional_curvature[0], -offset * (power - 1) / (power * base**power * (offset + power * conv.s))),
    (polynomial.sectional_curvature[1], -(power - 1) / (power * base**power)),
)
assert [sp.simplify(package - formula) for package, formula in expected] == [0, 0, 0, 0]
cone = [0, (1 - power) / (power * (s ** (power / 2)) ** 2)]  # the latter is (1 - kappa^2) / (kappa rho)^2
assert [sp.simplify(K.subs({offset: 0, conv.s: s})) for K in polynomial.sectional_curvature] == cone

gaussian = infgeo.Kernel(sp.exp(-(conv.s_x + conv.s_y - 2 * conv.xy) / (2 * ell**2)))
assert gaussian.metric.A == ell**-2 and gaussian.metric.B == 0 and gaussian.metric.ricci_scalar == 0
assert gaussian.diagonal == 1

# The derivatives in coordinates, which are independent of the formula in s_x, s_y and xy.
X, Y = sp.symbols("x_1:4", real=True), sp.symbols("y_1:4", real=True)
together = dict(zip(Y, X, strict=True))
in_coordinates = {conv.s_x: sum(a**2 for a in X), conv.s_y: sum(b**2 for b in Y), conv.xy: sp.Matrix(X).dot(Y)}
for kernel in (gaussian, infgeo.kernels.polynomial(3, 2)):
    expanded = kernel.expr.subs(in_coordinates)
    matrix = sp.Matrix(3, 3, lambda i, j, k=expanded: k.diff(X[i], Y[j]).subs(together))
    assert sp.simplify(matrix - kernel.metric.matrix(3)) == sp.zeros(3)

# %% [markdown]
# ## In the package
#
# `infgeo.kernels.arc_cosine(n)` is $k_n$; a network of such units is `infgeo.MLP("rectified_power_4")`. Sums, products
# and compositions: [Kernels](../guide/kernels.md).
