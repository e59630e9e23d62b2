"""MNIST and CIFAR-10 from the files as published: IDX, and CIFAR's binary form; every byte accounted for, no pickle."""

import hashlib
import io
import math
import os
import tarfile
import zlib
from gzip import GzipFile
from itertools import product
from pathlib import Path
from typing import IO

import numpy

from infgeo.errors import InvalidInput

_LARGEST = 2**31  # bytes that a header may declare
_UNSIGNED_BYTE = 0x08
_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_RECORD = 1 + 3 * 32 * 32  # a label, then 32×32 pixels of red, of green and of blue
_AGAIN = "download it again"

# MD5 of each file as published (gzipped), and unpacked. The first are those that the common loaders of MNIST check.
# Anything else that has the form of the files (Fashion-MNIST) must be asked for with verify=False.
MNIST_MD5 = {
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
}
# As printed on https://www.cs.toronto.edu/~kriz/cifar.html, for the binary version.
CIFAR10_ARCHIVE, CIFAR10_MD5 = "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CIFAR10_RECORDS = 10_000  # in each file
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class MissingFiles(InvalidInput):
    """The files of a data set are not where they were looked for."""


def read_idx(path: str | os.PathLike[str], *, md5: tuple[str, ...] = ()) -> numpy.ndarray:
    """Return the array in an IDX file of unsigned bytes, gzipped or not; `md5`: the sums of which it must have one.

    The form: two zero bytes, the type 0x08, the number k of axes, k sizes as big-endian 32-bit integers, and the
    numbers in row-major order, nothing after them.

    Source: LeCun, Cortes & Burges, The MNIST database, section "File formats".
    """
    raw = _read(path)
    content = _unzipped(raw, path)
    if len(content) < 4:
        raise InvalidInput(f"{path} is truncated in its header: {len(content)} bytes; {_AGAIN}")
    if content[:2] != b"\0\0":
        raise InvalidInput(
            f"{path} begins with {content[:4].hex(' ')}, an IDX file with 00 00 08; name an IDX file, gzipped or not"
        )
    kind, axes = content[2], content[3]
    if kind != _UNSIGNED_BYTE:
        raise InvalidInput(
            f"{path} holds numbers of type 0x{kind:02x} ({_TYPES.get(kind, 'unknown')}); images and labels are "
            "unsigned bytes, 0x08"
        )
    start = 4 + 4 * axes
    if axes == 0 or len(content) < start:
        raise InvalidInput(f"{path} is truncated in its header: {len(content)} bytes, {axes} axes; {_AGAIN}")
    shape = tuple(int(n) for n in numpy.frombuffer(content, ">u4", axes, 4))
    declared, found = math.prod(shape), len(content) - start
    if declared != found:
        said = f"truncated: {found} bytes" if found < declared else f"too long: {found - declared} bytes follow"
        raise InvalidInput(f"{path} is {said} where its header declares {shape}, {declared} bytes; {_AGAIN}")
    if md5 and not {_md5(raw), _md5(content)} & set(md5):
        raise _differs(path, _md5(raw), md5[0])
    return numpy.frombuffer(content, numpy.uint8, declared, start).reshape(shape)


def read_mnist(root: str | os.PathLike[str], *, verify: bool = True) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """Return (images (N, 1, H, W), labels (N,)), uint8, to train on and to test on, from MNIST's four files in `root`.

    The files may be gzipped or not, and lie in `root`, root/MNIST/raw or root/raw. With `verify` each must have the
    checksum of the published one; without, any files of this form are taken.
    """
    parts = []
    for prefix in ("train", "t10k"):
        image_path, x = _mnist_file(root, f"{prefix}-images-idx3-ubyte", verify)
        label_path, y = _mnist_file(root, f"{prefix}-labels-idx1-ubyte", verify)
        if x.ndim != 3 or 0 in x.shape:
            raise InvalidInput(f"{image_path} holds an array {x.shape}; images are (N, height, width)")
        if y.ndim != 1 or len(y) != len(x):
            raise InvalidInput(f"{label_path} holds an array {y.shape}; there are {len(x)} images in {image_path}")
        _check_labels(label_path, y)
        parts.append((x[:, None], y))
    if parts[0][0].shape[1:] != parts[1][0].shape[1:]:
        sizes = " and ".join(str(x.shape[2:]) for x, _ in parts)
        raise InvalidInput(
            f"the images to train on and to test on in {root} are of sizes {sizes}; take files of one set"
        )
    return parts


def read_cifar10(root: str | os.PathLike[str], *, verify: bool = True) -> list[tuple[numpy.ndarray, numpy.ndarray]]:
    """Return (images (N, 3, 32, 32), labels (N,)), uint8, to train on and to test on, from CIFAR-10's binary version.

    `root` is the archive cifar-10-binary.tar.gz, or a folder that holds it or the six unpacked files, also within
    cifar-10-batches-bin. With `verify` the archive must have the published checksum; for the unpacked files none are
    published: each must hold 10000 images, with 5000 of each class to train on and 1000 to test on. Without `verify`
    any files of this form are taken.

    Source: Krizhevsky 2009, and the page of the data, "Binary version".
    """
    parts = []
    for name, (path, content) in zip(CIFAR10_FILES, _cifar_contents(Path(root), verify), strict=True):
        records, rest = divmod(len(content), _RECORD)
        if rest or not records:
            raise InvalidInput(
                f"{path} has {len(content)} bytes, not a multiple of {_RECORD} (a label and 32x32 pixels of three "
                f"colours): truncated, or another file; {_AGAIN}"
            )
        if verify and records != CIFAR10_RECORDS:
            raise InvalidInput(
                f"{path} holds {records} images, the published {name} {CIFAR10_RECORDS}; {_AGAIN}, or {_ACCEPT}"
            )
        table = numpy.frombuffer(content, numpy.uint8).reshape(records, _RECORD)
        _check_labels(path, table[:, 0])
        parts.append((table[:, 1:].reshape(records, 3, 32, 32), table[:, 0]))
    images, labels = map(numpy.concatenate, zip(*parts[:-1], strict=True))
    both = [(images, labels), parts[-1]]
    for (_, part), what in zip(both, ("train on", "test on"), strict=True):
        counts = numpy.bincount(part, minlength=10)
        if verify and len(set(counts.tolist())) > 1:
            raise InvalidInput(
                f"{root}: the images to {what} are {', '.join(map(str, counts))} of each class, the published ones "
                f"equally many; {_AGAIN}, or {_ACCEPT}"
            )
    return both


_ACCEPT = "pass verify=False to take it as it is"


def _mnist_file(root: str | os.PathLike[str], name: str, verify: bool) -> tuple[Path, numpy.ndarray]:
    for folder, spelling, ending in product(
        ("", "MNIST/raw", "raw"), (name, name.replace("-idx", ".idx")), (".gz", "")
    ):
        path = Path(root, folder, spelling + ending)
        if path.is_file():
            return path, read_idx(path, md5=MNIST_MD5[name] if verify else ())
    raise MissingFiles(f"there is no {name}.gz (or {name}) in {root}")


def _cifar_contents(root: Path, verify: bool) -> list[tuple[str, bytes]]:
    """Return the six files as (path, content)."""
    if root.is_file():
        return _from_archive(root, verify)
    for folder in (root, root / "cifar-10-batches-bin"):
        missing = [name for name in CIFAR10_FILES if not (folder / name).is_file()]
        if missing and len(missing) < len(CIFAR10_FILES):
            raise MissingFiles(f"{folder} does not hold {', '.join(missing)}")
        if not missing:
            return [(str(folder / name), _read(folder / name)) for name in CIFAR10_FILES]
    if (root / CIFAR10_ARCHIVE).is_file():
        return _from_archive(root / CIFAR10_ARCHIVE, verify)
    pickled = (root / "cifar-10-batches-py").is_dir() or (root / "cifar-10-python.tar.gz").is_file()
    other = " (the Python version, which is there, is a pickle: infgeo reads the binary version)" if pickled else ""
    raise MissingFiles(f"there is neither {CIFAR10_ARCHIVE} nor {CIFAR10_FILES[0]} in {root}{other}")


def _from_archive(path: Path, verify: bool) -> list[tuple[str, bytes]]:
    """Return the six files in the archive; they are read one by one, nothing is written to disk."""
    raw = _read(path)
    if verify and _md5(raw) != CIFAR10_MD5:
        raise _differs(path, _md5(raw), CIFAR10_MD5)
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:*") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name in CIFAR10_FILES and member.isfile():
                    stream = archive.extractfile(member)
                    found[name] = b"" if stream is None else _limited(stream, path)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
        raise InvalidInput(f"{path} is truncated or no tar archive ({reason}); {_AGAIN}") from None
    if missing := [name for name in CIFAR10_FILES if name not in found]:
        raise InvalidInput(f"{path} does not hold {', '.join(missing)}; take the binary version, {CIFAR10_ARCHIVE}")
    return [(f"{path}:{name}", found[name]) for name in CIFAR10_FILES]


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}; name a file that can be read") from None


def _unzipped(raw: bytes, path: str | os.PathLike[str]) -> bytes:
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        with GzipFile(fileobj=io.BytesIO(raw)) as stream:
            return _limited(stream, path)
    except (EOFError, zlib.error, OSError) as error:
        raise InvalidInput(f"{path} is truncated or damaged ({error}); {_AGAIN}") from None


def _limited(stream: IO[bytes] | GzipFile, path: str | os.PathLike[str]) -> bytes:
    content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InvalidInput(f"{path} unpacks to more than {_LARGEST} bytes; it is none of the published files")
    return content


def _check_labels(path: object, labels: numpy.ndarray) -> None:
    if len(labels) and labels.max() > 9:
        index = int((labels > 9).argmax())
        raise InvalidInput(f"label {index} in {path} is {int(labels[index])}; labels go from 0 to 9: {_AGAIN}")


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _differs(path: object, found: str, published: str) -> InvalidInput:
    return InvalidInput(f"{path} has MD5 {found}, the published file {published}; {_AGAIN}, or {_ACCEPT}")
