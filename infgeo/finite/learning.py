"""What learning does to sampled networks of one layer: posteriors, steps of gradient descent, gradient flow.

Networks are drawn from the prior, with the readout integrated out of the likelihood, and weighted by it. Statistics are
means over units, and functions of them. In a network one unit is as good as another: of the first many values are drawn
while the others stay, and its covariance with the likelihood is the change of a mean over units, without the noise of
the others. Functions of such means are split into what is linear in them, and a small rest.

Single networks before and after they learn come in pairs. The posterior by Hamiltonian Monte Carlo is that of weight-
decayed noisy training: a Gaussian prior and squared loss. The prior turns weights and velocities as a harmonic
oscillator does, exactly, and the likelihood kicks them, twice a step, at the nodes of Gauss: a weak likelihood
conserves energy to fourth order, and hardly a proposal is refused. In a quarter of a turn the prior alone would carry
the weights to the velocities, a draw from it: the two are the pair. Their difference is what the likelihood did. It has
the mean of the shift exactly, and little of the noise of either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil, cos, pi, sin, sqrt

import torch

from infgeo.errors import NotConverged
from infgeo.finite.differentiate import load_forward_mode
from infgeo.finite.sampled_network import NetworkSpecification
from infgeo.finite.samplers import first_layer, generator, normals

Sums = dict[tuple[str, str], torch.Tensor]  # what is summed, and of which statistic
_UNITS = 2**15  # at once
_PILOT = 2**14  # units of the network at which likelihood and functions of means are taken as usual
_FIRST = 256  # values of the first unit, a Sobol net
_SWEEPS = 5  # quarters of a turn that count, of each chain
_ACCEPTED = 0.98  # of the proposals, by halved steps
_NODE = 0.5 - 1 / sqrt(12)  # of Gauss' rule of two nodes on [0, 1]
_MOST_STEPS = 1024  # of a quarter of a turn, or of a flow
_NUMBERS = 2**22  # at once, in the slopes of units at points
_IN_CACHE = 2**18  # numbers: activations at the data that are read again and again
Weights = tuple[torch.Tensor, torch.Tensor]  # of units, (..., n, d + 1), and of the readout, (..., n, C)
Pairs = tuple[torch.Tensor, torch.Tensor, float]  # weights and biases (N, n, d + 1) before and after, and a number


@dataclass(frozen=True)
class LearningTask:
    """Networks of a `specification`, the data (P, d) and (P, C) that they learn from, and points (m, d) to look at.

    With `noise_variance` they learn by Bayes' rule, else by gradient descent: by a step at `learning_rate`, or with
    `flows` by small steps for so long a time. Only the term in its square is kept if it is `mean_field`.
    """

    specification: NetworkSpecification
    inputs: torch.Tensor
    labels: torch.Tensor
    points: torch.Tensor
    noise_variance: float | None = None
    learning_rate: float = 0.0
    mean_field: bool = False
    flows: bool = False

    def sums(self, width: int, networks: int, seed: int) -> Sums:
        """Return sums over independent networks, for `changes`; those of other seeds, 2 or more apart, may be added."""
        if self.noise_variance is not None:
            load_forward_mode()
            return self._posterior(width, networks, seed)
        result = self._step(width, networks, seed, self.learning_rate)
        if self.mean_field:
            # A step is even in the rate: without the next terms, of fourth or third order.
            half = self._step(width, networks, seed, self.learning_rate / 2)
            of_half, of_whole = (8, 1) if self.flows else (16 / 3, 1 / 3)
            result = {key: (of_half * half[key] - of_whole * value) / width for key, value in result.items()}
        return result | {("networks", ""): torch.tensor(float(networks), device="cpu")}

    def sums_by_chains(self, width: int, networks: int, seed: int) -> Sums:
        """Return the same by Hamiltonian Monte Carlo, for likelihoods that leave few of the networks of the prior."""
        chains = max(1, networks // _SWEEPS)
        before, after, _ = posterior_networks(self, width, chains, seed)
        means = (self._mean_over_units(w) for w in (before, after))
        start, end = (self.functions(part) for part in means)
        changes = {("change", name): width * (end[name] - start[name]).sum(0) for name in end}
        return changes | {("networks", ""): torch.tensor(float(len(after)), device="cpu")}

    def _mean_over_units(self, w: torch.Tensor) -> torch.Tensor:
        """Return the means over units of networks (N, n, d + 1), some of them after the other, (N, q)."""
        return torch.cat([self._of_units(part).mean(1) for part in w.split(max(1, _UNITS // w.shape[1]))])

    def changes(self, width: int, sums: Sums) -> dict[str, torch.Tensor]:
        """Return the change of every statistic, times the width."""
        count = sums["networks", ""]
        names = [name for kind, name in sums if kind == "change"]
        if ("weight", "") not in sums:
            return {name: sums["change", name] / count for name in names}
        means = sums["covariance", ""] / sums["weight of first", ""]
        linear = torch.func.jvp(self.functions, (self._usual[1],), (means,))[1]
        return {
            name: width * (linear[name] + sums["weighted", name] / sums["weight", ""] - sums["change", name] / count)
            for name in names
        }

    def functions(self, means: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the statistics of networks that have these means over units, (..., q)."""
        m, d = self.points.shape
        metric, kernel, tensor = means.split((m * d * d, m * m, m * d**3), -1)
        metric = metric.unflatten(-1, (m, d, d))
        found = {
            "metric_shift": metric,
            "kernel_shift": kernel.unflatten(-1, (m, m)),
            "volume_shift": torch.linalg.slogdet(metric)[1] / 2,
        }
        if d > 1:
            inverse = torch.linalg.inv(metric)
            tensor = tensor.unflatten(-1, (m, d, d, d))
            raised = torch.einsum("...mai,...mbj,...mijk->...mabk", inverse, inverse, tensor)
            trace = torch.einsum("...maak->...mk", torch.einsum("...mai,...mijk->...majk", inverse, tensor))
            norm = torch.einsum("...mabk,...mkl,...mabl->...m", raised, inverse, tensor)
            found["ricci_shift"] = norm - torch.einsum("...mk,...mkl,...ml->...m", trace, inverse, trace)
        return found

    def _of_units(self, w: torch.Tensor) -> torch.Tensor:
        """Return what the statistics are made of, for each unit, (..., d + 1) -> (..., q)."""
        phi, first, second = self.specification.first.function.jet(preactivations(w, self.points))
        w = w[..., :-1]
        pairs = w[..., :, None] * w[..., None, :]
        metric = first.square()[..., None, None] * pairs[..., None, :, :]
        triples = pairs[..., None] * w[..., None, None, :]
        tensor = (first * second)[..., None, None, None] * triples[..., None, :, :, :]
        kernel = phi[..., :, None] * phi[..., None, :]
        return torch.cat([metric.flatten(-3), kernel.flatten(-2), tensor.flatten(-4)], -1)

    def features(self, w: torch.Tensor) -> torch.Tensor:
        """Return the activations of units with weights and bias at the data, (..., n, d + 1) -> (..., n, P)."""
        return self.specification.first.function(preactivations(w, self.inputs))

    @cached_property
    def scales(self) -> torch.Tensor:
        """The standard deviations of the weights and of the bias, (d + 1,)."""
        first = self.specification.first_scale(self.inputs.shape[1])
        scales = [first] * self.inputs.shape[1] + [self.specification.bias_std]
        return torch.tensor(scales, dtype=torch.float64, device="cpu")

    @cached_property
    def _usual(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The log likelihood and the means over units of a wide network."""
        w = normals(generator(0), _PILOT, len(self.scales)) * self.scales
        phi = self.features(w)
        return self._log_likelihood(phi.T @ phi / _PILOT), self._of_units(w).mean(0)

    def _weights(self, width: int, networks: int, seed: int) -> Iterator[torch.Tensor]:
        """Yield weights and biases of some networks after the other, (b, n, d + 1)."""
        source, count = generator(seed), max(1, _UNITS // (width + _FIRST))
        for start in range(0, networks, count):
            yield normals(source, min(count, networks - start), width, len(self.scales)) * self.scales

    def in_cache(self, width: int) -> int:
        """Return how many networks are best computed at once, at least 1."""
        return max(1, _IN_CACHE // (width * len(self.inputs)))

    def force(self, units: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradient of the log likelihood by standardised weights (N, n, d + 1), and its value (N,)."""
        parts = [self._force(part) for part in units.split(self.in_cache(units.shape[1]))]
        forces, values = zip(*parts, strict=True)
        return torch.cat(forces), torch.cat(values)

    def _force(self, units: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        phi, first = self.specification.first.function.jet(preactivations(units * self.scales, self.inputs), 1)
        gram = phi.mT @ phi / units.shape[-2]
        inverse = torch.cholesky_inverse(self._factor(gram))
        fitted = inverse @ self.labels
        by_gram = fitted @ fitted.mT - self.labels.shape[1] * inverse
        return first * (phi @ by_gram) / units.shape[-2] @ self._extended * self.scales, self._log_likelihood(gram)

    def step(self, w: torch.Tensor, readout: torch.Tensor, rate: float | None = None) -> Weights:
        """Return weights and readout after a step of descent at a rate, by default the `learning_rate`."""
        rate = self.learning_rate if rate is None else rate
        scale = float(w.shape[-2]) if self.mean_field else sqrt(w.shape[-2])
        phi, first = self.specification.first.function.jet(preactivations(w, self.inputs), 1)
        residuals = self.labels - phi.mT @ readout / scale
        rate *= w.shape[-2] if self.mean_field else 1
        pull = first * (readout @ residuals.mT) / scale
        moved = w + rate * pull @ (self._extended * self.scales.square())
        return moved, readout + rate * phi @ residuals / scale

    def flow(self, w: torch.Tensor, readout: torch.Tensor, time: float) -> Weights:
        """Return weights and readout after gradient flow for a time, by the method of Runge and Kutta of order 4."""
        prior = self._extended * self.scales
        phi, first = self.specification.first.function.jet(preactivations(w, self.inputs), 1)
        learned = (first.square() * readout.square().sum(-1, keepdim=True)).mean(-2) * prior.square().sum(-1)
        fastest = float((phi.square().mean(-2) + learned).sum(-1).max())  # a bound of the tangent kernels' eigenvalues
        steps = max(8, ceil(time * fastest))
        if steps > _MOST_STEPS:
            raise NotConverged(f"a flow for time {time:g} takes {steps} steps: pass a shorter time")
        h = time / steps

        def ahead(slope: Weights, by: float) -> Weights:
            at = w + by * slope[0], readout + by * slope[1]
            moved = self.step(*at, 1.0)
            return moved[0] - at[0], moved[1] - at[1]

        for _ in range(steps):
            k1 = ahead((w, readout), 0.0)
            k2 = ahead(k1, h / 2)
            k3 = ahead(k2, h / 2)
            k4 = ahead(k3, h)
            sums = [a + 2 * b + 2 * c + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
            w, readout = w + h / 6 * sums[0], readout + h / 6 * sums[1]
        return w, readout

    @cached_property
    def _extended(self) -> torch.Tensor:
        """The training points with a last coordinate 1."""
        return torch.cat([self.inputs, self.inputs.new_ones(len(self.inputs), 1)], 1)

    def _factor(self, gram: torch.Tensor) -> torch.Tensor:
        assert self.noise_variance is not None
        return torch.linalg.cholesky(gram + self.noise_variance * gram.new_ones(gram.shape[-1]).diag())

    def _log_likelihood(self, gram: torch.Tensor) -> torch.Tensor:
        """Return the log of the product of N(y_c; 0, gram + noise), up to a constant, (..., P, P) -> (...)."""
        lower = self._factor(gram)
        fitted = torch.linalg.solve_triangular(lower, self.labels.expand(*gram.shape[:-2], -1, -1), upper=False)
        logs = lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -fitted.square().sum((-1, -2)) / 2 - self.labels.shape[1] * logs

    def _posterior(self, width: int, networks: int, seed: int) -> Sums:
        usual, means = self._usual
        nets = first_layer("sobol", seed + 1, networks * _FIRST, self.inputs.shape[1], True, torch.float64)
        first_weights = torch.cat([torch.cat([w, b[:, None]], 1) for w, b in nets]) * self.scales
        firsts = iter(first_weights.unflatten(0, (networks, _FIRST)))
        total: Sums = {}
        for w in self._weights(width - 1, networks, seed):
            varied = torch.stack([next(firsts) for _ in w])
            phi, first, of_first = self.features(w), self.features(varied), self._of_units(varied)
            gram = (phi.mT @ phi)[:, None] + first[..., :, None] * first[..., None, :]
            weight = (self._log_likelihood(gram / width) - usual).exp()
            centred = of_first - of_first.mean(1, keepdim=True)
            network = (self._of_units(w).sum(1) + of_first[:, 0]) / width
            one = weight[:, 0]
            parts = {
                ("networks", ""): torch.tensor(float(len(w)), device="cpu"),
                ("weight", ""): one.sum(),
                ("square", ""): one.square().sum(),
                ("weight of first", ""): weight.mean(1).sum(),
                ("covariance", ""): torch.einsum("bk,bkq->q", weight, centred) / _FIRST,
            }
            linear = torch.func.jvp(self.functions, (means.expand_as(network).clone(),), (network - means,))
            for name, value in self.functions(network).items():
                rest = value - linear[0][name] - linear[1][name]
                parts["change", name], parts["weighted", name] = rest.sum(0), torch.tensordot(one, rest, 1)
            total = added(total, parts)
        return total

    def _step(self, width: int, networks: int, seed: int, rate: float) -> Sums:
        """Return the change by descent on half the sum of squared residuals, for a readout and its opposite."""
        source, move = generator(seed + 1), self.flow if self.flows else self.step
        total: Sums = {}
        for w in self._weights(width, networks, seed):
            readout = normals(source, len(w), width, self.labels.shape[1])
            before = self.functions(self._of_units(w).mean(1))
            for a in (readout, -readout):
                after = self.functions(self._of_units(move(w, a, rate)[0]).mean(1))
                changes = {("change", name): (after[name] - before[name]).sum(0) * (width / 2) for name in after}
                total = added(total, changes)
        return total


def added(one: Sums, other: Sums) -> Sums:
    """Return the sum of two dicts of the same keys, of which the first may be empty."""
    return {key: one[key] + value if one else value for key, value in other.items()}


def _turned(w: torch.Tensor, velocity: torch.Tensor, angle: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights and velocities of harmonic oscillators an angle later."""
    return w * cos(angle) + velocity * sin(angle), velocity * cos(angle) - w * sin(angle)


def preactivations(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return z of units with weights and bias (..., n, d + 1) at points (m, d), (..., n, m)."""
    return w[..., :-1] @ x.T + w[..., -1:]


def posterior_networks(task: LearningTask, width: int, chains: int, seed: int, sweeps: int = _SWEEPS) -> Pairs:
    """Return networks of the prior and of the posterior, the last `sweeps` of so many chains, and what was accepted.

    Each chain starts in the prior. Steps are halved until in `sweeps` quarters of a turn at least 0.98 of the proposals
    are accepted; as many follow, and those that count. Raises NotConverged where 1024 steps a quarter are too few.
    """
    source, steps, rounds_left = generator(seed), 8, 2
    at = normals(source, chains, width, len(task.scales))
    log_likelihood = task.force(at)[1]
    while True:
        drawn = []
        for _ in range(sweeps):
            velocity, angle = normals(source, *at.shape), pi / 2 / steps
            end, speed = at, velocity
            for _ in range(steps):
                for part in (_NODE, 1 - 2 * _NODE):
                    end, speed = _turned(end, speed, part * angle)
                    speed = speed + angle / 2 * task.force(end)[0]
                end, speed = _turned(end, speed, _NODE * angle)
            reached = task.force(end)[1]
            gain = (at.square() + velocity.square() - end.square() - speed.square()).sum((1, 2)) / 2
            accepted = torch.from_numpy(source.random(chains)).log() < gain + reached - log_likelihood
            at = torch.where(accepted[:, None, None], end, at)
            log_likelihood = torch.where(accepted, reached, log_likelihood)
            drawn.append((velocity * task.scales, at * task.scales, accepted.double()))
        before, after, shares = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        if rounds_left == 0:
            return before, after, float(shares.mean())
        if shares.mean() >= _ACCEPTED:
            rounds_left -= 1
        elif (steps := 2 * steps) > _MOST_STEPS:
            raise NotConverged(f"the likelihood is too steep for {_MOST_STEPS} steps: pass a larger noise_variance")


def descended_networks(task: LearningTask, width: int, networks: int, seed: int, steps: int) -> Pairs:
    """Return networks before and after gradient descent in NTK parametrisation, and their mean squared residual.

    The loss is half the sum of squared residuals, and all layers learn at the task's `learning_rate`. Each draw of
    weights comes with a readout and its opposite.
    """
    source = generator(seed)
    start = normals(source, networks, width, len(task.scales)).repeat(2, 1, 1) * task.scales
    readout = normals(source, networks, width, task.labels.shape[1])
    count, ends, squares = task.in_cache(width), [], []
    for w, a in zip(start.split(count), torch.cat([readout, -readout]).split(count), strict=True):
        for _ in range(steps):
            w, a = task.step(w, a)
        ends.append(w)
        squares.append((task.labels - task.features(w).mT @ a / sqrt(width)).square())
    return start, torch.cat(ends), float(torch.cat(squares).mean())


def log_volume(task: LearningTask, w: torch.Tensor) -> torch.Tensor:
    """Return log sqrt det g at the task's points of networks with these weights, (N, n, d + 1) -> (N, m)."""
    found, count = [], max(1, _NUMBERS // (w.shape[1] * len(task.points)))
    for part in w.split(count):
        slope = task.specification.first.function.jet(preactivations(part, task.points), 1)[1]
        rows = part[..., :-1]
        pairs = (rows[..., :, None] * rows[..., None, :]).flatten(-2)
        metric = (slope.square().mT @ pairs / w.shape[1]).unflatten(-1, (rows.shape[-1],) * 2)
        found.append(torch.linalg.slogdet(metric)[1] / 2)
    return torch.cat(found)
