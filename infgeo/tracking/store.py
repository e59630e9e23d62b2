"""The file of a history: a header, then records of one size, each written whole or taken back.

    magic | SHA-256 of the rest of the header | lengths | what is recorded (JSON) | the probes (NPZ) | record | record …

A record is its step, times, the arrays and a CRC-32. It is appended by unbuffered writes: once `append` has returned,
the operating system has it, whatever becomes of the process. A record that was cut off is not a whole one, and the next
takes its place. Against a power cut the file is flushed to the device every ten seconds, and on `close`.
"""

import contextlib
import hashlib
import io
import json
import os
import struct
import time
import warnings
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy
import torch

from infgeo.arguments import shown
from infgeo.errors import InvalidInput
from infgeo.files import file_path, taken_apart, write_whole
from infgeo.tracking.history import Column, History
from infgeo.tracking.probes import Probe

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_MAGIC = b"infgeo history 1\n"
_LENGTHS = struct.Struct("<QQ")
_START = len(_MAGIC) + 32 + _LENGTHS.size
_SECONDS = 10.0  # between two times that the device is asked to keep the file
_TENSORS = ("coordinates", "origin", "directions", "anchors")


@lru_cache(maxsize=32)
def record_dtype(columns: tuple[Column, ...]) -> numpy.dtype:
    """Return the layout of a record."""
    head = [("step", "<i8"), ("time", "<f8"), ("cost", "<f8"), ("skipped", "<i8")]
    return numpy.dtype([*head, *((f"c{i}", c.dtype, c.shape) for i, c in enumerate(columns)), ("crc", "<u4")])


def pack(columns: tuple[Column, ...], head: tuple[int, float, float, int], arrays: Sequence[numpy.ndarray]) -> bytes:
    """Return the bytes of a record."""
    record = numpy.zeros((), record_dtype(columns))
    record["step"], record["time"], record["cost"], record["skipped"] = head
    for i, array in enumerate(arrays):
        record[f"c{i}"] = array
    body = record.tobytes()[:-4]
    return body + struct.pack("<I", zlib.crc32(body))


def header(model: Mapping[str, Any], columns: Sequence[Column], probes: Mapping[str, Probe], **settings: Any) -> bytes:
    """Return the header of a file; two runs may share a file if their headers are equal."""
    described = {
        "model": dict(model),
        "settings": settings,
        "columns": [[c.quantity, c.layer, c.probe, list(c.shape), c.dtype] for c in columns],
        "probes": [[name, p.kind, list(p.input_shape), list(p.shape)] for name, p in probes.items()],
    }
    buffer = io.BytesIO()
    tensors = {
        f"{i}.{key}": _narrow(value.numpy())
        for i, p in enumerate(probes.values())
        for key in _TENSORS
        if (value := getattr(p, key)) is not None
    }
    numpy.savez(buffer, **tensors)  # type: ignore[arg-type]
    text, arrays = json.dumps(described).encode(), buffer.getvalue()
    rest = _LENGTHS.pack(len(text), len(arrays)) + text + arrays
    return _MAGIC + hashlib.sha256(rest).digest() + rest


def _narrow(values: numpy.ndarray) -> numpy.ndarray:
    """Return the values in half of the space where no bit is lost, as for images."""
    with numpy.errstate(over="ignore"):
        narrow = values.astype(numpy.float32)
    return narrow if numpy.array_equal(narrow, values) else values


class Store:
    """Appends records to a file that fits `header`; makes it if there is none, or an empty one.

    Raises InvalidInput where the file cannot be written, or is that of another run.
    """

    def __init__(self, path: str | os.PathLike[str], header: bytes, record_size: int) -> None:
        self.path = file_path(path, "path").absolute()  # whatever the working directory becomes
        self.header, self.record_size = header, record_size
        self._synchronised = time.monotonic()
        if self.path.exists() and not self.path.is_file():
            raise InvalidInput(f"path is {path}, which is no regular file; name a file")
        if not self.path.exists() or self.path.stat().st_size == 0:
            write_whole(self.path, header)
            return
        if _read(self.path, len(header)) != header:
            here, there = (_parse(content, self.path)[0] for content in (header, _read(self.path)))
            differing = [key for key in here if here[key] != there.get(key)] or ["the points of the probes"]
            said = "; ".join(f"{key}: there {shown(there.get(key))}, here {shown(here.get(key))}" for key in differing)
            raise InvalidInput(
                f"{self.path} is of another run ({said}); name another file, or remove it to start again"
            )
        if not os.access(self.path, os.W_OK):
            raise InvalidInput(f"cannot write {path}: permission denied; choose another path")

    def append(self, record: bytes) -> None:
        """Append a record, or raise OSError and leave the file as it was."""
        if not self.path.exists():
            write_whole(self.path, self.header)
        with open(self.path, "r+b", buffering=0) as file:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            if file.read(_START) != self.header[:_START]:
                raise OSError(f"{self.path} is not the file of this run any more")
            first = len(self.header)
            end = first + (os.fstat(file.fileno()).st_size - first) // self.record_size * self.record_size
            try:
                file.seek(end)
                left = memoryview(record)
                while left:
                    left = left[file.write(left) :]
            except BaseException:  # also a KeyboardInterrupt between two writes
                file.truncate(end)
                raise
            if time.monotonic() - self._synchronised > _SECONDS:
                self._synchronised = time.monotonic()
                os.fsync(file.fileno())

    def close(self) -> None:
        """Ask the device to keep what has been written."""
        with contextlib.suppress(OSError), open(self.path, "r+b", buffering=0) as file:
            os.fsync(file.fileno())


def _read(path: Path, count: int = -1) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror or error}") from None


def _parse(content: bytes, path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the description in a header, and where its probes and the header end; InvalidInput where there is none."""
    if not content.startswith(_MAGIC):
        raise InvalidInput(f"{path} is not a history of infgeo; name another file")
    if len(content) >= _START:
        text, arrays = _LENGTHS.unpack(content[_START - _LENGTHS.size : _START])
        end = _START + text + arrays
        rest = content[_START - _LENGTHS.size : end]
        if len(content) >= end and hashlib.sha256(rest).digest() == content[len(_MAGIC) : len(_MAGIC) + 32]:
            with taken_apart(path, "the history"):
                described = json.loads(content[_START : _START + text])
                return {str(key): value for key, value in described.items()}, _START + text, end
    raise InvalidInput(f"{path} is damaged or truncated in its header; restore it from a copy, or remove it")


def load(path: str | os.PathLike[str], more: Sequence[bytes] = ()) -> History:
    """Return the history that a tracker has recorded to a file, also while it goes on, or after a crash.

    What was being written when the process ended is left out; so is, with a warning, a record whose checksum fails.

    Args:
        path: the `path` of a `GeometryTracker`.
        more: records that the tracker could not write to it.

    Raises:
        InvalidInput: for a file that does not exist, is no history, or has a damaged header.
    """
    path = file_path(path, "path")
    content = _read(path)
    described, start, end = _parse(content, path)
    with taken_apart(path, "the history"):
        columns = tuple(Column(q, layer, probe, tuple(s), dtype) for q, layer, probe, s, dtype in described["columns"])
        with numpy.load(io.BytesIO(content[start:end]), allow_pickle=False) as archive:
            arrays = dict(archive)
        probes = {}
        for i, (name, kind, input_shape, shape) in enumerate(described["probes"]):
            tensors = {
                key: torch.from_numpy(arrays[f"{i}.{key}"].astype(numpy.float64))
                for key in _TENSORS
                if f"{i}.{key}" in arrays
            }
            probes[name] = Probe(name, kind, tuple(input_shape), shape=tuple(shape), **tensors)
        layout = record_dtype(columns)
        count = (len(content) - end) // layout.itemsize
        whole = [content[end + i * layout.itemsize : end + (i + 1) * layout.itemsize] for i in range(count)]
        good = [r for r in whole if zlib.crc32(r[:-4]) == struct.unpack("<I", r[-4:])[0]]
        if len(good) < count:
            warnings.warn(f"{path}: {count - len(good)} of {count} records are damaged and left out", stacklevel=2)
        return from_records([*good, *more], columns, probes)


def from_records(records: Sequence[bytes], columns: tuple[Column, ...], probes: Mapping[str, Probe]) -> History:
    """Return the history of packed records."""
    table = numpy.frombuffer(b"".join(records), record_dtype(columns))
    latest = {int(step): i for i, step in enumerate(table["step"])}
    table = table[[latest[step] for step in sorted(latest)]]
    skipped = int(table["skipped"].max(initial=0))
    names = ("step", "time", "cost", *(f"c{i}" for i in range(len(columns))))
    # copies: of one record, a view has the strides of the record, which torch does not take
    steps, times, costs, *arrays = (table[name].copy() for name in names)
    return History(steps, times, costs, skipped, dict(probes), columns, tuple(arrays))
