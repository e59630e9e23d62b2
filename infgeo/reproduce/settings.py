"""The hyperparameters of every figure at every scale, as data: what runs is the same code.

Epochs that are shown are the epochs at which the geometry is measured; the last one is the end of the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from infgeo.training.recipe import RECIPES, Recipe


@dataclass(frozen=True)
class CubeRoots:
    """Figure D.1: networks of three hidden units whose weights are the cube roots of unity."""

    biases: tuple[float, ...] = (0.0, 1.0)
    half_width: float = 2.5
    points: int = 161


@dataclass(frozen=True)
class Planar:
    """A perceptron on two-dimensional inputs, in the paper's parametrisation, measured on a square grid around 0.

    `task` is "xor", "noisy_xor" or "sinusoid"; each hidden layer is measured.
    """

    task: str
    widths: tuple[int, ...]
    activation: str
    recipe: Recipe
    shown: tuple[int, ...]
    half_width: float = 1.0
    points: int = 40

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the hidden layers' features."""
        return tuple(f"activation{i + 1}" for i in range(len(self.widths) - 2))


@dataclass(frozen=True)
class Panels:
    """A figure of several planar networks, one below the other."""

    rows: tuple[Planar, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rows: their tasks, numbered where tasks repeat."""
        tasks = [row.task for row in self.rows]
        return tuple(t if tasks.count(t) == 1 else f"{t}{i + 1}" for i, t in enumerate(tasks))


@dataclass(frozen=True)
class Images:
    """A network on images, measured on lines and planes through test images of the classes named.

    `data` is "digits", "mnist" or "cifar10" (`train_images` of them, or all); `network` "mlp", "small_resnet" or
    "resnet34", with hidden `widths` (channels of the stages of "small_resnet"); `layer` the name of the features.
    `augmentation` is None, "crops", "grey" or "colour". `objective` is "labels", "barlow_twins" (with `redundancy`) or
    "simclr" (with `temperature`), which have a projector to `embedding` coordinates, and whose features are those of
    the encoder. `double` measures in float64.
    """

    name: str
    data: str
    network: str
    activation: str
    recipe: Recipe
    shown: tuple[int, ...]
    layer: str = "pool"
    widths: tuple[int, ...] = ()
    lines: tuple[tuple[int, int], ...] = ()
    planes: tuple[tuple[int, int, int], ...] = ()
    line_points: int = 64
    plane_points: int = 80
    train_images: int | None = None
    augmentation: str | None = None
    objective: str = "labels"
    redundancy: float = 0.005
    temperature: float = 0.07
    embedding: int = 256
    double: bool = False


@dataclass(frozen=True)
class ImageRows:
    """A figure of one or several networks on images."""

    rows: tuple[Images, ...]


def _until(recipe: Recipe, shown: tuple[int, ...]) -> Recipe:
    return replace(recipe, epochs=shown[-1])


_XOR = (0, 100, 500, 2000)
_SINUSOID = (0, 50, 200, 1000, 10_000)

XOR = Panels(
    (
        Planar("xor", (2, 250, 2), "sigmoid", _until(RECIPES["xor"], _XOR), _XOR, 2.0),
        Planar("noisy_xor", (2, 250, 2), "sigmoid", _until(RECIPES["xor"], _XOR), _XOR, 2.0),
    )
)
FIG1 = Panels((Planar("sinusoid", (2, 250, 2), "sigmoid", _until(RECIPES["sinusoid"], _SINUSOID), _SINUSOID),))
DEEP = Panels((Planar("sinusoid", (2, 8, 8, 8, 2), "sigmoid", _until(RECIPES["sinusoid"], _SINUSOID), _SINUSOID),))

# Pairs and triples of classes: 1-6 and 5-6-1 are those of the paper's digits; of CIFAR-10 5, 6, 7, 1 are dog, frog,
# horse, car. The others are there for the statistics.
_PAIRS = ((1, 6), (7, 6), (5, 6), (5, 1), (7, 1))
_TRIPLES = ((5, 6, 1), (7, 6, 1))
_SUPERVISED = Recipe(learning_rate=0.05, momentum=0.9, weight_decay=1e-4, batch_size=64, epochs=30)
_VIEWS = replace(_SUPERVISED, batch_size=128, drop_last=True)

FIG2 = {
    "small": Images(
        "digits", "digits", "mlp", "sigmoid", replace(RECIPES["mnist"], batch_size=100, epochs=200), (0, 10, 200),
        layer="activation1", widths=(2000,), lines=_PAIRS, planes=_TRIPLES[:1], plane_points=32, double=True,
    ),
    "paper": Images(
        "mnist", "mnist", "mlp", "sigmoid", RECIPES["mnist"], (0, 10, 200),
        layer="activation1", widths=(2000,), lines=_PAIRS, planes=_TRIPLES[:1], double=True,
    ),
}  # fmt: skip
_DIGITS_RESNET = Images(
    "digits",
    "digits",
    "small_resnet",
    "gelu",
    _SUPERVISED,
    (0, 3, 30),
    widths=(8, 16, 32),
    plane_points=32,
    double=True,
)
_CIFAR_RESNET = Images("cifar10", "cifar10", "resnet34", "gelu", RECIPES["cifar10"], (0, 50, 200), augmentation="crops")
_LONG = replace(RECIPES["cifar10"], epochs=500)


def _encoders(base: Mapping[str, Images]) -> tuple[Images, ...]:
    return tuple(replace(row, name=name, objective=name) for name, row in base.items())


_DIGITS_SSL = replace(
    _DIGITS_RESNET, recipe=_VIEWS, augmentation="grey", lines=_PAIRS, planes=_TRIPLES[:1], plane_points=20
)
_CIFAR_SSL = Images("", "cifar10", "resnet34", "gelu", RECIPES["simclr"], (0, 50, 200, 1000), augmentation="colour",
                    lines=_PAIRS, planes=_TRIPLES[:1])  # fmt: skip

SETTINGS: Mapping[tuple[str, str], Any] = {
    ("figD1", "small"): CubeRoots(),
    ("figD1", "paper"): CubeRoots(points=401),
    ("xor", "small"): XOR,
    ("xor", "paper"): XOR,
    ("fig1", "small"): FIG1,
    ("fig1", "paper"): FIG1,
    ("deep", "small"): DEEP,
    ("deep", "paper"): DEEP,
    ("fig2", "small"): ImageRows((FIG2["small"],)),
    ("fig2", "paper"): ImageRows((FIG2["paper"],)),
    ("fig3", "small"): ImageRows((replace(_DIGITS_RESNET, lines=_PAIRS),)),
    ("fig3", "paper"): ImageRows((replace(_CIFAR_RESNET, lines=_PAIRS),)),
    ("fig4", "small"): ImageRows((replace(_DIGITS_RESNET, planes=_TRIPLES),)),
    ("fig4", "paper"): ImageRows(
        (replace(_CIFAR_RESNET, recipe=_LONG, shown=(0, 50, 200, 500), planes=(*_TRIPLES, (5, 6, 7))),)
    ),
    ("ssl", "small"): ImageRows(_encoders({"barlow_twins": _DIGITS_SSL, "simclr": _DIGITS_SSL})),
    ("ssl", "paper"): ImageRows(
        _encoders({"barlow_twins": replace(_CIFAR_SSL, recipe=RECIPES["barlow_twins"]), "simclr": _CIFAR_SSL})
    ),
}
