"""A rehearsal: every network, layer, image size and batch as they are, a few steps, and the time of the whole run.

Without data, synthetic images of the right format are written as the published files, and read as those are.
"""

import importlib
import os
import resource
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infgeo.reproduce.registry import figure_called
from infgeo.reproduce.seed_runs import Place
from infgeo.reproduce.settings import BLOCKS, Images, Learning, Rows, settings_of, with_network
from infgeo.training.image_files import CIFAR10_FILES, MNIST_MD5

STEPS = 2
CPU_BATCH = 32  # images: 1024 of ResNet-34 take minutes and 10 GB on a CPU
_IMAGES = {"mnist": 60_000, "cifar10": 50_000}  # to train on, as published
_MNIST_SIZES = {"train": 3000, "t10k": 600}
_CIFAR_SIZES = 600, 60  # in each file to train on, to test on


@dataclass(frozen=True)
class Part:
    """What one network of a figure takes: seconds of a step and of a record, and how many of each there are.

    `batch` is how many images a step had, where they were fewer than in the figure: its time is taken in proportion.
    """

    name: str
    seconds_a_step: float
    steps: int
    seconds_a_record: float
    records: int
    batch: int | None = None

    @property
    def seconds(self) -> float:
        """Seconds of the whole training with all records."""
        return self.steps * self.seconds_a_step + self.records * self.seconds_a_record


@dataclass(frozen=True)
class Rehearsal:
    """What was measured, and the estimate of a seed."""

    figure: str
    device: str
    parts: tuple[Part, ...]
    memory: int

    @property
    def seconds(self) -> float:
        """Estimated seconds of one seed."""
        return sum(part.seconds for part in self.parts)

    def table(self) -> str:
        """Return the measurements and the estimate, a line for each network."""
        lines = [
            f"{self.figure}, {part.name}: {part.steps} steps of {part.seconds_a_step:.3g} s, {part.records} records of "
            f"{part.seconds_a_record:.3g} s" + (f", by batches of {part.batch} images" if part.batch else "")
            for part in self.parts
        ]
        total = f"{self.seconds / 3600:.1f} h" if self.seconds > 3600 else f"{self.seconds / 60:.1f} min"
        memory = f"{self.memory / 2**30:.1f} GiB of memory at most"
        return "\n".join([*lines, f"{self.figure}: about {total} a seed on {self.device}, {memory}"])


def check_data(name: str, scale: str, settings: str, data: str | None) -> None:
    """Raise InvalidInput where the data of a figure are not there: before a rehearsal, which takes a while."""
    module = importlib.import_module(figure_called(name).module)
    if hasattr(module, "check"):
        module.check(settings_of(name, scale, settings)[0], Place(Path(), data=data))


def rehearse(
    name: str,
    scale: str = "paper",
    *,
    settings: str = "published",
    network: str | None = None,
    activation: str | None = None,
    device: str = "cpu",
    data: str | os.PathLike[str] | None = None,
) -> Rehearsal:
    """Run a few steps and records of every network of a figure, to the end, and estimate the whole run.

    Arguments are those of `reproduce`; `data` None writes synthetic images. Records are measured on fewer points, and
    their time is taken in proportion: an upper bound, for a record has costs of its own. So are on a CPU the batches of
    ResNet-34, of which memory is then measured, too.
    """
    figure = figure_called(name)
    chosen = with_network(settings_of(name, scale, settings)[0], network, activation)
    if not isinstance(chosen, Rows) or isinstance(chosen.rows[0], Learning):
        return Rehearsal(name, device, (), 0)
    module = importlib.import_module(figure.module)
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            write_synthetic(Path(folder))
        place = Place(Path(folder), device, folder if data is None else os.fspath(data), verify=data is not None)
        short = Rows(tuple(_shortened(row, device) for row in chosen.rows))
        result = module.measure(short, 0, place)
        module.claims(short, [result])
    parts = tuple(
        _part(*of_row, result.statistics[of_row[-1]])
        for of_row in zip(chosen.rows, short.rows, chosen.names, strict=True)
    )
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device != "cpu":
        used = torch.cuda.max_memory_allocated(device)
    return Rehearsal(name, device, parts, used)


def _shortened(row: Any, device: str) -> Any:
    """Return a row of a few steps, with few points of lines and planes; of ResNet-34 on a CPU with one slice."""
    recipe = replace(row.recipe, epochs=1)
    if not isinstance(row, Images):
        return replace(row, recipe=replace(recipe, epochs=10), shown=(1,))
    few: dict[str, Any] = {"line_points": 4, "plane_points": 4}
    if device == "cpu" and row.network in BLOCKS:  # the 512 gradients of a point take 10 to 20 s
        recipe = replace(recipe, batch_size=min(CPU_BATCH, recipe.batch_size or CPU_BATCH))
        few = {"lines": row.lines[:1], "planes": () if row.lines else row.planes[:1], "spectra": False}
        few |= {"line_points": 3, "plane_points": 2}
    size = STEPS * (recipe.batch_size or 1) if row.data in _IMAGES else None
    return replace(row, recipe=recipe, shown=(1,), train_images=size, **few)


def _part(row: Any, short: Any, label: str, measured: Mapping[str, float]) -> Part:
    count, share = 400, 1.0
    if isinstance(row, Images):
        count = _IMAGES.get(row.data, 1300)
        count = round(count * 7 / 6 * (1 - row.split)) if row.data == "mnist" and row.split else count
        points, few = (len(r.lines) * r.line_points + len(r.planes) * r.plane_points**2 for r in (row, short))
        share = points / few
    elif row.task == "xor":
        count = 4
    size, batches = row.recipe.batches(count)
    batch = short.recipe.batch_size if short.recipe.batch_size != row.recipe.batch_size else None
    step, record = measured["seconds_a_step"] * (size / batch if batch else 1), measured["seconds_a_record"] * share
    return Part(label, step, row.recipe.epochs * batches, record, len(row.shown), batch)


def write_synthetic(folder: Path) -> None:
    """Write noise around a pattern for each class, in the form of the files of MNIST and CIFAR-10."""
    random = np.random.default_rng(0)

    def images(count: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        labels = (np.arange(count) % 10).astype(np.uint8)
        patterns = np.random.default_rng(1).integers(0, 128, (10, pixels), dtype=np.uint8)
        return patterns[labels] + random.integers(0, 128, (count, pixels), dtype=np.uint8), labels

    for name in MNIST_MD5:
        count = _MNIST_SIZES[name.split("-")[0]]
        pixels, labels = images(count, 28 * 28)
        axes, content = ((count, 28, 28), pixels) if "images" in name else ((count,), labels)
        header = struct.pack(f">HBB{len(axes)}I", 0, 8, len(axes), *axes)
        (folder / name).write_bytes(header + content.tobytes())
    for name in CIFAR10_FILES:
        pixels, labels = images(_CIFAR_SIZES[name.startswith("test")], 3 * 32 * 32)
        (folder / name).write_bytes(np.concatenate([labels[:, None], pixels], 1).tobytes())
