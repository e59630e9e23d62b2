"""Figures 2 to 4 and their variants: lines and planes through images, measured while a network learns.

The probes are lines between two test images and planes through three; a line and a plane of the same classes go through
the same images. The volume element is that of the whole input space, not of the slice; where there are fewer features
than pixels it is the product of the nonzero singular values of the Jacobian. Distances are those along the slice, to
the boundary within the slice, of the trained network; for self-supervised encoders, of a linear readout fitted to the
frozen features.

Images do not have one norm, and networks with convolutions no law in |x|: the numbers are not taken at equal |x|, but
before and after training at the same points, so that what the slice itself does to the volume cancels.

Source: arXiv 2301.11375, section 4, the captions of its figures, and the settings of `settings`. The seed
chooses which images of a class are taken.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.stats import spearmanr
from torch import nn

from infgeo import training
from infgeo.errors import InvalidInput
from infgeo.finite import pullback
from infgeo.magnification import decision_boundary
from infgeo.reproduce.claims import MEASURES, Claim, band_claims, before_and_after, measured
from infgeo.reproduce.image_picture import picture as picture
from infgeo.reproduce.record import SeedResult, of_rows
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import BLOCKS, Images, Rows
from infgeo.reproduce.training_run import QUANTITIES, trained
from infgeo.tracking import Probe, line, plane
from infgeo.tracking.measure import entropy

AUGMENTATIONS = {
    "crops": training.views.CIFAR_CROPS,
    "flips": training.Augmentation(flip=0.5),
    "colour": training.views.COLOUR_32,
    "barlow": training.views.BARLOW,
    "simclr": training.views.SIMCLR,
}
MARGIN = 0.1  # of planes beyond the smallest rectangle that holds the three images
LARGEST = 10  # singular values, whose product some of the scripts call volume


def check(settings: Rows, place: Place) -> None:
    """Raise now what would stop the run later: data that are not there, libraries that are not installed."""
    for row in settings.rows:
        task = task_of(row, 0, place)
        if row.augmentation:
            draw = training.RandomView(AUGMENTATIONS[row.augmentation], task.mean, task.std)
            draw(task.inputs[:2].reshape(2, *task.input_shape), seed=0)


@cache
def _published(name: str, data: str | None, verify: bool, normalise: Any, dtype: torch.dtype) -> training.Task:
    try:
        return getattr(training, name)(data, verify=verify, normalise=normalise, dtype=dtype)
    except InvalidInput as error:
        raise InvalidInput(
            f"{error}. On the command line: --data FOLDER, or --scale small, which takes bundled images"
        ) from None


def task_of(row: Images, seed: int, place: Place) -> training.Task:
    """Return the images, as images."""
    kind = torch.float64 if row.double else torch.float32
    if row.data in ("digits", "patches"):
        task = getattr(training, row.data)(seed=seed, normalise=row.normalise, dtype=kind)
    else:
        task = _published(row.data, place.data, place.verify, row.normalise, kind)
    if row.split is not None:
        task = task.resplit(row.split, seed)
    return task if row.train_images is None else task.subset(row.train_images, seed)


class PooledStages(nn.Module):
    """The network itself, with modules "pooled1", "pooled2", ...: stage features averaged over patches and flattened.

    Each has as many features as the last stage has channels. Of 512 for ResNet-34 the stages have 2 × 4, 2 × 2, 1 × 2
    and 1 × 1 positions, the averages over 16 × 8, 8 × 8, 8 × 4 and 4 × 4 pixels of the authors' scripts.
    """

    def __init__(self, network: training.ResNet) -> None:
        super().__init__()
        self.network = network
        stages = [part for name, part in network.named_children() if name.startswith("stage")]
        for index, stage in enumerate(stages, 1):
            positions = network.width // stage[-1].conv2.out_channels  # type: ignore[index]
            rows = 1 << ((positions.bit_length() - 1) // 2)
            pool = nn.Sequential(nn.AdaptiveAvgPool2d((rows, positions // rows)), nn.Flatten())
            self.add_module(f"pooled{index}", pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, classes)."""
        for name, part in self.network.named_children():
            x = part(x)
            if name.startswith("stage"):
                self.get_submodule(name.replace("stage", "pooled"))(x)
        return x


def model_of(row: Images, task: training.Task, seed: int) -> nn.Module:
    """Return the network before training."""
    channels, classes, kind = task.input_shape[0], len(task.classes), task.inputs.dtype
    if row.network == "mlp":
        widths = [int(np.prod(task.input_shape)), *row.widths, classes]
        return training.mlp(widths, row.activation, row.parametrisation, seed=seed, dtype=kind)
    network = training.small_resnet(
        row.activation, in_channels=channels, classes=classes if row.objective == "labels" else None,
        blocks=BLOCKS.get(row.network, (1,) * len(row.widths)), widths=row.widths, stem=row.stem, seed=seed, dtype=kind,
    )  # fmt: skip
    if row.objective == "labels":
        return PooledStages(network) if row.layers[0].startswith("pooled") else network
    norm = row.objective == "barlow_twins"
    return training.ContrastiveNetwork(
        network, training.projector(network.width, row.hidden, row.embedding, activation=row.head, norm=norm, seed=seed)
    )


def probes_of(row: Images, task: training.Task, seed: int) -> dict[str, Probe]:
    """Return lines and planes through test images of the classes named, drawn by `seed`."""

    def images(classes: tuple[int, ...]) -> list[torch.Tensor]:
        found = []
        for position, label in enumerate(classes):  # an image of its class, and where that is repeated another one
            rows = torch.nonzero(task.test_labels == label)[:, 0].numpy()
            order = np.random.default_rng([seed, label]).permutation(rows)
            found.append(task.test_inputs[order[classes[:position].count(label)]])
        return found

    probes = {}
    for classes in (*row.lines, *row.planes):
        kind = "line" if len(classes) == 2 else "plane"
        name = f"{kind} " + "-".join(task.classes[c] for c in classes)
        if kind == "line":
            probes[name] = line(*images(classes), points=row.line_points, name=name)
        else:
            probes[name] = plane(*images(classes), points=row.plane_points, margin=MARGIN, name=name)
    return probes


def measure(settings: Rows, seed: int, place: Place) -> SeedResult:
    """Train each network of the figure and measure it on its lines and planes."""
    return of_rows(settings, seed, lambda row, _: _measure_row(row, seed, place))


def _loss(row: Images, task: training.Task) -> training.ContrastiveLoss | None:
    if row.objective == "labels":
        return None
    barlow = row.objective == "barlow_twins"
    objective: Any = training.BarlowTwins(row.redundancy) if barlow else training.SimCLR(row.temperature)
    second = training.views.BARLOW_SECOND if row.augmentation == "barlow" else None
    assert row.augmentation is not None
    drawn = training.TwoViews(AUGMENTATIONS[row.augmentation], task.mean, task.std, second)
    return training.ContrastiveLoss(objective, drawn, row.separate)


def _measure_row(row: Images, seed: int, place: Place) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    task, recipe = task_of(row, seed, place), row.recipe
    flat = task.flattened() if row.network == "mlp" else task
    supervised = row.objective == "labels"
    model, probes, loss = model_of(row, task, seed), probes_of(row, flat, seed), _loss(row, task)
    if supervised and row.augmentation is not None:
        recipe = dataclasses.replace(
            recipe, augmentation=training.RandomView(AUGMENTATIONS[row.augmentation], task.mean, task.std)
        )
    layers = row.layers if supervised else ("encoder",)
    quantities = [name for name in QUANTITIES if supervised or name == "log10_volume"]
    result, history, costs = trained(
        model, flat, recipe, seed, place, row.name, probes, layers, row.shown, loss=loss, slices=False,
        quantities=quantities if row.network == "mlp" else (*quantities, "spectrum"),
        dtype=torch.float64 if row.measured_in_double else None,
    )  # fmt: skip
    accuracy = result.test_accuracy
    if supervised:
        logits = {name: history.quantity("logits", probe=name) for name in probes}
    else:
        assert isinstance(model, training.ContrastiveNetwork)
        readout = training.linear_readout(model.encoder, flat.inputs.to(place.device), flat.labels)
        logits = {name: logits_of(readout, probe.inputs)[None] for name, probe in probes.items()}
        accuracy = float((logits_of(readout, flat.test_inputs).argmax(1) == flat.test_labels.numpy()).mean())
    arrays: dict[str, np.ndarray] = {}
    on_probes: dict[str, dict[str, Any]] = {}
    for name, probe in probes.items():
        volume = np.stack([history.quantity("log10_volume", layer, name) for layer in layers])
        on_probes[name] = statistics_of(probe, volume[-1], logits[name][-1], seed)
        known = np.ma.masked_invalid(volume)
        on_probes[name]["contrast"] = (known.max(axis=2) - known.min(axis=2)).filled(0.0).tolist()  # (layers, epochs)
        if "spectrum" in history.quantities:
            largest = history.quantity("spectrum", layers[-1], name)[-1, :, :LARGEST]
            product = np.log10(np.maximum(largest, 1e-300)).sum(-1)
            on_probes[name]["largest"] = float(spearmanr(product, volume[-1, -1]).statistic)
        assert probe.anchors is not None
        arrays |= {
            f"{name}.log10_volume": volume.astype(np.float32),  # (layers, epochs, points)
            f"{name}.logits": logits[name].astype(np.float32),  # (epochs, points, classes), or those of the readout
            f"{name}.coordinates": probe.coordinates.numpy(),
            f"{name}.images": pixels_of(probe.anchors.reshape(-1, *task.input_shape), task),
            f"{name}.corners": probe.coordinates_of(probe.anchors).numpy(),
        }
    numbers = {"test_accuracy": accuracy, "loss": result.losses[-1], "classes": list(task.classes), **costs}
    if row.spectra:
        first = next(iter(probes.values()))
        nets = (model_of(row, task, seed).to(place.device), model)
        assert first.anchors is not None
        options: dict[str, Any] = {"layer": layers[-1], "input_shape": first.input_shape, "freeze": True}
        at, options["dtype"] = first.anchors.to(place.device), torch.float64
        found = [pullback(net, at, **options).singular_values.cpu() for net in nets]
        arrays["spectra"] = np.stack(found)  # (2, images, min(n, d))
        numbers["rank"] = int((arrays["spectra"][-1] > 1e-6 * arrays["spectra"][-1].max()).sum(-1).min())
    return arrays, numbers | {
        "probes": on_probes,
        "edge": edge_difference(probes, arrays),
        **{kind: averaged(on_probes, kind) for kind in ("line", "plane")},
    }


def pixels_of(images: torch.Tensor, task: training.Task) -> np.ndarray:
    """Return images as they were before normalisation, with values in [0, 1], float32."""
    mean, std = (images.new_tensor(v or (n,)).reshape(-1, 1, 1) for v, n in ((task.mean, 0.0), (task.std, 1.0)))
    return (images * std + mean).float().numpy()


@torch.no_grad()
def logits_of(model: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    """Return the logits (N, classes) of a model in eval mode."""
    like = next(model.parameters())
    return torch.cat([model(x.to(like)).cpu() for x in inputs.split(512)]).numpy()


def edge_difference(probes: Mapping[str, Probe], arrays: Mapping[str, np.ndarray]) -> float | None:
    """Return the largest difference in decades of the first plane and the first line, where that is an edge of it."""
    lines, planes = ([name for name in probes if name.startswith(kind)] for kind in ("line", "plane"))
    if not lines or not planes or not planes[0].startswith(lines[0].replace("line", "plane")):
        return None
    edge, whole = probes[lines[0]], probes[planes[0]]
    x, y = (np.unique(whole.coordinates[:, i].numpy()) for i in (0, 1))
    field = arrays[f"{planes[0]}.log10_volume"][-1, -1].reshape(len(y), len(x))
    where = whole.coordinates_of(edge.inputs).numpy()[:, ::-1]
    interpolated = RegularGridInterpolator((y, x), field, method="cubic")(where)
    return float(np.abs(interpolated - arrays[f"{lines[0]}.log10_volume"][-1, -1]).max())


def statistics_of(probe: Probe, volume: np.ndarray, logits: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the magnification before and after training, with the boundary of the trained network."""
    coordinates, grid_shape = probe.coordinates.numpy(), probe.shape if probe.kind == "plane" else None
    border = decision_boundary(coordinates, logits, grid_shape)
    found: dict[str, Any] = {"classes": list(border.classes), "pieces": len(border.polylines)}
    if not border:  # one class along the whole slice
        return found
    spread = entropy(torch.from_numpy(logits.astype(float))).numpy()
    options = {"entropy": spread, "shape": probe.shape, "null": "shifts", "seed": seed}
    return found | before_and_after(volume, border.distance(coordinates), **options)


def is_control(name: str) -> bool:
    """Return whether a probe is a line within one class."""
    classes = name.removeprefix("line ").split("-")
    return name.startswith("line ") and classes[0] == classes[-1]


def averaged(on_probes: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """Return the means over the lines (but controls), or planes, of one network; {} where none has a boundary.

    p is twice the mean of the p-values, at most 1: valid however the slices of one network depend on each other
    (Vovk and Wang 2020).
    """
    named = [name for name in on_probes if name.startswith(kind) and not is_control(name)]
    chosen = [on_probes[name] for name in named if "after" in on_probes[name]]
    found: dict[str, Any] = {"slices": len(named), "with_boundary": len(chosen)}
    for when in ("before", "after") if chosen else ():
        found[when] = {
            key: {
                "value": float(np.mean([s[when][key]["value"] for s in chosen])),
                "p": min(1.0, 2 * float(np.mean([s[when][key]["p"] for s in chosen]))),
                "at_equal_radius": None,
                "p_at_equal_radius": None,
            }
            for key in MEASURES
        }
    return found


def claims(settings: Rows, results: Sequence[SeedResult]) -> list[Claim]:
    """Return one claim on lines and one on planes, or two on the stages, and what is described beside them."""
    made = []
    for row in settings.rows:
        seeds = [r.statistics[row.name] for r in results]
        prefix = f"{row.name}, " if len(settings.rows) > 1 else ""
        if len(row.layers) > 1:
            made += _stage_claims(prefix, seeds)
        else:
            for kind, slices in (("line", row.lines), ("plane", row.planes)):
                made += band_claims(f"{prefix}{kind}s, ", [s[kind] for s in seeds]) if slices else []
        beside: list[tuple[str, list[float | None]]] = [("test accuracy", [s["test_accuracy"] for s in seeds])]
        if row.spectra:
            beside.append(("nonzero singular values at the images", [s["rank"] for s in seeds]))
        if row.lines and row.planes:
            beside.append(
                ("largest difference of plane and line along their edge, in decades", [s["edge"] for s in seeds])
            )
        contrasts = [_contrasts(s["probes"]) for s in seeds]
        if row.lines and len(row.layers) == 1:
            beside.append(("contrast of lines between classes, in decades", [between for between, _ in contrasts]))
            beside.append(("contrast of the line within one class", [within for _, within in contrasts]))
        if row.network != "mlp":
            words = f"rank correlation of the {LARGEST} largest singular values' product with the volume"
            found = [[p["largest"] for p in s["probes"].values()] for s in seeds]
            beside.append((words, [float(np.mean(values)) for values in found]))
        made += [measured(f"{prefix}{words}", f"{prefix}{words}", values) for words, values in beside]
    return made


def _contrasts(on_probes: Mapping[str, Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Return the mean contrast of lines between classes and of those within one, at the end of the training."""
    lines = {name: s["contrast"][-1][-1] for name, s in on_probes.items() if name.startswith("line")}
    groups = ([v for n, v in lines.items() if is_control(n) == within] for within in (False, True))
    between, within = (float(np.mean(values)) if values else None for values in groups)
    return between, within


def growth(contrast: Sequence[float]) -> float:
    """Return the slope of the contrast against the number of the stage, in decades a stage."""
    return float(np.polyfit(np.arange(len(contrast)), contrast, 1)[0])


def _stage_claims(prefix: str, seeds: Sequence[Mapping[str, Any]]) -> list[Claim]:
    contrast = [np.mean([s["contrast"] for s in seed["probes"].values()], axis=0) for seed in seeds]  # (stages, epochs)
    before, after = ([growth(c[:, at]) for c in contrast] for at in (0, -1))
    gain = [b - a for a, b in zip(before, after, strict=True)]
    words = "growth of the contrast (largest less smallest log₁₀ √det g of the line), decades a stage"
    return [
        measured(f"{prefix}growth after", f"{prefix}{words}, after training", after, 1),
        measured(f"{prefix}growth change", f"{prefix}{words}: change by training", gain, 1),
        measured(f"{prefix}growth before", f"{prefix}{words}, before training", before),
        *(
            measured(f"{prefix}contrast {i + 1} {when}", f"{prefix}contrast of stage {i + 1}, {when} training",
                     [float(c[i, at]) for c in contrast])
            for i in range(len(contrast[0])) for at, when in ((0, "before"), (-1, "after"))
        ),
    ]  # fmt: skip


def notes(settings: Rows) -> list[str]:
    """Return what a reader must know beside the numbers."""
    rows = settings.rows
    said = [
        "The boundary is that of the trained network, also for the numbers before training, which are at "
        "initialisation; numbers of a seed are means over its slices between classes that have a boundary."
    ]
    if rows[0].first:
        said.append("The first panel is after one epoch, as in the paper's scripts, which call it epoch 0.")
    if any(row.data in ("digits", "patches") for row in rows):
        said.append("Scikit-learn's 8 × 8 digits and patches of its two photographs stand in for the paper's images.")
    if any("relu" in (row.activation, row.stem) for row in rows):
        said.append("A ReLU network is flat: R is 0 where it is defined, and its volume is constant between kinks. The "
                    "paper's ReLU ResNet has ReLU in its stem and GELU in its blocks: it is curved.")  # fmt: skip
    if any(row.objective != "labels" for row in rows):
        said.append("Self-supervised encoders have no boundary: it is that of a linear readout of the frozen features.")
    return said
