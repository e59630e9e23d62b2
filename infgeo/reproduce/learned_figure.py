"""Learned geometry: what `infgeo.learned` predicts, beside sampled posteriors and networks trained by gradient descent.

Networks [2, n, 1] of erf units in NTK parametrisation, weights and biases N(0, 1), labels ±1 times `label_scales`. The
law of rule "posterior" stands beside posteriors, that of "gradient_step" beside one step, and that of "gradient_flow"
beside plain descent. The sinusoid has points of its own in each seed. No figure of the paper.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

import infgeo
from infgeo import figure_style as style
from infgeo.finite.learning import LearningTask, descended_networks, log_volume, posterior_networks
from infgeo.finite.sampled_network import specify
from infgeo.magnification import law
from infgeo.reproduce import panels
from infgeo.reproduce.claims import Claim, measured
from infgeo.reproduce.record import SeedResult, of_rows
from infgeo.reproduce.seed_runs import Place, check_stop
from infgeo.reproduce.settings import Learning, Rows
from infgeo.tracking import grid
from infgeo.training import sinusoid, xor

RULES = {"posterior": "sampled posterior", "step": "one step of descent", "descent": "gradient descent"}
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
    rules: dict[str, dict[str, Any]] = {
        "step": {"rule": "gradient_step", "learning_rate": rate},
        "descent": {"rule": "gradient_flow", "time": rate * steps},
    }
    rule = rules.get(kind, {"noise_variance": noise})
    shift = infgeo.learned(network, inputs, labels, **rule).volume_shift(points)
    before, after = (log_volume(task, w).numpy() for w in pair)
    alone = np.mean([law(*one, shift, width).correlation for one in zip(after, before, strict=True)])
    numbers = {"one network": float(alone), "residual" if steps else "accepted": number}
    maps = {"law": shift, "change": width * (after - before).mean(0)}
    return maps, law(after, before, shift, width).statistics() | numbers


def claims(settings: Rows, results: Sequence[SeedResult]) -> list[Claim]:
    """Return five claims for each task, on the widest and the narrowest networks, and what is described beside them."""
    made: list[Claim] = []
    for name, row in zip(settings.names, settings.rows, strict=True):
        seeds = [r.statistics[name] for r in results]

        def of(kind: str, value: float, key: str, seeds: Sequence[Any] = seeds) -> list[float]:
            return [s[kind][f"{value:g}"][key] for s in seeds]

        narrow, wide = row.widths[0], row.widths[-1]
        for kind, words in RULES.items():
            text = f"{name}, {words}: correlation with the law, n = {wide}"
            made.append(measured(f"{name} {kind}", text, of(kind, wide, "correlation"), 1))
        for kind in ("posterior", "descent"):
            errors = [np.abs(np.array(of(kind, n, "slope")) - 1) for n in (narrow, wide)]
            text = f"{name}, {RULES[kind]}: distance of the slope from 1, n = {narrow} less n = {wide}"
            made.append(measured(f"{name} approach of {kind}", text, (errors[0] - errors[1]).tolist(), 1))
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
        " that its chain would have made without data; descents start from a readout and its opposite, and are held"
        " against the law of gradient flow. Where the width or the noise is small or the labels are large, first order"
        " predicts more than there is: the slope is below 1."
    ]


MAPS = (
    {"posterior.law": "law of the posterior", "posterior.change": "sampled posterior, $n = {}$"},
    {"descent.law": "law of gradient flow", "descent.change": "gradient descent, $n = {}$"},
)
LADDERS = (
    ("slope", "width $n$", ("posterior", "descent")),
    ("correlation", "width $n$", ("posterior", "step", "descent")),
    ("slope", "noise variance", ("noise",)),
    ("slope", "labels times", ("labels",)),
)
_DASHES = {"posterior": "-", "step": "--", "descent": ":"}


def picture(settings: Rows, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw four maps for each task, of the first seed, and below how slope and correlation go, over all seeds."""
    from matplotlib.colors import Normalize

    count, arrays = len(settings.rows), results[0].arrays
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, 1.75 * count + 1.9)
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.75 * count, 1.9])
        grids = upper.subplots(count, 4, squeeze=False)
        for index, (name, row) in enumerate(zip(settings.names, settings.rows, strict=True)):
            axis = np.linspace(-row.half_width, row.half_width, row.points)
            for maps, drawn in zip(MAPS, (grids[index, :2], grids[index, 2:]), strict=True):
                fields = [arrays[f"{name}.{key}"] for key in maps]
                reach = float(np.abs(fields[0]).max())
                panels.maps(
                    upper, drawn, (axis, axis), fields, [[]] * len(maps), [t.format(row.shown) for t in maps.values()],
                    r"$n\,\delta\log\sqrt{\det g}$", Normalize(-reach, reach), style.diverging(),
                )  # fmt: skip
                for axes in drawn:
                    style.points(axes, arrays[f"{name}.inputs"], arrays[f"{name}.labels"])
            grids[index, 0].set_ylabel(name)
            style.letter(grids[index, 0], style.LETTERS[index])
        for index, (axes, ladder) in enumerate(zip(lower.subplots(1, 4), LADDERS, strict=True)):
            _ladder(axes, settings, results, *ladder)
            style.letter(axes, style.LETTERS[count + index])
    return figure


def _ladder(
    axes: Any, settings: Rows, results: Sequence[SeedResult], key: str, label: str, kinds: Sequence[str]
) -> None:
    """Draw a statistic of each task over a ladder: means over seeds with 95 % intervals."""
    for index, name in enumerate(settings.names):
        for kind in kinds:
            values = sorted(results[0].statistics[name][kind], key=float)
            numbers = [[r.statistics[name][kind][value][key] for value in values] for r in results]
            mean, error = style.mean_and_interval(np.array(numbers))
            colour, marker, _ = style.LINES[index]
            by_kind = len(kinds) == 3
            is_named = index == 0 if by_kind else kind == kinds[0]
            axes.errorbar(
                [float(value) for value in values], mean, yerr=error, color=colour, marker=marker, capsize=2,
                linestyle=_DASHES.get(kind, "-"), label=(kind if by_kind else name) if is_named else None,
            )  # fmt: skip
    axes.axhline(1, color="0.7", linewidth=0.5, zorder=0)
    axes.set_xscale("log")
    if len(values) <= 4:
        axes.set_xticks([float(value) for value in values], labels=values)
        axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set(xlabel=label, ylabel=f"{key}, measured on law" if key == "slope" else "correlation with the law")
    axes.legend(loc="lower right")
