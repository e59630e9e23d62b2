"""Claim: the Ricci scalar of the one-layer erf network at symbolic dimension d is derived and simplified in less time
than general tensor calculus takes at the one dimension d = 2, and its time does not grow with d.

Every run is a cold process that ends with the scalar; the whole process is timed. Peers: `infgeo.Metric` (Christoffel
symbols with normal forms, the slow twin) and `sympy.diffgeom` (followed by `simplify`), at d = 2, 3, 4. A run that
passes the limit (--limit, seconds) is stopped and printed as such.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

BARE = "pass"
IMPORT = "import infgeo"
SYMPY = "import sympy"
OURS = """
import infgeo
print(infgeo.MLP("erf").metric.ricci_scalar)
"""
TWIN = """
import infgeo
from infgeo.symbols import coordinates
d = {d}
print(infgeo.Metric(infgeo.MLP("erf").metric.matrix(d), coordinates(d)).ricci_scalar)
"""
DIFFGEOM = """
import sympy
from sympy.diffgeom import CoordSystem, Manifold, Patch, TensorProduct, metric_to_Ricci_components
import infgeo
from infgeo.symbols import coordinates
d = {d}
x = coordinates(d)
space = CoordSystem("x", Patch("P", Manifold("M", d)), x)
g = infgeo.MLP("erf").metric.matrix(d).subs(dict(zip(x, space.base_scalars())), simultaneous=True)
forms = space.base_oneforms()
metric = sum(g[i, j] * TensorProduct(forms[i], forms[j]) for i in range(d) for j in range(d))
ricci = metric_to_Ricci_components(metric)
inverse = g.adjugate() / g.det()
print(sympy.simplify(sum(inverse[i, j] * ricci[i, j] for i in range(d) for j in range(d))))
"""


def seconds(code: str, limit: float, runs: int) -> float | None:
    """Return the median time of cold processes that run `code`, or None past the limit."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        try:
            subprocess.run([sys.executable, "-c", code], check=True, timeout=limit, stdout=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return None
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a peer may take")
    parser.add_argument("--runs", type=int, default=5, help="cold runs of ours; peers get one")
    options = parser.parse_args()
    bare, imported, sympy, ours = (seconds(code, 60, options.runs) for code in (BARE, IMPORT, SYMPY, OURS))
    print(
        f"bare Python {bare:.3f} s; import infgeo adds {imported - bare:.3f} s; import sympy adds {sympy - bare:.3f} s"
    )
    print(f"erf, Ricci scalar at symbolic d: {ours:.2f} s as a process, SymPy's import plus {ours - sympy:.2f} s")
    for name, template in (("infgeo.Metric", TWIN), ("sympy.diffgeom", DIFFGEOM)):
        for d in (2, 3, 4):
            peer = seconds(template.format(d=d), options.limit, 1)
            if peer is None:
                print(f"{name} at d = {d}: over {options.limit:.0f} s, {options.limit / ours:.0f} times ours")
                break
            print(f"{name} at d = {d}: {peer:.1f} s, {peer / ours:.1f} times ours")


if __name__ == "__main__":
    main()
