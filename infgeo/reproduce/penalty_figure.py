"""Volume as a penalty: networks that are trained to have less of it where they are uncertain.

Networks [2, n, 2] learn the sinusoid of which a share of the training labels is flipped, all points at once, with the
loss

    cross entropy + strength · mean of √det g over the most uncertain training points,

those of the largest predictive entropy at that step; g is the metric of the hidden layer. The networks of
a seed differ in the strength alone. No figure of the paper.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from infgeo import figure_style as style
from infgeo.finite import log_volume
from infgeo.reproduce import panels
from infgeo.reproduce.claims import Claim, measured
from infgeo.reproduce.record import SeedResult, of_rows
from infgeo.reproduce.seed_runs import Place, check_stop
from infgeo.reproduce.settings import Penalty, Rows
from infgeo.tracking import grid
from infgeo.training import mlp, sinusoid

LAYER = "activation1"


def measure(settings: Rows, seed: int, place: Place) -> SeedResult:
    """Train a network with each strength of the penalty, and measure all of them."""
    return of_rows(settings, seed, lambda row, name: _measure_row(row, seed, place, name))


def _measure_row(row: Penalty, seed: int, place: Place, label: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    task = sinusoid(row.examples, seed, test_points=row.test_points, dtype=torch.float64)
    flipped = torch.from_numpy(np.random.default_rng([seed, 2]).random(row.examples) < row.flipped)
    labels = torch.where(flipped, 1 - task.labels, task.labels)
    points = grid((-row.half_width, row.half_width), points=row.points).coordinates.double()
    arrays, found = {"inputs": task.inputs.numpy(), "labels": labels.numpy() > 0}, dict[str, Any]()
    for done, strength in enumerate(row.strengths):
        if place.progress is not None:
            place.progress(seed, label, done, len(row.strengths))
        network = mlp([2, row.width, 2], row.activation, seed=seed, dtype=torch.float64)
        _train(network, task.inputs, labels, strength, row)
        field = log_volume(network, points, layer=LAYER, create_graph=False)
        with torch.no_grad():
            right = (network(task.test_inputs).argmax(-1) == task.test_labels).double().mean()
            entropy = _entropy(network(points))
        uncertain = entropy >= entropy.quantile(1 - row.uncertain)
        found[f"{strength:g}"] = {
            "accuracy": float(right),
            "contrast": float((field[uncertain].mean() - field[~uncertain].mean()) / np.log(10)),
        }
        if strength in row.shown:
            arrays[f"{strength:g}"] = field.numpy() / np.log(10)
    return arrays, found


def _entropy(logits: torch.Tensor) -> torch.Tensor:
    return torch.distributions.Categorical(logits=logits).entropy()


def _train(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, strength: float, row: Penalty) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=row.rate)
    count = round(row.uncertain * len(inputs))
    for _ in range(row.steps):
        check_stop()
        optimizer.zero_grad()
        logits = network(inputs)
        loss = nn.functional.cross_entropy(logits, labels)
        if strength:
            at = _entropy(logits.detach()).topk(count).indices
            loss = loss + strength * log_volume(network, inputs[at], layer=LAYER).exp().mean()
        loss.backward()
        optimizer.step()


def claims(settings: Rows, results: Sequence[SeedResult]) -> list[Claim]:
    """Return for each strength that the contrast falls and the accuracy rises beside no penalty."""
    made: list[Claim] = []
    for name, row in zip(settings.names, settings.rows, strict=True):
        for strength in row.strengths:
            both = [(r.statistics[name][f"{strength:g}"], r.statistics[name]["0"]) for r in results]
            for key, words, side in (
                ("contrast", "log₁₀ √det g at uncertain points less elsewhere", -1),
                ("accuracy", "test accuracy", 1),
            ):
                if strength:
                    change = [float(with_it[key] - without[key]) for with_it, without in both]
                    text = f"{name}, strength {strength:g} less none: {words}"
                    made.append(measured(f"{name} {strength:g} {key}", text, change, side))
                else:
                    made.append(measured(f"{name} 0 {key}", f"{name}, no penalty: {words}", [w[key] for w, _ in both]))
    return made


def notes(settings: Rows) -> list[str]:
    """Return what a reader must know beside the numbers."""
    return [
        f"{row.flipped:.0%} of the training labels are flipped, test labels are right. The penalty may fall by smaller"
        " weights, with a larger readout: contrasts do not see that."
        for row in settings.rows
    ]


def picture(settings: Rows, results: Sequence[SeedResult], claims: Sequence[Claim]) -> Any:
    """Draw maps of the first seed without a penalty and with two strengths, and both numbers over the strengths."""
    row, name = settings.rows[0], settings.names[0]
    arrays, shown = results[0].arrays, [f"{strength:g}" for strength in row.shown]
    axis = np.linspace(-row.half_width, row.half_width, row.points)
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, 4.1)
        upper, lower = figure.subfigures(2, 1, height_ratios=[2.2, 1.9])
        drawn = upper.subplots(1, len(shown), squeeze=False)[0]
        fields = [arrays[f"{name}.{key}"] for key in shown]
        titles = [f"strength {key}" for key in shown]
        panels.maps(upper, drawn, (axis, axis), fields, [[]] * len(shown), titles, r"$\log_{10}\sqrt{\det g}$")
        for axes in drawn:
            style.points(axes, arrays[f"{name}.inputs"], arrays[f"{name}.labels"])
        style.letter(drawn[0], style.LETTERS[0])
        for index, (axes, key, label) in enumerate(
            zip(lower.subplots(1, 2), ("accuracy", "contrast"), ("test accuracy", "contrast (decades)"), strict=True)
        ):
            values = [[r.statistics[name][f"{s:g}"][key] for s in row.strengths] for r in results]
            mean, error = style.mean_and_interval(np.array(values))
            colour, marker, _ = style.LINES[index]
            axes.errorbar(range(len(row.strengths)), mean, yerr=error, color=colour, marker=marker, capsize=2)
            axes.set_xticks(range(len(row.strengths)), labels=[f"{s:g}" for s in row.strengths])
            axes.set(xlabel="strength of the penalty", ylabel=label)
            style.letter(axes, style.LETTERS[index + 1])
    return figure
