"""Files that are either written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from infgeo.errors import InvalidInput


def file_path(value: str | os.PathLike[str], name: str) -> Path:
    """Return the path that a user has given as `name`, with "~" for the home folder; InvalidInput if it is none."""
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise InvalidInput(f"{name} is {value!r}; pass a path")
    if not os.fspath(value):
        raise InvalidInput(f"{name} is empty; pass a path")
    return Path(os.path.expanduser(value))


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file by renaming a finished temporary one over it: readers see the old content or the new, no mixture.

    What is not a regular file (/dev/stdout, a pipe) is written to directly. Raises InvalidInput if it cannot be done.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(name, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}; choose another path") from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise InvalidInput now if `path` cannot be written later: before a long computation, not after it."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InvalidInput(f"cannot write {path}: it is a directory; name a file in it")
    if target.exists() and not target.is_file():
        return
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        os.close(handle)
        os.unlink(name)
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}; choose another path") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
