"""Figures 2 to 4 and the self-supervised encoders: lines and planes through images, measured while a network learns.

The probes are lines between two test images of different classes and planes through three. The volume element is that
of the whole input space, not of the slice; where there are fewer features than pixels it is the product of the nonzero
singular values of the Jacobian. Distances are those along the slice, to the boundary within the slice, of the trained
network; for self-supervised encoders, of a linear readout fitted to the frozen features.

Images do not have one norm, and networks with convolutions no law in |x|: the numbers are not taken at equal |x|, but
before and after training at the same points, so that what the slice itself does to the volume cancels.

Source: arXiv 2301.11375, section 4. Verified in the authors' published scripts and gallery: the architectures, the
recipes, lines of 64 and planes of 80 × 80 points, the epochs 0, 50, 200 (and 500, 1000) that are shown, a line from a 1
to a 6 and the plane of the classes 5, 6, 1 for MNIST, and for CIFAR-10 planes of the classes 5, 6, 1 (dog, frog, car),
7, 6, 1 (horse, frog, car) and 5, 6, 7. Inferred, as the printed captions were not at hand: that figure 3 has lines and
figure 4 planes, and which images. Initial weights of [784, 2000, 10] in torch's default, and random images of each
class, are chosen here.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.magnification import decision_boundary
from infgeo.reproduce.claims import Claim, measured
from infgeo.reproduce.image_picture import picture as picture
from infgeo.reproduce.near_boundary import MEASURES, before_and_after, entropy_of, magnification_claims
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import ImageRows, Images
from infgeo.reproduce.training_run import QUANTITIES, trained
from infgeo.tracking import Probe, line, plane
from infgeo.training import (
    CIFAR_CROPS,
    COLOUR_32,
    GREY_8,
    BarlowTwins,
    ContrastiveLoss,
    ContrastiveNetwork,
    RandomView,
    SimCLR,
    Task,
    TwoViews,
    cifar10,
    digits,
    linear_readout,
    mlp,
    mnist,
    projector,
    resnet34,
    small_resnet,
)

AUGMENTATIONS = {"crops": CIFAR_CROPS, "grey": GREY_8, "colour": COLOUR_32}
MARGIN = 0.1  # of planes beyond the smallest rectangle that holds the three images


def check(settings: ImageRows, place: Place) -> None:
    """Raise now what would stop the run later: data that are not there, libraries that are not installed."""
    for row in settings.rows:
        task = task_of(row, 0, place)
        if row.augmentation:
            draw = RandomView(AUGMENTATIONS[row.augmentation], task.mean, task.std)
            draw(task.inputs[:2].reshape(2, *task.input_shape), seed=0)


@cache
def _published(name: str, data: str | None) -> Task:
    maker = {"mnist": mnist, "cifar10": cifar10}[name]
    try:
        return maker(data)
    except InvalidInput as error:
        raise InvalidInput(
            f"{error}. On the command line: --data FOLDER, or --scale small, which takes the bundled digits"
        ) from None


def task_of(row: Images, seed: int, place: Place) -> Task:
    """Return the images, as images."""
    task = digits(seed=seed) if row.data == "digits" else _published(row.data, place.data)
    if row.train_images is not None:
        task = task.subset(row.train_images, seed)
    return task


def model_of(row: Images, task: Task, seed: int) -> nn.Module:
    """Return the network before training."""
    channels, classes = task.input_shape[0], len(task.classes)
    if row.network == "mlp":
        pixels = int(np.prod(task.input_shape))
        return mlp([pixels, *row.widths, classes], row.activation, "torch", seed=seed)
    own_classes = classes if row.objective == "labels" else None
    if row.network == "resnet34":
        network = resnet34(row.activation, in_channels=channels, classes=own_classes, seed=seed)
    else:
        network = small_resnet(
            row.activation,
            in_channels=channels,
            classes=own_classes,
            blocks=(1,) * len(row.widths),
            widths=row.widths,
            seed=seed,
        )
    if row.objective == "labels":
        return network
    width = row.embedding
    if row.objective == "simclr":
        head = projector(network.width, network.width, width, norm=False, seed=seed)
    else:
        head = projector(network.width, (width, width), width, seed=seed)
    return ContrastiveNetwork(network, head)


def probes_of(row: Images, task: Task, seed: int) -> dict[str, Probe]:
    """Return lines and planes through test images of the classes named, drawn by `seed`."""

    def image(label: int, *of: int) -> torch.Tensor:
        rows = torch.nonzero(task.test_labels == label)[:, 0]
        return task.test_inputs[rows[np.random.default_rng([seed, label, *of]).integers(len(rows))]]

    probes = {}
    for pair in row.lines:
        name = "line " + "-".join(task.classes[c] for c in pair)
        probes[name] = line(*(image(c, *pair) for c in pair), points=row.line_points, name=name)
    for triple in row.planes:
        name = "plane " + "-".join(task.classes[c] for c in triple)
        corners = (image(c, *triple) for c in triple)
        probes[name] = plane(*corners, points=row.plane_points, margin=MARGIN, name=name)
    return probes


def measure(settings: ImageRows, seed: int, place: Place) -> SeedResult:
    """Train each network of the figure and measure it on its lines and planes."""
    start = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    statistics: dict[str, Any] = {}
    for row in settings.rows:
        made, numbers = _measure_row(row, seed, place)
        arrays |= {f"{row.name}.{key}": value for key, value in made.items()}
        statistics[row.name] = numbers
    return SeedResult(seed, arrays, statistics, time.perf_counter() - start)


def _measure_row(row: Images, seed: int, place: Place) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    task = task_of(row, seed, place)
    recipe = row.recipe
    views = None if row.augmentation is None else AUGMENTATIONS[row.augmentation]
    flat = task.flattened() if row.network == "mlp" else task
    supervised = row.objective == "labels"
    model, probes = model_of(row, task, seed), probes_of(row, flat, seed)
    loss = None
    if not supervised:
        objective = BarlowTwins(row.redundancy) if row.objective == "barlow_twins" else SimCLR(row.temperature)
        assert views is not None
        loss = ContrastiveLoss(objective, TwoViews(views, task.mean, task.std))
    elif views is not None:
        recipe = dataclasses.replace(recipe, augmentation=RandomView(views, task.mean, task.std))
    layer = row.layer if supervised else "encoder"
    result, history = trained(
        model,
        flat,
        recipe,
        seed,
        place,
        row.name,
        probes,
        (layer,),
        row.shown,
        loss=loss,
        quantities=QUANTITIES if supervised else ("log10_volume",),
        slices=False,
        dtype=torch.float64 if row.double else None,
    )
    if supervised:
        logits = {name: history.quantity("logits", probe=name) for name in probes}
        accuracy = result.test_accuracy
    else:
        assert isinstance(model, ContrastiveNetwork)
        readout = linear_readout(model.encoder, flat.inputs.to(place.device), flat.labels)
        logits = {name: logits_at(readout, probe)[None] for name, probe in probes.items()}
        right = logits_of(readout, flat.test_inputs).argmax(1) == flat.test_labels.numpy()
        accuracy = float(right.mean())
    arrays: dict[str, np.ndarray] = {}
    on_probes: dict[str, dict[str, Any]] = {}
    for name, probe in probes.items():
        volume = history.quantity("log10_volume", layer, name)
        on_probes[name] = statistics_of(probe, volume, logits[name][-1], seed)
        arrays |= {
            f"{name}.log10_volume": volume.astype(np.float32),  # (epochs, points)
            f"{name}.logits": logits[name].astype(np.float32),  # (epochs, points, classes), or those of the readout
            f"{name}.coordinates": probe.coordinates.numpy(),
            f"{name}.images": anchors_of(probe, task.input_shape),
            f"{name}.corners": probe.coordinates_of(probe.anchors).numpy(),
        }
    numbers = {"test_accuracy": accuracy, "loss": result.losses[-1], "probes": on_probes}
    return arrays, numbers | {kind: averaged(on_probes, kind) for kind in ("line", "plane")}


def anchors_of(probe: Probe, shape: tuple[int, ...]) -> np.ndarray:
    """Return the images that span a probe (k + 1, *shape), float32."""
    assert probe.anchors is not None
    return probe.anchors.reshape(-1, *shape).float().numpy()


def logits_at(model: nn.Module, probe: Probe) -> np.ndarray:
    """Return the logits (P, classes) at the points of a probe."""
    return logits_of(model, probe.inputs)


@torch.no_grad()
def logits_of(model: nn.Module, inputs: torch.Tensor) -> np.ndarray:
    """Return the logits (N, classes) of a model in eval mode."""
    like = next(model.parameters())
    return torch.cat([model(x.to(like)).cpu() for x in inputs.split(512)]).numpy()


def grid_shape(probe: Probe) -> tuple[int, ...] | None:
    """Return (rows, columns) of a plane, None of a line."""
    return probe.shape if probe.kind == "plane" else None


def statistics_of(probe: Probe, volume: np.ndarray, logits: np.ndarray, seed: int) -> dict[str, Any]:
    """Return the magnification before and after training, with the boundary of the trained network."""
    coordinates = probe.coordinates.numpy()
    border = decision_boundary(coordinates, logits, grid_shape(probe))
    found: dict[str, Any] = {"classes": list(border.classes), "pieces": len(border.polylines)}
    if not border:  # one class along the whole slice
        return found
    options = {"entropy": entropy_of(logits), "shape": probe.shape, "null": "shifts", "seed": seed}
    found |= before_and_after(volume, border.distance(coordinates), **options)
    return found


def averaged(on_probes: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """Return the means over the lines, or planes, of one network; {} where none has a boundary.

    p is twice the mean of the p-values, at most 1: valid however the slices of one network depend on each other
    (Vovk and Wang 2020).
    """
    chosen = [s for name, s in on_probes.items() if name.startswith(kind) and "after" in s]
    found: dict[str, Any] = {"slices": sum(name.startswith(kind) for name in on_probes), "with_boundary": len(chosen)}
    for when in ("before", "after") if chosen else ():
        found[when] = {
            key: {
                "value": float(np.mean([s[when][key]["value"] for s in chosen])),
                "p": min(1.0, 2 * float(np.mean([s[when][key]["p"] for s in chosen]))),
                "at_equal_radius": None,
                "p_at_equal_radius": None,
            }
            for key, _, _ in MEASURES
        }
    return found


def claims(settings: ImageRows, results: Sequence[SeedResult]) -> list[Claim]:
    """Return the accuracy and the claims on the magnification, on lines and on planes."""
    made = []
    for row in settings.rows:
        seeds = [r.statistics[row.name] for r in results]
        prefix = f"{row.name}, " if len(settings.rows) > 1 else ""
        made.append(measured(f"{prefix}test accuracy", f"{prefix}test accuracy", [s["test_accuracy"] for s in seeds]))
        for kind, slices in (("line", row.lines), ("plane", row.planes)):
            if slices:
                made += magnification_claims(f"{prefix}{kind}s, ", [s[kind] for s in seeds])
    return made


def notes(settings: ImageRows) -> list[str]:
    """Return what a reader must know beside the numbers."""
    said = [
        "The boundary is that of the trained network, also for the numbers before training; numbers of a seed are "
        "means over its slices that have a boundary. The band holds the tenth of the points that is nearest to it.",
        "Between two images the volume of a random network is not even, either: what training did is the change.",
    ]
    if any(row.data == "digits" for row in settings.rows):
        said.append("Scikit-learn's 8 × 8 digits stand in for the data of the paper.")
    if any(row.objective != "labels" for row in settings.rows):
        said.append("Self-supervised encoders have no boundary: it is that of a linear readout of the frozen features.")
    return said
