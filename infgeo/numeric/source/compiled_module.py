"""Modules whose text is written here and compiled by Numba, kept on disk with what was compiled."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType


@lru_cache(maxsize=64)
def compiled_module(source: str) -> ModuleType | None:
    """Return the module of a source, from a folder where Numba keeps what it has compiled; None without Numba."""
    name = f"infgeo_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    for kept in (True, False):
        module = ModuleType(name)
        try:
            if importlib.util.find_spec("numba") is None:
                return None
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "infgeo" if kept else None
            if folder is None:  # nothing can be kept
                exec(compile(source.replace("cache=True", "cache=False"), name, "exec"), module.__dict__)
                return module
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / f"{name}.py"
            if not path.exists() or path.read_text(encoding="utf-8") != source:
                part = path.with_suffix(f".{os.getpid()}")
                part.write_text(source, encoding="utf-8")
                part.replace(path)
            for compiled in folder.glob(f"__pycache__/{name}.*.nb?"):  # pickles: a crash or a full disk leaves no end
                if not compiled.read_bytes().endswith(b"."):
                    compiled.unlink()
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module  # Numba looks it up
            spec.loader.exec_module(module)
            return module
        except ImportError:  # a release of Numba that does not go with that of NumPy
            return None
        except (OSError, RuntimeError):  # nothing can be written there, or there is no home
            sys.modules.pop(name, None)
    return None
