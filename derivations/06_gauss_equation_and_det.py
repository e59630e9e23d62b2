# %% [markdown]
# # 6. Finite networks: the Gauss equation, a Hessian metric, and the mean of the determinant
#
# A finite network is an immersion $\Phi: \mathbb R^d \to \mathbb R^n$ (where $n \ge d$ and $J = \partial\Phi$ has full
# rank). Three facts make its geometry cheap to simulate, and its simulation sharp to test:
#
# 1. **Gauss equation.** The Ricci scalar of $g = J^{\mathsf T}J$ needs $J$ and $H = \partial^2\Phi$ only:
#    $R = |\mathrm{tr}\,\mathrm{II}|^2 - |\mathrm{II}|^2$.
# 2. **Hessian metric.** For one layer $\partial_a g_{\mu\nu} = 2T_{a\mu\nu}$ with a totally symmetric $T$, and
#    $R = \|T\|^2 - \|\mathrm{tr}\,T\|^2$.
# 3. **Cauchy–Binet.** For one layer of independent units, at any width,
#    $\mathrm E[\det g] = \frac{n(n-1)\cdots(n-d+1)}{n^d} \det g_\infty$.
#
# Signs as in derivation 5: $R > 0$ on spheres. Sources: for 1, any text on submanifolds, such as B. O'Neill,
# *Semi-Riemannian geometry* (1983), ch. 4; for 2, H. Shima, *The geometry of Hessian structures* (2007); the setting is
# that of arXiv 2301.11375.

# %%
from itertools import combinations, product

import sympy as sp

import infgeo
from infgeo import conventions as conv

half = sp.Rational(1, 2)

# %% [markdown]
# ## 6.1 The Gauss equation
#
# Write $\Phi_a = \partial_a\Phi$ and $\Phi_{ab} = \partial_a\partial_b\Phi$, vectors of $\mathbb R^n$. Then
#
# $$ \Gamma_{m,ij} = \tfrac12\left( \partial_i g_{mj} + \partial_j g_{mi} - \partial_m g_{ij} \right)
#    = \Phi_m\cdot\Phi_{ij} , $$
#
# and in the second derivatives of $g$ that make the Riemann tensor the third derivatives of $\Phi$ cancel,
#
# $$ \tfrac12\left( \partial_i\partial_j g_{lk} + \partial_l\partial_k g_{ij}
#    {} - \partial_l\partial_j g_{ik} - \partial_i\partial_k g_{lj} \right)
#    = \Phi_{lj}\cdot\Phi_{ik} - \Phi_{lk}\cdot\Phi_{ij} . $$
#
# Adding $g^{mn}(\Gamma_{m,ij}\Gamma_{n,lk} - \Gamma_{m,ik}\Gamma_{n,lj})$ subtracts from both products their tangential
# parts, because $P = J g^{-1} J^{\mathsf T}$ is the projection onto the tangent space. What remains are the normal
# parts, $\mathrm{II}_{ij} = (1 - P)\,\Phi_{ij}$, the second fundamental form:
#
# $$ R_{lijk} = \mathrm{II}_{lj}\cdot\mathrm{II}_{ik} - \mathrm{II}_{lk}\cdot\mathrm{II}_{ij}, \qquad
#    R = g^{lj} g^{ik} R_{lijk} = |\mathrm{tr}_g\,\mathrm{II}|^2 - |\mathrm{II}|_g^2 . $$
#
# The two identities for the general immersion, given by its Taylor coefficients at a point up to third order, as
# polynomials in these coefficients ($d = 3$; one component of $\Phi$ is enough, since every term is a sum over
# components).


# %%
def general_immersion(x, n):
    """Phi(x) up to third order, with a symbol for every Taylor coefficient; also the third-order symbols."""
    components, third = [], []
    for component in range(n):
        expr = sp.Integer(0)
        for order in (1, 2, 3):
            for powers in product(range(order + 1), repeat=len(x)):
                if sum(powers) == order:
                    symbol = sp.Symbol(f"t_{component}_" + "".join(map(str, powers)))
                    expr += symbol * sp.prod([xi**k / sp.factorial(k) for xi, k in zip(x, powers, strict=True)])
                    third += [symbol] if order == 3 else []
        components.append(expr)
    return sp.Matrix(components), third


x = sp.symbols("x_1:4", real=True)
origin = dict.fromkeys(x, 0)
Phi, third = general_immersion(x, 1)
metric = (Phi.jacobian(x).T * Phi.jacobian(x)).expand()
first = [Phi.diff(a).subs(origin) for a in x]
second = [[Phi.diff(a, b).subs(origin) for b in x] for a in x]

for m, i, j in product(range(3), repeat=3):
    christoffel = half * (metric[m, j].diff(x[i]) + metric[m, i].diff(x[j]) - metric[i, j].diff(x[m]))
    assert sp.expand(christoffel.subs(origin) - first[m].dot(second[i][j])) == 0

for (l, i), (j, k) in product(combinations(range(3), 2), repeat=2):
    curl = metric[l, k].diff(x[i], x[j]) + metric[i, j].diff(x[l], x[k])
    curl -= metric[i, k].diff(x[l], x[j]) + metric[l, j].diff(x[i], x[k])
    products = second[l][j].dot(second[i][k]) - second[l][k].dot(second[i][j])
    assert sp.expand(half * curl.subs(origin) - products) == 0
    assert metric[l, k].diff(x[i], x[j]).subs(origin).has(*third)

# %% [markdown]
# As a formula in $J$ and $H$, tested on surfaces whose curvature is known: the unit sphere in angles, in two and in
# three dimensions, and the Clifford torus in $\mathbb R^4$, which is flat although it is bent.


# %%
def gauss_ricci(Phi, x, point, value=lambda matrix: matrix):
    """R of the immersion Phi at a point, from its first and second derivatives; value turns them into numbers."""
    J = value(Phi.jacobian(x).subs(point))
    H = [[value(Phi.diff(a, b).subs(point)) for b in x] for a in x]
    metric = J.T * J
    inverse = metric.adjugate() / metric.det()
    normal = sp.eye(J.rows) - J * inverse * J.T
    II = [[normal * h for h in row] for row in H]
    axes = range(len(x))
    trace = sum((inverse[a, b] * II[a][b] for a, b in product(axes, repeat=2)), sp.zeros(J.rows, 1))
    square = sum(inverse[a, c] * inverse[b, d] * II[a][b].dot(II[c][d]) for a, b, c, d in product(axes, repeat=4))
    return trace.dot(trace) - square


t, u, v = sp.symbols("t u v", real=True)
sphere_2 = sp.Matrix([sp.cos(t), sp.sin(t) * sp.cos(u), sp.sin(t) * sp.sin(u)])
sphere_3 = sp.Matrix([sp.cos(v), *(sp.sin(v) * sphere_2)])
clifford = sp.Matrix([sp.cos(t), sp.sin(t), sp.cos(u), sp.sin(u)])
angles = dict(zip((t, u, v), (sp.atan(sp.Rational(tangent)) for tangent in ("3/4", "5/12", "4/3")), strict=True))
assert sp.cos(angles[t]) == sp.Rational(4, 5)  # sines and cosines are rational at this point
assert gauss_ricci(sphere_2, (t, u), angles) == 2
assert gauss_ricci(sphere_3, (v, t, u), angles) == 6
assert gauss_ricci(clifford, (t, u), angles) == 0

# %% [markdown]
# ## 6.2 One layer is a Hessian metric
#
# $\Phi_j = \varphi(z_j)/\sqrt n$, $z_j = w_j\cdot x + b_j$. Then
#
# $$ g_{\mu\nu} = \frac1n \sum_j \varphi'(z_j)^2\, w_{j\mu} w_{j\nu}
#    = \partial_\mu\partial_\nu\, \frac1n \sum_j \psi(z_j), \qquad \psi'' = \varphi'^2, $$
#
# $$ \partial_a g_{\mu\nu} = 2T_{a\mu\nu}, \qquad
#    T_{a\mu\nu} = \frac1n \sum_j \varphi'(z_j)\,\varphi''(z_j)\, w_{ja} w_{j\mu} w_{j\nu} . $$
#
# $\Gamma_{m,ij} = T_{mij}$, and the second derivatives of $g$, fourth derivatives of one function, cancel in
# $R_{lijk}$ altogether:
#
# $$ R_{lijk} = g^{mn}\left( T_{mij}T_{nlk} - T_{mik}T_{nlj} \right), \qquad
#    R = \|T\|^2 - \|\mathrm{tr}\,T\|^2, \quad (\mathrm{tr}\,T)_m = g^{ij} T_{mij} . $$
#
# Norms and trace are taken in $g$. Nothing of fourth order in the weights is needed, and no $H$. Both properties for
# undefined $\varphi$ and symbolic weights:

# %%
a = sp.symbols("w_1:4", real=True)
shift = sp.Symbol("b", real=True)
phi = sp.Function("phi")
argument = sp.Symbol("zeta", real=True)
preactivation = sum(w * xi for w, xi in zip(a, x, strict=True)) + shift
slope = phi(argument).diff(argument)
unit = sp.Matrix(3, 3, lambda i, j: (slope**2).subs(argument, preactivation).doit() * a[i] * a[j])
weight_T = (slope * slope.diff(argument)).subs(argument, preactivation).doit()
for i, j, k in product(range(3), repeat=3):
    assert sp.simplify(unit[j, k].diff(x[i]) - 2 * weight_T * a[i] * a[j] * a[k]) == 0

potential = sp.Function("Psi")(*x)
hessian = sp.hessian(potential, x)
for (l, i), (j, k) in product(combinations(range(3), 2), repeat=2):
    curl = hessian[l, k].diff(x[i], x[j]) + hessian[i, j].diff(x[l], x[k])
    assert curl - hessian[i, k].diff(x[l], x[j]) - hessian[l, j].diff(x[i], x[k]) == 0

# %% [markdown]
# ## 6.3 A small random network, three ways
#
# A network drawn by `infgeo.finite.sample_network`, $n = 4$, $d = 3$. Its weights are binary fractions and go into
# SymPy as they are. Its Ricci scalar by Christoffel symbols (`infgeo.Metric`, which knows of none of this), by the
# Gauss equation and by $T$, all in 40 digits or more, and by `infgeo.finite.pullback` in double precision.

# %%
import torch

mlp = infgeo.MLP("erf", weight_std=1, bias_std=half)
network = infgeo.finite.sample_network(mlp, input_dim=3, width=4, seed=2)
W = [[sp.Rational(value) for value in row] for row in network.weights[0].tolist()]
b = [sp.Rational(value) for value in network.biases[0].tolist()]
n = len(b)
here = dict(zip(x, map(sp.Rational, ("1/2", "-3/4", "5/4")), strict=True))
activation = sp.erf(argument / sp.sqrt(2))

z_of = [sum(w * xi for w, xi in zip(row, x, strict=True)) + bias for row, bias in zip(W, b, strict=True)]
features = sp.Matrix([activation.subs(argument, z_j) / sp.sqrt(n) for z_j in z_of])
network_metric = features.jacobian(x).T * features.jacobian(x)
by_christoffel = infgeo.Metric(network_metric, x, simplify=False).at(here).ricci_scalar
by_gauss = gauss_ricci(features, x, here, lambda matrix: matrix.evalf(60))


def third_order_ricci(g, T):
    """||T||^2 - ||tr T||^2 in the metric g, for T as a nested list."""
    inverse, axes = g.inv(), range(g.rows)
    raised = [sum((inverse[m, c] * sp.Matrix(T[c]) for c in axes), sp.zeros(g.rows)) for m in axes]
    norm = sum((inverse * sp.Matrix(T[m]) * inverse * raised[m]).trace() for m in axes)
    trace = sp.Matrix([(inverse * sp.Matrix(T[m])).trace() for m in axes])
    return norm - (trace.T * inverse * trace)[0]


values = [z_j.subs(here) for z_j in z_of]
d1, d2 = activation.diff(argument), activation.diff(argument, 2)
third_order = [(d1 * d2).subs(argument, value).evalf(60) / n for value in values]
T = [
    [[sum(c * W[j][m] * W[j][i] * W[j][k] for j, c in enumerate(third_order)) for k in range(3)] for i in range(3)]
    for m in range(3)
]
by_T = third_order_ricci(network_metric.subs(here).evalf(60), T)

point = torch.tensor([float(here[xi]) for xi in x], dtype=torch.float64)
by_package = float(infgeo.finite.pullback(network, point).ricci_scalar)
by_autodiff = float(infgeo.finite.pullback(lambda at: network(at), point).ricci_scalar)  # the Gauss equation in torch
for label, value in (("Christoffel", by_christoffel), ("Gauss", by_gauss), ("T", by_T)):
    print(f"{label:12} R = {sp.N(value, 30)}")
print(f"{'package':12} R = {by_package:.15g} (by T), {by_autodiff:.15g} (Gauss equation)")
tiny = sp.Float("1e-35", 40)
assert abs(by_gauss / by_christoffel - 1) < tiny and abs(by_T / by_christoffel - 1) < tiny
assert abs(by_package / by_christoffel - 1) < 1e-12 and abs(by_autodiff / by_christoffel - 1) < 1e-12

# %% [markdown]
# Two layers are no Hessian metric ($\partial_1 g_{22} \ne \partial_2 g_{12}$), and there the Gauss equation is what is
# left. $n = 3$, $d = 2$:

# %%
deep = infgeo.finite.sample_network(infgeo.MLP("erf", depth=2, weight_std=1, bias_std=half), 2, 3, seed=5)
plane = x[:2]
layer = sp.Matrix(plane)
for weight, bias in zip(deep.weights, deep.biases, strict=True):
    W, b = (sp.Matrix([[sp.Rational(v) for v in row] for row in m.reshape(3, -1).tolist()]) for m in (weight, bias))
    layer = (W * layer + b).applyfunc(lambda z_j: activation.subs(argument, z_j))
layer = layer / sp.sqrt(3)
deep_metric = layer.jacobian(plane).T * layer.jacobian(plane)
asymmetry = (deep_metric[1, 1].diff(x[0]) - deep_metric[0, 1].diff(x[1])).subs(here).evalf(20)
by_christoffel = infgeo.Metric(deep_metric, plane, simplify=False).at({xi: here[xi] for xi in plane}, 30).ricci_scalar
by_package = float(infgeo.finite.pullback(deep, point[:2]).ricci_scalar)
print(f"two layers: R = {sp.N(by_christoffel, 20)}, package {by_package:.15g}")
assert abs(asymmetry) > 0.001 and abs(by_package / by_christoffel - 1) < 1e-12

# %% [markdown]
# ## 6.4 The same formula at infinite width
#
# $g = f\,I + 2\sigma_w^2 f'\, x x^{\mathsf T}$, the mean over one unit, is a Hessian metric too. In an orthonormal
# frame with one radial vector, a rotation-invariant symmetric $T$ has the components $T_{rrr} = \tau$ and
# $T_{r\alpha\beta} = \kappa\,\delta_{\alpha\beta}$, so that, counting,
#
# $$ \|T\|^2 = \tau^2 + 3(d-1)\kappa^2, \quad \mathrm{tr}\,T = \tau + (d-1)\kappa, \qquad
#    R = (d-1)\left( (4 - d)\,\kappa^2 - 2\tau\kappa \right) . $$
#
# With $\partial_r g_{rr} = 2h'\sqrt s$ and $\partial_r g_{\alpha\beta} = 2A'\sqrt s\,\delta_{\alpha\beta}$ (primes in
# $s$) the components are $\tau = \sqrt s\,h'/h^{3/2}$ and $\kappa = \sqrt s\,A'/(A\,h^{1/2})$. This is a second proof
# of the closed form for erf, for symbolic $d$, without warped products.

# %%
s, d = conv.s, conv.d
closed = infgeo.MLP("erf").metric
assert sp.simplify(closed.B - 2 * closed.A.diff(s)) == 0
tau = sp.sqrt(s) * closed.h.diff(s) / closed.h ** sp.Rational(3, 2)
kappa = sp.sqrt(s) * closed.A.diff(s) / (closed.A * sp.sqrt(closed.h))
from_T = (d - 1) * ((4 - d) * kappa**2 - 2 * tau * kappa)
assert sp.simplify(from_T - closed.ricci_scalar) == 0

# %% [markdown]
# ## 6.5 The mean of the determinant
#
# With $a_j = \varphi'(z_j)^2$ and $C$ the $n \times d$ matrix of rows $\sqrt{a_j}\,w_j$, $n\,g = C^{\mathsf T}C$. By
# Cauchy–Binet, a sum over the subsets $S$ of $d$ units,
#
# $$ \det(n\,g) = \sum_{|S| = d}\; \prod_{j\in S} a_j\; \det(w_S)^2 . $$
#
# The units are independent and alike, so that every subset has the same mean. Expand both determinants over
# permutations; a unit $j$ of the subset contributes the factor
# $\mathrm E[a\,w_{\pi(j)} w_{\pi'(j)}] = M_{\pi(j)\pi'(j)}$, with $M = \mathrm E[a\,w w^{\mathsf T}] = g_\infty$, and
#
# $$ \mathrm E\Big[\prod_j a_j \det(w_S)^2\Big]
#    = \sum_{\pi, \pi'} \mathrm{sgn}(\pi\pi') \prod_j M_{\pi(j)\pi'(j)} = d!\,\det M . $$
#
# There are $\binom nd$ subsets, and
#
# $$ \mathrm E[\det g] = \binom nd \frac{d!}{n^d} \det g_\infty = \frac{n(n-1)\cdots(n-d+1)}{n^d} \det g_\infty . $$
#
# Nothing Gaussian was used. First Cauchy–Binet with symbols, $n = 4$, $d = 2$ and $3$.

# %%
for size, dim in ((4, 2), (4, 3)):
    w = sp.Matrix(size, dim, lambda i, j: sp.Symbol(f"w_{i}_{j}"))
    gains = sp.symbols(f"a_0:{size}")
    left = (w.T * sp.diag(*gains) * w).det()
    subsets = list(combinations(range(size), dim))
    right = sum(sp.prod([gains[i] for i in S]) * w.extract(list(S), list(range(dim))).det() ** 2 for S in subsets)
    assert len(subsets) == sp.binomial(size, dim) and sp.expand(left - right) == 0

# %% [markdown]
# Then the mean, by exact enumeration: units that take finitely many values $(a, w)$ with unequal probabilities, all
# networks of $n$ such units, each with its weight.


# %%
def finite_width_factor(n, d):
    """n (n-1) ... (n-d+1) / n^d."""
    return sp.ff(n, d) / sp.Integer(n) ** d


atoms = [
    (sp.Rational(1, 2), 3, (1, 0, 2)),
    (sp.Rational(1, 3), 1, (-1, 2, 1)),
    (sp.Rational(1, 12), 5, (2, 1, -1)),
    (sp.Rational(1, 12), 2, (0, 1, 3)),
]
assert sum(probability for probability, _, _ in atoms) == 1
for size, dim in ((1, 2), (2, 2), (3, 2), (4, 2), (3, 3), (4, 3)):
    rank_one = [gain * sp.Matrix(w[:dim]) * sp.Matrix(w[:dim]).T for _, gain, w in atoms]
    limit = sum((atom[0] * matrix for atom, matrix in zip(atoms, rank_one, strict=True)), sp.zeros(dim))
    mean = sp.Integer(0)
    for choice in product(range(len(atoms)), repeat=size):
        g = sum((rank_one[i] for i in choice), sp.zeros(dim)) / size
        mean += sp.prod([atoms[i][0] for i in choice]) * g.det()
    assert mean == finite_width_factor(size, dim) * limit.det(), (size, dim)
    assert limit.det() != 0

# %% [markdown]
# And with Gaussian weights and biases, symbolically, for $\varphi = z^2/2$ (so that $a = z^2$) at an arbitrary point of
# the plane, $n = 2$ and $3$: $\det g$ is a polynomial in independent Gaussians, whose mean is a sum of products of
# $\mathrm E[\xi^{2k}] = (2k-1)!!\,\sigma^{2k}$. The limit is the package's metric.

# %%
sw, sb = conv.sigma_w, conv.sigma_b
quadratic = infgeo.MLP(conv.z**2 / 2).metric
det_limit = (quadratic.A * (quadratic.A + s * quadratic.B)).subs(s, x[0] ** 2 + x[1] ** 2)
for size in (2, 3):
    draws = [sp.symbols(f"v_{j} w_{j} b_{j}") for j in range(size)]
    gains = [(v * x[0] + w * x[1] + b) ** 2 for v, w, b in draws]
    rows = sp.Matrix([[v, w] for v, w, _ in draws])
    g = rows.T * sp.diag(*gains) * rows / size
    variables = [symbol for draw in draws for symbol in draw]
    polynomial = sp.Poly(sp.expand(g[0, 0] * g[1, 1] - g[0, 1] ** 2), *variables)
    mean = sp.Integer(0)
    for powers, coefficient in polynomial.terms():
        if all(power % 2 == 0 for power in powers):
            for index, power in enumerate(powers):
                coefficient *= sp.factorial2(power - 1) * (sb if index % 3 == 2 else sw) ** power
            mean += coefficient
    assert sp.expand(mean - finite_width_factor(size, 2) * det_limit) == 0
print("det g at infinite width, phi = z^2/2:", sp.factor(quadratic.A * quadratic.h))

# %% [markdown]
# Finally the simulation: narrow erf networks drawn by `infgeo.finite`, which has no closed form to look at. The
# $z$-score of the exact value must be that of noise. The infinite-width value without the factor must be rejected.

# %%
radii2 = sp.Rational(5, 4)
samples = 4000
for dim, size in ((2, 3), (3, 6)):
    where = torch.tensor([[1.0, 0.5] + [0.0] * (dim - 2)], dtype=torch.float64)
    estimates = infgeo.finite.estimate(
        infgeo.MLP("erf", weight_std=1, bias_std=half),
        where,
        size,
        samples,
        seed=1,
        quantities=("log_mean_det_metric",),
    )
    log_mean = float(estimates.log_mean_det_metric.mean)
    relative_error = float(estimates.log_mean_det_metric.standard_error)
    det_infinite = (closed.volume_element**2).subs({d: dim, s: radii2, sw: 1, sb: half})
    exact = finite_width_factor(size, dim) * det_infinite
    scores = [
        float((sp.exp(log_mean) - value) / (relative_error * sp.exp(log_mean))) for value in (exact, det_infinite)
    ]
    print(
        f"d = {dim}, n = {size}: z = {scores[0]:+.2f} with the factor {finite_width_factor(size, dim)}, "
        f"{scores[1]:+.0f} without"
    )
    assert abs(scores[0]) < 4 and scores[1] < -10

# %% [markdown]
# ## In the package
#
# `infgeo.finite.pullback` computes $R$ of a module by the Gauss equation ([Measure a module](../guide/measure.md)),
# and `infgeo.finite.estimate` compares $\log\mathrm E[\det g]$, which is exact at every width, beside the volume
# element, which is not ([Monte Carlo](../guide/monte_carlo.md)).
