"""MNIST and CIFAR-10 as tasks: from files, or through OpenML where the user asks for it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import torch

from infgeo.arguments import flag
from infgeo.errors import InvalidInput, MissingExtra
from infgeo.files import file_path
from infgeo.training.image_files import (
    CIFAR10_ARCHIVE,
    CIFAR10_CLASSES,
    MNIST_MD5,
    MissingFiles,
    read_cifar10,
    read_mnist,
)
from infgeo.training.tasks import Task, image_task

_VARIABLE = "INFGEO_DATA"  # the folder with the files, where root is not given
_DIGITS = tuple(map(str, range(10)))
_PUBLISHED = {
    "mnist": ", ".join(f"{name}.gz" for name in MNIST_MD5),
    "cifar10": f"{CIFAR10_ARCHIVE}, or its unpacked files",
}
Parts = list[tuple[numpy.ndarray, numpy.ndarray]]
# Images of each class in the published test sets.
_MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
_CIFAR10_TEST = (1000,) * 10


def mnist(
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    *,
    verify: bool = True,
    normalise: bool = True,
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
        normalise: whether to shift and divide; `mean` and `std` of the task say by what.
        dtype: torch.float32 or torch.float64.

    Raises:
        InvalidInput: for files that are missing, truncated, or not the published ones; where OpenML is out of reach.
        MissingExtra: for download=True without scikit-learn.

    Source: LeCun, Cortes & Burges, The MNIST database of handwritten digits.
    """
    place = _folder(root, download, "mnist")
    if download:
        parts = _openml("mnist_784", place, (1, 28, 28), 60_000, _MNIST_TEST)
    else:
        parts = _files("mnist", read_mnist, place, verify)
    return image_task("mnist", parts, _DIGITS, normalise, dtype, _source("MNIST", "mnist_784", place, download, verify))


def cifar10(
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    *,
    verify: bool = True,
    normalise: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Return CIFAR-10: 50000 images (3, 32, 32) to train on, 10000 to test on.

    Arguments and errors are those of `mnist`; `root` holds cifar-10-binary.tar.gz or its unpacked files
    (data_batch_1.bin, ..., test_batch.bin), or is the archive itself. Mean and standard deviation are those of each
    colour.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    place = _folder(root, download, "cifar10")
    if download:
        parts = _openml("CIFAR_10", place, (3, 32, 32), 50_000, _CIFAR10_TEST)
    else:
        parts = _files("cifar10", read_cifar10, place, verify)
    source = _source("CIFAR-10", "CIFAR_10", place, download, verify)
    return image_task("cifar10", parts, CIFAR10_CLASSES, normalise, dtype, source)


def _folder(root: Any, download: bool, maker: str) -> Any:
    """Return where the files are, or are to be kept (None: scikit-learn's own folder)."""
    download = flag(download, "download")
    place = os.environ.get(_VARIABLE) or None if root is None else root
    if place is not None:
        place = str(file_path(place, "root"))
    if download or (place is not None and os.path.exists(place)):
        return place
    where = f"root is {os.fspath(place)!r}, which does not exist" if place is not None else "no root is given"
    raise InvalidInput(f"{maker}: {where}; {_ways(maker)}")


def _files(maker: str, read: Callable[..., Parts], place: Any, verify: bool) -> Parts:
    try:
        return read(place, verify=verify)
    except MissingFiles as error:
        raise InvalidInput(f"{maker}: {error}; {_ways(maker)}") from None


def _ways(maker: str) -> str:
    """Return how to come by the data, for an error."""
    return (
        f"pass {maker}(root=FOLDER) (or set {_VARIABLE}) with the published files, {_PUBLISHED[maker]}; or, with a "
        f"network, {maker}(download=True), from OpenML; or take digits(), which comes with scikit-learn"
    )


def _source(name: str, dataset: str, place: Any, download: bool, verify: bool) -> str:
    if download:
        return f"{name}, OpenML's {dataset}, version 1"
    return f"{name}, {'the published files' if verify else 'files not verified'}, in {os.fspath(place)}"


def _openml(name: str, place: Any, shape: tuple[int, ...], first: int, test_counts: tuple[int, ...]) -> Parts:
    """Return OpenML's copy of a data set; its rows are those to train on, then those to test on, which is checked."""
    fetch = _fetcher()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of each attempt that fails
            bunch = fetch(name, version=1, data_home=place, as_frame=False, parser="liac-arff", n_retries=1)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(
            f"OpenML's {name} could not be fetched ({reason}); try again with a network, pass root=FOLDER with the "
            "published files, or take digits(), which comes with scikit-learn"
        ) from None
    pixels, labels = numpy.asarray(bunch.data), numpy.asarray(bunch.target).astype(numpy.int64)
    expected = (first + sum(test_counts), *shape)
    bytes_only = pixels.dtype.kind in "uif" and pixels.size and pixels.min() >= 0 and pixels.max() <= 255
    if len(pixels) != expected[0] or pixels[0].size != numpy.prod(shape) or not bytes_only:
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


def _fetcher() -> Callable[..., Any]:
    try:
        from sklearn.datasets import fetch_openml
    except ImportError:
        raise MissingExtra("download=True", "sklearn") from None
    return fetch_openml
