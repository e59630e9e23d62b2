# %% [markdown]
# # 11. Hessian metrics: the geometry of one-layer networks
#
# A metric is a Hessian metric when in some coordinates it is the matrix of second derivatives of one function,
# $g_{\mu\nu} = \partial_\mu\partial_\nu\Psi$. The metric that a network of one hidden layer pulls back to its inputs is
# one, at any width and for any activation, and this makes its curvature a quadratic form in the third derivatives of
# $\Psi$ alone:
#
# $$ T_{\mu\nu\rho} = \tfrac12\,\partial_\mu\partial_\nu\partial_\rho\Psi , \qquad
#    R = \|T\|^2 - \|\mathrm{tr}\,T\|^2 , $$
#
# norms and trace taken in $g$. Derivation 6 states it and tests it on one network; here it is derived, with the Ricci
# tensor, the sectional curvature and the Christoffel symbols, the sums over pairs of units that `infgeo.finite` uses in
# high dimension, the dual coordinates, the limit of infinite width, and the networks for which it fails.
#
# Signs as everywhere: $R > 0$ on spheres. Source for Hessian metrics: H. Shima, *The geometry of Hessian structures*
# (2007), chapters 2 and 3; the setting is that of arXiv 2301.11375.

# %%
from functools import cache
from itertools import combinations, combinations_with_replacement, product

import sympy as sp

import infgeo
from infgeo import conventions as conv

half = sp.Rational(1, 2)
tiny = sp.Float("1e-40", 50)
x = sp.symbols("x_1:4", real=True)
AXES = range(3)

# %% [markdown]
# ## 11.1 The Christoffel symbols are $T$
#
# $\partial_\mu g_{\nu\rho} = \partial_\mu\partial_\nu\partial_\rho\Psi = 2T_{\mu\nu\rho}$ is symmetric in all three
# indices, so that of the three terms of a Christoffel symbol two cancel:
#
# $$ \Gamma_{\mu,\nu\rho} = \tfrac12\left(\partial_\nu g_{\mu\rho} + \partial_\rho g_{\mu\nu} - \partial_\mu g_{\nu\rho}
#    \right) = T_{\mu\nu\rho} . $$
#
# Conversely, a metric with $\partial_\mu g_{\nu\rho}$ symmetric in all indices is a Hessian metric near every point
# (twice Poincaré's lemma): this symmetry is the whole condition. For an undefined $\Psi$:

# %%
Psi = sp.Function("Psi")(*x)
hessian = sp.hessian(Psi, x)
for m, i, j in product(AXES, repeat=3):
    first_kind = half * (hessian[m, i].diff(x[j]) + hessian[m, j].diff(x[i]) - hessian[i, j].diff(x[m]))
    assert sp.expand(first_kind - half * Psi.diff(x[m], x[i], x[j])) == 0

# %% [markdown]
# ## 11.2 The Riemann tensor has no fourth derivatives
#
# In $R_{lijk} = \tfrac12(\partial_i\partial_j g_{lk} + \partial_l\partial_k g_{ij} - \partial_i\partial_k g_{lj} -
# \partial_l\partial_j g_{ik}) + g^{mn}(\Gamma_{m,ij}\Gamma_{n,lk} - \Gamma_{m,ik}\Gamma_{n,lj})$ the first bracket is
# four times the same fourth derivative, twice with each sign. What is left is
#
# $$ R_{lijk} = g^{mn}\left( T_{mij} T_{nlk} - T_{mik} T_{nlj} \right) . $$
#
# Let $g$ and $T$ at one point be a symmetric matrix and a totally symmetric array of symbols; $\Psi$ is then their
# Taylor polynomial, with fourth-order coefficients that must not matter. The package's Riemann tensor
# (`infgeo.Metric`: textbook definitions, for any metric) against the formula, for $d = 2$ with symbols throughout, and
# for $d = 3$ with numbers, to 40 digits.


# %%
def symbol(letter, *indices):
    """The symbol of a totally symmetric array."""
    return sp.Symbol(letter + "_" + "".join(str(i + 1) for i in sorted(indices)), real=True)


def potential(axes, coefficient):
    """Psi with Hessian g, third derivatives 2 T and fourth derivatives q at the origin."""
    total = sp.Integer(0)
    for order, letter, scale in ((2, "g", 1), (3, "T", 2), (4, "q", 1)):
        for indices in product(axes, repeat=order):
            monomial = sp.prod([x[i] for i in indices]) / sp.factorial(order)
            total += scale * coefficient(letter, *indices) * monomial
    return sp.expand(total)


def third_order(axes, coefficient):
    """T as a function of its indices."""
    return lambda a, b, c: coefficient("T", a, b, c)


def riemann(inverse, T, axes, l, i, j, k):
    """R_lijk = g^mn (T_mij T_nlk - T_mik T_nlj)."""
    return sum(inverse[m, n] * (T(m, i, j) * T(n, l, k) - T(m, i, k) * T(n, l, j)) for m, n in product(axes, repeat=2))


plane = range(2)
Psi_2 = potential(plane, symbol)
origin = dict.fromkeys(x[:2], 0)
metric_2 = infgeo.Metric(sp.hessian(Psi_2, x[:2]), x[:2], simplify=False)
g_2 = metric_2.matrix.subs(origin)
T_2 = third_order(plane, symbol)
theirs = metric_2.riemann_lowered[0, 1, 0, 1].subs(origin)
ours = riemann(g_2.inv(), T_2, plane, 0, 1, 0, 1)
assert sp.simplify(theirs - ours) == 0
assert not ours.atoms(sp.Symbol) & {symbol("q", *i) for i in combinations_with_replacement(plane, 4)}
assert metric_2.matrix.has(symbol("q", 0, 0, 1, 1))  # they are in the metric


# %%
@cache
def number(letter, *indices):
    """Fixed rational numbers in place of the symbols; g is near the identity, and positive."""
    code = sum((i + 2) * 7**n for n, i in enumerate(sorted(indices)))
    value = sp.Rational(code * 37 % 19 - 9, 10)
    return (1 if letter == "g" and len(set(indices)) == 1 else 0) + value / (5 if letter == "g" else 1)


Psi_3 = potential(AXES, lambda letter, *i: number(letter, *sorted(i)))
numeric = infgeo.Metric(sp.hessian(Psi_3, x), x, simplify=False).at(dict.fromkeys(x, 0))
T_3 = third_order(AXES, lambda letter, *i: number(letter, *sorted(i)))
g_3 = sp.Matrix(3, 3, lambda i, j: number("g", *sorted((i, j))))
inverse_3 = g_3.inv()
assert g_3.is_positive_definite and max(abs(value) for value in g_3 - sp.Matrix(numeric.matrix)) < tiny
for l, i, j, k in product(AXES, repeat=4):
    assert abs(numeric.riemann_lowered[l, i, j, k] - riemann(inverse_3, T_3, AXES, l, i, j, k)) < tiny

# %% [markdown]
# ## 11.3 Ricci tensor, Ricci scalar, sectional curvature
#
# Contract with $g^{lj}$, and write $t_m = g^{ij}T_{mij}$:
#
# $$ R_{ik} = T_{imn}T_k{}^{mn} - t^m T_{mik} , \qquad R = \|T\|^2 - \|t\|^2 . $$
#
# In an orthonormal frame a totally symmetric $T$ is a cubic form, $T(u,v,w)$, and for orthonormal $u, v$
#
# $$ K(u, v) = |T(u, v, \cdot)|^2 - T(u, u, \cdot)\cdot T(v, v, \cdot) . $$
#
# In one dimension both terms are the same square, and $R = 0$ as it must be. In two dimensions, with
# $T_{111}, T_{112}, T_{122}, T_{222} = a, b, c, e$ in an orthonormal frame, $R = 2K = 2(b^2 + c^2 - ac - be)$: of
# either sign, so that Hessian metrics are not of one curvature.


# %%
def raised(inverse, array, axes):
    """T_imn with its last two indices raised."""
    return lambda i, m, n: sum(inverse[m, a] * inverse[n, b] * array(i, a, b) for a, b in product(axes, repeat=2))


def trace_of(inverse, T, axes):
    """t_m."""
    return sp.Matrix([sum(inverse[i, j] * T(m, i, j) for i, j in product(axes, repeat=2)) for m in axes])


def hessian_ricci(inverse, T, axes):
    """R_ik and R of a Hessian metric."""
    up, trace = raised(inverse, T, axes), trace_of(inverse, T, axes)
    lifted = inverse * trace
    tensor = sp.Matrix(
        len(axes),
        len(axes),
        lambda i, k: (
            sum(T(i, m, n) * up(k, m, n) for m, n in product(axes, repeat=2))
            - sum(lifted[m] * T(m, i, k) for m in axes)
        ),
    )
    norm = sum(inverse[a, m] * T(a, i, j) * up(m, i, j) for a, m, i, j in product(axes, repeat=4))
    return tensor, norm - (trace.T * lifted)[0]


tensor, scalar = hessian_ricci(inverse_3, T_3, AXES)
assert max(abs(value) for value in tensor - sp.Matrix(numeric.ricci_tensor)) < tiny
assert abs(scalar - numeric.ricci_scalar) < tiny and abs(scalar) > 0.01
assert scalar == sum(inverse_3[i, k] * tensor[i, k] for i, k in product(AXES, repeat=2))

frame = sp.eye(3)
K = {
    (u, v): sum(T_3(u, v, m) ** 2 - T_3(u, u, m) * T_3(v, v, m) for m in AXES) for u, v in combinations(AXES, 2)
}  # in a frame where g = 1
_, orthonormal_scalar = hessian_ricci(frame, T_3, AXES)
assert all(K[u, v] == riemann(frame, T_3, AXES, u, v, u, v) for u, v in K)
assert orthonormal_scalar == 2 * sum(K.values())

a, b, c, e = (symbol("T", *i) for i in ((0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)))
_, scalar_2 = hessian_ricci(sp.eye(2), T_2, plane)
assert sp.expand(scalar_2 - 2 * (b**2 + c**2 - a * c - b * e)) == 0
_, scalar_1 = hessian_ricci(sp.eye(1), third_order(range(1), symbol), range(1))
assert scalar_1 == 0

# %% [markdown]
# ## 11.4 One hidden layer
#
# $\Phi_j = \varphi(z_j)/\sqrt n$, $z_j = w_j\cdot x + b_j$. With $\psi'' = \varphi'^2$,
#
# $$ \Psi(x) = \frac1n\sum_j \psi(z_j), \qquad g_{\mu\nu} = \frac1n\sum_j \varphi'(z_j)^2\,w_{j\mu}w_{j\nu}, \qquad
#    T_{\mu\nu\rho} = \frac1n \sum_j \varphi'(z_j)\varphi''(z_j)\, w_{j\mu}w_{j\nu}w_{j\rho} . $$
#
# Every one-layer network has the potential, for $\psi$ is an integral of a given function. For $\varphi =
# \mathrm{erf}(z/\sqrt2)$, $\varphi'^2 = \frac2\pi e^{-z^2}$, it is
# $\psi = \frac{1}{\sqrt\pi}\,z\,\mathrm{erf}(z) + \frac1\pi e^{-z^2}$; for ReLU $\psi = z^2\Theta(z)/2$ and $T = 0$ off
# the kinks; for the linear network $\psi = z^2/2$; for $\varphi = z^2/2$, $\psi = z^4/12$.

# %%
z = sp.Symbol("z", real=True)
potentials = {
    sp.erf(z / sp.sqrt(2)): z * sp.erf(z) / sp.sqrt(sp.pi) + sp.exp(-(z**2)) / sp.pi,
    z: z**2 / 2,
    z**2 / 2: z**4 / 12,
    sp.sin(z): z**2 / 4 - sp.cos(2 * z) / 8,
    sp.exp(z): sp.exp(2 * z) / 4,
}
for phi, psi in potentials.items():
    assert sp.simplify(psi.diff(z, 2) - phi.diff(z) ** 2) == 0
    assert sp.simplify(psi.diff(z, 3) / 2 - phi.diff(z) * phi.diff(z, 2)) == 0

# %% [markdown]
# ## 11.5 Sums over pairs of units
#
# $T$ has $d(d+1)(d+2)/6$ components, more than the network has weights when $d$ is large. But a sum of cubes of vectors
# has its norm in the Gram matrix: let $g = LL^{\mathsf T}$, $v_j = L^{-1}w_j$ and $c_j = \varphi'\varphi''/n$. In the
# frame where $g = 1$, $T = \sum_j c_j\,v_j\otimes v_j\otimes v_j$, and
#
# $$ \|T\|^2 = \sum_{jk} c_j c_k\,(v_j\cdot v_k)^3, \qquad \mathrm{tr}\,T = \sum_j c_j\,|v_j|^2\,v_j, \qquad
#    v_j\cdot v_k = w_j^{\mathsf T}g^{-1}w_k , $$
#
# $$ R = \sum_{jk} c_j c_k\, (v_j\cdot v_k)\left[ (v_j\cdot v_k)^2 - |v_j|^2|v_k|^2 \right] . $$
#
# A pair with the same direction adds nothing, and by Cauchy–Schwarz the bracket is never positive: a pair of units
# lowers $R$ where $c_j c_k\,(v_j\cdot v_k) > 0$ and raises it otherwise.

# %%
w = sp.Matrix(4, 3, lambda j, m: sp.Rational((3 * j + 5 * m) * 7 % 11 - 5, 4))
gains = [sp.Rational(value, 6) for value in (5, 2, 7, 3)]  # phi'^2 / n
weights_T = [sp.Rational(value, 9) for value in (2, -5, 1, 4)]  # phi' phi'' / n
g = w.T * sp.diag(*gains) * w
inverse = g.inv()


def network_T(m, i, j):
    """T of the units."""
    return sum(weights_T[u] * w[u, m] * w[u, i] * w[u, j] for u in range(4))


_, by_tensor = hessian_ricci(inverse, network_T, AXES)
gram = w * inverse * w.T
by_pairs = sum(
    weights_T[u] * weights_T[v] * gram[u, v] * (gram[u, v] ** 2 - gram[u, u] * gram[v, v])
    for u, v in product(range(4), repeat=2)
)
assert by_tensor == by_pairs != 0
assert all(gram[u, v] ** 2 <= gram[u, u] * gram[v, v] for u, v in product(range(4), repeat=2))

# %% [markdown]
# The inverse may go, too. Let $p_j = \varphi'^2/n$, $|jk\ldots|$ the determinant of $d$ rows of weights, and $p_S$ and
# $|jS|$ those of a set $S$ of units. By Cauchy and Binet $\det g = \sum_{|S|=d} p_S\,|S|^2$, and the same for
# minors of $g$ (Jacobi) gives
#
# $$ \det g\;v_j\cdot v_k = \sum_{|S|=d-1} p_S\,|jS|\,|kS| , \qquad
#    \det g\,\big(|v_j|^2|v_k|^2 - (v_j\cdot v_k)^2\big) = \sum_{|S|=d-2} p_S\,|jkS|^2 . $$
#
# So $R$ is a sum over units and minors, in two dimensions the triple sum
# $-\sum_{jkl} c_jc_kp_l\,|jl|\,|kl|\,|jk|^2/(\det g)^2$ of the paper's appendix.


# %%
def minor_sum(size, of_units):
    """The sum over sets of units of p_S times a function of the set."""
    return sum(sp.prod([gains[u] for u in units]) * of_units(units) for units in combinations(range(4), size))


def minor(*units):
    """The determinant of these rows of weights."""
    return w.extract(list(units), list(AXES)).det()


det_g = minor_sum(3, lambda units: minor(*units) ** 2)
assert det_g == g.det() != 0
by_minors = 0
for u, v in product(range(4), repeat=2):
    dot = minor_sum(2, lambda units, u=u, v=v: minor(u, *units) * minor(v, *units)) / det_g
    area = minor_sum(1, lambda units, u=u, v=v: minor(u, v, *units) ** 2) / det_g
    assert dot == gram[u, v] and area == gram[u, u] * gram[v, v] - gram[u, v] ** 2
    by_minors -= weights_T[u] * weights_T[v] * dot * area
assert by_minors == by_pairs

# %% [markdown]
# ## 11.6 The dual coordinates
#
# $y = \partial\Psi$ are coordinates, too, where $g$ is not singular: the Jacobian of $y$ in $x$ is $g$. In them the
# metric is $g^{-1}$, the Hessian of the Legendre transform $\Psi^*(y) = x\cdot y - \Psi$, and its cubic form is that
# of $\Psi$ with all indices raised and the sign changed, $T^* = -T^{\mu\nu\rho}$. $R$ is quadratic in $T$ and does not
# see the sign: the two Hessian metrics are one metric. For one layer $y = \frac1n\sum_j \psi'(z_j)\,w_j$. With
# numbers: from $\partial g^{-1}/\partial y = -g^{-1}(\partial g/\partial x)\,g^{-1}\,g^{-1}$, where the last factor is
# $\partial x/\partial y$.


# %%
def slope_of_metric(n):
    """The derivative of g in x_n."""
    return sp.Matrix(3, 3, lambda p, q: 2 * T_3(n, p, q))


slope_of_inverse = [-inverse_3 * slope_of_metric(n) * inverse_3 for n in AXES]


def dual_T(m, i, j):
    """Half the derivative of the inverse metric in y, by the chain rule, from the numbers of 11.2."""
    return sum(slope_of_inverse[n][i, j] * inverse_3[n, m] for n in AXES) / 2


for m, i, j in product(AXES, repeat=3):
    lifted = sum(
        inverse_3[m, p] * inverse_3[i, q] * inverse_3[j, r] * T_3(p, q, r) for p, q, r in product(AXES, repeat=3)
    )
    assert dual_T(m, i, j) == -lifted
_, dual_scalar = hessian_ricci(g_3, dual_T, AXES)
assert dual_scalar == scalar

# %% [markdown]
# ## 11.7 Infinite width
#
# $g = f\,I + 2\sigma_w^2 f'\,x x^{\mathsf T}$ with $f = \sigma_w^2\,\mathrm E[\varphi'^2]$ as a function of
# $q = \sigma_b^2 + u$, $u = \sigma_w^2 |x|^2$ (derivation 4), is the mean of Hessian metrics, hence one: its potential
# is $\mathrm E[\psi(z)]$. A rotation-invariant cubic form has two numbers in a frame with one radial vector,
# $T_{rrr} = \tau$ and $T_{r\alpha\alpha} = \kappa$. By 11.3
#
# $$ K_{\tan} = K(\alpha,\beta) = -\kappa^2 , \qquad K_{\mathrm{rad}} = K(r, \alpha) = \kappa^2 - \tau\kappa , \qquad
#    R = (d-1)\left( 2K_{\mathrm{rad}} + (d-2)K_{\tan} \right) . $$
#
# With $h = f + 2uf'$ the radial eigenvalue, half the radial derivatives of the components are $\sigma_w\sqrt u$ times
# $h'$ and $f'$ (primes in $q$), and dividing by the lengths of the frame vectors
#
# $$ \kappa = \frac{\sigma_w\sqrt u\, f'}{f\,\sqrt h}, \qquad \tau = \frac{\sigma_w\sqrt u\,h'}{h^{3/2}} . $$
#
# So the sectional curvature of a tangential plane is never positive, for every activation. The known formulas
# (derivation 5) $K_{\mathrm{rad}} = -2\sigma_w^2 uf'J/(fh)^2$ with $J = ff' + u(ff'' - f'^2)$, and
# $K_{\tan} = -\sigma_w^2 u f'^2/(f^2h)$, follow for an undefined $f$; and $R$ is that of the package, here for four
# activations.

# %%
sigma, d, s = conv.sigma_w, conv.d, conv.s
u, q = sp.symbols("u q", positive=True)
f = sp.Function("f")(q)
f1, f2 = f.diff(q), f.diff(q, 2)
h = f + 2 * u * f1
h1 = 3 * f1 + 2 * u * f2  # u moves with q
kappa = sigma * sp.sqrt(u) * f1 / (f * sp.sqrt(h))
tau = sigma * sp.sqrt(u) * h1 / h ** sp.Rational(3, 2)
J = f * f1 + u * (f * f2 - f1**2)
assert sp.simplify(-(kappa**2) + sigma**2 * u * f1**2 / (f**2 * h)) == 0
assert sp.simplify(kappa**2 - tau * kappa + 2 * sigma**2 * u * f1 * J / (f * h) ** 2) == 0

radial = range(4)


def invariant_T(*indices):
    """tau and kappa, in a frame whose first vector is radial."""
    count = indices.count(0)
    rest = [i for i in indices if i]
    if count == 3:
        return sp.Symbol("tau")
    return sp.Symbol("kappa") if count == 1 and rest[0] == rest[1] else sp.Integer(0)


k_, t_ = sp.symbols("kappa tau")
_, invariant = hessian_ricci(sp.eye(4), lambda *i: invariant_T(*i), radial)
assert sp.expand(invariant - (4 - 1) * (2 * (k_**2 - t_ * k_) + (4 - 2) * (-(k_**2)))) == 0
assert riemann(sp.eye(4), lambda *i: invariant_T(*i), radial, 1, 2, 1, 2) == -(k_**2)
assert sp.expand(riemann(sp.eye(4), lambda *i: invariant_T(*i), radial, 0, 1, 0, 1) - k_**2 + t_ * k_) == 0

for name in ("erf", "power_2", "gaussian", "sin"):
    closed = infgeo.MLP(name, weight_std=1, bias_std=half).metric
    assert sp.simplify(closed.B - 2 * closed.A.diff(s)) == 0, name  # the symmetry of 11.1
    A, h_s = closed.A, closed.A + s * closed.B
    kappa_s = sp.sqrt(s) * A.diff(s) / (A * sp.sqrt(h_s))
    tau_s = sp.sqrt(s) * h_s.diff(s) / h_s ** sp.Rational(3, 2)
    by_T = (d - 1) * (2 * (kappa_s**2 - tau_s * kappa_s) - (d - 2) * kappa_s**2)
    for place in (sp.Rational(1, 3), 2):
        difference = (by_T - closed.ricci_scalar).subs({s: place, d: 5}).evalf(40, maxn=200)
        assert abs(difference) < 1e-30, name

# %% [markdown]
# ## 11.8 Where it ends
#
# A linear readout after the hidden layer, $V\varphi(Wx + b)$, has the metric
#
# $$ g = \sum_{jk} (V^{\mathsf T}V)_{jk}\, \varphi'_j\varphi'_k\,w_j w_k^{\mathsf T} . $$
#
# Its derivative in $x_a$ has terms $\varphi''_j\varphi'_k\,w_{ja}\,(w_j w_k^{\mathsf T} + w_k w_j^{\mathsf T})$, which
# are not symmetric in all indices unless $V^{\mathsf T}V$ is diagonal. So networks with a readout, like deeper ones,
# need the Gauss equation (derivation 6). An example in which the symmetry fails, $n = 2$, $d = 2$, $\varphi = z^2/2$;
# an orthogonal $V$ keeps it.


# %%
def readout_asymmetry(V):
    """d_1 g_22 - d_2 g_12 for two units (x_1, x_1 + x_2) with phi = z^2/2 and a readout V."""
    hidden = sp.Matrix([x[0] ** 2, (x[0] + x[1]) ** 2]) / 2
    jacobian = (V * hidden).jacobian(x[:2])
    metric = (jacobian.T * jacobian).expand()
    return sp.expand(metric[1, 1].diff(x[0]) - metric[0, 1].diff(x[1]))


assert readout_asymmetry(sp.Matrix([[1, 1], [0, 1]])) != 0
assert readout_asymmetry(sp.Matrix([[3, -4], [4, 3]]) / 5) == 0
print("with a readout that mixes units: d_1 g_22 - d_2 g_12 =", readout_asymmetry(sp.Matrix([[1, 1], [0, 1]])))

# %% [markdown]
# ## 11.9 The package
#
# `infgeo.finite.pullback` recognises one hidden layer, also in `torch.nn.Sequential`, and takes $R$ from $T$, as a
# tensor or by pairs. The network of 11.5 as weights of a torch module, with $\varphi = \tanh$: the two forms in exact
# arithmetic at 40 digits, the package in double precision, and the same function as a callable, which goes through
# $J$, $H$ and the Gauss equation.

# %%
import torch

biases = [sp.Rational(value, 8) for value in (3, -5, 2, 1)]
module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).double()
with torch.no_grad():
    module[0].weight.copy_(torch.tensor(w.tolist(), dtype=torch.float64))
    module[0].bias.copy_(torch.tensor([float(value) for value in biases]))
here = [sp.Rational(value, 16) for value in (5, -7, 9)]
z_of = [sum(w[j, m] * here[m] for m in AXES) + biases[j] for j in range(4)]
d1, d2 = sp.tanh(z).diff(z), sp.tanh(z).diff(z, 2)
gains = [d1.subs(z, value).evalf(40) ** 2 for value in z_of]
weights_T = [(d1 * d2).subs(z, value).evalf(40) for value in z_of]
inverse = (w.T * sp.diag(*gains) * w).inv()
gram = w * inverse * w.T
exact_tensor, exact = hessian_ricci(inverse, network_T, AXES)
exact_pairs = sum(
    weights_T[u] * weights_T[v] * gram[u, v] * (gram[u, v] ** 2 - gram[u, u] * gram[v, v])
    for u, v in product(range(4), repeat=2)
)
point = torch.tensor([float(value) for value in here], dtype=torch.float64)
by_module, by_callable = (infgeo.finite.pullback(features, point) for features in (module, lambda at: module(at)))
print(f"T          R = {sp.N(exact, 25)}")
print(f"pairs      R = {sp.N(exact_pairs, 25)}")
print(f"package    R = {float(by_module.ricci_scalar):.15g} (by T), {float(by_callable.ricci_scalar):.15g} (Gauss)")
assert abs(exact_pairs / exact - 1) < sp.Float("1e-35")
for result in (by_module, by_callable):
    assert abs(float(result.ricci_scalar) / exact - 1) < 1e-12
    for i, k in product(AXES, repeat=2):
        assert abs(float(result.ricci_tensor[i, k]) - exact_tensor[i, k]) < 1e-12
        for m in AXES:
            gamma = sum(inverse[m, n] * network_T(n, i, k) for n in AXES)
            assert abs(float(result.christoffel[m, i, k]) - gamma) < 1e-12

# %% [markdown]
# ## In the package
#
# `infgeo.finite.pullback` takes this route for modules of one hidden layer, without being asked ([Measure a
# module](../guide/measure.md)). At infinite width `infgeo.MLP(phi).metric` has $R$ from $A$ and $B$, and the tests
# hold the two together. `infgeo.analysis.network_metric` writes the sums over minors for given weights ([What the
# formulas mean](../guide/analysis.md)).
