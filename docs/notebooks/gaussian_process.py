# %% [markdown]
# # A Gaussian process
#
# {nb-download}`gaussian_process.ipynb`: this notebook, to run yourself.
#
# A wide network with random weights is a Gaussian process, and its kernel has a formula. So one can do Bayesian
# inference with the network without a network: here on handwritten digits, and on a curve, in scikit-learn and in
# GPyTorch.

# %%
import warnings

import gpytorch
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.model_selection import train_test_split

import infgeo
from infgeo.adapters.gpytorch import InfiniteWidthKernel as TorchKernel
from infgeo.adapters.sklearn import InfiniteWidthKernel

mlp = infgeo.MLP("relu", depth=2)
mlp.kernel

# %% [markdown]
# ## Digits, in scikit-learn
#
# The kernel goes where any kernel of scikit-learn goes. Classes are regressed on as ±1 targets.

# %%
images, labels = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(images / 16, labels, train_size=500, random_state=0, stratify=labels)
targets = 2.0 * (y[:, None] == np.arange(10)) - 1
accuracies = {}
for depth in (1, 2, 4):
    kernel = InfiniteWidthKernel("relu", depth=depth, weight_std=1.4, bias_std=0.1)
    process = GaussianProcessRegressor(kernel, alpha=1e-2, optimizer=None).fit(X, targets)
    accuracies[depth] = float((process.predict(X_test).argmax(axis=1) == y_test).mean())
accuracies

# %% [markdown]
# ## A curve, in GPyTorch
#
# Here the scales of the network are trained by the marginal likelihood, as any hyperparameters of GPyTorch.

# %%
torch.manual_seed(0)
x = torch.linspace(-3, 3, 40, dtype=torch.float64)[:, None]
values = torch.sin(2 * x[:, 0]) + 0.1 * torch.randn(40, dtype=torch.float64)


class Process(gpytorch.models.ExactGP):
    def __init__(self, likelihood):
        super().__init__(x, values, likelihood)
        self.mean_module = gpytorch.means.ZeroMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(TorchKernel("erf"))

    def forward(self, points):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(points), self.covar_module(points))


likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
model = Process(likelihood).double()
evidence = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
losses = []
for _ in range(150):
    optimizer.zero_grad()
    loss = -evidence(model(x), values)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
losses[0], losses[-1]

# %%
from infgeo import figure_style as style

model.eval(), likelihood.eval()
fine = torch.linspace(-5, 5, 201, dtype=torch.float64)[:, None]
with torch.no_grad(), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    predicted = likelihood(model(fine))
low, high = (part.numpy() for part in predicted.confidence_region())
with style.house_style():
    figure = style.new_figure(style.SINGLE_COLUMN, 2.2)
    axes = figure.subplots()
    axes.fill_between(fine[:, 0], low, high, color="0.85")
    axes.plot(fine[:, 0], predicted.mean, color=style.LINES[0][0])
    axes.plot(x[:, 0], values, "k.", markersize=3)
    axes.set(xlabel="x", ylabel="y")
figure

# %% [markdown]
# What did it learn? The network's geometry at the scales that were found:

# %%
kernel = model.covar_module.base_kernel
scales = {"weight_std": kernel.weight_std.item(), "bias_std": kernel.bias_std.item()}
scales

# %%
infgeo.MLP("erf").numeric(**scales).log_volume_element(np.linspace(0, 3, 4)[:, None])

# %% [markdown]
# Next: [Gaussian processes](../guide/gaussian_processes.md), which also has scales for each coordinate.
