"""Networks of one layer before and after they learn, in pairs: posteriors by Hamiltonian Monte Carlo, and descents.

The posterior is that of weight-decayed noisy training: a Gaussian prior and squared loss, with the readout integrated
out. The prior turns weights and velocities as a harmonic oscillator does, exactly, and the likelihood kicks them. In a
quarter of a turn the prior alone would carry the weights to the velocities, a draw from it: the two are the pair. Their
difference is what the likelihood did. It has the mean of the shift exactly, and little of the noise of either.
"""

from __future__ import annotations

from math import cos, pi, sin, sqrt

import torch

from infgeo.errors import NotConverged
from infgeo.finite.learning import LearningTask, preactivations
from infgeo.finite.samplers import generator, normals

_ACCEPTED = 0.98  # of the proposals, by halved steps
_MOST_STEPS = 1024  # of a quarter of a turn
_NUMBERS = 2**22  # at once, in the slopes of units at points


Pairs = tuple[torch.Tensor, torch.Tensor, float]  # weights and biases (N, n, d + 1) before and after, and a number


def posterior_networks(task: LearningTask, width: int, chains: int, seed: int, sweeps: int = 5) -> Pairs:
    """Return networks of the prior and of the posterior, the last `sweeps` of so many chains, and what was accepted.

    Each chain starts in the prior. Steps are halved until in `sweeps` quarters of a turn at least 0.98 of the proposals
    are accepted; as many follow, and those that count. Raises NotConverged where 1024 steps a quarter are too few.
    """
    source, steps, rounds_left = generator(seed), 8, 2
    at = normals(source, chains, width, len(task.scales))
    force, log_likelihood = task.force(at)
    while True:
        drawn = []
        for _ in range(sweeps):
            velocity, angle = normals(source, *at.shape), pi / 2 / steps
            end, speed, push = at, velocity, force
            for _ in range(steps):
                speed = speed + angle / 2 * push
                end, speed = end * cos(angle) + speed * sin(angle), speed * cos(angle) - end * sin(angle)
                push, reached = task.force(end)
                speed = speed + angle / 2 * push
            gain = (at.square() + velocity.square() - end.square() - speed.square()).sum((1, 2)) / 2
            accepted = torch.from_numpy(source.random(chains)).log() < gain + reached - log_likelihood
            at, force = (torch.where(accepted[:, None, None], new, old) for new, old in ((end, at), (push, force)))
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
    readout, w = torch.cat([readout, -readout]), start
    for _ in range(steps):
        w, readout = task.step(w, readout)
    residuals = task.labels - task.features(w).mT @ readout / sqrt(width)
    return start, w, float(residuals.square().mean())


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
