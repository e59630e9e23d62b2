# %% [markdown]
# # 8. The tangent kernel, and when features have no metric
#
# A network $f(x) = n^{-1/2}\sum_j a_j\varphi(z_j)$ with $z_j = \sigma_w\,\omega_j\cdot x + \sigma_b\beta_j$ and
# standard normal $a, \omega, \beta$ (the parametrisation of Jacot, Gabriel & Hongler, *Neural tangent kernel*, NeurIPS
# 2018) has the tangent kernel $\Theta(x, y) = \nabla f(x)\cdot\nabla f(y)$, the gradient being that in all parameters.
# With $k = \mathrm E[\varphi\varphi]$, $\dot k = \mathrm E[\varphi'\varphi']$, $K = \sigma_w^2\,x\cdot y + \sigma_b^2$,
#
# $$ \Theta = k + K\,\dot k, \qquad |\Phi(x) - \Phi(y)|^2 \approx C\,|x - y|^{\gamma}, $$
#
# and there is a metric where $\gamma = 2$ only: for smooth $\varphi$, and not for ReLU's $\Theta$ ($\gamma = 1$), nor
# for features that jump ($\gamma = 2^{1-L}$ at depth $L$). This derivation finds $\Theta$, its metric, and the reason
# why others have none.

# %%
from itertools import pairwise

import mpmath as mp
import sympy as sp

import infgeo
from infgeo import conventions as conv
from infgeo.errors import MetricDoesNotExist

p, q, v, t = sp.symbols("p q v t", positive=True)
c, x, y = sp.symbols("c x y", real=True)
sw, sb = conv.sigma_w, conv.sigma_b

# %% [markdown]
# ## 8.1 One hidden layer
#
# $\partial f/\partial a_j = n^{-1/2}\varphi(z_j)$, $\partial f/\partial\omega_j = n^{-1/2}a_j\sigma_w\varphi'(z_j)\,x$,
# $\partial f/\partial\beta_j = n^{-1/2}a_j\sigma_b\varphi'(z_j)$. The law of large numbers turns the sum over $j$ into
# an expectation, in which $\mathrm E[a^2] = 1$:
#
# $$ \Theta = \mathrm E[\varphi(u)\varphi(v)] + (\sigma_w^2\,x\cdot y + \sigma_b^2)\,\mathrm E[\varphi'(u)\varphi'(v)]
#    = k + c\,\dot k . $$
#
# For one unit in one dimension this is a statement about a finite sum; the code differentiates it.

# %%
a, omega, beta = sp.symbols("a omega beta", real=True)


def unit(point):
    return a * sp.erf((sw * omega * point + sb * beta) / sp.sqrt(2))


gradient = [(unit(x).diff(weight), unit(y).diff(weight)) for weight in (a, omega, beta)]
tangent = sum(left * right for left, right in gradient)
slope = [sp.erf(conv.z / sp.sqrt(2)).diff(conv.z).subs(conv.z, sw * omega * at + sb * beta) for at in (x, y)]
by_hand = unit(x) * unit(y) / a**2 + a**2 * (sw**2 * x * y + sb**2) * slope[0] * slope[1]
print(sp.factor(tangent))
assert sp.simplify(tangent - by_hand) == 0

erf = infgeo.MLP("erf")
at = {conv.s_x: x**2, conv.s_y: y**2, conv.xy: x * y}
k, theta = (kernel.expr.subs(at) for kernel in (erf.kernel, erf.ntk))
k_dot = erf.dual.derivative_kernel.subs(conv.Delta, conv.p * conv.q - conv.c**2)
K = {conv.p: sb**2 + sw**2 * x**2, conv.q: sb**2 + sw**2 * y**2, conv.c: sb**2 + sw**2 * x * y}
assert sp.simplify(theta - k - K[conv.c] * k_dot.subs(K)) == 0

# %% [markdown]
# ## 8.2 Its metric, for smooth activations
#
# The metric of a product of kernels is $g_{12} = f_1 g_2 + f_2 g_1 + 2 f_1' f_2'\,xx^\top$ with $f_i(s) = k_i(x, x)$:
# of the four terms of $\partial_x\partial_y(k_1k_2)$ the two mixed ones are $\partial_x k_1\,\partial_y k_2 =
# f_1'f_2'xx^\top$ each, because a symmetric kernel has $\partial_x k|_{y=x} = \frac12\nabla f = f' x$. With $\dot k$
# for one factor, this needs the metric of $\varphi'$, which is $\sigma_w^2\mathrm E[\varphi''^2]$ across $x$. In one
# dimension:

# %%
mixed = theta.diff(x).diff(y).subs(y, x)
s = conv.s
metric = erf.ntk.metric
ours = metric.h.subs(s, x**2)
numbers = {x: sp.Rational(7, 5), sw: sp.Rational(4, 5), sb: sp.Rational(1, 3)}
print("d^2 Theta/dx dy =", sp.N(mixed.subs(numbers), 25), "   A + s B =", sp.N(ours.subs(numbers), 25))
assert abs(sp.N((mixed - ours).subs(numbers), 40)) < sp.Float("1e-30")

# %% [markdown]
# ## 8.3 A jump separates features like the square root of a metric
#
# Let $\varphi$ jump by $J$ at 0. $(u, v)$ of equal variance $v$ and small angle $\theta$ have opposite signs with
# probability $\theta/\pi$, and then, to leading order, $(\varphi(u)-\varphi(v))^2 = J^2$; everything else is of order
# $\theta^2$. With $\sin\theta = \sqrt\Delta/v$:
#
# $$ \mathrm E[(\varphi(u)-\varphi(v))^2] = \frac{J^2}{\pi}\,\frac{\sqrt\Delta}{v} + O(\Delta) . $$

# %%
for name, jump in (("step", 1), ("sign", 2)):
    law = infgeo.MLP(name).dual
    assert law.jumps == {0: jump}
    on_circle = {conv.p: 1, conv.q: 1, conv.c: sp.cos(t), conv.Delta: sp.sin(t) ** 2}
    # atan2(cos t, sin t) = pi/2 - t.
    kernel = law.kernel.subs(on_circle).replace(sp.atan2, lambda *_: sp.pi / 2 - t)
    square = sp.expand(2 * law.m.subs(conv.variance, 1) - 2 * kernel)
    print(f"{name}: E[(phi(u) - phi(v))^2] = {square}")
    assert square == jump**2 * t / sp.pi
    exact = law.kernel.subs({**on_circle, t: sp.Rational(1, 3)})
    assert abs(sp.N(exact - kernel.subs(t, sp.Rational(1, 3)), 30)) < sp.Float("1e-25")

# %% [markdown]
# For a first layer $\Delta = \sigma_w^4(s_xs_y - (x\cdot y)^2) + \sigma_b^2\sigma_w^2|x-y|^2$. For $y - x$ of length
# $\epsilon$ across $x$ it is $\sigma_w^2 v\,\epsilon^2$, along $x$ it is $\sigma_b^2\sigma_w^2\epsilon^2$. So
# $|\Phi(x)-\Phi(y)|^2 \sim |x-y|$, where a metric would make it $|x-y|^2$: the features of a step network are a curve
# of infinite length everywhere, like Brownian motion. Without bias they do not change along $x$.

# %%
e, radius = sp.symbols("epsilon rho", positive=True)


def determinant(s_x, s_y, xy):
    pre = [sb**2 + sw**2 * value for value in (s_x, s_y, xy)]
    return sp.expand(pre[0] * pre[1] - pre[2] ** 2)


across = determinant(radius**2, radius**2 + e**2, radius**2)
along = determinant(radius**2, (radius + e) ** 2, radius * (radius + e))
assert sp.expand(across - sw**2 * (sb**2 + sw**2 * radius**2) * e**2) == 0
assert sp.expand(along - sb**2 * sw**2 * e**2) == 0


def verdict(kernel):
    """The leading order that the package states where it refuses a metric."""
    try:
        return kernel().metric
    except MetricDoesNotExist as error:
        return error.divergence


step = verdict(lambda: infgeo.MLP("step").kernel)
v_first = sb**2 + sw**2 * s
assert step.exponent == 1
assert sp.simplify(step.across - sp.sqrt(sw**2 * v_first) / (sp.pi * v_first)) == 0
assert sp.simplify(step.along - sb * sw / (sp.pi * v_first)) == 0

# %% [markdown]
# ## 8.4 ReLU's tangent kernel
#
# $\Theta = k + c\,\dot k$ contains the kernel of $\varphi' = H$, a step. Of $|\Phi_\Theta(x)-\Phi_\Theta(y)|^2 =
# \Theta(x,x)+\Theta(y,y)-2\Theta(x,y)$ the part $k$ contributes at order $\epsilon^2$, and the product its factor
# $c\to v$ times the square distance of the steps:
#
# $$ v\cdot\frac{\sqrt{\sigma_w^2 v}\,\epsilon}{\pi v} = \frac{\sigma_w\sqrt v}{\pi}\,|x-y|,\qquad
#    \Theta(x, y) = \tfrac12\big(\Theta(x,x)+\Theta(y,y)\big) - \frac{\sigma_w\sqrt v}{2\pi}|x-y| + \dots $$
#
# across $x$: a cusp, and no second derivative. A finite network does have a metric; it grows without bound with the
# width, as more and more kinks fall between two neighbouring points.

# %%
cusp = verdict(lambda: infgeo.MLP("relu").ntk)
assert cusp.exponent == 1
assert sp.simplify(cusp.across - sw * sp.sqrt(v_first) / sp.pi) == 0

with mp.workdps(80):
    relu = infgeo.MLP("relu", weight_std=sp.Rational(4, 5), bias_std=sp.Rational(1, 2)).ntk.expr
    function = sp.lambdify((conv.s_x, conv.s_y, conv.xy), relu, "mpmath")
    coefficient = mp.mpf(sp.N(cusp.across.subs({sw: sp.Rational(4, 5), sb: sp.Rational(1, 2), s: 1}), 40))
    errors = []
    for power in (5, 10, 15):
        gap = mp.mpf(10) ** -power
        square = function(1, 1, 1) + function(1 + gap**2, 1 + gap**2, 1 + gap**2) - 2 * function(1, 1 + gap**2, 1)
        errors.append(abs(square / gap / coefficient - 1))
        print(f"|x - y| = 1e-{power}: distance^2 / (C |x - y|) - 1 = {mp.nstr(errors[-1], 3)}")
    assert all(mp.mpf("0.9e-5") < later / earlier < mp.mpf("1.1e-5") for earlier, later in pairwise(errors))

# %% [markdown]
# ## 8.5 Depth
#
# A layer without a jump multiplies square distances by $\mathrm E[\varphi'^2]$. A layer with one takes the square root:
# its preactivations have $\Delta \approx v\,\sigma_w^2 D^2$ when $D^2$ is of lower order than $\epsilon^2$, hence
# $D^2 \leftarrow (J^2/\pi)\sqrt{\sigma_w^2D^2/v}$. Each further step halves the exponent: $|x-y|^{1/2},
# |x-y|^{1/4},\dots$

# %%
for depth in (1, 2, 3):
    found = verdict(lambda depth=depth: infgeo.MLP("step", depth=depth, weight_std=1, bias_std=1).kernel)
    print(f"depth {depth}: |Phi(x) - Phi(y)|^2 = {found.across} |x - y|^{found.exponent}")
    assert found.exponent == sp.Rational(1, 2 ** (depth - 1))
first, second = (verdict(lambda n=n: infgeo.MLP("step", depth=n).kernel).across for n in (1, 2))
v_second = sb**2 + sw**2 / 2
assert sp.simplify(second - sp.sqrt(sw**2 * first / v_second) / sp.pi) == 0
assert verdict(lambda: infgeo.MLP(["step", "erf"]).kernel).exponent == 1

# %% [markdown]
# ## In the package
#
# `mlp.ntk` is $\Theta$, `mlp.ntk.metric` its metric. Where there is none, `MetricDoesNotExist` names the reason, and
# its attribute `divergence` has exponent and coefficients of the squared distance ([Errors](../reference/errors.md)).
