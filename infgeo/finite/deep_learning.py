"""What learning does to sampled networks of several layers: posteriors, their readout integrated out.

Given one layer, the units of the next are independent draws of a Gaussian process, whose covariance is a mean over the
units there are: no matrix of weights is drawn, and the law is that of whole networks at every width.

The posterior mean of a statistic f is its mean over the prior plus Cov(f, L)/E[L] for the likelihood L. Functions of
independent standard normal numbers w have

    Cov(f, L) = int_0^1 E[grad f(w) . grad L(t w + sqrt(1 - t^2) w')] dt,   w' independent of w

(Mehler's formula). Of means over units the product of gradients varies little between wide networks, (f - E f) L much.
Where phi' jumps, the metric has no such gradient, and networks are weighted by L as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy
import torch

from infgeo.errors import NotConverged
from infgeo.finite.differentiate import load_forward_mode
from infgeo.finite.learning import LearningTask, Sums, added
from infgeo.finite.samplers import generator, normals

_NUMBERS = 2**20  # at once
_PILOT = 128  # networks, of as many units, at which the likelihood is taken as usual
_NOISE = 1e-10  # added to covariances, relative: points may coincide
Normals = tuple[torch.Tensor, ...]  # of each layer, (N, n, d + 1) and then (N, n, P + m + m d)


@dataclass(frozen=True)
class DeepLearningTask(LearningTask):
    """Networks of dense layers, data and points as in `LearningTask`; they learn by Bayes' rule.

    `smooth` says that phi' has no jumps in any layer. Statistics are named "metric_shift of layer 1" and the like.
    """

    smooth: bool = True

    def sums(self, width: int, networks: int, seed: int) -> Sums:
        """Return sums over independent networks, which `changes` makes estimates of; other seeds may be added."""
        load_forward_mode()
        source, total = generator(seed), Sums()
        size = max(1, _NUMBERS // (width * self._columns))
        for start in range(0, networks, size):
            total = added(total, self._block(width, min(size, networks - start), source))
        return total

    def sums_by_chains(self, width: int, networks: int, seed: int) -> Sums:
        """Raise NotConverged: deep networks have no chains for a likelihood that leaves few of them."""
        raise NotConverged(
            f"the likelihood leaves few networks of width {width}: pass larger widths, more samples, or a larger"
            " noise_variance"
        )

    def changes(self, width: int, sums: Sums) -> dict[str, torch.Tensor]:
        """Return the change of every statistic, times the width."""
        weight, count = sums["weight", ""], sums["networks", ""]
        return {
            name: width * (value / weight - sums["mean", name] / count)
            for (kind, name), value in sums.items()
            if kind == "product"
        }

    def _block(self, width: int, count: int, source: numpy.random.Generator) -> Sums:
        drawn = self._normals(source, width, count)
        if self.smooth:
            offsets = torch.from_numpy(source.random(count))
            t = (torch.arange(count, device="cpu") + offsets) / count  # one in each part of [0, 1]
            t = t[:, None, None]
            others = self._normals(source, width, count)
            moved = tuple(t * w + (1 - t * t).sqrt() * other for w, other in zip(drawn, others, strict=True))
            gradient = torch.func.grad(lambda w: self._likelihood(w).sum())(moved)
            seen = torch.func.jvp(self._statistics, (drawn,), (gradient,))[1]
            weight, products = self._likelihood(moved), {name: value.sum(0) for name, value in seen.items()}
            means = {name: torch.zeros_like(value) for name, value in products.items()}
        else:
            weight, seen = self._likelihood(drawn), self._statistics(drawn)
            products = {name: torch.tensordot(weight, value, 1) for name, value in seen.items()}
            means = {name: value.sum(0) for name, value in seen.items()}
        result = {("networks", ""): torch.tensor(float(count), device="cpu"), ("weight", ""): weight.sum()}
        result["square", ""] = weight.square().sum()
        for name in products:
            result["product", name], result["mean", name] = products[name], means[name]
        return result

    @property
    def _columns(self) -> int:
        """Values at data and points, and derivatives at points."""
        return len(self.inputs) + len(self.points) * (1 + self.points.shape[1])

    def _normals(self, source: numpy.random.Generator, width: int, count: int) -> Normals:
        sizes = [len(self.scales)] + [self._columns] * (self.specification.depth - 1)
        return tuple(normals(source, count, width, size) for size in sizes)

    @cached_property
    def _typical(self) -> torch.Tensor:
        """The log likelihood of wide networks, on average."""
        return self._log_likelihood(self._kernel(self._normals(generator(0), _PILOT, _PILOT))).mean()

    def _likelihood(self, drawn: Normals) -> torch.Tensor:
        """Return the likelihood of networks over that of usual ones, (N,)."""
        return (self._log_likelihood(self._kernel(drawn)) - self._typical).exp()

    def _kernel(self, drawn: Normals) -> torch.Tensor:
        """Return the kernel of networks at the data, (N, P, P)."""
        z = drawn[0] * self.scales @ self._extended.T
        features = z
        for i, layer in enumerate(self.specification.layers):
            if i > 0:
                z = self._next(features, drawn[i], i)
            features = layer.function(z)
        return features.mT @ features / z.shape[1]

    def _statistics(self, drawn: Normals) -> dict[str, torch.Tensor]:
        """Return metric, kernel and log volume of every layer at the points, (N, ...)."""
        (m, d), found = self.points.shape, {}
        w = drawn[0] * self.scales
        z = torch.cat([w @ self._extended.T, w[..., :d] @ self.points.T + w[..., d:]], -1)
        dz, features = w[..., None, :d].expand(-1, -1, m, -1), z
        for i, layer in enumerate(self.specification.layers):
            if i > 0:
                z, dz = self._next(features, drawn[i], i).split((z.shape[-1], m * d), -1)
                dz = dz.unflatten(-1, (m, d))
            phi, slope = layer.function.jet(z, 1)
            steps, values = slope[..., -m:, None] * dz, phi[..., -m:]
            features = torch.cat([phi, steps.flatten(-2)], -1)
            metric = torch.einsum("bnmi,bnmj->bmij", steps, steps) / z.shape[1]
            found[f"metric_shift of layer {i + 1}"] = metric
            found[f"kernel_shift of layer {i + 1}"] = values.mT @ values / z.shape[1]
            found[f"volume_shift of layer {i + 1}"] = torch.linalg.slogdet(metric)[1] / 2
        return found

    def _next(self, features: torch.Tensor, drawn: torch.Tensor, i: int) -> torch.Tensor:
        """Return preactivations of layer i: at the data, the points, and derivatives there, or at the data alone.

        The triangular root of a part of a covariance is a part of its root, so that both are of the same networks.
        """
        size, scales = features.shape[-1], dict(self.specification.layers[i].scales)
        covariance = scales["weight_std"] ** 2 * features.mT @ features / features.shape[1]
        derivatives = len(self.points) * self.points.shape[1] if size > len(self.inputs) else 0
        is_value = (torch.arange(size, device="cpu") < size - derivatives).double()
        covariance = covariance + scales["bias_std"] ** 2 * is_value[:, None] * is_value
        data = covariance.diagonal(dim1=-2, dim2=-1)[..., : len(self.inputs)].mean(-1)
        noise = _NOISE * data.clamp_min(_NOISE)[..., None, None] * torch.eye(size, dtype=torch.float64, device="cpu")
        return drawn[..., :size] @ torch.linalg.cholesky(covariance + noise).mT
