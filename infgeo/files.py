"""Files that are either written whole or not at all."""

import contextlib
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from infgeo.errors import InfgeoError, InvalidInput

_DESCRIPTORS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/dev/fd/(\d{1,9})|/proc/self/fd/(\d{1,9})")
_LINKS = 40  # from one symbolic link to the next, as the kernel counts


def file_path(value: str | os.PathLike[str], name: str) -> Path:
    """Return the path that a user has given as `name`, with "~" for the home folder; InvalidInput if it is none."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise InvalidInput(f"{name} is {value!r}; pass a path")
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise InvalidInput(f"{name} is {'no path' if os.fspath(value) else 'empty'}; pass a path")
    return Path(os.path.expanduser(value))


@contextlib.contextmanager
def taken_apart(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Raise InvalidInput for whatever goes wrong while a file's content is read: anyone may have made it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InfgeoError) and str(path) in str(error):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:100]
        raise InvalidInput(
            f"{what} {path} is damaged, or was not written by infgeo ({reason}); restore it from a copy, or"
            " name another file"
        ) from None


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file by renaming a finished temporary one over it: readers see the old content or the new, no mixture.

    The device has the content before the name points to it. A symbolic link stays, and what it points to is written.
    What is not a regular file (a pipe, /dev/stdout wherever it leads) is written to directly. Raises InvalidInput if it
    cannot be done.
    """
    try:
        target = _target(path)
        if isinstance(target, int):
            if sys.stdout is not None:
                sys.stdout.flush()
            with os.fdopen(os.dup(target), "wb") as stream:
                stream.write(content)
            return
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        handle, name = _new_beside(target)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
        with contextlib.suppress(OSError):  # where folders cannot be opened, as on Windows
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BrokenPipeError:  # the reader has seen enough
        raise
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}; choose another path") from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise InvalidInput now if `path` cannot be written later: before a long computation, not after it."""
    try:
        target = _target(path)
        if isinstance(target, int):
            os.fstat(target)
            return
        if target.is_dir():
            raise InvalidInput(f"cannot write {path}: it is a directory; name a file in it")
        if target.exists() and not target.is_file():
            return
        handle, name = _new_beside(target)
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}; choose another path") from None


def _target(path: str | os.PathLike[str]) -> Path | int:
    """Return the file that a path leads to through its links, or the number of an open one such as /dev/stdout."""
    place = os.path.abspath(file_path(path, "path"))
    for _ in range(_LINKS):
        if place in _DESCRIPTORS:
            return _DESCRIPTORS[place]
        if number := _DESCRIPTOR.fullmatch(place):
            return int(number[1] or number[2])
        if not os.path.islink(place):
            return Path(place)
        place = os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(place)), os.readlink(place)))
    raise OSError("it is a loop of symbolic links")


def _new_beside(target: Path) -> tuple[int, str]:
    """Make a file in the folder of `target`, which nobody else has, with the rights that `target` has or would have."""
    mode = None
    if target.exists():
        if not os.access(target, os.W_OK):
            raise PermissionError(None, "permission denied")
        mode = target.stat().st_mode & 0o777
    name = str(target.parent / f".infgeo-{secrets.token_hex(8)}.tmp")
    handle = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666 if mode is None else mode
    )
    if mode is not None and hasattr(os, "fchmod"):
        os.fchmod(handle, mode)  # the process's umask may have taken some
    return handle, name
