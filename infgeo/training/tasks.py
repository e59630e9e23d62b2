"""Classification tasks as values: XOR, the sinusoid, handwritten digits; `image_files` has MNIST and CIFAR-10."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
import torch

from infgeo.arguments import flag, optional_import, positive_integer, real_number, seed_integer, shown
from infgeo.display import Displayed
from infgeo.errors import InvalidInput
from infgeo.finite.inputs import checked_device, float_dtype
from infgeo.finite.samplers import generator

Moments = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel


@dataclass(frozen=True, eq=False, repr=False)
class Task(Displayed):
    """Labelled points to train on and to test on.

    Attributes:
        name: of the task, "xor", "digits", ...
        inputs: training points (N, *input_shape), float32 or float64.
        labels: (N,), int64, from 0 to len(classes) − 1.
        test_inputs, test_labels: like them; may have 0 rows.
        classes: names of the classes.
        mean, std: what the pixels in [0, 1] of each channel were shifted and divided by; None for other data.
        source: where the data come from, in one line.

    Raises:
        InvalidInput: for shapes, dtypes and labels that do not fit one another, and values that are not finite.
    """

    name: str
    inputs: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    test_inputs: torch.Tensor = field(repr=False)
    test_labels: torch.Tensor = field(repr=False)
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.classes, tuple | list) or not all(isinstance(c, str) for c in self.classes):
            raise InvalidInput(f"{self.name}: classes is {self.classes!r}; pass a tuple of names")
        object.__setattr__(self, "classes", tuple(self.classes))
        for prefix in ("", "test_"):
            points, labels = getattr(self, f"{prefix}inputs"), getattr(self, f"{prefix}labels")
            _check_points(f"{self.name}: {prefix}inputs", points)
            _check_labels(f"{self.name}: {prefix}labels", labels, len(points), len(self.classes))
        if self.test_inputs.shape[1:] != self.inputs.shape[1:] or self.test_inputs.dtype != self.inputs.dtype:
            raise InvalidInput(
                f"{self.name}: test_inputs are {tuple(self.test_inputs.shape)} {self.test_inputs.dtype}, inputs are "
                f"{tuple(self.inputs.shape)} {self.inputs.dtype}; points and dtype must be alike"
            )
        if self.mean is not None or self.std is not None:  # of the channels, or flattened of as many as fit
            counts = {0 if values is None else len(values) for values in (self.mean, self.std)}
            first, some = self.inputs.shape[1], min(counts)
            if len(counts) > 1 or not some or first % some or (self.inputs.ndim > 2 and first != some):
                raise InvalidInput(
                    f"{self.name}: mean is {self.mean} and std is {self.std} for points of shape {self.input_shape};"
                    " pass one number of each for a channel, or neither"
                )
        if not len(self.inputs):
            raise InvalidInput(f"{self.name}: inputs has 0 rows; there is nothing to train on")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one point."""
        return tuple(self.inputs.shape[1:])

    @property
    def value_range(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The values that pixels 0 and 1 have after normalisation, float64, (C, 1, 1) or, flattened, (d,), or None."""
        if self.mean is None or self.std is None:
            return None
        mean, std = (torch.tensor(v, dtype=torch.float64, device="cpu")[:, None, None] for v in (self.mean, self.std))
        if len(self.input_shape) == 1:
            pixels = self.input_shape[0] // len(self.mean)
            mean, std = (v.flatten().repeat_interleave(pixels) for v in (mean, std))
        return -mean / std, (1.0 - mean) / std

    def subset(self, n: int, seed: int = 0) -> "Task":
        """Return the task with n of its training points, drawn without replacement; the test points stay."""
        count, seed = positive_integer(n, "n"), seed_integer(seed, 63)
        if count > len(self.inputs):
            raise InvalidInput(f"n is {count}; {self.name} has {len(self.inputs)} training points")
        chosen = torch.from_numpy(generator(seed).permutation(len(self.inputs))[:count])
        chosen = chosen.to(self.inputs.device)
        source = f"{self.source} ({count} of {len(self.inputs)} training points, seed {seed})"
        return replace(self, inputs=self.inputs[chosen], labels=self.labels[chosen], source=source)

    def resplit(self, test_fraction: float = 0.25, seed: int = 0) -> "Task":
        """Return the task with all its points split anew at random: `test_fraction` of them, in (0, 1), to test on."""
        inputs, labels = torch.cat([self.inputs, self.test_inputs]), torch.cat([self.labels, self.test_labels])
        share = real_number(test_fraction, "test_fraction", minimum=0.0, strict=True)
        count = round((1 - share) * len(inputs))
        if not 0 < count < len(inputs):
            raise InvalidInput(
                f"test_fraction is {share:g} of {len(inputs)} points; leave some to train and to test on"
            )
        order = torch.from_numpy(generator(seed_integer(seed, 63)).permutation(len(inputs))).to(inputs.device)
        chosen, rest = order[:count], order[count:]
        source = f"{self.source}, split anew at random, {share:.0%} to test on, seed {seed}"
        return replace(self, inputs=inputs[chosen], labels=labels[chosen], test_inputs=inputs[rest],
                       test_labels=labels[rest], source=source)  # fmt: skip

    def flattened(self) -> "Task":
        """Return the task with points of one axis, (N, d), in row-major order: for multilayer perceptrons."""
        return replace(self, inputs=self.inputs.flatten(1), test_inputs=self.test_inputs.flatten(1))

    def to(self, device: torch.device | str) -> "Task":
        """Return the task with its tensors on `device`; InvalidInput where torch has no such device."""
        place = checked_device(device)
        names = ("inputs", "labels", "test_inputs", "test_labels")
        return replace(self, **{name: getattr(self, name).to(place) for name in names})


def _check_points(name: str, points: Any) -> None:
    if not isinstance(points, torch.Tensor) or points.dtype not in (torch.float32, torch.float64):
        kind = points.dtype if isinstance(points, torch.Tensor) else type(points).__name__
        raise InvalidInput(f"{name} is {kind}; pass a float32 or float64 tensor (N, *input_shape)")
    if points.ndim < 2 or 0 in points.shape[1:]:
        raise InvalidInput(f"{name} has shape {tuple(points.shape)}; it must be (N, *input_shape)")
    if not bool(torch.isfinite(points).all()):
        row = int((~torch.isfinite(points.flatten(1))).any(1).nonzero()[0])
        raise InvalidInput(f"{name}[{row}] has a value that is not finite; remove or repair that point")


def _check_labels(name: str, labels: Any, count: int, classes: int) -> None:
    if not isinstance(labels, torch.Tensor) or labels.dtype != torch.int64 or tuple(labels.shape) != (count,):
        kind = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise InvalidInput(f"{name} is {kind}; pass an int64 tensor ({count},), one label a point")
    wrong = (labels < 0) | (labels >= classes)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise InvalidInput(f"{name}[{row}] is {int(labels[row])}; labels go from 0 to {classes - 1}")


def _points_task(name: str, parts: list[tuple[numpy.ndarray, numpy.ndarray]], dtype: Any, source: str) -> Task:
    """Return a task in the plane of two classes from its (points, labels), to train on and to test on."""
    kind = float_dtype(torch.float32 if dtype is None else dtype)
    tensors = [(torch.from_numpy(x).to(kind), torch.from_numpy(y).to(torch.int64)) for x, y in parts]
    return Task(name, *tensors[0], *tensors[1], classes=("0", "1"), source=source)


_CORNERS = numpy.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
_CORNER_LABELS = numpy.array([0, 1, 1, 0])


def xor(dtype: torch.dtype = torch.float32) -> Task:
    """Return XOR: the four points (±1, ±1), label 1 where the signs differ. No test points.

    Source: arXiv 2301.11375, appendix on experiments.

    >>> xor().labels.tolist()
    [0, 1, 1, 0]
    """
    empty = numpy.empty((0, 2)), numpy.empty(0)
    return _points_task("xor", [(_CORNERS, _CORNER_LABELS), empty], dtype, "the four points (±1, ±1)")


def noisy_xor(
    points: int = 400,
    seed: int = 0,
    *,
    variance: float = 0.15,
    test_points: int = 400,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Return noisy XOR: normal clouds of this variance (a coordinate) around the four points of `xor`, equally many.

    Source: arXiv 2301.11375, appendix on experiments; the variance .15 is that of the authors' published script.
    """
    seed, variance = seed_integer(seed, 63), real_number(variance, "variance", minimum=0.0)
    spread = math.sqrt(variance)

    def sample(count: int, stream: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        numbers = numpy.random.default_rng([seed, stream])
        corner = numbers.permutation(numpy.arange(count) % 4)
        return _CORNERS[corner] + spread * numbers.standard_normal((count, 2)), _CORNER_LABELS[corner]

    counts = positive_integer(points, "points"), positive_integer(test_points, "test_points", minimum=0)
    source = f"normal clouds of variance {variance:g} around (±1, ±1), seed {seed}"
    return _points_task("noisy_xor", [sample(count, i) for i, count in enumerate(counts)], dtype, source)


def sinusoid(points: int = 400, seed: int = 0, *, test_points: int = 400, dtype: torch.dtype = torch.float32) -> Task:
    """Return the sinusoid: points of U[−1, 1]², label 1 where y > 3/5 sin(7x − 1).

    The training points do not depend on the number of test points. Labels are those of the points as they are, after
    rounding to `dtype`.

    Source: arXiv 2301.11375, section on shallow networks.

    >>> task = sinusoid()
    >>> tuple(task.inputs.shape), task.input_shape, task.classes
    ((400, 2), (2,), ('0', '1'))
    """
    kind = float_dtype(torch.float32 if dtype is None else dtype)

    seed = seed_integer(seed, 63)

    def sample(count: int, stream: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        uniform = numpy.random.default_rng([seed, stream]).uniform(-1.0, 1.0, (count, 2))
        x = torch.from_numpy(uniform).to(kind).double().numpy()
        return x, x[:, 1] > 0.6 * numpy.sin(7.0 * x[:, 0] - 1.0)

    counts = positive_integer(points, "points"), positive_integer(test_points, "test_points", minimum=0)
    parts = [sample(count, i) for i, count in enumerate(counts)]
    return _points_task("sinusoid", parts, kind, f"U[-1, 1]^2, label 1 where y > 3/5 sin(7x - 1), seed {seed}")


def digits(
    seed: int = 0, *, test_fraction: float = 0.2, normalise: bool | Moments = True, dtype: torch.dtype = torch.float32
) -> Task:
    """Return scikit-learn's bundled handwritten digits: 1797 images (1, 8, 8), split by `seed`; needs no network.

    Every class is split in the same proportion. Pixels are scaled to [0, 1], then (with `normalise`) shifted and
    divided by the mean and standard deviation of the training pixels.

    Args:
        seed: of the split, 0 <= seed < 2^32.
        test_fraction: in (0, 1), of the images that are kept for testing.
        normalise: whether to shift and divide by these moments, or others (mean, std).
        dtype: torch.float32 or torch.float64.

    Raises:
        MissingExtra: without scikit-learn. InvalidInput: for a value outside its domain.

    Source: the test set of Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, as scikit-learn holds it.
    """
    with optional_import("the task digits()", "sklearn"):
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    share = _share_to_test(test_fraction)
    data = load_digits()
    split = train_test_split(
        numpy.arange(len(data.target)), test_size=share, random_state=seed_integer(seed, 32), stratify=data.target
    )
    images, labels = data.images[:, None] / 16.0, data.target
    parts = [(images[rows], labels[rows]) for rows in split]
    source = f"the digits bundled with scikit-learn (8x8, Alpaydin & Kaynak 1998), split by seed {seed}"
    return image_task("digits", parts, tuple(map(str, range(10))), normalise, dtype, source)


# Rectangles (left, top, right, bottom) of scikit-learn's two photographs, china.jpg and flower.jpg (427 x 640 pixels).
_REGIONS = {
    "sky": ("china", ((330, 0, 640, 130), (0, 0, 90, 136))),
    "water": ("china", ((352, 224, 544, 272), (344, 272, 520, 296))),
    "pagoda": ("china", ((104, 136, 320, 328),)),
    "trees": ("china", ((344, 312, 640, 424), (568, 184, 640, 312), (0, 352, 192, 424))),
    "flower": ("flower", ((200, 120, 416, 320),)),
    "leaves": ("flower", ((0, 0, 160, 424), (464, 0, 600, 360))),
}


def _share_to_test(test_fraction: float) -> float:
    share = real_number(test_fraction, "test_fraction", minimum=0.0, strict=True)
    if not 0.01 <= share <= 0.99:
        raise InvalidInput(f"test_fraction is {share:g}; pass a number from 0.01 to 0.99")
    return share


def patches(
    seed: int = 0,
    *,
    size: int = 8,
    test_fraction: float = 0.25,
    normalise: bool | Moments = True,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Return colour patches (3, size, size) of scikit-learn's two bundled photographs: of six regions, the classes.

    The patches of a region do not overlap; of each region there are equally many (at 8 pixels 210), drawn by `seed`, of
    which `test_fraction` are to test on. Arguments and errors are those of `digits`, and:

    Args:
        size: pixels, 4 to 16.
        normalise: whether to shift and divide by the moments of the training pixels, or (mean, std) to do so by.

    Source: china.jpg and flower.jpg of scikit-learn's `load_sample_images` (CC BY, their README.txt).

    >>> task = patches()
    >>> tuple(task.inputs.shape), task.classes
    ((948, 3, 8, 8), ('sky', 'water', 'pagoda', 'trees', 'flower', 'leaves'))
    """
    # scikit-learn, or Pillow, by which it reads them and which comes with matplotlib
    with optional_import("the task patches()", "reproduce"):
        from sklearn.datasets import load_sample_image

        photographs = {name: load_sample_image(f"{name}.jpg").transpose(2, 0, 1) for name in ("china", "flower")}
    side = positive_integer(size, "size", 4, maximum=16)
    numbers = generator(seed_integer(seed, 32))
    regions = []
    for photograph, rectangles in _REGIONS.values():
        pixels = photographs[photograph]
        corners = [
            (y, x)
            for left, top, right, bottom in rectangles
            for y in range(top, bottom - side + 1, side)
            for x in range(left, right - side + 1, side)
        ]
        regions.append(numpy.stack([pixels[:, y : y + side, x : x + side] for y, x in corners]))
    count = min(map(len, regions))
    chosen = numpy.concatenate([region[numbers.permutation(len(region))[:count]] for region in regions])
    labels = numpy.repeat(numpy.arange(len(regions)), count)
    kept = numpy.arange(len(chosen)) % count >= round(_share_to_test(test_fraction) * count)
    parts = [(chosen[rows], labels[rows]) for rows in (kept, ~kept)]
    source = f"{side}x{side} patches of six regions of scikit-learn's two photographs, drawn by seed {seed}"
    return image_task("patches", parts, tuple(_REGIONS), normalise, dtype, source)


def image_task(
    name: str,
    parts: list[tuple[numpy.ndarray, numpy.ndarray]],
    classes: tuple[str, ...],
    normalise: bool | Moments,
    dtype: Any,
    source: str,
) -> Task:
    """Return a task of images from (pixels in [0, 1] or uint8 (N, C, H, W), labels), to train on and to test on.

    Mean and standard deviation of each channel are those given, or of the training pixels, in float64.
    """
    kind = float_dtype(torch.float32 if dtype is None else dtype)
    mean = std = None
    if isinstance(normalise, tuple):
        channels = parts[0][0].shape[1]
        if len(normalise) != 2 or not all(isinstance(part, tuple) and len(part) == channels for part in normalise):
            raise InvalidInput(
                f"normalise = {shown(normalise)} must be a bool, or (mean, std) with {channels} numbers each"
            )
        mean = tuple(real_number(value, "normalise") for value in normalise[0])
        std = tuple(real_number(value, "normalise", minimum=0.0, strict=True) for value in normalise[1])
    elif flag(normalise, "normalise"):
        mean, std = _moments(parts[0][0])
    tensors = []
    for pixels, labels in parts:
        x = torch.from_numpy(numpy.array(pixels)).to(kind)  # a copy: what was read from a file is read-only
        if pixels.dtype == numpy.uint8:
            x.div_(255.0)
        if mean is not None and std is not None:
            x.sub_(x.new_tensor(mean).reshape(-1, 1, 1)).div_(x.new_tensor(std).reshape(-1, 1, 1))
        tensors.append((x, torch.from_numpy(labels.astype(numpy.int64))))
    return Task(name, *tensors[0], *tensors[1], classes=classes, mean=mean, std=std, source=source)


def _moments(pixels: numpy.ndarray) -> Moments:
    """Return mean and standard deviation of each channel of pixels (N, C, H, W) on the scale [0, 1]."""
    scale = 255.0 if pixels.dtype == numpy.uint8 else 1.0
    means, deviations = [], []
    for channel in range(pixels.shape[1]):
        if pixels.dtype == numpy.uint8:  # exact sums from the histogram: no copy of the images in float64
            values, counts = numpy.arange(256) / scale, numpy.bincount(pixels[:, channel].ravel(), minlength=256)
        else:
            values, counts = numpy.unique(pixels[:, channel], return_counts=True)
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        deviations.append(math.sqrt(counts @ (values - mean) ** 2 / counts.sum()))
    if 0.0 in deviations:
        raise InvalidInput(f"channel {deviations.index(0.0)} of the images is constant; pass normalise=False")
    return tuple(means), tuple(deviations)
