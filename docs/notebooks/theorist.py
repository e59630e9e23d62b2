# %% [markdown]
# # A theorist's hour
#
# {nb-download}`theorist.ipynb`: this notebook, to run yourself.
#
# A network with random weights maps an input $x$ to features $\Phi(x)$. When it is infinitely wide, the distance
# between the features of two inputs depends on its kernel alone, and so does the metric that it gives to input space,
# $g = A(s)\, I + B(s)\, x x^\top$ with $s = |x|^2$. We derive it for an activation of our choice, look at its
# curvature, and hold the result against networks that are not wide.

# %%
import numpy as np
import sympy as sp

import infgeo

mlp = infgeo.MLP("erf")
mlp

# %% [markdown]
# The scales $\sigma_w$ and $\sigma_b$ of weights and biases stay symbols, and so does the dimension $d$. The kernel
# is the arcsine kernel of Williams (1997):

# %%
mlp.kernel

# %% [markdown]
# ## The metric and its curvature
#
# $A$ is what lengths across $x$ are multiplied by (squared), and $h = A + sB$ is the same along $x$.

# %%
g = mlp.metric
g

# %%
g.volume_element

# %% [markdown]
# The Ricci scalar, positive on spheres. Here it is negative and grows with $|x|$ without bound: far out, the surface of
# features is a thin, strongly curved saddle.

# %%
g.ricci_scalar

# %%
sp.limit(g.at(d=2, sigma_w=1, sigma_b=0).ricci_scalar / sp.sqrt(infgeo.symbols.s), infgeo.symbols.s, sp.oo)

# %% [markdown]
# All values of $s$ at once: is the sign of the curvature the same everywhere?

# %%
infgeo.analysis.curvature_sign(g)

# %% [markdown]
# ## An activation of one's own
#
# Any expression of one symbol will do. The geometry needs integrals over one Gaussian variable only, and so it is often
# there in closed form where the kernel is not.

# %%
bump = infgeo.MLP("z*exp(-z**2/2)", bias_std=0)
bump.metric

# %%
bump.metric.at(d=2).ricci_scalar

# %% [markdown]
# Any activation with $\varphi(az) = a\,\varphi(z)$ for $a > 0$ gives a flat metric, at every depth and with biases:

# %%
infgeo.MLP("relu", depth=3).metric.is_flat

# %% [markdown]
# ## More layers
#
# Formulas of deep networks are programs of named values, with a legend; they grow with the depth as a sum does, not
# as a product.

# %%
infgeo.MLP("gelu", depth=2).metric

# %% [markdown]
# ## Numbers
#
# The same formulas as functions of arrays: fast, and to twelve digits.

# %%
geo = mlp.numeric(weight_std=1.0, bias_std=0.5)
geo

# %%
x = np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 4.0]])
geo.ricci_scalar(x), geo.log_volume_element(x)

# %% [markdown]
# Straight lines are not the shortest paths. The geodesic between two points bends towards or away from the origin:

# %%
path = mlp.at(sigma_w=1, sigma_b=sp.Rational(1, 2)).metric.geodesic(np.array([2.0, 0.0]), np.array([0.0, 2.0]))
path

# %%
infgeo.pictures.geodesics(path).figure

# %% [markdown]
# ## Is it true?
#
# `validate` simulates networks of several widths, which know nothing of the formulas, and compares: every quantity at
# every point with its standard error, extrapolated to infinite width, and one verdict over all of them.

# %%
report = infgeo.validate(
    mlp, input_dim=2, weight_std=1.0, bias_std=0.5, widths=(64, 128, 256, 512), samples=200, seed=0
)
report

# %%
report.plot()

# %% [markdown]
# Next: [what training does to this geometry, as a formula](../guide/learned.md), and
# [where the formulas come from](../theory/index.md).
