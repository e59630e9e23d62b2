"""Learned geometry: what `infgeo.learned` predicts, beside sampled posteriors and networks trained by gradient descent.

Networks [2, n, 1] of erf units in NTK parametrisation, weights and biases N(0, 1), labels ±1 times `label_scales`. The
law of rule "posterior" stands beside posteriors and beside a plain descent, of which it is not the law; that of rule
"gradient_step" beside one step. The sinusoid has points of its own in each seed. No figure of the paper.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

import infgeo
from infgeo.finite.learned_networks import descended_networks, log_volume, posterior_networks
from infgeo.finite.learning import LearningTask
from infgeo.finite.sampled_network import specify
from infgeo.magnification import law
from infgeo.reproduce.claims import Claim, measured
from infgeo.reproduce.learned_picture import picture as picture
from infgeo.reproduce.record import SeedResult, of_rows
from infgeo.reproduce.seed_runs import Place, check_stop
from infgeo.reproduce.settings import Learning, Rows
from infgeo.tracking import grid
from infgeo.training import sinusoid, xor

RULES = {"posterior": "sampled posterior", "step": "one step of descent", "descent": "descent, posterior's law"}
WORDS = {
    "slope": "slope on the law (1 where it holds)",
    "r2_shifted": "share of variance that the law explains",
    "one network": "correlation of one network with the law",
}


def measure(settings: Rows, seed: int, place: Place) -> SeedResult:
    """Train the networks of each task and compare them with the law."""
    return of_rows(settings, seed, lambda row, name: _measure_row(row, seed, place, name))


def _measure_row(row: Learning, seed: int, place: Place, label: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    task = xor() if row.task == "xor" else sinusoid(row.examples, seed, test_points=0)
    inputs, labels = task.inputs.double().numpy(), 2.0 * task.labels.numpy()[:, None] - 1
    points = grid((-row.half_width, row.half_width), points=row.points).coordinates.numpy()
    jobs = [(name, n, row.noises[0], 1.0) for name in RULES for n in row.widths]
    jobs += [("noise", row.shown, value, 1.0) for value in row.noises[1:]]
    jobs += [("labels", row.shown, row.noises[0], value) for value in row.label_scales[1:]]
    arrays: dict[str, np.ndarray] = {"points": points, "inputs": inputs, "labels": labels[:, 0] > 0}
    found: dict[str, Any] = {name: {} for name in (*RULES, "noise", "labels")}
    for done, (name, width, noise, scale) in enumerate(jobs):
        check_stop()
        if place.progress is not None:
            place.progress(seed, label, done, len(jobs))
        draw = int(np.random.SeedSequence((seed, done)).generate_state(1)[0])
        maps, numbers = _compared(row, name, width, (inputs, scale * labels, points), noise, draw)
        value = {"noise": noise, "labels": scale}.get(name, width)
        found[name][f"{value:g}"] = numbers
        if name in RULES and width == row.shown:
            arrays |= {f"{name}.{part}": values for part, values in maps.items()}
    for name, ladder in (("noise", row.noises), ("labels", row.label_scales)):
        found[name][f"{ladder[0]:g}"] = found["posterior"][f"{row.shown:g}"]
    return arrays, found


def _compared(
    row: Learning, kind: str, width: int, data: tuple[np.ndarray, ...], noise: float, draw: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return law and change of log √det g, times n, and the statistics of their agreement."""
    network = infgeo.MLP("erf", weight_std=1, bias_std=1)
    inputs, labels, points = data
    x, y, at = map(torch.from_numpy, data)
    rate, steps = {"step": (row.step_rate, 1), "descent": (row.descent_rate, row.descent_steps)}.get(kind, (0.0, 0))
    task = LearningTask(specify(network), x, y, at, noise, rate)
    if steps:
        *pair, number = descended_networks(task, width, row.networks, draw, steps)
    else:
        *pair, number = posterior_networks(task, width, row.chains, draw)
    rule: dict[str, Any] = (
        {"rule": "gradient_step", "learning_rate": rate} if kind == "step" else {"noise_variance": noise}
    )
    shift = infgeo.learned(network, inputs, labels, **rule).volume_shift(points)
    before, after = (log_volume(task, w).numpy() for w in pair)
    alone = np.mean([law(*one, shift, width).correlation for one in zip(after, before, strict=True)])
    numbers = {"one network": float(alone), "residual" if steps else "accepted": number}
    maps = {"law": shift, "change": width * (after - before).mean(0)}
    return maps, law(after, before, shift, width).statistics() | numbers


def claims(settings: Rows, results: Sequence[SeedResult]) -> list[Claim]:
    """Return four claims for each task, on the widest and the narrowest networks, and what is described beside them."""
    made: list[Claim] = []
    for name, row in zip(settings.names, settings.rows, strict=True):
        seeds = [r.statistics[name] for r in results]

        def of(kind: str, value: float, key: str, seeds: Sequence[Any] = seeds) -> list[float]:
            return [s[kind][f"{value:g}"][key] for s in seeds]

        narrow, wide = row.widths[0], row.widths[-1]
        for kind, words in RULES.items():
            text = f"{name}, {words}: correlation with the law, n = {wide}"
            made.append(measured(f"{name} {kind}", text, of(kind, wide, "correlation"), 1))
        errors = [np.abs(np.array(of("posterior", n, "slope")) - 1) for n in (narrow, wide)]
        text = f"{name}, sampled posterior: distance of the slope from 1, n = {narrow} less n = {wide}"
        made.append(measured(f"{name} approach", text, (errors[0] - errors[1]).tolist(), 1))
        ladders = [(kind, f"{words}, n", row.widths) for kind, words in RULES.items()]
        ladders += [("noise", f"sampled posterior, n = {row.shown}, noise variance", row.noises[1:])]
        ladders += [("labels", f"sampled posterior, n = {row.shown}, labels times", row.label_scales[1:])]
        for kind, words, values in ladders:
            for value, (key, said) in product(values, WORDS.items()):
                text = f"{name}, {words} = {value:g}: {said}"
                made.append(measured(f"{name} {kind} {value:g} {key}", text, of(kind, value, key)))
    return made


def notes(settings: Rows) -> list[str]:
    """Return what a reader must know beside the numbers."""
    return [
        "Means over networks, on a grid. Before and after are coupled: a posterior network with the draw from the prior"
        " that its chain would have made without data; descents start from a readout and its opposite. Where the width"
        " or the noise is small or the labels are large, first order predicts more than there is: the slope is below 1."
        " Plain descent has neither noise nor decay; it is held against the law of the posterior, which is not its own."
    ]
