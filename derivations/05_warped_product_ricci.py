# %% [markdown]
# # 5. The curvature of a rotation-invariant metric, for symbolic dimension
#
# The metric of a wide network at infinite width is $g = A(s)\,I + B(s)\,x x^{\mathsf T}$, $s = |x|^2$ (derivation 4).
# In polar form it is a warped product, whose curvature is that of a surface of revolution: two sectional curvatures,
# whatever the dimension. This script derives them and the Ricci scalar
#
# $$ R = (d-1)\left( 2K_{\mathrm{rad}} + (d-2) K_{\mathrm{tan}} \right) $$
#
# in terms of $A, A', A'', B, B'$, proves them against Christoffel symbols for $d = 2, 3, 4$, and derives the
# curvature of erf networks. Signs: $R > 0$ on spheres, $R = d(d-1)/a^2$ on the $d$-sphere of radius $a$. The last
# section is on a wrong sign in a published implementation, and why tests on easy examples do not find it.
#
# Sources: B. O'Neill, *Semi-Riemannian geometry* (1983), ch. 7 (warped products); P. Petersen, *Riemannian geometry*
# (rotationally symmetric metrics).

# %%
from itertools import product

import sympy as sp

import infgeo
from infgeo import conventions as conv

d, s = conv.d, sp.Symbol("s", positive=True)
half = sp.Rational(1, 2)

# %% [markdown]
# ## 5.1 Curvature from Christoffel symbols at a point
#
# All that follows is checked against the textbook definition
#
# $$ R^l{}_{ijk} = \underbrace{\partial_j\Gamma^l_{ki} - \partial_k\Gamma^l_{ji}}_{\mathcal D} +
#    \sigma\, \underbrace{\left( \Gamma^l_{jm}\Gamma^m_{ki} - \Gamma^l_{km}\Gamma^m_{ji} \right)}_{\mathcal Q}, \qquad
#    R = g^{ij} R^l{}_{ilj}, \qquad \sigma = +1, $$
#
# at one point, from the matrix and its first and second derivatives there. The sign $\sigma$ is an argument, for the
# last section. First test: the unit sphere in angles, in two and three dimensions, at any point.


# %%
def ricci_scalar(matrix, coordinates, point, sign=1):
    """The Ricci scalar at a point by Christoffel symbols; sign multiplies the terms quadratic in them."""
    n = len(coordinates)
    axes = range(n)
    at = lambda expr: sp.sympify(expr).subs(point)  # noqa: E731
    g = matrix.applyfunc(at)
    inverse = g.adjugate() / g.det()
    first = [matrix.diff(x).applyfunc(at) for x in coordinates]
    second = [[matrix.diff(x, y).applyfunc(at) for y in coordinates] for x in coordinates]

    def lowered(m, i, j):  # Gamma_{m,ij}
        return half * (first[i][m, j] + first[j][m, i] - first[m][i, j])

    def lowered_derivative(k, m, i, j):
        return half * (second[k][i][m, j] + second[k][j][m, i] - second[k][m][i, j])

    gamma = [sp.Matrix(n, n, lambda i, j, l=l: sum(inverse[l, m] * lowered(m, i, j) for m in axes)) for l in axes]
    inverse_derivative = [-inverse * first[k] * inverse for k in axes]

    def gamma_derivative(k, l, i, j):
        return sum(
            inverse_derivative[k][l, m] * lowered(m, i, j) + inverse[l, m] * lowered_derivative(k, m, i, j)
            for m in axes
        )

    total = sp.Integer(0)
    for i, k, l in product(axes, repeat=3):
        derivatives = gamma_derivative(l, l, k, i) - gamma_derivative(k, l, l, i)
        quadratic = sum(gamma[l][l, m] * gamma[m][k, i] - gamma[l][k, m] * gamma[m][l, i] for m in axes)
        total += inverse[i, k] * (derivatives + sign * quadratic)
    return total


angles = sp.symbols("theta_1:4", positive=True)
for n in (2, 3):
    round_metric = sp.diag(*[sp.prod([sp.sin(angle) ** 2 for angle in angles[:i]]) for i in range(n)])
    assert sp.simplify(ricci_scalar(round_metric, angles[:n], {})) == n * (n - 1)

# %% [markdown]
# ## 5.2 Polar form, and the curvatures of a warped product
#
# With $x = r n$, $|n| = 1$: $dx = n\,dr + r\,dn$ and $x\cdot dx = r\,dr$, hence
#
# $$ ds^2 = A\,|dx|^2 + B\,(x\cdot dx)^2 = h\,dr^2 + r^2 A\, d\Omega^2, \qquad h = A + sB, $$
#
# $d\Omega^2$ being the round metric of the unit sphere of directions. With the arc length $\rho$ along the radius,
# $d\rho = \sqrt h\,dr$, and $F = r\sqrt A$, it is $d\rho^2 + F(\rho)^2 d\Omega^2$. The sectional curvatures of such a
# metric are
#
# $$ K_{\mathrm{rad}} = -\frac{F_{\rho\rho}}{F}, \qquad K_{\mathrm{tan}} = \frac{1 - F_\rho^2}{F^2}, $$
#
# for planes that contain the radius, and for planes across it. Verified with `infgeo.Metric` for
# $F = f_0 + f_1\rho + \frac12 f_2\rho^2$ with symbolic coefficients: curvature sees no higher derivative of $F$. By the
# rotations about the radius every plane at a point is a combination of these two kinds, so that nothing else can occur.

# %%
rho, theta = sp.symbols("rho theta", positive=True)
f0, f1, f2 = sp.symbols("f_0:3", positive=True)
F = f0 + f1 * rho + f2 * rho**2 / 2
warped = infgeo.Metric(sp.diag(1, F**2, F**2 * sp.sin(theta) ** 2), (rho, theta, sp.Symbol("varphi", real=True)))
riemann, g = warped.riemann_lowered, warped.matrix


def sectional(i, j):
    """The curvature of the coordinate plane (i, j) of a diagonal metric."""
    return riemann[i, j, i, j] / (g[i, i] * g[j, j])


assert sp.simplify(sectional(0, 1) + F.diff(rho, 2) / F) == 0
assert sp.simplify(sectional(0, 2) + F.diff(rho, 2) / F) == 0
assert sp.simplify(sectional(1, 2) - (1 - F.diff(rho) ** 2) / F**2) == 0
assert all(riemann[i, j, k, l] == 0 for i, j, k, l in product(range(3), repeat=4) if {i, j} != {k, l})

# %% [markdown]
# An orthonormal frame of $d$ vectors, one of them radial, spans $d - 1$ radial planes and $\binom{d-1}{2}$ tangential
# ones. $R$ is twice the sum of their curvatures, which is the formula at the head.
#
# ## 5.3 Back to $A$, $B$ and $s$
#
# $\frac{d}{d\rho} = \frac{1}{\sqrt h}\frac{d}{dr} = \frac{2\sqrt s}{\sqrt h}\frac{d}{ds}$ and $F = \sqrt{sA}$. With
# $a = A'/A$, $\alpha = sa$, $\delta = (B - 2A')/A$, $\beta = s\delta$, $\eta = h/A = 1 + 2\alpha + \beta$ as in
# derivation 4,
#
# $$ K_{\mathrm{tan}} = \frac{\delta - a\alpha}{A\,\eta}, \qquad
#    K_{\mathrm{rad}} = \frac{(1 + \alpha)\,\beta' - 2\alpha'(\alpha + \beta)}{A\,\eta^2} . $$

# %%
A, B = (sp.Function(name)(s) for name in "AB")


def curvatures(A, B):
    """K_rad and K_tan of A I + B x x' from the warped product, for expressions or functions of s."""
    h = A + s * B
    F = sp.sqrt(s * A)
    along = lambda expr: 2 * sp.sqrt(s) / sp.sqrt(h) * expr.diff(s)  # noqa: E731
    return -along(along(F)) / F, (1 - along(F) ** 2) / F**2


def logarithmic(A, B):
    """The same in the logarithmic quantities, as infgeo.symbolic.geometry.metric computes them."""
    a, delta = A.diff(s) / A, (B - 2 * A.diff(s)) / A
    alpha, beta = s * a, s * delta
    eta = 1 + 2 * alpha + beta
    radial = ((1 + alpha) * beta.diff(s) - 2 * alpha.diff(s) * (alpha + beta)) / (A * eta**2)
    return radial, (delta - a * alpha) / (A * eta)


K_rad, K_tan = logarithmic(A, B)
for warped_form, log_form in zip(curvatures(A, B), (K_rad, K_tan), strict=True):
    assert sp.simplify(warped_form - log_form) == 0


def total_curvature(A, B):
    """R for symbolic dimension d."""
    radial, tangential = logarithmic(A, B)
    return (d - 1) * (2 * radial + (d - 2) * tangential)


# %% [markdown]
# ## 5.4 No pole at the origin
#
# Over the common denominator $A^2 (A + sB)^2$ the numerator of $R$ is a *polynomial* in $s, A, A', A'', B, B'$. The
# $1/s$ of the polar coordinates is gone, which matters in floating point as much as at the origin itself; and there is
# no $B''$.

# %%
jets = A0, A1, A2, B0, B1 = sp.symbols("A A' A'' B B'")
as_symbols = [(A.diff(s, 2), A2), (A.diff(s), A1), (A, A0), (B.diff(s), B1), (B, B0)]
R = total_curvature(A, B).doit()
assert not R.has(B.diff(s, 2))
R_jets = R.subs(as_symbols)
numerator = sp.cancel(sp.together(R_jets * A0**2 * (A0 + s * B0) ** 2 / (d - 1)))
assert numerator.is_polynomial(s, *jets, d)
polynomial = sp.Poly(sp.expand(numerator), s)
for power, coefficient in enumerate(reversed(polynomial.all_coeffs())):
    print(f"coefficient of s^{power} in R A^2 (A + s B)^2 / (d - 1):", sp.factor(coefficient))
at_origin = numerator.subs(s, 0) * (d - 1) / A0**4
assert sp.simplify(at_origin - d * (d - 1) * (B0 - 2 * A1) / A0**2) == 0

# %% [markdown]
# ## 5.5 Proof against Christoffel symbols in Cartesian coordinates
#
# $R$ at a point depends on two derivatives of $A$ and $B$ there. Take their general Taylor polynomials about
# $s_0$, with symbols for all coefficients (the second derivative of $B$ among them, which must drop out), at the point
# $(\sqrt{s_0}, 0, \dots, 0)$, which by the rotations stands for all points of that radius. Cartesian coordinates are
# orthogonal at this point only, not around it.

# %%
root = sp.Symbol("r", positive=True)
B2 = sp.Symbol("B''")
base = root**2
for n in (2, 3, 4):
    x = sp.symbols(f"x_1:{n + 1}", real=True)
    step = sum(xi**2 for xi in x) - base
    A_taylor, B_taylor = A0 + A1 * step + A2 * step**2 / 2, B0 + B1 * step + B2 * step**2 / 2
    matrix = sp.Matrix(n, n, lambda i, j: B_taylor * x[i] * x[j] + (A_taylor if i == j else 0))  # noqa: B023
    here = dict(zip(x, (root, *[0] * (n - 1)), strict=True))
    brute_force = ricci_scalar(matrix, x, here)
    assert sp.simplify(brute_force - R_jets.subs({d: n, s: base})) == 0

# %% [markdown]
# The package, for metrics of no particular meaning at a point of no symmetry: `RadialMetric` (the closed form) against
# `Metric` (tensors), for $d = 2$ symbolically and for $d = 3$ in 50-digit arithmetic.

# %%
S = conv.s
sample = infgeo.RadialMetric.from_functions(2 + S**2, 1 / (1 + S))
x = sp.symbols("x_1:3", real=True)
tensor = infgeo.Metric(sample.matrix(2), x).ricci_scalar
assert sp.simplify(tensor - sample.ricci_scalar.subs(d, 2).subs(S, x[0] ** 2 + x[1] ** 2)) == 0

x = sp.symbols("x_1:4", real=True)
point = dict(zip(x, (sp.Rational(1, 2), sp.Rational(-2, 3), sp.Rational(3, 4)), strict=True))
square = sum(value**2 for value in point.values())
for metric in (sample, infgeo.RadialMetric.from_functions(sp.exp(-S), sp.sqrt(1 + S))):
    tensor = infgeo.Metric(metric.matrix(3), x, simplify=False).at(point).ricci_scalar
    closed = metric.ricci_scalar.subs({d: 3, S: square}).evalf(50)
    assert abs(tensor / closed - 1) < sp.Float("1e-40", 50)
    ours = total_curvature(metric.A.subs(S, s), metric.B.subs(S, s)).subs({d: 3, s: square}).evalf(50)
    assert abs(ours / closed - 1) < sp.Float("1e-40", 50)

# %% [markdown]
# ## 5.6 Spaces of constant curvature
#
# Pull the flat metric of $\mathbb R^{d}$ back by $x \mapsto x\,\chi(|x|^2)$ with any $\chi$: $A = \chi^2$,
# $B = 4\chi\chi' + 4s\chi'^2$, and $R = 0$ identically. The sphere in stereographic, gnomonic and orthographic
# coordinates, and hyperbolic space in the models of Poincaré and Klein, for symbolic $d$: only the first and the fourth
# of these five are conformal, the others have $B \ne 0$.

# %%
chi = sp.Function("chi")(s)
flat = total_curvature(chi**2, 4 * chi * chi.diff(s) + 4 * s * chi.diff(s) ** 2)
assert sp.simplify(flat.doit()) == 0

constant_curvature = {
    "sphere, stereographic": (4 / (1 + s) ** 2, sp.Integer(0), 1),
    "sphere, gnomonic": (1 / (1 + s), -1 / (1 + s) ** 2, 1),
    "sphere, orthographic": (sp.Integer(1), 1 / (1 - s), 1),
    "hyperbolic, Poincare": (4 / (1 - s) ** 2, sp.Integer(0), -1),
    "hyperbolic, Klein": (1 / (1 - s), 1 / (1 - s) ** 2, -1),
}
for name, (A_, B_, K) in constant_curvature.items():
    assert sp.simplify(total_curvature(A_, B_) - K * d * (d - 1)) == 0, name
    package = infgeo.RadialMetric.from_functions(A_.subs(s, S), B_.subs(s, S))
    assert [sp.simplify(value) for value in package.sectional_curvature] == [K, K]
    assert sp.expand(package.ricci_scalar - K * d * (d - 1)) == 0

# %% [markdown]
# ## 5.7 One hidden layer, any activation
#
# Let $u = \sigma_w^2 s$, $q = \sigma_b^2 + u$, $f(q) = \sigma_w^2\,\mathrm E[\varphi'^2]$, a prime now for $d/dq$. Then
# $A = f$, $B = 2\sigma_w^2 f'$, $h = f + 2u f'$, and
#
# $$ K_{\mathrm{tan}} = -\frac{\sigma_w^2\, u f'^2}{f^2 h} \le 0, \qquad
#    K_{\mathrm{rad}} = -\frac{2\sigma_w^2\, u f' J}{(f h)^2}, \qquad J = f f' + u\,(f f'' - f'^2) . $$

# %%
sw, sb = conv.sigma_w, conv.sigma_b
Q, u = sp.symbols("q u", positive=True)
f_of_q = sp.Function("f")(Q)
q_of_s = sb**2 + sw**2 * s
f = f_of_q.subs(Q, q_of_s)
derivatives = [f, f.diff(s) / sw**2, f.diff(s, 2) / sw**4]  # f, f', f'' as functions of s
U = sw**2 * s
h = derivatives[0] + 2 * U * derivatives[1]
J = derivatives[0] * derivatives[1] + U * (derivatives[0] * derivatives[2] - derivatives[1] ** 2)
radial, tangential = logarithmic(f, 2 * sw**2 * derivatives[1])
assert sp.simplify((tangential + sw**2 * U * derivatives[1] ** 2 / (derivatives[0] ** 2 * h)).doit()) == 0
assert sp.simplify((radial + 2 * sw**2 * U * derivatives[1] * J / (derivatives[0] * h) ** 2).doit()) == 0

# %% [markdown]
# ## 5.8 erf
#
# $f = 2\sigma_w^2/(\pi\sqrt{1 + 2q})$ and $h = f\,(1 + 2\sigma_b^2)/(1 + 2q)$ (derivation 2). Everything combines into
#
# $$ R = -\frac{\pi\,\sigma_w^2\, s\,(d-1)(d+2)}{2\,(1 + 2\sigma_b^2)\,\sqrt{1 + 2q}}, \qquad
#    \sqrt{\det g} = \left(\frac{2\sigma_w^2}{\pi}\right)^{d/2} \sqrt{1 + 2\sigma_b^2}\;(1 + 2q)^{-(d+2)/4} . $$

# %%
f = 2 * sw**2 / (sp.pi * sp.sqrt(1 + 2 * q_of_s))
h = f * (1 + 2 * sb**2) / (1 + 2 * q_of_s)
R_erf = -sp.pi * sw**2 * s * (d - 1) * (d + 2) / (2 * (1 + 2 * sb**2) * sp.sqrt(1 + 2 * q_of_s))
assert sp.simplify(total_curvature(f, 2 * f.diff(s)) - R_erf) == 0

volume_squared = (2 * sw**2 / sp.pi) ** d * (1 + 2 * sb**2) * (1 + 2 * q_of_s) ** (-(d + 2) / 2)
for n in range(1, 6):
    assert sp.simplify(f ** (n - 1) * h / volume_squared.subs(d, n)) == 1

metric = infgeo.MLP("erf").metric
print("R =", metric.ricci_scalar)
print("sqrt(det g) =", metric.volume_element)
assert sp.simplify(metric.ricci_scalar.subs(S, s) - R_erf) == 0
for n in range(1, 6):
    assert sp.simplify(metric.volume_element.subs({S: s, d: n}) ** 2 / volume_squared.subs(d, n)) == 1
small = {sw: 1, sb: half}
for n in (2, 3):
    x = sp.symbols(f"x_1:{n + 1}", real=True)
    point = dict(zip(x, (sp.Rational(1, 2), sp.Rational(-2, 3), sp.Rational(3, 4)), strict=False))
    square = sum(value**2 for value in point.values())
    tensor = infgeo.Metric(metric.matrix(n).subs(small), x, simplify=False).at(point).ricci_scalar
    assert abs(tensor / R_erf.subs(small).subs({d: n, s: square}).evalf(50) - 1) < sp.Float("1e-40", 50)

# %% [markdown]
# ## 5.9 A wrong sign, and a factor of 3
#
# A known published implementation of these quantities computes the Riemann tensor with the signs of the two quadratic
# Christoffel terms swapped, $\sigma = -1$ in 5.1. For one hidden layer **its Ricci scalar is exactly three times too
# large**, a wrong number that looks entirely reasonable: right sign, right shape, right scaling with radius and
# dimension.
#
# The reason: the metric of one layer is a Hessian metric, $g_{ij} = \partial_i\partial_j\Psi$ (derivation 6), for which
# $\Gamma_{m,ij} = \frac12\partial_m\partial_i\partial_j\Psi$ is totally symmetric. The fourth derivatives of $\Psi$
# drop out of $\mathcal D$ by symmetry; what remains of $\mathcal D$ is from the derivative of $g^{-1}$, and
#
# $$ \mathcal D = -2\,\mathcal Q, \qquad
#    \mathcal D + \mathcal Q = -\mathcal Q, \qquad \mathcal D - \mathcal Q = -3\,\mathcal Q . $$
#
# Shown for the general Hessian metric in two dimensions, at a point where no two directions are orthogonal: symbols for
# all second, third and fourth derivatives of $\Psi$.

# %%
x = sp.symbols("x_1:3", real=True)
names = {order: sp.symbols(f"p_{order}_0:{order + 1}", real=True) for order in (2, 3, 4)}
potential = sum(
    coefficient * x[0] ** (order - k) * x[1] ** k / (sp.factorial(order - k) * sp.factorial(k))
    for order, coefficients in names.items()
    for k, coefficient in enumerate(coefficients)
)
hessian_metric = sp.hessian(potential, x)
origin = dict.fromkeys(x, 0)
assert hessian_metric.subs(origin)[0, 1] == names[2][1]
true = sp.factor(ricci_scalar(hessian_metric, x, origin))
swapped = sp.factor(ricci_scalar(hessian_metric, x, origin, sign=-1))
assert true != 0 and sp.simplify(swapped - 3 * true) == 0
assert not true.free_symbols & set(names[4])
print("R =", true)

# %% [markdown]
# The erf network, at a point off the axes (where $g_{12} \ne 0$), with exact arithmetic: the true $R$ is the closed
# form of 5.8, and the swapped signs give its triple.

# %%
for n in (2, 3):
    x = sp.symbols(f"x_1:{n + 1}", real=True)
    matrix = sp.Matrix(metric.matrix(n).subs(small))
    point = dict(zip(x, (sp.Rational(1, 2), sp.Rational(-2, 3), sp.Rational(3, 4)), strict=False))
    square = sum(value**2 for value in point.values())
    closed = R_erf.subs(small).subs({d: n, s: square})
    assert matrix[0, 1].subs(point) != 0
    ratios = [sp.simplify(ricci_scalar(matrix, x, point, sign) / closed) for sign in (1, -1)]
    print(f"d = {n}: Christoffel R / closed form = {ratios[0]}; with the signs swapped: {ratios[1]}")
    assert ratios == [1, 3]

# %% [markdown]
# It is no convention: with $\sigma = -1$ the result is not a scalar, it changes with the coordinates. But the usual
# examples do not show it. At the centre of a chart $\Gamma = 0$; and in *any orthogonal coordinates of a surface* the
# contraction $g^{ij}\mathcal Q^l{}_{ilj}$ vanishes identically, so that the Ricci scalar is right, whatever the sign
# (the Riemann tensor is not). That is shown first, for the general diagonal metric.

# %%
x = sp.symbols("x_1:4", positive=True)
E1, E2 = (sp.Function(name)(x[0], x[1]) for name in ("E_1", "E_2"))
orthogonal = sp.diag(E1, E2)
both = [ricci_scalar(orthogonal, x[:2], {}, sign).doit() for sign in (1, -1)]
assert sp.simplify(both[0] - both[1]) == 0 and both[0] != 0

# %% [markdown]
# Then spheres, flat and hyperbolic spaces, in several coordinates, at one point each.


# %%
def radial_matrix(A, B, n):
    """A I + B x x' in n dimensions."""
    square = {s: sum(xi**2 for xi in x[:n])}
    X = sp.Matrix(x[:n])
    return sp.sympify(A).subs(square) * sp.eye(n) + sp.sympify(B).subs(square) * X * X.T


generic = dict(zip(x, map(sp.Rational, ("1/2", "1/3", "1/4")), strict=True))
centre = dict.fromkeys(x, 0)
skew = sp.Matrix([x[0] + x[0] * x[1], x[1] + x[0] ** 2])  # a curvilinear chart of the plane
sphere, gnomonic = (constant_curvature[f"sphere, {chart}"][:2] for chart in ("stereographic", "gnomonic"))
klein = constant_curvature["hyperbolic, Klein"][:2]
cases = {
    "hidden: 2-sphere, stereographic": (radial_matrix(*sphere, 2), generic, 2),
    "hidden: plane, polar": (sp.diag(1, x[0] ** 2), generic, 0),
    "hidden: hyperbolic plane, upper half": (sp.eye(2) / x[1] ** 2, generic, -2),
    "hidden: 3-sphere, gnomonic, centre": (radial_matrix(*gnomonic, 3), centre, 6),
    "2-sphere, gnomonic": (radial_matrix(*gnomonic, 2), generic, 2),
    "plane, oblique curvilinear": (skew.jacobian(x[:2]).T * skew.jacobian(x[:2]), generic, 0),
    "hyperbolic plane, Klein": (radial_matrix(*klein, 2), generic, -2),
    "3-sphere, stereographic": (radial_matrix(*sphere, 3), generic, 6),
    "3-sphere, gnomonic": (radial_matrix(*gnomonic, 3), generic, 6),
    "flat space, spherical coordinates": (sp.diag(1, x[0] ** 2, x[0] ** 2 * sp.sin(x[1]) ** 2), generic, 0),
}
for name, (matrix, point, value) in cases.items():
    right, wrong = (sp.simplify(ricci_scalar(matrix, x[: matrix.rows], point, sign)) for sign in (1, -1))
    print(f"{name:37} R = {right!s:>2}; with the signs swapped: {wrong}")
    assert right == value and (wrong == value) == name.startswith("hidden")

# %% [markdown]
# Hence the rule for every curvature routine of the package: it is tested on spheres, flat and hyperbolic spaces in
# *non-orthogonal* coordinates, besides the comparisons with its twins.

# %% [markdown]
# ## In the package
#
# `metric.ricci_scalar`, `.sectional_curvature` and `.ricci_tensor` of a `RadialMetric` are the formulas of 5.3 with
# their $A$ and $B$; `infgeo.Metric(matrix, coordinates)` is the slow twin by Christoffel symbols
# ([Derive](../guide/derive.md)).
