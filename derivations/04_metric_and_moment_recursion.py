# %% [markdown]
# # 4. The metric, from the kernel and from two moments per layer
#
# A feature map $\Phi$ with kernel $k(x, y) = \Phi(x)\cdot\Phi(y)$ pulls the flat metric of feature space back to
#
# $$ g_{\mu\nu}(x) = \partial_\mu\Phi\cdot\partial_\nu\Phi = \partial_{x^\mu}\partial_{y^\nu} k(x, y)\big|_{y=x} $$
#
# (C. J. C. Burges, *Geometry and invariance in kernel based methods*, 1999). For a wide network the kernel depends on
# $|x|^2$, $|y|^2$ and $x\cdot y$ only, and $g = A\,I + B\,x x^{\mathsf T}$ with functions $A, B$ of $s = |x|^2$. This
# script derives $A$ and $B$ from the kernel; then, under the expectation, a recursion over the layers that needs two
# functions of one variance, $m = \mathrm E[\varphi^2]$ and $m_0 = \mathrm E[\varphi'^2]$; then the logarithmic form of
# that recursion, which is what `infgeo.symbolic.networks.recursion` computes.

# %%
from types import SimpleNamespace

import mpmath as mp
import sympy as sp

import infgeo
from infgeo import conventions as conv
from infgeo.symbolic.kernels.kernel import metric_by_definition
from infgeo.symbolic.networks.recursion import metric_program

s, v, z = conv.s, conv.variance, conv.z
half = sp.Rational(1, 2)

# %% [markdown]
# ## 4.1 $A$ and $B$ from the derivatives of the kernel
#
# With $k = k(s_x, s_y, t)$, $s_x = |x|^2$, $s_y = |y|^2$, $t = x\cdot y$, the chain rule gives
#
# $$ \partial_{x^\mu}\partial_{y^\nu} k = k_t\,\delta_{\mu\nu} + k_{tt}\, y_\mu x_\nu + 2k_{ts_x}\, x_\mu x_\nu +
#    2k_{ts_y}\, y_\mu y_\nu + 4k_{s_xs_y}\, x_\mu y_\nu , $$
#
# and at $y = x$
#
# $$ A = k_t, \qquad B = k_{tt} + 2k_{ts_x} + 2k_{ts_y} + 4k_{s_xs_y} . $$
#
# Only second derivatives of $k$ at one point enter, so that it is enough to verify this for the general polynomial of
# degree 2, with symbols for all of its ten coefficients, in three dimensions.

# %%
s_x, s_y, t = conv.s_x, conv.s_y, conv.xy
monomials = [s_x**i * s_y**j * t**k for i in range(3) for j in range(3 - i) for k in range(3 - i - j)]
coefficients = sp.symbols(f"a:{len(monomials)}", real=True)
general_kernel = sum(a * monomial for a, monomial in zip(coefficients, monomials, strict=True))
assert len(monomials) == 10

X, Y = (sp.Matrix(sp.symbols(f"{name}_1:4", real=True)) for name in "xy")
in_coordinates = general_kernel.subs({s_x: X.dot(X), s_y: Y.dot(Y), t: X.dot(Y)}, simultaneous=True)
at_coincidence = dict(zip(Y, X, strict=True))
from_coordinates = sp.Matrix(3, 3, lambda i, j: in_coordinates.diff(X[i], Y[j]).subs(at_coincidence))

radial = {s_x: s, s_y: s, t: s}
A = general_kernel.diff(t)
B = general_kernel.diff(t, 2) + 2 * general_kernel.diff(t, s_x) + 2 * general_kernel.diff(t, s_y)
B += 4 * general_kernel.diff(s_x, s_y)
A, B = (part.subs(radial).subs(s, X.dot(X)) for part in (A, B))
assert (from_coordinates - A * sp.eye(3) - B * X * X.T).expand() == sp.zeros(3)

package = metric_by_definition(general_kernel)
assert sp.expand(package.A.subs(s, X.dot(X)) - A) == 0 and sp.expand(package.B.subs(s, X.dot(X)) - B) == 0

# %% [markdown]
# ## 4.2 One layer, under the expectation
#
# Let $z(x)$ be a preactivation of a layer: over the random weights (and in the limit of wide layers) a Gaussian process
# with covariance $K(x, y)$, variance $v(x) = K(x, x)$ and metric $G = \partial_x\partial_y K|_{y=x}$. The features
# $\varphi(z)$ have the metric
#
# $$ g_{\mu\nu} = \mathrm E\!\left[\varphi'(z)^2\,\partial_\mu z\,\partial_\nu z\right] . $$
#
# $z$ and $\partial z$ are jointly Gaussian, with $\mathrm{Cov}(z, \partial_\mu z) = \frac12\partial_\mu v$ and
# $\mathrm{Cov}(\partial_\mu z, \partial_\nu z) = G_{\mu\nu}$. So
# $\partial_\mu z = \frac{\partial_\mu v}{2v} z + \eta_\mu$ with $\eta$ independent of $z$,
# $\mathrm E[\eta_\mu\eta_\nu] = G_{\mu\nu} - \frac{\partial_\mu v\,\partial_\nu v}{4v}$, and
#
# $$ g_{\mu\nu} = m_0 \left( G_{\mu\nu} - \frac{\partial_\mu v\,\partial_\nu v}{4v} \right) +
#    \mathrm E[z^2\varphi'(z)^2]\, \frac{\partial_\mu v\,\partial_\nu v}{4v^2} . $$
#
# Scaling $z = \sqrt v\,\xi$ gives $\mathrm E[z^2\varphi'^2] = v\,m_0 + 2v^2 m_0'$ (differentiate $m_0(v)$ under the
# integral: the density obeys $2v^2\,\partial_v\rho = (z^2 - v)\rho$), and the terms in $m_0/v$ drop out:
#
# $$ g_{\mu\nu} = m_0(v)\, G_{\mu\nu} + \tfrac12 m_0'(v)\, \partial_\mu v\, \partial_\nu v . $$
#
# No derivative of $\varphi'$ was taken: this holds for ReLU as it stands, where $\partial_x\partial_y k$ diverges term
# by term (derivation 3). With $\partial_\mu v = 2x_\mu\, dv/ds$ it is the recursion
#
# $$ A \leftarrow m_0 A, \qquad B \leftarrow m_0 B + 2 m_0'(v) \left(\frac{dv}{ds}\right)^2 . $$

# %%
density = sp.exp(-(z**2) / (2 * v)) / sp.sqrt(2 * sp.pi * v)
assert sp.simplify((2 * v**2 * density.diff(v) - (z**2 - v) * density) / density) == 0

G, gradient, m0_value, m0_slope = sp.symbols("G grad_v m_0 m_0_prime", real=True)  # one component stands for all
second_moment = v * m0_value + 2 * v**2 * m0_slope
conditional = m0_value * (G - gradient**2 / (4 * v)) + second_moment * gradient**2 / (4 * v**2)
assert sp.expand(conditional - (m0_value * G + half * m0_slope * gradient**2)) == 0

# %% [markdown]
# The other route differentiates the kernel $F(p, q, c) = \mathrm E[\varphi(u)\varphi(v)]$ of the layer with
# $p = K(x, x)$, $q = K(y, y)$, $c = K(x, y)$. At coincidence $\partial_x p = \partial_y q = \nabla v$ and
# $\partial_x c = \partial_y c = \frac12\nabla v$, so that
#
# $$ g = F_c\, G +
#    \left( \tfrac14 F_{cc} + \tfrac12 F_{pc} + \tfrac12 F_{qc} + F_{pq} \right) \nabla v\,\nabla v^{\mathsf T} . $$
#
# By Price's theorem and its companions (derivation 1, $\partial_p \to \frac12\partial_u^2$),
# $F_{cc} = \mathrm E[\varphi''^2]$, $F_{pc} = F_{qc} = \frac12\mathrm E[\varphi'''\varphi']$,
# $F_{pq} = \frac14\mathrm E[\varphi''^2]$, and the bracket is
# $\frac12\mathrm E[\varphi''^2 + \varphi'\varphi'''] = \frac12 m_0'$: the same. Verified for the general quartic
# $\varphi$, with symbols as coefficients, through the moments of a Gaussian pair.

# %%
p, q, c, xi, eta = sp.symbols("p q c xi eta", real=True)
form = half * (p * xi**2 + 2 * c * xi * eta + q * eta**2)
series = sp.Poly(sum(form**n / sp.factorial(n) for n in range(5)), xi, eta)  # the moment generating function
quartic = sp.symbols("b:5", real=True)


def pair_moment(m, n):
    """E[u^m v^n], m + n <= 8."""
    return series.coeff_monomial(xi**m * eta**n) * sp.factorial(m) * sp.factorial(n)


F = sum(quartic[m] * quartic[n] * pair_moment(m, n) for m in range(5) for n in range(5))
same = {p: v, q: v, c: v}
m0_quartic = sum(
    m * quartic[m] * n * quartic[n] * pair_moment(m - 1, n - 1).subs(same) for m in range(1, 5) for n in range(1, 5)
)
bracket = F.diff(c, 2) / 4 + F.diff(p, c) / 2 + F.diff(q, c) / 2 + F.diff(p, q)
assert sp.expand(F.diff(c).subs(same) - m0_quartic) == 0
assert sp.expand(bracket.subs(same) - half * m0_quartic.diff(v)) == 0 and m0_quartic.diff(v) != 0

# %% [markdown]
# ## 4.3 From layer to layer
#
# The next layer's preactivations have $K = \sigma_w^2 k + \sigma_b^2$, so that
# $v \leftarrow \sigma_b^2 + \sigma_w^2 m(v)$, $A \leftarrow \sigma_w^2 A$, $B \leftarrow \sigma_w^2 B$; the start is
# $v = \sigma_b^2 + \sigma_w^2 s$, $A = \sigma_w^2$, $B = 0$.
#
# $A$ and $B$ are products over the layers, and the curvature needs $A', A'', B'$ as well: numbers that under- and
# overflow, and differences of them that cancel. Sums over the layers are better behaved. With a prime for $d/ds$, let
#
# $$ a = \frac{A'}{A}, \quad \alpha = sa, \quad \delta = \frac{B - 2A'}{A}, \quad \beta = s\delta, \quad
#    \eta = \frac{A + sB}{A} = 1 + 2\alpha + \beta, \quad e = \frac{v'}{A} - 1, $$
#
# with $e$ taken before the nonlinearity, and $\psi = m_0'/m_0$, $\mu = m'/m_0$, $\nu = \mu - 1$, $\kappa = s v' \psi$.
# Insert the recursion for $A$ and $B$:
#
# $$ \begin{aligned}
#    a &\leftarrow \frac{(m_0A)'}{m_0A} = a + v'\psi
#        &&\Rightarrow\quad \alpha \leftarrow \alpha + \kappa, \\
#    \delta &\leftarrow \frac{m_0B + 2m_0'v'^2 - 2m_0'v'A - 2m_0A'}{m_0A} = \delta + 2v'\psi\, e
#        &&\Rightarrow\quad \beta \leftarrow \beta + 2\kappa e, \\
#    \eta &\leftarrow \eta + 2\kappa\,(1 + e), \\
#    e &\leftarrow \frac{\sigma_w^2 m' v'}{\sigma_w^2 m_0 A} - 1 = \mu\,(1 + e) - 1 = \mu e + \nu .
#    \end{aligned} $$
#
# For one layer $e = 0$: $\delta = 0$, that is $B = 2A'$, and the metric is the Hessian of a function (derivation 6).
# For a network of one more layer $\nu = \mathrm E[\varphi\varphi'']/m_0$ is how far $\varphi$ is from being linear.
#
# The four steps, for undefined functions $A(s)$, $B(s)$, $v(s)$, $m_0(v)$, $m(v)$:

# %%
A_, B_, v_ = (sp.Function(name)(s) for name in ("A", "B", "v"))
m_of, m0_of = sp.Function("m")(v_), sp.Function("m_0")(v_)
w2 = conv.sigma_w**2


def log_quantities(A, B):
    """alpha, delta, beta, eta of a metric."""
    delta = (B - 2 * A.diff(s)) / A
    return s * A.diff(s) / A, delta, s * delta, (A + s * B) / A


rate = v_.diff(s)
psi = m0_of.diff(s) / rate / m0_of
kappa, e_ = s * rate * psi, rate / A_ - 1
after = log_quantities(m0_of * A_, m0_of * B_ + 2 * (m0_of.diff(s) / rate) * rate**2)
before = log_quantities(A_, B_)
increments = (kappa, 2 * rate * psi * e_, 2 * kappa * e_, 2 * kappa * (1 + e_))
assert [sp.simplify(x - y - step) for x, y, step in zip(after, before, increments, strict=True)] == [0, 0, 0, 0]
assert sp.simplify(before[3] - 1 - 2 * before[0] - before[2]) == 0

mu_ = m_of.diff(s) / rate / m0_of
e_next = (conv.sigma_b**2 + w2 * m_of).diff(s) / (w2 * m0_of * A_) - 1
assert sp.simplify(e_next - (mu_ * e_ + (mu_ - 1))) == 0

# %% [markdown]
# ## 4.4 The package's program for a general network
#
# `infgeo.symbolic.networks.recursion.metric_program` carries these quantities, and their derivatives, through the
# layers. Here it is run on an activation of which nothing is known: $m$ and $m_0$ are undefined functions, whose
# derivatives are further undefined functions. Its outputs for two layers are compared with the plain recursion for $A$
# and $B$ and with derivatives taken by SymPy. The curvatures are compared with those that derivation 5 gives for
# any $A$ and $B$.


# %%
def undefined(name, orders):
    """An undefined function of one variable whose derivatives have names of their own: m, m', m'', ..."""
    following = undefined(name + "'", orders - 1) if orders else None
    return type(name, (sp.Function,), {"nargs": 1, "fdiff": lambda self, index=1: following(self.args[0])})


m, m0 = undefined("m", 3)(v), undefined("m0", 3)(v)
law = SimpleNamespace(
    m=m, m0=m0, m_prime=m.diff(v), m_second=m.diff(v, 2),
    psi=m0.diff(v) / m0, psi_prime=(m0.diff(v) / m0).diff(v),
    mu=m.diff(v) / m0, nu=(m.diff(v) - m0) / m0, nu_prime=((m.diff(v) - m0) / m0).diff(v),
)  # fmt: skip
weight, bias = conv.sigma_w**2, conv.sigma_b**2


def plain_recursion(depth):
    """A and B of a network with that many layers, as expressions of s."""
    variance, A, B = bias + weight * s, weight, sp.Integer(0)
    for layer in range(1, depth + 1):
        slope = m0.diff(v).subs(v, variance)
        A, B = m0.subs(v, variance) * A, m0.subs(v, variance) * B + 2 * slope * variance.diff(s) ** 2
        if layer < depth:
            variance, A, B = bias + weight * m.subs(v, variance), weight * A, weight * B
    return A, B


def vanishes(expr):
    """Whether a rational function of s and of undefined functions is zero: a symbol for each function, then cancel."""
    functions = sorted(expr.atoms(sp.Function), key=lambda f: -sp.count_ops(f))
    for number, function in enumerate(functions):
        expr = expr.subs(function, sp.Symbol(f"f{number}"))
    return sp.expand(sp.numer(sp.together(expr))) == 0


layer = SimpleNamespace(apply=lambda state: state.affine(weight, bias).activate(law))
for depth in (1, 2, 3):
    program = metric_program([layer] * depth)
    A, B = plain_recursion(depth)
    assert vanishes(program.explicit("A") - A) and vanishes(program.explicit("B") - B)
    assert vanishes(program.explicit("eta") - (A + s * B) / A) and vanishes(program.explicit("h") - (A + s * B))

# %%
A, B = plain_recursion(2)
program = metric_program([layer] * 2)
twin = infgeo.RadialMetric.from_functions(A, B).program
for name in ("K_tan", "K_rad"):
    assert vanishes(program.explicit(name) - twin.explicit(name)), name
    assert not vanishes(program.explicit(name) - 2 * twin.explicit(name))
assert vanishes(program.explicit("R") - twin.explicit("R"))

# %% [markdown]
# ## 4.5 erf: the recursion against the kernel
#
# For a smooth activation the definition and the recursion must agree. At one layer they do so symbolically. The
# closed form is a Hessian metric, $B = 2A'$.

# %%
erf_1 = infgeo.MLP("erf")
definition = metric_by_definition(erf_1.kernel.expr)
assert sp.simplify(definition.A - erf_1.metric.A) == 0 and sp.simplify(definition.B - erf_1.metric.B) == 0
assert sp.simplify(erf_1.metric.B - 2 * erf_1.metric.A.diff(s)) == 0
print(erf_1.metric)

# %% [markdown]
# At two layers, in 60-digit arithmetic at a point with $\sigma_w = 7/5$, $\sigma_b = 3/10$: the nested closed form of
# the kernel is differentiated by SymPy, and, to lean on nothing but its values, by central differences.

# %%
numbers = {conv.sigma_w: sp.Rational(7, 5), conv.sigma_b: sp.Rational(3, 10)}
radius2 = sp.Rational(17, 10)


def by_differences(value, step):
    """A and B by central differences of k(x, y) at x = y = (r, 0), extrapolated to an error of order step^4."""
    r = mp.sqrt(mp.mpf(radius2.p) / radius2.q)

    def kernel_at(x, y):
        return value(x[0] ** 2 + x[1] ** 2, y[0] ** 2 + y[1] ** 2, x[0] * y[0] + x[1] * y[1])

    def second(axis, h):
        ends = [(r + sign * h, 0) if axis == 0 else (r, sign * h) for sign in (1, -1)]
        signs = (1, -1)
        return sum(
            i * j * kernel_at(x, y) for i, x in zip(signs, ends, strict=True) for j, y in zip(signs, ends, strict=True)
        ) / (4 * h**2)

    along, across = ((4 * second(axis, step / 2) - second(axis, step)) / 3 for axis in (0, 1))
    return across, (along - across) / r**2


for depth in (1, 2):
    network = infgeo.MLP("erf", depth=depth)
    recursion = [sp.N(part.subs({**numbers, s: radius2}), 60) for part in (network.metric.A, network.metric.B)]

    kernel = network.kernel.expr.subs(numbers)
    slope = kernel.diff(t)
    bend = slope.diff(t) + 2 * slope.diff(s_x) + 2 * slope.diff(s_y) + 4 * kernel.diff(s_x, s_y)
    by_sympy = [sp.N(part.subs({s_x: radius2, s_y: radius2, t: radius2}), 60) for part in (slope, bend)]

    with mp.workdps(60):
        differences = by_differences(sp.lambdify((s_x, s_y, t), kernel, "mpmath"), mp.mpf(10) ** -8)
        deviations = [
            max(abs(mp.mpf(x) / mp.mpf(y) - 1) for x, y in zip(route, recursion, strict=True))
            for route in (by_sympy, differences)
        ]
    print(f"depth {depth}: A = {sp.N(recursion[0], 25)}, B = {sp.N(recursion[1], 25)}")
    print(f"   largest relative deviation of the differences: {mp.nstr(deviations[1], 2)}")
    assert deviations[0] < 1e-50 and deviations[1] < 1e-25

# %% [markdown]
# ## 4.6 ReLU
#
# $m_0 = \frac12$ does not depend on the variance, so that nothing is added to $B$, at any depth. The definition is of
# no use here (derivation 3).

# %%
for depth in (1, 2, 4):
    metric = infgeo.MLP("relu", depth=depth).metric
    assert sp.simplify(metric.A - (weight / 2) ** depth) == 0 and metric.B == 0

# %% [markdown]
# ## In the package
#
# `mlp.metric.A` and `.B` come from the recursion over moments, `print(mlp.metric_program)` shows it line by line
# ([Derive](../guide/derive.md)). `infgeo.Kernel(expression).metric` takes the definition by derivatives: it is the
# independent twin in the tests.
