"""XOR, the sinusoid and their variants: networks of two inputs, whose geometry is measured on a grid.

What is measured is the paper's claim in both parts. Symmetry: the standard deviation of the part of log √det g that |x|
does not explain, 0 at infinite width, before and after training. Magnification: log √det g near the decision boundary
of the trained network less that elsewhere, at equal |x|, before and after training.

Source: arXiv 2301.11375, section 4 and appendix on experiments. Figure 1 is the sinusoid with [2, 250, 2]; the deep
network [2, 8, 8, 8, 2] is shown layer by layer. Which epochs are shown is chosen here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy
import torch

import infgeo
from infgeo import figure_style as style
from infgeo.magnification import agreement, decision_boundary, symmetry
from infgeo.reproduce import panels
from infgeo.reproduce.claims import Claim, band_claims, before_and_after, measured, number_of
from infgeo.reproduce.record import SeedResult, of_rows
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import Planar, Rows
from infgeo.reproduce.training_run import QUANTITIES, trained
from infgeo.tracking import Probe, grid
from infgeo.training import Task, mlp, noisy_xor, sinusoid, xor


def task_of(settings: Planar, seed: int) -> Task:
    """Return the task, its points drawn from `seed` where they are random."""
    kind = torch.float64 if settings.double else torch.float32
    if settings.task == "xor":
        return xor(dtype=kind)
    return {"noisy_xor": noisy_xor, "sinusoid": sinusoid}[settings.task](seed=seed, dtype=kind)


def law(settings: Planar, depth: int, points: np.ndarray) -> np.ndarray:
    """Return log₁₀ √det g (P,) of layer `depth` at infinite width, with the scales of the parametrisation."""
    scaled = settings.parametrisation == "scripts"
    biases = [1, *(1 / sympy.sqrt(n) if scaled else 1 for n in settings.widths[1:depth])]
    network = infgeo.MLP(settings.activation, depth=depth, weight_std=1, bias_std=biases)
    return network.numeric().log_volume_element(points) / np.log(10)


def measure(settings: Rows, seed: int, place: Place) -> SeedResult:
    """Train each network of the figure and measure it."""
    return of_rows(settings, seed, lambda row, name: _measure_row(row, seed, place, name))


def _measure_row(row: Planar, seed: int, place: Place, label: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    task, layers, probe = task_of(row, seed), row.layers, grid((-row.half_width, row.half_width), points=row.points)
    model = mlp(row.widths, row.activation, row.parametrisation, seed=seed, dtype=task.inputs.dtype)
    quantities = (*QUANTITIES, "ricci") if row.field == "ricci" else QUANTITIES
    result, history, costs = trained(
        model, task, row.recipe, seed, place, label, probe, layers, row.shown, quantities=quantities
    )
    logits, entropy = history.quantity("logits"), history.quantity("entropy")
    points = probe.coordinates.numpy()
    arrays = {"logits": logits, "entropy": entropy, "points": points, "inputs": task.inputs.numpy()}
    for field in {"log10_volume", row.field}:
        arrays[field] = np.stack([history.quantity(field, layer) for layer in layers])  # (layers, epochs, points)
    laws = [law(row, depth, points) for depth in range(1, len(layers) + 1)]
    numbers: dict[str, Any] = {"accuracy": result.accuracy, "test_accuracy": result.test_accuracy, **costs}
    numbers["layers"] = {
        layer: statistics_of(row, probe, volume, logits[-1], entropy[-1], law_here, seed)
        for layer, volume, law_here in zip(layers, arrays["log10_volume"], laws, strict=True)
    }
    if len(row.shown) > 2:
        numbers["early"] = early_share(arrays["log10_volume"])
    if row.field == "ricci":
        numbers["ricci"] = ricci_of(points, arrays["ricci"][0], logits[-1], probe.shape)
    kept = {name: array.astype(np.float32) for name, array in arrays.items()}
    return kept | {"points": points, "labels": task.labels.numpy()}, numbers


def statistics_of(
    row: Planar, probe: Probe, volume: np.ndarray, logits: np.ndarray, entropy: np.ndarray, law: np.ndarray, seed: int
) -> dict[str, Any]:
    """Return the statistics of one layer's log₁₀ volume (epochs, P), with the boundary of the trained network."""
    points = probe.coordinates.numpy()
    line = decision_boundary(points, logits, probe.shape)
    radial = [symmetry(points, v, within=row.half_width) for v in volume]
    found: dict[str, Any] = {
        "share": [result.share for result in radial],
        "rest": [result.spread for result in radial],
        "agreement_with_law": [agreement(v, law).r2_shifted for v in (volume[0], volume[-1])],
        "boundary_length": line.length,
    }
    if not line:  # one class everywhere: nothing to be near to
        return found
    options = {"entropy": entropy, "points": points, "shape": probe.shape, "seed": seed}
    return found | before_and_after(volume, line.distance(points), **options)


def ricci_of(points: np.ndarray, ricci: np.ndarray, logits: np.ndarray, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the medians of R (epochs, P) over the tenth of the grid that is nearest to the boundary, and the rest."""
    line = decision_boundary(points, logits, shape)
    if not line:
        return {}
    distance = line.distance(points)
    near = distance <= np.quantile(distance, 0.1)
    return {"near": np.median(ricci[:, near], axis=1).tolist(), "rest": np.median(ricci[:, ~near], axis=1).tolist()}


def claims(settings: Rows, results: Sequence[SeedResult]) -> list[Claim]:
    """Return the claims, symmetry and magnification of each layer and little change early, and what stands beside."""
    made: list[Claim] = []
    for name, row in zip(settings.names, settings.rows, strict=True):
        seeds = [r.statistics[name] for r in results]
        prefix = f"{name}, " if len(settings.rows) > 1 else ""
        accuracy = "test_accuracy" if seeds[0]["test_accuracy"] is not None else "accuracy"
        made.append(
            measured(f"{prefix}{accuracy}", f"{prefix}{accuracy.replace('_', ' ')}", [s[accuracy] for s in seeds])
        )
        if row.field == "ricci":
            made += _ricci_claims(prefix, [s["ricci"] for s in seeds])
            continue
        if len(row.shown) > 2:
            words = (
                "share of the change of log √det g (root mean square) that is there after the first epoch, less 1/10"
            )
            made.append(measured(f"{prefix}early", f"{prefix}{words}", [s["early"] - 0.1 for s in seeds], -1))
        for layer in row.layers:
            where = f"{prefix}layer {layer.removeprefix('activation')}, " if len(row.layers) > 1 else prefix
            made += layer_claims(where, [s["layers"][layer] for s in seeds])
    return made


def early_share(volume: np.ndarray) -> float:
    """Return how much of the change of log √det g (layers, epochs, P), root mean square, the second record has."""
    first, whole = (float(np.sqrt(np.mean((volume[:, at].astype(float) - volume[:, 0]) ** 2))) for at in (1, -1))
    return first / whole


def layer_claims(where: str, layers: Sequence[Any]) -> list[Claim]:
    """Return the claims on one layer, from its statistics in each seed."""
    before, after = ([s["rest"][at] for s in layers] for at in (0, -1))
    gain = [b - a for a, b in zip(before, after, strict=True)]
    rest = "decades of log₁₀ √det g that |x| does not explain"
    law = "R² of log √det g with the law of infinite width"
    beside = [
        measured(f"{where}{name} {when}", f"{where}{words}, {when} training", [s[key][at] for s in layers])
        for name, key, words in (("rest", "rest", rest), ("law", "agreement_with_law", law))
        for at, when in ((0, "before"), (-1, "after"))
    ]
    change = measured(f"{where}rest change", f"{where}{rest}: change by training", gain, 1)
    return [change, *band_claims(where, layers), *beside]


def _ricci_claims(prefix: str, seeds: Sequence[Any]) -> list[Claim]:
    """Return R near the boundary and elsewhere: described, for the paper claims nothing of it."""
    return [
        measured(
            f"{prefix}R {where} {when}",
            f"{prefix}median of R {words}, {when} training (printed: 3 times this)",
            [s[where][at] if s else None for s in seeds],
        )
        for where, words in (("near", "near the boundary"), ("rest", "elsewhere"))
        for at, when in ((0, "before"), (-1, "after"))
    ]


def notes(settings: Rows) -> list[str]:
    """Return what a reader must know beside the numbers."""
    said = [
        "At infinite width |x| explains all of log √det g. Magnification is at equal |x|; the boundary is that of the "
        "trained network, also for the numbers before training, which are at initialisation. The band holds the tenth "
        "of the grid that is nearest to the boundary."
    ]
    if settings.rows[0].first:
        said.append("The first map is after one epoch, as in the paper's scripts, which call it epoch 0.")
    if settings.rows[0].field == "ricci":
        said.append("R is positive on spheres. The paper's figures of R, of one hidden layer, show 3 times this R.")
    return said


BINS = 12
TASKS = {"xor": "XOR", "noisy_xor": "noisy XOR", "sinusoid": "sinusoid"}
Part = tuple[str, Planar, str]  # the name of the network, its settings, a layer


def picture(settings: Rows, results: Sequence[SeedResult], claims: Sequence[Any]) -> Any:
    """Draw a row of maps for each network and layer, of the first seed, and a row of statistics over all seeds."""
    named = zip(settings.names, settings.rows, strict=True)
    parts: list[Part] = [(name, row, layer) for name, row in named for layer in row.layers]
    labels = [_label(part, settings) for part in parts]
    columns = max(len(panels.drawn(row)) for row in settings.rows)
    top = len(parts) * min(1.5, 6.1 / (columns + 0.35)) + 0.2
    rows = style.LETTERS[: len(parts)] if len(parts) > 1 else labels
    curved = settings.rows[0].field == "ricci"
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, top + 1.75)
        upper, lower = figure.subfigures(2, 1, height_ratios=[top, 1.75])
        grids = upper.subplots(len(parts), columns, squeeze=False)
        for index, (part, label) in enumerate(zip(parts, labels, strict=True)):
            _maps(upper, grids[index], part, results[0])
            grids[index, 0].set_ylabel(label)
            style.letter(grids[index, 0], style.LETTERS[index])
        statistics = lower.subplots(1, 2 if curved else 3)
        if curved:
            _ricci(statistics[0], parts, rows, results, "near", "median $R$ near the boundary")
            _ricci(statistics[1], parts, rows, results, "rest", "median $R$ elsewhere")
        else:
            _against_distance(statistics[0], parts, rows, results)
            rest = [[r.statistics[name]["layers"][layer]["rest"] for r in results] for name, _, layer in parts]
            _over_training(statistics[1], parts, rows, [np.array(v) for v in rest], "decades that $|x|$ leaves")
            statistics[1].set_ylim(bottom=0)
            groups = []
            for index, (name, _, layer) in enumerate(parts):
                seeds = [r.statistics[name]["layers"][layer] for r in results]
                groups.append(
                    (rows[index], index, {w: [number_of(s, w, "band") for s in seeds] for w in ("before", "after")})
                )
            panels.before_and_after(statistics[2], groups, "band − rest (decades)")
        for index, axes in enumerate(statistics):
            style.letter(axes, style.LETTERS[len(parts) + index])
    return figure


def _label(part: Part, settings: Rows) -> str:
    _, row, layer = part
    if len(row.layers) > 1:
        return f"layer {layer.removeprefix('activation')}"
    repeated = [other.task for other in settings.rows].count(row.task) > 1
    return f"{TASKS[row.task]}, {row.widths[1]} units" if repeated else TASKS[row.task]


def _maps(figure: Any, row_of_axes: Any, part: Part, result: SeedResult) -> None:
    from matplotlib.colors import SymLogNorm

    name, row, layer = part
    shown = panels.drawn(row)
    values = result.arrays[f"{name}.{row.field}"][row.layers.index(layer)][shown]
    points, logits = result.arrays[f"{name}.points"], result.arrays[f"{name}.logits"][shown]
    axis, shape = np.linspace(-row.half_width, row.half_width, row.points), (row.points, row.points)
    for axes in row_of_axes[len(shown) :]:
        axes.set_visible(False)
    drawn = row_of_axes[: len(shown)]
    borders = [decision_boundary(points, scores, shape).polylines for scores in logits]
    titles = [panels.epoch(row.shown[index]) for index in shown]
    if row.field == "ricci":
        reach = 10 ** np.ceil(np.log10(np.nanpercentile(np.abs(values), 99)))
        norm = SymLogNorm(1.0, vmin=-reach, vmax=reach, base=10)
        bar = panels.maps(
            figure, drawn, (axis, axis), values, borders, titles, "$R$ (printed: $3R$)", norm, style.diverging()
        )
        bar.set_ticks([-reach, -1, 0, 1, reach], labels=[f"{t:g}".replace("-", "−") for t in (-reach, -1, 0, 1, reach)])
        bar.minorticks_off()
    else:
        panels.maps(figure, drawn, (axis, axis), values, borders, titles, panels.VOLUME)
    for axes in drawn:
        axes.set_xticks([-row.half_width, row.half_width])
    drawn[0].set_yticks([-row.half_width, row.half_width])
    style.points(drawn[0], result.arrays[f"{name}.inputs"], result.arrays[f"{name}.labels"])


def _against_distance(axes: Any, parts: Sequence[Part], labels: Sequence[str], results: Sequence[SeedResult]) -> None:
    """Draw log volume, less its mean over the grid, against the distance to the trained boundary: mean over seeds."""
    edges = np.linspace(0, 0.4 * parts[0][1].half_width, BINS + 1)
    groups = []
    for (name, row, layer), label in zip(parts, labels, strict=True):
        found = []
        for arrays in (result.arrays for result in results):
            volume = arrays[f"{name}.log10_volume"][row.layers.index(layer)][[0, -1]]
            shape = (row.points, row.points)
            found.append(
                panels.by_distance(arrays[f"{name}.points"], arrays[f"{name}.logits"][-1], shape, volume, edges)
            )
        groups.append((label, [curve for curve in found if curve is not None]))
    words = ("distance to the boundary", panels.CENTRED)
    panels.curves_before_and_after(axes, (edges[1:] + edges[:-1]) / 2, groups, words)


def _over_training(
    axes: Any, parts: Sequence[Part], labels: Sequence[str], values: Sequence[np.ndarray], label: str
) -> None:
    """Draw numbers (seeds, epochs) of each part over training."""
    for index, (part, numbers) in enumerate(zip(parts, values, strict=True)):
        colour, marker, dash = style.LINES[index]
        mean, error = style.mean_and_interval(numbers)
        epochs = np.maximum(np.array(part[1].shown, dtype=float), 0.3)
        axes.errorbar(
            epochs, mean, yerr=error, color=colour, marker=marker, linestyle=dash, capsize=2, label=labels[index]
        )
    axes.set_xscale("log")
    last = max(part[1].shown[-1] for part in parts)
    ticks = {0.3: "0", 1: "1", 100: "100", 1000: "1\u2009000", 10_000: "10\u2009000"}
    axes.set_xticks([t for t in ticks if t <= last], labels=[text for t, text in ticks.items() if t <= last])
    axes.minorticks_off()
    axes.set(xlabel="epoch", ylabel=label)
    if len(parts) > 1:
        axes.legend()


def _ricci(
    axes: Any, parts: Sequence[Part], labels: Sequence[str], results: Sequence[SeedResult], where: str, label: str
) -> None:
    values = [
        np.array([found[where] for r in results if (found := r.statistics[name]["ricci"])]) for name, _, _ in parts
    ]
    known = [(p, t, v) for p, t, v in zip(parts, labels, values, strict=True) if len(v)]
    _over_training(axes, [p for p, _, _ in known], [t for _, t, _ in known], [v for _, _, v in known], label)
    axes.axhline(0, color="0.7", linewidth=0.5, zorder=0)
