"""MNIST and CIFAR-10 as tasks: from files, or through OpenML where the user asks for it."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from infgeo.arguments import flag, optional_import
from infgeo.errors import InvalidInput
from infgeo.files import file_path
from infgeo.training import image_files
from infgeo.training.tasks import Moments, Task, image_task

_VARIABLE = "INFGEO_DATA"  # the folder with the files, where root is not given
Parts = list[tuple[numpy.ndarray, numpy.ndarray]]


@dataclass(frozen=True)
class _Published:
    """A published data set: its function here, names, files, and OpenML's copy of it."""

    maker: str
    name: str
    files: str
    read: Callable[..., Parts]
    dataset: str
    shape: tuple[int, ...]
    train: int
    test_counts: tuple[int, ...]  # images of each class


_MNIST = _Published(
    "mnist",
    "MNIST",
    ", ".join(f"{name}.gz" for name in image_files.MNIST_MD5),
    image_files.read_mnist,
    "mnist_784",
    (1, 28, 28),
    60_000,
    (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
)
_CIFAR10 = _Published(
    "cifar10",
    "CIFAR-10",
    f"{image_files.CIFAR10_ARCHIVE}, or its unpacked files",
    image_files.read_cifar10,
    "CIFAR_10",
    (3, 32, 32),
    50_000,
    (1000,) * 10,
)


def mnist(
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    *,
    verify: bool = True,
    normalise: bool | Moments = True,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Return MNIST: 60000 images (1, 28, 28) to train on, 10000 to test on.

    Pixels are scaled to [0, 1], then (with `normalise`) shifted and divided by the mean and standard deviation of the
    training pixels.

    Args:
        root: folder with the four published files, gzipped or not; by default the folder that the environment variable
            INFGEO_DATA names.
        download: fetch the data from OpenML with scikit-learn (which checks their checksum and keeps them in `root`)
            instead of reading files.
        verify: whether files must have the published checksums; False takes any files of this form.
        normalise: whether to shift and divide by these moments, or others (mean, std); those of the task say by what.
        dtype: torch.float32 or torch.float64.

    Raises:
        InvalidInput: for files that are missing, truncated, or not the published ones; where OpenML is out of reach.
        MissingExtra: for download=True without scikit-learn.

    Source: LeCun, Cortes & Burges, The MNIST database of handwritten digits.
    """
    parts, source = _parts(_MNIST, root, download, verify)
    return image_task("mnist", parts, tuple(map(str, range(10))), normalise, dtype, source)


def cifar10(
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    *,
    verify: bool = True,
    normalise: bool | Moments = True,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Return CIFAR-10: 50000 images (3, 32, 32) to train on, 10000 to test on.

    Arguments and errors are those of `mnist`; `root` holds cifar-10-binary.tar.gz or its unpacked files
    (data_batch_1.bin, ..., test_batch.bin), or is the archive itself. Mean and standard deviation are those of each
    colour.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    parts, source = _parts(_CIFAR10, root, download, verify)
    return image_task("cifar10", parts, image_files.CIFAR10_CLASSES, normalise, dtype, source)


def _parts(published: _Published, root: Any, download: bool, verify: bool) -> tuple[Parts, str]:
    """Return (images, labels) to train on and to test on, and where they come from.

    With `download` the folder is where they are to be kept (None: scikit-learn's own folder).
    """
    download = flag(download, "download")
    place = os.environ.get(_VARIABLE) or None if root is None else root
    place = None if place is None else str(file_path(place, "root"))
    if download:
        return _openml(published, place), f"{published.name}, OpenML's {published.dataset}, version 1"
    where = "no root is given" if place is None else f"root is {place!r}, which does not exist"
    if place is not None and os.path.exists(place):
        try:
            parts = published.read(place, verify=verify)
            return parts, f"{published.name}, {'the published files' if verify else 'files not verified'}, in {place}"
        except image_files.MissingFiles as error:
            where = str(error)
    maker = published.maker
    raise InvalidInput(
        f"{maker}: {where}; pass {maker}(root=FOLDER) (or set {_VARIABLE}) with the published files, {published.files};"
        f" or, with a network, {maker}(download=True), from OpenML; or take digits(), which comes with scikit-learn"
    )


def _openml(published: _Published, place: str | None) -> Parts:
    """Return OpenML's copy of a data set; its rows are those to train on, then those to test on, which is checked."""
    with optional_import("download=True", "sklearn"):
        from sklearn.datasets import fetch_openml
    name, first, test_counts = published.dataset, published.train, published.test_counts
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of each attempt that fails
            bunch = fetch_openml(name, version=1, data_home=place, as_frame=False, parser="liac-arff", n_retries=1)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(
            f"OpenML's {name} could not be fetched ({reason}); try again with a network, pass root=FOLDER with the "
            "published files, or take digits(), which comes with scikit-learn"
        ) from None
    pixels, labels = numpy.asarray(bunch.data), numpy.asarray(bunch.target).astype(numpy.int64)
    expected = (first + sum(test_counts), *published.shape)
    bytes_only = pixels.dtype.kind in "uif" and pixels.size and pixels.min() >= 0 and pixels.max() <= 255
    if len(pixels) != expected[0] or pixels[0].size != numpy.prod(published.shape) or not bytes_only:
        raise InvalidInput(
            f"OpenML's {name} is {pixels.shape} {pixels.dtype}; it should be bytes {expected}: pass root=FOLDER"
        )
    counts = tuple(numpy.bincount(labels[first:], minlength=10).tolist())
    if counts != test_counts:
        raise InvalidInput(
            f"the last rows of OpenML's {name} are {counts} of each class, the published test set {test_counts}: its "
            "order has changed; pass root=FOLDER with the published files"
        )
    images = pixels.astype(numpy.uint8).reshape(expected)
    return [(images[:first], labels[:first]), (images[first:], labels[first:])]
