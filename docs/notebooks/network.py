# %% [markdown]
# # A network of your own
#
# {nb-download}`network.ipynb`: this notebook, to run yourself.
#
# What does training do to the space of inputs? We train a small network to tell the points above a wave from those
# below, and look at how it stretches the plane: before, after, and on the way.

# %%
import torch
from torch import nn

import infgeo
from infgeo.training import sinusoid

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 40), nn.Tanh(), nn.Linear(40, 2))
task = sinusoid(seed=0)
task

# %% [markdown]
# ## Train, and look on
#
# The tracker measures the layer called "1" on a grid every 100 steps. It leaves the training as it is, to the last bit.

# %%
grid = infgeo.tracking.grid((-1, 1), points=40)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
with infgeo.GeometryTracker(model, at=grid, features=["1"], every=100) as tracker:
    for _ in range(800):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(task.inputs), task.labels).backward()
        optimizer.step()
        tracker.step()
tracker.history

# %%
infgeo.pictures.training_curve(tracker.history, layer="1").figure

# %% [markdown]
# ## Where space is magnified
#
# Colour: the volume element, what small areas are multiplied by. White: where the predicted class changes. Space is
# magnified along that line, as if the network had looked at it through a glass.

# %%
trained = model.double()
axes = infgeo.pictures.geometry_map(trained, grid, layer="1", logits=trained)
axes.figure

# %% [markdown]
# Around each point below, the steps that change the features by the same amount form an ellipse: small where space is
# magnified, thin where one direction matters more than the other.

# %%
features = trained[:2]
places = infgeo.tracking.grid((-0.9, 0.9), points=7).inputs
axes = infgeo.pictures.geometry_map(features, grid)
infgeo.pictures.metric_ellipses(features, places, axes=axes).figure

# %% [markdown]
# ## At a few points
#
# `pullback` has everything at given points: metric, volume, rank, Ricci scalar, Christoffel symbols.

# %%
result = infgeo.finite.pullback(trained, [[0.0, 0.0], [0.5, -0.5], [0.9, 0.9]], layer="1")
result

# %%
result.ricci_scalar

# %% [markdown]
# The shortest way between two points in feature space goes around the magnified regions where it can:

# %%
path = infgeo.finite.geodesic(features, [[-0.8, -0.8]], [[0.8, 0.9]], steps=256)
infgeo.pictures.geodesics(path, axes=axes).figure

# %%
path

# %% [markdown]
# ## In numbers
#
# Does the volume really depend on the distance to the boundary, or only on $|x|$? `magnification` answers with both
# explained apart, and a test that knows that neighbouring points are alike. One network is an anecdote: `over_seeds`
# takes the results of several.

# %%
boundary = infgeo.magnification.decision_boundary(
    grid.coordinates.numpy(), trained(grid.inputs).detach().numpy(), grid.shape
)
distance = boundary.distance(grid.coordinates.numpy())
volumes = tracker.history.quantity("log10_volume", layer="1")
infgeo.magnification.magnification(volumes[-1], distance, points=grid.coordinates.numpy(), shape=grid.shape)

# %% [markdown]
# The records as arrays with named axes, for what comes next:

# %%
tracker.history.to_xarray()

# %% [markdown]
# Next: [from a checkpoint to the geometry of your network](../guide/your_network.md),
# [modules of other kinds](../guide/measure.md).
