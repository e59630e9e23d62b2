# %% [markdown]
# # 2. The kernel of an error-function network
#
# For $\varphi(z) = \mathrm{erf}(z/\sqrt2)$, the activation of arXiv 2301.11375 (section 3), this script derives
#
# $$ k = \mathrm E[\varphi(u)\varphi(v)] = \frac2\pi \arcsin \frac{c}{\sqrt{(1+p)(1+q)}}
#      = \frac2\pi\, \mathrm{atan2}\!\left(c,\ \sqrt{1 + p + q + \Delta}\right), \qquad \Delta = pq - c^2, $$
#
# for $(u, v)$ centred Gaussian with variances $p, q$ and covariance $c$, from Price's theorem (derivation 1). The first
# form is that of C. K. I. Williams, *Computing with infinite networks*, NIPS 9 (1997); the second is what is computed,
# because the first one loses half of the digits where the sine comes near 1.

# %%
import math

import mpmath as mp
import sympy as sp

p, q = sp.symbols("p q", positive=True)
c, u, v, z = sp.symbols("c u v z", real=True)
Delta = sp.Symbol("Delta", nonnegative=True)
phi = sp.erf(z / sp.sqrt(2))
slope = phi.diff(z)
print("phi'(z) =", slope)
assert sp.simplify(slope - sp.sqrt(2 / sp.pi) * sp.exp(-(z**2) / 2)) == 0

# %% [markdown]
# ## 2.1 The derivative in the covariance
#
# $\varphi'$ is Gaussian, so that Price's theorem leaves a Gaussian integral, tilting with $a = a' = \frac12$:
#
# $$ \frac{\partial k}{\partial c} = \mathrm E[\varphi'(u)\varphi'(v)]
#    = \frac2\pi\, \mathrm E\!\left[e^{-\frac12(u^2 + v^2)}\right]
#    = \frac2\pi\, \det(1 + \Sigma)^{-1/2} = \frac2\pi\, \frac{1}{\sqrt{(1+p)(1+q) - c^2}} . $$
#
# Done by brute force: one Gaussian integral by SymPy, first over $u$, whose result is Gaussian in $v$, then over $v$.

# %%
alpha, beta = sp.symbols("alpha beta", positive=True)
gauss = sp.integrate(sp.exp(-alpha * z**2 / 2 + beta * z), (z, -sp.oo, sp.oo))
assert sp.simplify(gauss - sp.sqrt(2 * sp.pi / alpha) * sp.exp(beta**2 / (2 * alpha))) == 0

determinant = p * q - c**2
exponent = -(q * u**2 - 2 * c * u * v + p * v**2) / (2 * determinant) - (u**2 + v**2) / 2
curvature_u, slope_u = -exponent.diff(u, 2), exponent.diff(u).subs(u, 0)
exponent = exponent.subs(u, 0) + slope_u**2 / (2 * curvature_u)
curvature_v = -exponent.diff(v, 2)
assert sp.simplify(exponent.subs(v, 0)) == 0 and sp.simplify(exponent.diff(v).subs(v, 0)) == 0

constants = slope.subs(z, 0) ** 4 / (2 * sp.pi) ** 2 / determinant  # the square of what stands before the integral
brute_force_squared = constants * (2 * sp.pi / curvature_u) * (2 * sp.pi / curvature_v)
k_dot = 2 / sp.pi / sp.sqrt((1 + p) * (1 + q) - c**2)
assert sp.simplify(brute_force_squared - k_dot**2) == 0
assert sp.expand((sp.eye(2) + sp.Matrix([[p, c], [c, q]])).det() - (1 + p + q + determinant)) == 0

# %% [markdown]
# ## 2.2 The integral over the covariance
#
# At $c = 0$ the variables are independent and $\varphi$ is odd, so that $k = 0$. Hence
#
# $$ k = \frac2\pi \int_0^c \frac{dt}{\sqrt{(1+p)(1+q) - t^2}} = \frac2\pi \arcsin\frac{c}{\sqrt{(1+p)(1+q)}} . $$

# %%
t, P = sp.symbols("t P", positive=True)
antiderivative = sp.integrate(1 / sp.sqrt(P**2 - t**2), t)
print("antiderivative:", antiderivative)
assert sp.simplify(antiderivative.diff(t) - 1 / sp.sqrt(P**2 - t**2)) == 0 and antiderivative.subs(t, 0) == 0

k_arcsine = 2 / sp.pi * antiderivative.subs({P: sp.sqrt((1 + p) * (1 + q)), t: c})
print("k =", k_arcsine)
assert sp.simplify(k_arcsine.diff(c) - k_dot) == 0 and k_arcsine.subs(c, 0) == 0

# %% [markdown]
# The angle whose sine is $c/\sqrt{(1+p)(1+q)}$ has the cosine $\sqrt{1 + p + q + \Delta}/\sqrt{(1+p)(1+q)}$, because
# $c^2 + (1 + p + q + \Delta) = (1+p)(1+q)$; the cosine is positive, and atan2 of sine and cosine is the angle.

# %%
k_atan2 = 2 / sp.pi * sp.atan2(c, sp.sqrt(1 + p + q + Delta))
with_determinant = {Delta: determinant}
sine_squared = (c**2 / (c**2 + 1 + p + q + Delta)).subs(with_determinant)
assert sp.simplify(sine_squared - (c / sp.sqrt((1 + p) * (1 + q))) ** 2) == 0
assert sp.simplify((k_atan2.subs(with_determinant) - k_arcsine).diff(c)) == 0
assert k_atan2.subs(c, 0) == 0

# %% [markdown]
# ## 2.3 The package
#
# `infgeo.MLP("erf")` is given the expression $\mathrm{erf}(z/\sqrt2)$ and nothing else. Its kernel is printed as an
# arcsine in $|x|^2$, $|y|^2$ and $x\cdot y$; its dual activation is kept as the arc with $\Delta$. For Williams's own
# scaling, $\varphi(z) = \mathrm{erf}(z)$, one obtains his formula $\frac2\pi \arcsin\, 2c/\sqrt{(1+2p)(1+2q)}$.

# %%
import infgeo
from infgeo import conventions as conv

erf_network = infgeo.MLP("erf")
print(erf_network.kernel)

sw, sb = conv.sigma_w, conv.sigma_b
s_x, s_y, xy = erf_network.kernel.symbols
first_layer = {p: sb**2 + sw**2 * s_x, q: sb**2 + sw**2 * s_y, c: sb**2 + sw**2 * xy}
sine = sp.sin(sp.pi / 2 * erf_network.kernel.expr)
assert sp.simplify(sine - sp.sin(sp.pi / 2 * k_arcsine.subs(first_layer, simultaneous=True))) == 0

to_package = {p: conv.p, q: conv.q, c: conv.c, Delta: conv.Delta}
tangent = sp.tan(sp.pi / 2 * erf_network.dual.kernel)
assert sp.simplify(tangent - (c / sp.sqrt(1 + p + q + Delta)).subs(to_package, simultaneous=True)) == 0
derivative_kernel = erf_network.dual.derivative_kernel.subs(conv.Delta, conv.p * conv.q - conv.c**2)
assert sp.simplify(derivative_kernel - k_dot.subs(to_package, simultaneous=True)) == 0

williams = infgeo.MLP(sp.erf(conv.z)).kernel.expr
ratio = (2 * c / sp.sqrt((1 + 2 * p) * (1 + 2 * q))).subs(first_layer, simultaneous=True)
assert sp.simplify(sp.sin(sp.pi / 2 * williams) - ratio) == 0

# %% [markdown]
# And with numbers, against a quadrature in one variable. Given $u$, $v$ is Gaussian with mean $cu/p$ and variance
# $\Delta/p$, and the inner expectation of an error function is an error function:
# $\mathrm E[\mathrm{erf}((\mu + \tau\eta)/\sqrt2)] = \mathrm{erf}(\mu/\sqrt{2(1+\tau^2)})$ for a standard normal
# $\eta$, since both sides are odd in $\mu$ and have the same derivative, a Gaussian convolution.


# %%
@mp.workdps(30)
def by_quadrature(P, Q, C):
    """E[phi(u) phi(v)] by adaptive quadrature over u."""
    P, Q, C = (mp.mpf(value) for value in (P, Q, C))
    deviation, inner_scale = mp.sqrt(P), mp.sqrt(2 * (1 + (P * Q - C**2) / P))

    def integrand(x):
        return mp.npdf(x) * mp.erf(deviation * x / mp.sqrt(2)) * mp.erf(C * x / deviation / inner_scale)

    return 2 * mp.quad(integrand, [0, 1, 2, 4, 8, 13])


for values in ((1.0, 2.0, 0.5), (0.25, 30.0, -2.5), (3.0, 3.0, 3.0), (1e-4, 2e-4, 1e-4)):
    numbers = dict(zip((conv.p, conv.q, conv.c), map(sp.Rational, values), strict=True))
    numbers[conv.Delta] = numbers[conv.p] * numbers[conv.q] - numbers[conv.c] ** 2
    with mp.workdps(30):
        derived = mp.mpf(erf_network.dual.kernel.subs(numbers).evalf(30))
        assert abs(derived / by_quadrature(*values) - 1) < 1e-20, values

# %% [markdown]
# ## 2.4 What floating point makes of the two forms
#
# At coincidence, $p = q = c = v$, the arcsine is taken of $v/(1+v) = 1 - 1/(1+v)$, which rounding moves by $10^{-16}$.
# Near 1 the arcsine has a vertical tangent, $\arcsin(1 - \epsilon) \approx \pi/2 - \sqrt{2\epsilon}$: an error of
# $10^{-16}$ in $\epsilon \sim 1/v$ becomes $10^{-16}\sqrt v$ in the kernel, up to $10^{-8}$, half of the digits. What
# matters in the geometry is often $1 - k$, the distance from saturation, where it is worse. The quotient in atan2
# has no such point: $\mathrm{atan2}(v, \sqrt{1 + 2v})$, and the complement
# $1 - k = \frac2\pi \mathrm{atan2}(\sqrt{1 + 2v}, v)$ as well.

# %%
header = "       v    k by arcsine   k by atan2   1-k by arcsine   1-k by atan2      (relative errors)"
lines, worst = [header], {"arcsine": 0.0, "atan2": 0.0}
for exponent10 in range(-8, 18, 3):
    variance = 10.0**exponent10
    with mp.workdps(50):
        V = mp.mpf(variance)
        exact = 2 / mp.pi * mp.atan2(V, mp.sqrt(1 + 2 * V))
        complement = 2 / mp.pi * mp.atan2(mp.sqrt(1 + 2 * V), V)
    arcsine = 2 / math.pi * math.asin(variance / (1 + variance))
    arc = 2 / math.pi * math.atan2(variance, math.sqrt(1 + 2 * variance))
    other_arc = 2 / math.pi * math.atan2(math.sqrt(1 + 2 * variance), variance)
    pairs = ((arcsine, exact), (arc, exact), (1 - arcsine, complement), (other_arc, complement))
    with mp.workdps(50):
        errors = [abs(float(mp.mpf(number) / reference - 1)) for number, reference in pairs]
    lines.append(f"{variance:8.0e}" + "".join(f"{error:15.1e}" for error in errors))
    worst["arcsine"] = max(worst["arcsine"], errors[0])
    worst["atan2"] = max(worst["atan2"], errors[1], errors[3])
print("\n".join(lines))
assert worst["arcsine"] > 1e-9 and worst["atan2"] < 5e-16

# %% [markdown]
# ## 2.5 At coincidence: the moments of one variable
#
# At $p = q = c = v$, $\Delta = 0$, the kernel and its derivative become functions of the variance alone,
#
# $$ m(v) = \mathrm E[\varphi^2] = \frac2\pi \arctan\frac{v}{\sqrt{1+2v}}, \qquad
#    m_0(v) = \mathrm E[\varphi'^2] = \frac{2}{\pi\sqrt{1+2v}} . $$
#
# Note that $m' \ne m_0$: Price's theorem moves $c$ alone, and at coincidence $p$ and $q$ move too, by which
# $m' = \mathrm E[\varphi'^2 + \varphi\varphi'']$. The metric of one layer is built from $m_0$ (derivation 4):
# $g = f\,I + 2\sigma_w^2 f'\, x x^{\mathsf T}$ with $f(q) = \sigma_w^2 m_0(q)$ at $q = \sigma_b^2 + \sigma_w^2 |x|^2$.
# Its radial eigenvalue is a difference that does not cancel when it is factored:
#
# $$ h = f + 2 \sigma_w^2 s f' = f\, \frac{1 + 2\sigma_b^2}{1 + 2q} . $$

# %%
variance, s = conv.variance, conv.s
coincidence = {p: variance, q: variance, c: variance, Delta: 0}
m, m0 = k_atan2.subs(coincidence), k_dot.subs(coincidence)
density = sp.exp(-(z**2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)

assert sp.simplify(sp.integrate(sp.expand(slope**2) * density, (z, -sp.oo, sp.oo)) - m0) == 0
curvature_moment = sp.integrate(phi * phi.diff(z, 2) * density, (z, -sp.oo, sp.oo))
assert sp.simplify(m.diff(variance) - m0 - curvature_moment) == 0 and m.subs(variance, 0) == 0
assert sp.simplify(erf_network.dual.m0 - m0) == 0
assert sp.simplify((erf_network.dual.m - m).diff(variance)) == 0 and erf_network.dual.m.subs(variance, 0) == 0

f = sw**2 * m0
Q = sb**2 + sw**2 * s
A, B = f.subs(variance, Q), (2 * sw**2 * f.diff(variance)).subs(variance, Q)
h = A * (1 + 2 * sb**2) / (1 + 2 * Q)
assert sp.simplify(A + s * B - h) == 0
metric = erf_network.metric
assert [sp.simplify(x - y) for x, y in ((metric.A, A), (metric.B, B), (metric.h, h))] == [0, 0, 0]
print("h =", metric.h)

# %% [markdown]
# ## In the package
#
# `infgeo.MLP("erf").kernel.expr` prints the arcsine; numeric functions compute the arc of 2.4
# ([Evaluate](../guide/evaluate.md)). The metric of 2.5 is `infgeo.MLP("erf").metric`.
