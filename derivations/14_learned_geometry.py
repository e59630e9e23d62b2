# %% [markdown]
# # 14. Learned geometry
#
# What does learning do to the metric? For one hidden layer, features $\phi(w_j\cdot x + b_j)/\sqrt n$ and a readout
# $\mathcal N(0, 1)$ the answer to order $1/n$ is a covariance over the weights of *one* unit: of a mean over units
# $O = \tfrac1n\sum_j o(w_j)$, such as the metric, the posterior mean is
#
# $$ \langle O\rangle = \langle o\rangle + \frac1{2n}\sum_{ab} M_{ab}\,\mathrm{Cov}(o, \varphi_a\varphi_b), \qquad
#    M = \sum_c\Gamma^{-1}y_cy_c^{\mathsf T}\Gamma^{-1} - C\,\Gamma^{-1}, \quad \Gamma = K + \sigma^2, $$
#
# for $C$ outputs with labels $y_c$, kernel matrix $K$ of the training points and noise $\sigma^2$.
#
# ## 14.1 The law of a unit's weights
#
# With the readout integrated out, labels $y_c$ of $P$ points have the likelihood
# $\prod_c\mathcal N(y_c; 0, K_n + \sigma^2)$, where $K_n = \tfrac1n\sum_j\varphi_j\varphi_j^{\mathsf T}$ and
# $\varphi_j = (\phi(z_{j1}), \ldots, \phi(z_{jP}))$. The other units hold the Gram matrix at $K$ to leading order;
# one unit changes it by $\varphi\varphi^{\mathsf T}/n$, and its weights $w$ have the posterior
#
# $$ p(w)\,\Big(1 + \tfrac1n(h(w) - \mathrm E h) + \ldots\Big), \qquad
#    h = \tfrac12\varphi^{\mathsf T} M\varphi, \qquad
#    M = \sum_c\Gamma^{-1}y_cy_c^{\mathsf T}\Gamma^{-1} - C\,\Gamma^{-1}, \quad \Gamma = K + \sigma^2 . $$
#
# So $\langle O\rangle = \langle o\rangle + \tfrac1n\mathrm{Cov}(o, h)$ for every mean over units
# $O = \tfrac1n\sum_j o(w_j)$. Here is $h$, as the derivative of the log likelihood in the direction
# $\varphi\varphi^{\mathsf T}$, for two points and two outputs.

# %%
from itertools import product

import numpy as np
import sympy as sp
from scipy.special import erf as erf_function

import infgeo

t = sp.Symbol("t")
K = sp.Matrix(2, 2, sp.symbols("k11 k12 k12 k22"))
phi = sp.Matrix(sp.symbols("f1 f2"))
Y = sp.Matrix(2, 2, sp.symbols("y1 y2 y3 y4"))
Gamma = K + t * phi * phi.T
log_likelihood = -(Y.T * Gamma.inv() * Y).trace() / 2 - sp.Rational(2, 2) * sp.log(Gamma.det())
slope = log_likelihood.diff(t).subs(t, 0)
inverse = K.inv()
h = (phi.T * (inverse * Y * Y.T * inverse - 2 * inverse) * phi)[0] / 2
assert sp.simplify(slope - h) == 0

# %% [markdown]
# ## 14.2 Tilted weights
#
# For the metric $o = \phi'(z_x)^2\,w w^{\mathsf T}$. With $\tilde x = (x, 1)$ and $\Sigma$ the covariance of weights
# and bias, erf has $\phi'(z)^2 = \tfrac2\pi e^{-z^2}$, and $e^{-a z_x^2}$ makes another Gaussian, with
# $v = \tilde x^{\mathsf T}\Sigma\tilde x$:
#
# $$ \Sigma' = \Sigma - \tau\,\Sigma\tilde x\tilde x^{\mathsf T}\Sigma, \qquad \tau = \frac{2a}{1 + 2av}, \qquad
#    \mathrm E\,e^{-a z_x^2} = \frac1{\sqrt{1 + 2av}} . $$

# %%
a = sp.Symbol("a", positive=True)
S = sp.diag(*sp.symbols("w w b", positive=True))
X1 = sp.Matrix([*sp.symbols("x1 x2", real=True), 1])
v = (X1.T * S * X1)[0]
tilted = S - 2 * a / (1 + 2 * a * v) * S * X1 * X1.T * S
assert ((S.inv() + 2 * a * X1 * X1.T) * tilted - sp.eye(3)).applyfunc(sp.simplify) == sp.zeros(3)
assert sp.simplify((S * (S.inv() + 2 * a * X1 * X1.T)).det() - (1 + 2 * a * v)) == 0

# %% [markdown]
# By Stein's lemma, with $A_a = \Sigma'\tilde x_a$ and all expectations under $\Sigma'$,
#
# $$ \mathrm E[w w^{\mathsf T}\phi_a\phi_b] = \Sigma'\,\mathrm E[\phi_a\phi_b]
#    + A_aA_a^{\mathsf T}\,\mathrm E[\phi''_a\phi_b] + A_bA_b^{\mathsf T}\,\mathrm E[\phi_a\phi''_b]
#    + (A_aA_b^{\mathsf T} + A_bA_a^{\mathsf T})\,\mathrm E[\phi'_a\phi'_b] , $$
#
# and the expectations of pairs are those of chapter 2. Here for $\phi = z^3$, where both sides are polynomials.

# %%
C = sp.Matrix(2, 2, sp.symbols("c11 c12 c12 c22"))
w1, w2 = sp.symbols("w1 w2")


def gauss(polynomial, covariance):
    """The expectation of a polynomial in w1, w2 by Isserlis' theorem."""
    total = 0
    for (i, j), coefficient in sp.Poly(polynomial, w1, w2).terms():
        moment, letters = 0, [0] * i + [1] * j
        if letters:
            stack = [(letters, 1)]
            while stack:
                rest, value = stack.pop()
                if not rest:
                    moment += value
                elif len(rest) > 1:
                    first, *others = rest
                    stack += [
                        (others[:n] + others[n + 1 :], value * covariance[first, other])
                        for n, other in enumerate(others)
                    ]
        else:
            moment = 1
        total += coefficient * moment
    return sp.expand(total)


ends = [sp.Matrix([1, 2]), sp.Matrix([-1, 1])]
z = [w1 + 2 * w2, -w1 + w2]
left = sp.Matrix(2, 2, lambda i, j: gauss((w1, w2)[i] * (w1, w2)[j] * z[0] ** 3 * z[1] ** 3, C))
A, B = (C * end for end in ends)
right = C * gauss(z[0] ** 3 * z[1] ** 3, C) + A * A.T * gauss(6 * z[0] * z[1] ** 3, C)
right += B * B.T * gauss(z[0] ** 3 * 6 * z[1], C) + (A * B.T + B * A.T) * gauss(9 * z[0] ** 2 * z[1] ** 2, C)
assert (left - right).applyfunc(sp.expand) == sp.zeros(2)

# %% [markdown]
# ReLU needs no tilt. It is $\tfrac12(z + |z|)$, and $\phi'^2 = \tfrac12(1 + \mathrm{sgn}\,z)$. Beside
# $w w^{\mathsf T}$, what is odd in the weights has no mean, so that of $\phi'(z_x)^2\phi_a\phi_b$ there remains
#
# $$ \tfrac18\big(z_az_b + |z_a||z_b| + (z_a|z_b| + |z_a|z_b)\,\mathrm{sgn}\,z_x\big) : $$
#
# three signs never meet, and no orthant of three variables is needed. Two signs are a function of one angle. With
# weights of variance 1, unit vectors $u$ and $\tilde x$ at the angle $t$, $n$ normal to $u$ towards $\tilde x$, any
# vector $r$, $a = r\cdot u$, $b = r\cdot n$,
#
# $$ \mathrm E[w w^{\mathsf T}(r\cdot w)\,(u\cdot w)\,s] = (Aa + Bb) I + p\,r^{\mathsf T} + r\,p^{\mathsf T}
#    + F(uu^{\mathsf T} - nn^{\mathsf T}) + G(un^{\mathsf T} + nu^{\mathsf T}), \qquad
#    s = \mathrm{sgn}(u\cdot w)\,\mathrm{sgn}(\tilde x\cdot w), $$
#
# $p = Au + Bn$, $A = 1 - (2t - \sin 2t)/\pi$, $B = \tfrac2\pi\sin^2t$,
# $F = B(a\sin2t - b\cos2t)$ and $G = -B(a\cos2t + b\sin2t)$. The moments in the plane are integrals over its angle:

# %%
angle, t = sp.symbols("angle t", positive=True)


def signed(power_u, power_n):
    """The mean of w_u^i w_n^j s in the plane, i + j even: s is -1 for t angles beside the right one, else 1."""
    integrand = sp.cos(angle) ** power_u * sp.sin(angle) ** power_n
    whole, part = (sp.integrate(integrand, (angle, *ends)) for ends in ((0, sp.pi), (sp.pi / 2, sp.pi / 2 + t)))
    radial = 2 ** sp.Rational(power_u + power_n, 2) * sp.gamma(1 + sp.Rational(power_u + power_n, 2))
    return radial * (whole - 2 * part) / sp.pi


A, B = 1 - (2 * t - sp.sin(2 * t)) / sp.pi, 2 / sp.pi * sp.sin(t) ** 2
a, b, r3 = sp.symbols("a b r_3")  # of r, the last one normal to the plane
F, G = B * (a * sp.sin(2 * t) - b * sp.cos(2 * t)), -B * (a * sp.cos(2 * t) + b * sp.sin(2 * t))
r, p = sp.Matrix([a, b, r3]), sp.Matrix([A, B, 0])
claimed = (A * a + B * b) * sp.eye(3) + p * r.T + r * p.T + sp.Matrix([[F, G, 0], [G, -F, 0], [0, 0, 0]])
for i, j in product(range(3), repeat=2):
    value = 0
    for k in range(3):
        powers = [1 + (i == 0) + (j == 0) + (k == 0), (i == 1) + (j == 1) + (k == 1)]
        normal = [i, j, k].count(2)  # of a weight normal to the plane the mean is 0, of its square 1
        value += r[k] * (signed(*powers) if normal in (0, 2) else 0)
    assert sp.simplify(value - claimed[i, j]) == 0

# %% [markdown]
# Summed over $a$ first, that is one term a training point. $|z|$, of which $\phi'^2 = 1$, has one shift for all inputs.
#
# ## 14.3 Magnification at the boundary
#
# `infgeo.learned` sums this over the training points. Two points $(\pm1, 0)$ labelled $\pm1$, $\sigma^2 = 0.1$: the
# volume element rises at the boundary between them, $n\,\delta\log\sqrt{\det g} = 1.31$, by less at the data, and falls
# behind them. Magnification at the boundary is derived. It is no law: for XOR the centre, where the boundaries cross,
# shrinks, and the data are magnified.

# %%
erf = infgeo.MLP("erf", weight_std=1, bias_std=1)
two = infgeo.learned(erf, np.array([[1.0, 0], [-1, 0]]), np.array([1.0, -1]), 0.1)
assert np.allclose(two.volume_shift(np.array([[0.0, 0], [1, 0], [2, 0]])), [1.31, 0.26, -0.73], atol=0.005)
corners = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
labels = np.array([-1.0, 1, 1, -1])
xor = infgeo.learned(erf, corners, labels, 0.1)
assert np.allclose(xor.volume_shift(np.array([[0.0, 0], [1, 0], [1, 1]])), [-0.90, 3.21, 1.96], atol=0.005)

# %% [markdown]
# The covariance itself, by a trapezoidal rule over all weights, which converges exponentially:

# %%
line = np.arange(-8, 8.1, 0.25)
weights = np.array(list(product(line, repeat=3)))
mass = np.exp(-(weights**2).sum(1) / 2)
mass /= mass.sum()
point = np.array([0.3, -0.4])


def extended(x):
    return np.concatenate([x, np.ones((*x.shape[:-1], 1))], axis=-1)


erf_of = erf_function(weights @ extended(corners).T / 2**0.5)
gram = (erf_of * mass[:, None]).T @ erf_of
inverse = np.linalg.inv(gram + 0.1 * np.eye(4))
M = inverse @ np.outer(labels, labels) @ inverse - inverse
h = ((erf_of @ M) * erf_of).sum(1) / 2
slope = 2 / np.pi * np.exp(-((weights @ extended(point)) ** 2))
covariance = np.einsum("n,ni,nj->ij", mass * slope * (h - mass @ h), weights[:, :2], weights[:, :2])
assert np.allclose(xor.metric(point), covariance, atol=1e-6)

# %% [markdown]
# ## 14.4 Volume and curvature
#
# $\delta\log\sqrt{\det g} = \tfrac12\mathrm{tr}(g_\infty^{-1}\delta g)$. The learned metric is a mean
# of $\phi'^2ww^{\mathsf T}$ like every one-layer metric, so a Hessian metric (chapter 11):
# $R = |T|^2 - |\mathrm{tr}\,T|^2$
# with $T = \tfrac12\partial g$ symmetric. For $g + eP$, $T + eQ$ the term in $e$ is
#
# $$ \delta R = 2\langle T, Q\rangle - 3\langle P, TT\rangle
#    - 2\langle\mathrm{tr}\,T, \mathrm{tr}\,Q - P\!:\!T\rangle + P(\mathrm{tr}\,T, \mathrm{tr}\,T) . $$
#
# In an orthonormal frame, in two dimensions with general symmetric tensors:

# %%
e = sp.Symbol("e")
pair = range(2)
P2 = sp.Matrix(2, 2, lambda i, j: sp.Symbol(f"P{min(i, j)}{max(i, j)}"))
T, Q = ({key: sp.Symbol(f"{name}{key}") for key in range(4)} for name in "TQ")


def tensor(i, j, k, e):
    return T[i + j + k] + e * Q[i + j + k]


g_inverse = sp.eye(2) - e * P2
norm = sum(
    g_inverse[i, l] * g_inverse[j, m] * g_inverse[k, n] * tensor(i, j, k, e) * tensor(l, m, n, e)
    for i, j, k, l, m, n in product(pair, repeat=6)
)
traces = [sum(g_inverse[i, j] * tensor(i, j, k, e) for i, j in product(pair, repeat=2)) for k in pair]
R = norm - sum(g_inverse[k, l] * traces[k] * traces[l] for k, l in product(pair, repeat=2))
t0 = [sum(T[2 * i + k] for i in pair) for k in pair]
change = [
    sum(Q[2 * i + k] for i in pair) - sum(P2[i, j] * T[i + j + k] for i, j in product(pair, repeat=2)) for k in pair
]
claimed = 2 * sum(T[i + j + k] * Q[i + j + k] for i, j, k in product(pair, repeat=3))
claimed -= 3 * sum(P2[i, l] * T[i + j + k] * T[l + j + k] for i, j, k, l in product(pair, repeat=4))
claimed += sum(P2[k, l] * t0[k] * t0[l] for k, l in product(pair, repeat=2)) - 2 * sum(t0[k] * change[k] for k in pair)
assert sp.expand(sp.expand(R).coeff(e, 1) - claimed) == 0

# %% [markdown]
# ## 14.5 Gradient descent: a step, and a flow to any time
#
# On $\tfrac12\sum_{ac}(f_{ca} - y_{ca})^2$, $f_c = \tfrac1{\sqrt n}\sum_j a_{cj}\phi(z_j)$, at rate $\eta$, a unit
# moves by $\Delta = \tfrac{\eta}{\sqrt n}\sum_a\big(\sum_c(y_{ca} - f_{ca})a_c\big)\phi'_a\,\Sigma\tilde x_a$.
# Over the readout $\mathrm E[f_{ca}a_c] = \phi_a/\sqrt n$: at order $\eta/n$ the labels are gone, and what
# remains draws the features of the data to 0. At order $\eta^2/n$ the products of residuals are
# $N = YY^{\mathsf T} + CK$. With $D_a = (\Sigma\tilde x_a)\cdot\nabla$,
#
# $$ \delta\langle o\rangle = \tfrac1n\mathrm E\Big[-\eta C\sum_a\phi_a\phi'_aD_ao
#    + \tfrac{\eta^2}2\sum_{ab}N_{ab}\phi'_a\phi'_bD_aD_bo\Big] $$
#
# Terms of odd order in $\eta$ beyond the first fall faster than $1/n$. Integration by parts,
# $\mathrm E[f D_ao] = \mathrm E[o\,(z_af - D_af)]$, gives the $h$ of this rule. In mean-field parametrisation the
# labels act at order $\eta^2n^0$; at order $\eta$ they act on average over a readout of mean 0 not at all. For
# polynomials of one weight of variance 1, $D_a = x_a\,d/dw$:

# %%
w = sp.Symbol("w")
xa, xb, eta, outputs = sp.symbols("xa xb eta C")
points, N = (xa, xb), sp.Matrix(2, 2, sp.symbols("n11 n12 n12 n22"))
phi_of = [x * w + (x * w) ** 3 for x in points]
argument = sp.Symbol("u")
derivatives = [[(argument + argument**3).diff(argument, n).subs(argument, x * w) for x in points] for n in range(4)]
f0, f1, f2, f3 = derivatives
o = w**2 + w**4


def mean(polynomial):
    poly = sp.Poly(sp.expand(polynomial), w)
    return sp.expand(sum(value * (sp.factorial2(n - 1) if n % 2 == 0 else 0) for (n,), value in poly.terms()))


step = -eta * outputs * sum(f0[i] * f1[i] * points[i] * o.diff(w) for i in pair)
step += (
    eta**2 / 2 * sum(N[i, j] * f1[i] * f1[j] * points[i] * points[j] * o.diff(w, 2) for i, j in product(pair, repeat=2))
)
K1 = sp.Matrix(2, 2, lambda i, j: points[i] * points[j])
beta = [points[i] * w * f1[i] - K1[i, i] * f2[i] for i in pair]
h = 0
for i, j in product(pair, repeat=2):
    mixed = f1[j] + 2 * (points[j] * w * f2[j] - K1[j, j] * f3[j])
    inner = beta[i] * beta[j] - K1[i, j] * f1[i] * mixed + K1[i, j] ** 2 * f2[i] * f2[j]
    h += eta**2 / 2 * N[i, j] * inner
h -= eta * outputs * sum(points[i] * w * f0[i] * f1[i] - K1[i, i] * (f1[i] ** 2 + f0[i] * f2[i]) for i in pair)
assert sp.expand(mean(step) - mean(o * h)) == 0
assert mean(h) == 0

# %% [markdown]
# A flow, descent by small steps to time $t$, is no harder. To leading order the residuals $r = y - f$ of all networks
# decay alike, $r(t) = e^{-\Theta t}r(0)$, with the tangent kernel $\Theta$ of infinite width (chapter 8). In the move
# of a unit, $\Delta = \tfrac1{\sqrt n}\sum_a\Sigma\tilde x_a\int_0^t(a\cdot r_a)\,\phi'_a\,ds$, three things are
# of order $1/n$: the unit's own part of $f$, the readout that learns too,
# $\dot a = \tfrac1{\sqrt n}\sum_b\phi_br_b$, and the slope that changes,
# $\dot\phi'_a = \phi''_a\,\tilde x_a\cdot\dot w$. With
#
# $$ T = \int_0^t e^{-\Theta s}ds, \qquad U = \int_0^t e^{-\Theta s}\,N\,T(s)\,ds, \qquad U + U^{\mathsf T} = TNT, $$
#
# where $N = YY^{\mathsf T} + CK$ is the mean of $r_ar_b$ at the start, and $S_{ab} = \tilde x_a\cdot\Sigma\tilde x_b$,
#
# $$ \delta\langle o\rangle = \tfrac1n\mathrm E\Big[\tfrac12\sum_{ab}(TNT)_{ab}\,\phi'_a\phi'_bD_aD_bo
#    + \sum_{ab}D_ao\,\big((U - CT)_{ab}\,\phi'_a\phi_b + U_{ab}S_{ab}\,\phi''_a\phi'_b\big)\Big] . $$
#
# $t\to\infty$ may be taken, $T\to\Theta^{-1}$: the geometry of the network that has fitted its data. One step is
# $T = \eta$ and $U = 0$. Integration by parts again, in the same polynomials:

# %%
T = sp.Matrix(2, 2, sp.symbols("t11 t12 t12 t22"))
twist = sp.Symbol("u")
U = T * N * T / 2 + twist * sp.Matrix([[0, 1], [-1, 0]])
flow = sum((T * N * T)[i, j] / 2 * f1[i] * f1[j] * points[i] * points[j] * o.diff(w, 2) for i, j in product(pair, pair))
h = 0
for i, j in product(pair, pair):
    drift = U[i, j] - outputs * T[i, j]
    flow += points[i] * o.diff(w) * (drift * f1[i] * f0[j] + U[i, j] * K1[i, j] * f2[i] * f1[j])
    gamma = [points[k] * w * f2[k] - K1[k, k] * f3[k] for k in (i, j)]
    M = (T * N * T)[i, j] / 2
    h += M * (beta[i] * beta[j] - K1[i, j] * f1[i] * (f1[j] + 2 * gamma[1]) + K1[i, j] ** 2 * f2[i] * f2[j])
    h += drift * (beta[i] * f0[j] - K1[i, j] * f1[i] * f1[j])
    h += U[i, j] * K1[i, j] * (gamma[0] * f1[j] - K1[i, j] * f2[i] * f2[j])
assert sp.expand(mean(flow) - mean(o * h)) == 0
assert mean(h) == 0

# %% [markdown]
# Trained to the end on XOR, the centre shrinks five times as much as in the posterior at noise 0.1:

# %%
fitted = infgeo.learned(erf, corners, labels, rule="gradient_flow", time=np.inf)
assert np.allclose(fitted.volume_shift(np.zeros(2)), -4.496, atol=0.001)

# %% [markdown]
# ## 14.6 One example and two, as formulas
#
# `infgeo.analysis.learned_metric` writes the shift for symbolic positions and any dimension, with the named values of
# 14.2. With one example $M = y^2/(K + \sigma^2)^2 - 1/(K + \sigma^2)$: the sign of all that is learned is that of
# $y^2 - K - \sigma^2$, and there is nothing to learn where the label is what the prior expects. Labels enter in
# pairs: $y\to-y$ changes nothing. For large noise $M\to-C/\sigma^2$ does not know the labels, which appear at
# $1/\sigma^4$.

# %%
one = infgeo.analysis.learned_metric(erf)
M11 = one.explicit("x_1 x_1")
symbol = {part.name: part for part in one.inputs}
kernel_at_1 = erf.kernel.diagonal.subs(infgeo.symbols.s, 1)
balanced = sp.sqrt(kernel_at_1 + symbol["noise"])
at_data = {symbol["x_1x_1"]: 1, symbol["xx_1"]: sp.Rational(1, 2), symbol["s"]: 2}
assert sp.N(M11.subs(at_data).subs(symbol["y_1"], balanced).subs(symbol["noise"], sp.Rational(1, 3))) < 1e-15
assert sp.simplify(M11.subs(symbol["y_1"], -symbol["y_1"]) - M11) == 0
print(one)

# %% [markdown]
# ## 14.7 Networks that learn
#
# The posterior is sampled with the prior as a clock. With velocities $v\sim\mathcal N(0, \Sigma)$ the prior turns
# $(w, v)$ like a harmonic oscillator, and a quarter of a turn carries $w$ to $v$. The data only kick: each unit by
# $\nabla h/n$ (14.1). So the posterior network at the end and its own $v$, a draw from the prior, differ by
# $O(1/n)$ in each unit, while each alone scatters by $1/\sqrt n$ in its metric. For $h = \tfrac12\alpha w^2$ and
# $\Sigma = 1$ the kicks make the variance $1/(1 - \alpha/n)$ at equilibrium, and the change of it is
# $\mathrm{Cov}(w^2, h)/n$ as 14.1 says:

# %%
alpha, n = sp.symbols("alpha n", positive=True)
variance = 1 / (1 - alpha / n)
covariance_with_h = alpha / 2 * (3 - 1)  # E w^4 - (E w^2)^2 = 3 - 1
assert sp.limit(n * (variance - 1), n, sp.oo) == covariance_with_h

# %% [markdown]
# First order ends where $\alpha/n$ is not small: here the change is $\alpha/(n - \alpha)$. In a network the units learn
# together, and what some have fitted pulls the others no more, so that first order then predicts too much.
# `infgeo reproduce learned` holds posteriors and networks trained by gradient descent against the formulas, also where
# the width or the noise is small or the labels are large.
#
# ## 14.8 Magnification by hand
#
# Amari and Wu (1999) magnified the space near a boundary themselves, by a conformal change of the kernel
# $\tilde k(x, y) = c(x)\,c(y)\,k(x, y)$ with $c$ large there. With $\kappa(x) = k(x, x)$, symmetry makes
# $\partial_{y_j}k = \tfrac12\partial_j\kappa$ at $y = x$, and $\partial_{x_i}\partial_{y_j}\tilde k$ there is
#
# $$ \tilde g_{ij} = c^2 g_{ij} + \kappa\,\partial_ic\,\partial_jc
#    + \tfrac c2\,(\partial_ic\,\partial_j\kappa + \partial_i\kappa\,\partial_jc) . $$
#
# For a kernel of two coordinates that is symmetric and else arbitrary, as a polynomial of second order in each point:

# %%
xs, ys = sp.symbols("x_1:3", real=True), sp.symbols("y_1:3", real=True)


def monomials(point):
    return sp.Matrix([1, *point, point[0] ** 2, point[0] * point[1], point[1] ** 2])


coefficients = sp.Matrix(6, 6, lambda i, j: sp.Symbol(f"k_{min(i, j)}{max(i, j)}"))
k = (monomials(xs).T * coefficients * monomials(ys))[0]
factor = sp.Function("c")(*xs)
same = dict(zip(ys, xs, strict=True))
changed = factor * factor.subs(dict(zip(xs, ys, strict=True)), simultaneous=True) * k
kappa = k.subs(same)
for i, j in product(range(2), repeat=2):
    left = changed.diff(xs[i], ys[j]).subs(same).doit()
    right = factor**2 * k.diff(xs[i], ys[j]).subs(same) + kappa * factor.diff(xs[i]) * factor.diff(xs[j])
    right += factor / 2 * (factor.diff(xs[i]) * kappa.diff(xs[j]) + kappa.diff(xs[i]) * factor.diff(xs[j]))
    assert sp.expand(left - right) == 0

# %% [markdown]
# `infgeo.kernels.CoordinateKernel` has metric, volume and $R$ of such kernels. A Gaussian kernel, flat before, with
# $c = 1 + e^{-x_1^2}$: the volume at the boundary $x_1 = 0$ rises fourfold against far away, and the space is curved.

# %%
gaussian = infgeo.kernels.CoordinateKernel(sp.exp(-sum((a - b) ** 2 for a, b in zip(xs, ys, strict=True)) / 2), xs, ys)
magnified = gaussian.conformal(1 + sp.exp(-(xs[0] ** 2))).metric
assert gaussian.metric.ricci_scalar == 0 and magnified.ricci_scalar != 0
assert magnified.volume_element.subs(xs[0], 0) == 4 and sp.limit(magnified.volume_element, xs[0], sp.oo) == 1

# %% [markdown]
# ## 14.9 Deep networks
#
# In a network of $L$ layers, all of width $n$, the log likelihood is still a function of the last kernel matrix: the
# posterior mean of a statistic $O$ of any layer is its prior mean and
# $\tfrac12\sum_{ab}M_{ab}\,\mathrm{Cov}(O, K^L_{ab})$. Given layer $l - 1$, the preactivations of layer $l$ are $n$
# independent draws of a Gaussian process of covariance $\Sigma = \sigma_b^2 + \sigma_w^2K^{l-1}$. So what the
# likelihood asks of $K^L$ it asks of $K^l$ with
#
# $$ M^{l}_{cd} = \sum_{ab} M^{l+1}_{ab}\frac{\partial K^{l+1}_{ab}}{\partial K^l_{cd}}
#    = \sigma_w^2\Big(M^{l+1}_{cd}\,\mathrm E[\phi'_c\phi'_d]
#    + \delta_{cd}\sum_b M^{l+1}_{cb}\,\mathrm E[\phi''_c\phi_b]\Big), \qquad M^L = M, $$
#
# by Price's theorem (chapter 2), and the units of layer $l$ are shifted by
# $\mathrm{Cov}(o, \tfrac12\varphi^{\mathsf T}M^l\varphi)$, as in 14.1. What the layers before have learned moves
# $\Sigma$. With $v$, $r = \mathrm{Cov}(z, \partial z)$ and $G = \mathrm{Cov}(\partial z, \partial z)$ at a point, the
# moments of the next layer are
#
# $$ \mathrm E[\phi^2] = m(v), \qquad \mathrm E[\phi\phi'\,\partial z] = m'(v)\,r, \qquad
#    \mathrm E[\phi'^2\,\partial z\,\partial z^{\mathsf T}] = m_0(v)\,G + 2m_0'(v)\,rr^{\mathsf T}, $$
#
# whose differentials carry shifts of $(v, r, G)$ forward. The shift of $v$ is made of
# $\mathrm E[\phi_x^2\phi_a\phi_b]$, four error functions for erf, which is not elementary: with depth there are no
# closed forms. The third moment by Stein's lemma, for $\phi' = z^2$ and the law of $(z, \partial_1z)$ in `C` above:

# %%
moment_0 = gauss(w1**4, C)  # E[phi'^2] = 3 v^2, v = c11
law = C[1, 1] * moment_0 + 2 * moment_0.diff(C[0, 0]) * C[0, 1] ** 2
assert sp.expand(gauss(w1**4 * w2**2, C) - law) == 0

# %% [markdown]
# Linear networks, without biases and at unit scales, show what depth does: $M^l = M$, every layer adds $KMK$, and so
# $\delta K^l = l\,KMK/n$: deep layers learn more (Zavatone-Veth et al. 2021). The sums are over nets of units,
# which have errors:

# %%
linear = infgeo.MLP("identity", depth=2, weight_std=1, bias_std=0)
examples, outputs = np.array([[1.0, 0.5], [-0.5, 1.0]]), np.array([1.0, -1.0])
deep = infgeo.learned(linear, examples, outputs, 0.3)
K = examples @ examples.T
inverse = np.linalg.inv(K + 0.3 * np.eye(2))
learned_by_a_layer = K @ (inverse @ np.outer(outputs, outputs) @ inverse - inverse) @ K
for layer in (1, 2):
    error = deep.standard_error(examples, "kernel", layer=layer)
    assert (np.abs(deep.kernel(examples, layer=layer) - layer * learned_by_a_layer) < 5 * error).all()

# %% [markdown]
# ## In the package
#
# `infgeo.learned(mlp, X, y, noise_variance, rule="posterior")`, `rule="gradient_step"` and `rule="gradient_flow"` are
# 14.1 to 14.5, the posterior of several layers is 14.9, and `infgeo.validate` of the result compares them with networks
# that learn; `infgeo.analysis.learned_metric` is 14.6, `infgeo.magnification.law` 14.7
# ([Learned geometry](../guide/learned.md)), `infgeo.kernels.CoordinateKernel` 14.8 ([Kernels](../guide/kernels.md)).
