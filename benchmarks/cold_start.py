"""Claim: from nothing to a first Gram matrix takes little time.

`from infgeo import MLP; MLP("erf").numeric(...)` to the first matrix in a fresh process at most 1.5 s, and a file of
`infgeo emit` at most 0.2 s more than importing its array library. Fresh processes alternate, with files compiled by a
run before; medians are printed.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import infgeo

RUNS = 9
POINTS = {"numpy": "numpy.ones((100, 3))", "torch": "torch.ones(100, 3)"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scripts = {
            "python": "pass",
            "infgeo": "import numpy; from infgeo import MLP; MLP('erf').numeric(1.0, 0.5).kernel(numpy.ones((100, 3)))",
        }
        for backend, points in POINTS.items():
            Path(folder, f"erf_{backend}.py").write_text(infgeo.emit(infgeo.MLP("erf"), backend), encoding="utf-8")
            scripts[backend] = f"import {backend}"
            scripts[f"file for {backend}"] = f"import {backend}, erf_{backend}; erf_{backend}.kernel({points})"
        times: dict[str, list[float]] = {name: [] for name in scripts}
        for run in range(RUNS + 1):
            for name, script in scripts.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", script], check=True, cwd=folder)
                if run:
                    times[name].append(time.perf_counter() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    print(f"infgeo to the first Gram matrix: {seconds['infgeo']:.2f} s (limit 1.5)")
    for backend in POINTS:
        more = statistics.median(a - b for a, b in zip(times[f"file for {backend}"], times[backend], strict=True))
        print(f"file for {backend}: {more:.3f} s more than import {backend}, {seconds[backend]:.2f} s (limit 0.2)")


if __name__ == "__main__":
    main()
