"""The hyperparameters of every figure at every scale, as data: what runs is the same code.

SETTINGS are the published ones, those of the authors' public scripts (repository nn_curvature). DEPARTURES say, setting
by setting, where we would choose otherwise: `settings_of(name, scale, "ours")` is SETTINGS with all of them.

Epochs that are shown are those at which the geometry is measured: the first is 0, before training, and the last one the
end of the training.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from infgeo.arguments import one_of
from infgeo.errors import InvalidInput
from infgeo.training.recipe import RECIPES, Recipe
from infgeo.training.tasks import Moments

CHOICES = ("published", "ours")


@dataclass(frozen=True)
class CubeRoots:
    """Figure D.1: networks of three hidden units whose weights are the cube roots of unity."""

    biases: tuple[float, ...] = (0.0, 1.0)
    half_width: float = 2.5
    points: int = 161


@dataclass(frozen=True)
class Planar:
    """A perceptron on two-dimensional inputs, measured on a square grid around 0.

    `task` is "xor", "noisy_xor" or "sinusoid"; each hidden layer is measured, and the maps show `field`, "log10_volume"
    or "ricci". `parametrisation` is that of `infgeo.training.mlp`, `double` trains in float64; maps begin with epoch
    `first`.
    """

    task: str
    widths: tuple[int, ...]
    recipe: Recipe
    shown: tuple[int, ...]
    activation: str = "sigmoid"
    half_width: float = 1.5
    points: int = 40
    field: str = "log10_volume"
    parametrisation: str = "scripts"
    double: bool = True
    first: int = 1

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the hidden layers' features."""
        return tuple(f"activation{i + 1}" for i in range(len(self.widths) - 2))


@dataclass(frozen=True)
class Learning:
    """Networks of erf units that learn labels ±1, on a square grid around 0, against `infgeo.learned`.

    `task` is "xor", or "sinusoid" with so many `examples`. Posteriors take `chains` at all `widths` with the first of
    `noises` and `label_scales`, and at width `shown` with the others; descents take `networks`.
    """

    task: str
    widths: tuple[int, ...]
    chains: int
    networks: int
    step_rate: float
    descent_rate: float
    descent_steps: int
    examples: int = 4
    noises: tuple[float, ...] = (0.1, 1.0, 0.01)
    label_scales: tuple[float, ...] = (1.0, 2.0, 4.0)
    shown: int = 200
    half_width: float = 1.5
    points: int = 17


@dataclass(frozen=True)
class Penalty:
    """Networks [2, width, 2] on the sinusoid with so many `examples`, a share `flipped` of them with the other label.

    The penalty is on the share `uncertain` of them, with each of `strengths`; maps are drawn for those `shown`.
    """

    task: str = "sinusoid"
    width: int = 50
    examples: int = 400
    flipped: float = 0.1
    uncertain: float = 0.1
    strengths: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
    shown: tuple[float, ...] = (0.0, 0.1, 1.0)
    steps: int = 2000
    rate: float = 0.03
    activation: str = "sigmoid"
    test_points: int = 4000
    half_width: float = 1.0
    points: int = 40


@dataclass(frozen=True)
class Images:
    """A network on images, measured on lines and planes through test images of the classes named.

    `data` is "digits", "patches", "mnist" or "cifar10" (`train_images` of them, or all), `split` the share of a random
    split (None: the published one), `normalise` as for `infgeo.training.mnist`. `network` is "mlp", "small_resnet" or a
    key of `BLOCKS`, with hidden `widths`, and activation `stem` in the stem if that is another one. `layers` are the
    features, of which "pooled1", ... are those of the stages, pooled to one size. A line within one class is a control.

    `augmentation` names views of `infgeo.training.views`. `objective` is "labels", "barlow_twins" or "simclr", with a
    head of `hidden` and `embedding` units of `head`, and `separate` norms of the two views. `double` trains in float64;
    geometry is measured in float64 at small scale, lines and planes are drawn from epoch `first` on. `spectra` says
    whether singular values are measured at the images, too, in float64.
    """

    name: str
    data: str
    network: str
    activation: str
    recipe: Recipe
    shown: tuple[int, ...]
    layers: tuple[str, ...] = ("pool",)
    widths: tuple[int, ...] = ()
    lines: tuple[tuple[int, int], ...] = ()
    planes: tuple[tuple[int, int, int], ...] = ()
    line_points: int = 64
    plane_points: int = 80
    train_images: int | None = None
    split: float | None = None
    normalise: bool | Moments = True
    parametrisation: str = "scripts"
    stem: str | None = None
    augmentation: str | None = None
    objective: str = "labels"
    hidden: tuple[int, ...] = ()
    embedding: int = 256
    head: str = "relu"
    separate: bool = True
    redundancy: float = 0.005
    temperature: float = 0.07
    double: bool = False
    measured_in_double: bool = False
    first: int = 1
    spectra: bool = True


@dataclass(frozen=True)
class Rows:
    """A figure of one or several networks, planar ones or on images, one below the other."""

    rows: tuple[Any, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the rows: of images their own, else tasks, with the width where tasks repeat."""
        if isinstance(self.rows[0], Images):
            return tuple(row.name for row in self.rows)
        tasks = [row.task for row in self.rows]
        return tuple(
            t if tasks.count(t) == 1 else f"{t}{row.widths[1]}" for t, row in zip(tasks, self.rows, strict=True)
        )


BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
_XOR, _SINUSOID = (0, 1, 100, 500, 2000), (0, 1, 50, 200, 1000, 10_000)
_FOUR_POINTS = Planar("xor", (2, 250, 2), RECIPES["xor"], _XOR)
_NOISY = Planar("noisy_xor", (2, 250, 2), replace(RECIPES["xor"], batch_size=50), _XOR)
_WAVE = Planar("sinusoid", (2, 250, 2), RECIPES["sinusoid"], _SINUSOID)


def _widths(row: Planar, *widths: int) -> tuple[Planar, ...]:
    return tuple(replace(row, widths=(2, n, 2)) for n in widths)


def _brief(rows: Rows) -> Rows:
    """Return the sinusoid trained for a fifth of its epochs."""
    shown = (0, 1, 50, 200, 2000)
    return Rows(tuple(replace(row, shown=shown, recipe=replace(row.recipe, epochs=2000)) for row in rows.rows))


XOR, FIG1 = Rows((_FOUR_POINTS, _NOISY)), Rows((_WAVE,))
DEEP = Rows((replace(_WAVE, widths=(2, 8, 8, 8, 2)),))
CURVATURE = Rows(tuple(replace(row, field="ricci") for row in (_WAVE, _NOISY)))
WIDTHS = Rows((*_widths(_WAVE, 5, 20), *_widths(_NOISY, 10, 100)))

# Classes of digits are their values. CIFAR-10's 1, 5, 6, 7 are car, dog, frog, horse; those of the patches that stand
# in for them are 2 pagoda, 3 trees, 4 flower and 1 water. The line of the caption comes first, then the control within
# one class, then further pairs, which the numbers count.
_DIGITS_LINES, _DIGITS_PLANES = ((7, 6), (7, 7), (1, 6), (5, 6), (5, 1)), ((7, 6, 1),)
_PATCH_LINES, _PATCH_PLANES = ((2, 3), (2, 2), (3, 4), (1, 0)), ((2, 3, 4),)
_CIFAR_LINES, _CIFAR_PLANES = ((7, 6), (7, 7), (5, 1), (5, 6)), ((7, 6, 1),)
_CIFAR_MOMENTS = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_IMAGENET_MOMENTS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_MNIST = Images(
    "mnist", "mnist", "mlp", "sigmoid", RECIPES["mnist"], (0, 1, 10, 200), ("activation1",), (2000,), _DIGITS_LINES,
    _DIGITS_PLANES, split=0.25, normalise=False, double=True, measured_in_double=True,
)  # fmt: skip
_DIGITS = replace(
    _MNIST, name="digits", data="digits", recipe=replace(RECIPES["mnist"], batch_size=100), plane_points=32
)
_BRIEF_DIGITS = replace(_DIGITS, shown=(0, 1, 10, 50), recipe=replace(_DIGITS.recipe, epochs=50))
_PATCHES = Images(
    "patches", "patches", "small_resnet", "gelu",
    Recipe(learning_rate=0.05, momentum=0.9, weight_decay=1e-4, batch_size=64, epochs=30), (0, 1, 30),
    widths=(8, 16, 32), lines=_PATCH_LINES, planes=_PATCH_PLANES, plane_points=24, augmentation="flips",
    measured_in_double=True,
)  # fmt: skip
_CIFAR = Images(
    "cifar10", "cifar10", "resnet34", "gelu", replace(RECIPES["cifar10"], epochs=500), (0, 1, 50, 200, 500),
    widths=(64, 128, 256, 512), lines=_CIFAR_LINES, planes=_CIFAR_PLANES, augmentation="crops",
    normalise=_CIFAR_MOMENTS,
)  # fmt: skip


def _blocks(row: Images, line: tuple[int, int]) -> Rows:
    """Return the line across the stages, at the start and at the end."""
    layers = tuple(f"pooled{i + 1}" for i in range(len(row.widths)))
    return Rows((replace(row, layers=layers, lines=(line,), planes=(), shown=(0, 1, row.shown[-1])),))


def _relu(digits: Images, images: Images) -> Rows:
    perceptron = replace(digits, name="relu_mlp", activation="relu", planes=())
    return Rows((perceptron, replace(images, name="relu_resnet", stem="relu", planes=())))


def _encoders(row: Images, batches: tuple[int, int], embedding: int, hidden: int) -> Rows:
    """Return Barlow Twins and SimCLR, with batches of these sizes."""
    rows = [
        replace(row, name=name, objective=name, augmentation=views, recipe=replace(
            row.recipe, batch_size=size, drop_last=True, epochs=row.shown[-1]))
        for (name, views), size in zip((("barlow_twins", "barlow"), ("simclr", "simclr")), batches, strict=True)
    ]  # fmt: skip
    barlow = replace(rows[0], normalise=_IMAGENET_MOMENTS, embedding=embedding)
    return Rows((barlow, replace(rows[1], normalise=False, head="gelu", embedding=10, hidden=(hidden,))))


_LEARNING = (
    Learning("xor", (50, 200, 1000, 5000), 32, 32, 1.0, 0.1, 300),
    Learning("sinusoid", (50, 200, 1000, 5000), 16, 16, 0.2, 0.02, 150, examples=40),
)
_PATCH_VIEWS = replace(_PATCHES, plane_points=16, lines=_PATCH_LINES[:3])
_CIFAR_VIEWS = replace(_CIFAR, shown=(0, 1, 50, 200, 1000))

SETTINGS: Mapping[tuple[str, str], Any] = {
    ("figD1", "small"): CubeRoots(),
    ("figD1", "paper"): CubeRoots(points=401),
    **{(name, scale): rows for scale in ("small", "paper") for name, rows in
       (("fig1", FIG1), ("xor", XOR), ("deep", DEEP))},
    ("widths", "small"): _brief(WIDTHS),
    ("widths", "paper"): WIDTHS,
    ("curvature", "small"): _brief(CURVATURE),
    ("curvature", "paper"): CURVATURE,
    ("fig2", "small"): Rows((_DIGITS,)),
    ("fig2", "paper"): Rows((_MNIST,)),
    ("fig3", "small"): Rows((_PATCHES,)),
    ("fig3", "paper"): Rows((_CIFAR,)),
    ("fig4", "small"): _blocks(_PATCHES, (4, 2)),
    ("fig4", "paper"): _blocks(_CIFAR, (1, 5)),
    ("planes", "small"): Rows((replace(_PATCHES, lines=(), planes=((2, 3, 4), (1, 0, 5))),)),
    ("planes", "paper"): Rows((replace(_CIFAR, lines=(), planes=((7, 6, 1), (5, 6, 1), (5, 6, 7))),)),
    ("relu", "small"): _relu(_BRIEF_DIGITS, _PATCHES),
    ("relu", "paper"): _relu(_MNIST, _CIFAR),
    ("ssl", "small"): _encoders(_PATCH_VIEWS, (128, 128), 32, 32),
    ("ssl", "paper"): _encoders(_CIFAR_VIEWS, (1024, 512), 256, 512),
    ("learned", "small"): Rows(_LEARNING),
    ("learned", "paper"): Rows(tuple(replace(
        row, widths=(50, 100, 200, 500, 1000, 2000, 5000), noises=(0.1, 1.0, 0.03, 0.01), chains=128, networks=128)
        for row in _LEARNING)),
    ("penalty", "small"): Rows((Penalty(),)),
    ("penalty", "paper"): Rows((Penalty(),)),
}  # fmt: skip


@dataclass(frozen=True)
class Departure:
    """Where we would choose otherwise than the scripts: `changes` of the rows whose fields are as `where` says.

    A key "recipe.NAME" is a field of the recipe. `effect` says what the published setting does.
    """

    key: str
    published: str
    ours: str
    effect: str
    where: Mapping[str, tuple[Any, ...]]
    changes: Mapping[str, Any]


SOURCE = "the authors' scripts, repository nn_curvature"
DEPARTURES = (
    Departure(
        "M3", "pixels as they are, a random 75/25 split", "standardised pixels, the published split",
        "units see the bright pixels alone", {"network": ("mlp",)}, {"normalise": True, "split": None},
    ),
    Departure(
        "M4", "biases behind the first layer are divided by the root of the width, too", "biases as in the text",
        "deeper layers have nearly no bias; the features of one hidden layer are the same",
        {"parametrisation": ("scripts",)}, {"parametrisation": "paper"},
    ),
    Departure(
        "M5", "batches of 50 points", "all 400 points at once", "eight noisy steps an epoch in place of one",
        {"task": ("noisy_xor",)}, {"recipe.batch_size": None},
    ),
    Departure(
        "M7", "epoch 0 is measured after one epoch", "at initialisation",
        "the first map has seen training; numbers before training are at initialisation in both",
        {"first": (1,)}, {"first": 0},
    ),
    Departure("M8", "trained in float64", "in float32", "none that is seen", {"double": (True,)}, {"double": False}),
    Departure(
        "M9", "a bias-free linear head; norms see each view alone",
        "two hidden layers of 256 with norms; norms see both views", "the loss acts on the features nearly directly",
        {"objective": ("barlow_twins",)}, {"hidden": (256, 256), "embedding": 256, "separate": False},
    ),
    Departure(
        "M10", "a head with 10 outputs and GELU", "256 outputs, ReLU", "the loss sees 10 directions alone",
        {"objective": ("simclr",)}, {"embedding": 256, "head": "relu", "separate": False},
    ),
    Departure(
        "M11", "views and normalisation of each method's own", "one recipe for both, pixels standardised",
        "methods differ by their views, too", {"augmentation": ("barlow", "simclr")},
        {"augmentation": "colour", "normalise": True},
    ),
    Departure(
        "M12", "deviations .2023, .1994, .2010", "those of the training pixels, .247, .243, .262",
        "pixels are a quarter larger than standardised", {"normalise": (_CIFAR_MOMENTS,)}, {"normalise": True},
    ),
    Departure(
        "ReLU", "ReLU in the stem alone, for the blocks never receive the choice", "ReLU everywhere",
        "the network is a GELU network: curved, where a ReLU network is flat",
        {"stem": ("relu",)}, {"stem": None, "activation": "relu"},
    ),
)  # fmt: skip


def settings_of(name: str, scale: str, choice: str = "published") -> tuple[Any, tuple[Departure, ...]]:
    """Return the settings of a figure, and the departures that concern it, taken where `choice` is "ours"."""
    settings = SETTINGS[name, scale]
    if not isinstance(settings, Rows):
        return settings, ()

    def ours(departure: Departure, row: Any) -> Any:
        """Return the row with our choice, or as it is where the departure does not concern it."""
        if any(getattr(row, name, None) not in values for name, values in departure.where.items()):
            return row
        own = {name: value for name, value in departure.changes.items() if "." not in name}
        recipe = {name.removeprefix("recipe."): value for name, value in departure.changes.items() if "." in name}
        return replace(row, **own, **({"recipe": replace(row.recipe, **recipe)} if recipe else {}))

    rows, concerned = settings.rows, []
    for departure in DEPARTURES:
        changed = tuple(ours(departure, row) for row in rows)
        if changed != rows:
            concerned.append(departure)
            rows = changed
    return Rows(rows) if choice == "ours" else settings, tuple(concerned)


def with_network(settings: Any, network: str | None = None, activation: str | None = None) -> Any:
    """Return the settings with another ResNet of `BLOCKS`, another activation of residual networks, or as they are.

    Raises InvalidInput where no network is one that can be exchanged.
    """
    if network is None and activation is None:
        return settings
    found = [row for row in getattr(settings, "rows", ()) if isinstance(row, Images) and row.network != "mlp"]
    changes = {}
    if network is not None:
        changes["network"] = one_of(network, "network", tuple(BLOCKS))
        found = [row for row in found if row.network in BLOCKS]
    if activation is not None:
        changes["activation"] = activation
    if not found:
        raise InvalidInput(
            f"{' and '.join(changes)} cannot be chosen: this figure has no ResNet at this scale; pass scale='paper' of"
            " a figure of images, on the command line --scale paper"
        )
    return Rows(tuple(replace(row, **changes) if row in found else row for row in settings.rows))
