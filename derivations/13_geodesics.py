# %% [markdown]
# # 13. Geodesics of a rotation-invariant metric: Clairaut's constant, and straight lines
#
# In polar coordinates the metric $g = A(s)\,I + B(s)\,xx^{\mathsf T}$ of derivation 5 is
#
# $$ dl^2 = h\,dr^2 + \rho^2 d\Omega^2, \qquad h = A + sB, \qquad \rho = r\sqrt A . $$
#
# Reflections in a plane through 0 are isometries, so a geodesic whose position and velocity lie in the plane stays in
# it. There the rotation is a symmetry, and $L = \rho^2\,d\theta/dl$ is constant (Clairaut). So every geodesic is two
# integrals,
#
# $$ \theta = \int \frac{L\,\sqrt h\,dr}{\rho\sqrt{\rho^2 - L^2}}, \qquad
#    \mathrm{length} = \int \frac{\sqrt h\,\rho\,dr}{\sqrt{\rho^2 - L^2}} . $$
#
# Source: M. do Carmo, *Differential geometry of curves and surfaces* (1976), section 4-4.

# %%
import sympy as sp

import infgeo
from infgeo.conventions import r, s

t, half = sp.Symbol("t", real=True), sp.Rational(1, 2)

# %% [markdown]
# ## 13.1 Clairaut's constant
#
# The geodesic equation in coordinates, $x''^k = -\Gamma^k_{ij}x'^i x'^j$, has the first integrals
# $\rho^2\theta' = A\,(x_1x_2' - x_2x_1')$ and $|x'|_g^2$. The Christoffel symbols are those that the package returns;
# its tests hold them against `infgeo.Metric`.

# %%
metric = infgeo.RadialMetric.from_functions(1 + s**2, 2 + s)  # any
x, v = sp.Matrix(infgeo.symbols.coordinates(2)), sp.Matrix(sp.symbols("v_1:3", real=True))
square = {s: x.dot(x)}
gamma = metric.christoffel(2)
force = [-sum(gamma[k, i, j] * v[i] * v[j] for i in range(2) for j in range(2)) for k in range(2)]
force = sp.Matrix(force).subs(square)


def along(f):
    """The derivative of a function of position and velocity along a geodesic."""
    return sum(f.diff(x[i]) * v[i] + f.diff(v[i]) * force[i] for i in range(2))


momentum = metric.A.subs(square) * (x[0] * v[1] - x[1] * v[0])
speed = (v.T * metric.matrix(2) * v)[0]
assert sp.simplify(along(momentum)) == 0
assert sp.simplify(along(speed)) == 0

# %% [markdown]
# ## 13.2 One quadrature, without its singularity
#
# So $\theta = \int L\sqrt h\,dr/(\rho\sqrt{\rho^2 - L^2})$ and $l = \int \rho\sqrt h\,dr/\sqrt{\rho^2-L^2}$, which are
# singular where the geodesic turns, at $\rho = L$. With $\rho = L\cosh w$ and the stretch
# $k^{-1} = dR/d\rho = \sqrt{h/A}/(1+sA'/A)$, $dR = \sqrt h\,dr$,
#
# $$ d\theta = \frac{L}{\rho}\,k^{-1}\,dw, \qquad dl = \rho\,k^{-1}\,dw , $$
#
# smooth through $w = 0$. For $k = 1$ these are the angle and the length of a straight line at the distance $L$ from 0
# in the plane with polar coordinates $(\rho, \theta)$: a geodesic is the image of a chord.

# %%
w, L, stretch = sp.symbols("w L k", positive=True)
rho = L * sp.cosh(w)
root = sp.sqrt(rho**2 - L**2).subs(sp.sqrt(L**2 * sp.cosh(w) ** 2 - L**2), L * sp.sinh(w))
for integrand, expected in ((L / rho / root, stretch * L / rho), (rho / root, stretch * rho)):
    element = integrand * stretch * rho.diff(w)  # dR = stretch d rho
    assert sp.simplify((element / expected).rewrite(sp.exp) ** 2 - 1) == 0
radius = sp.Symbol("r", positive=True)
A, h = (part.subs(s, radius**2) for part in (metric.A, metric.h))
alpha = (s * metric.A.diff(s) / metric.A).subs(s, radius**2)
slope = sp.sqrt(h) / (radius * sp.sqrt(A)).diff(radius)  # dR/d rho
assert sp.simplify(slope**2 - (sp.sqrt(h / A) / (1 + alpha)) ** 2) == 0

# %% [markdown]
# The stretch changes by the curvature of planes through the radius, $K_{\mathrm{rad}} = -\rho^{-1}d^2\rho/dR^2$:
# $dk^{-1}/d\log\rho = K_{\mathrm{rad}}\,\rho^2 k^{-3}$. Where $K_{\mathrm{rad}}\le 0$ the stretch falls with $\rho$,
# and there is one geodesic between two points.

# %%
K_rad = metric.sectional_curvature[0].subs(s, radius**2)
inverse = sp.sqrt(h / A) / (1 + alpha)
left = inverse.diff(radius) * radius / (1 + alpha)  # d/d log rho
point = sp.Rational(3, 5)
assert abs((left - K_rad * radius**2 * A * inverse**3).subs(radius, point).evalf(40)) < 1e-30

# %% [markdown]
# ## 13.3 One layer of error functions
#
# $h = c\,(1+2q)^{-3/2}$ and $\sqrt{\det g}\,r^{d-1}$ are powers of one binomial in $s$, so radii and volumes of balls
# are $\int_0^r t^{m-1}(1+ut^2)^{-p}dt = \frac{r^m}{m}\,{}_2F_1(p, \tfrac m2; \tfrac m2+1; -ur^2)$.
# With $\sigma_w = 1$ and
# $b = \sigma_b^2$, the distance of $x$ from 0, finite as $r\to\infty$, and the area of a disc are
#
# $$ \sqrt{\tfrac2\pi}\,\frac{r}{(1+2b)^{1/4}}\;{}_2F_1\Big(\tfrac12,\tfrac34;\tfrac32;-\tfrac{2r^2}{1+2b}\Big), \qquad
#    \sqrt{1+2b}\,\log\Big(1 + \tfrac{2r^2}{1+2b}\Big) . $$

# %%
m, p, u = sp.symbols("m p u", positive=True)
series = r**m / m * sp.hyper((p, m / 2), (m / 2 + 1,), -u * r**2)
for m_, p_, u_ in ((1, sp.Rational(3, 4), 2), (3, sp.Rational(5, 2), sp.Rational(1, 3))):
    at = {m: m_, p: p_, u: u_, r: sp.Rational(4, 5)}
    integral = sp.Integral(t ** (m_ - 1) * (1 + u_ * t**2) ** (-p_), (t, 0, at[r]))
    assert abs((series.subs(at) - integral).evalf(25)) < 1e-20

b = sp.Symbol("b", positive=True)
erf = infgeo.MLP("erf", weight_std=1, bias_std=sp.sqrt(b)).metric
z = 2 * r**2 / (1 + 2 * b)
distance = sp.sqrt(2 / sp.pi) * r * (1 + 2 * b) ** sp.Rational(-1, 4)
distance *= sp.hyper((half, sp.Rational(3, 4)), (sp.Rational(3, 2),), -z)
area = sp.sqrt(1 + 2 * b) * sp.log(1 + z)
element = 2 * sp.pi * r * erf.at(d=2).volume_element.subs(s, r**2)
assert sp.simplify(area.diff(r) - element) == 0 and area.subs(r, 0) == 0
for closed, returned in ((distance, erf.radial_distance), (area, erf.at(d=2).ball_volume)):
    assert abs((closed - returned).subs({b: sp.Rational(1, 3), r: 2}).evalf(30)) < 1e-25
numbers = erf.at(b=sp.Rational(1, 3))
assert (
    abs(numbers.distance([0.0, 0.0], [0.0, 2.0]) - float(distance.subs({b: sp.Rational(1, 3), r: 2}).evalf())) < 1e-14
)

# %% [markdown]
# ## In the package
#
# `metric.geodesic(x, y)`, `.distance`, `.exponential` and `.logarithm` compute the quadrature of 13.2;
# `.radial_distance` and `.ball_volume` are the formulas of 13.3 ([Distances and geodesics](../guide/distances.md)).
