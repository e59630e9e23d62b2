"""Write docs/reference/activations.md: what infgeo knows of each activation of the catalogue, and what a value costs.

`python docs/make_activations.py`
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sympy import count_ops

import infgeo
from infgeo.errors import InfgeoError
from infgeo.files import write_whole

PATH = Path(__file__).parent / "reference" / "activations.md"
POINTS, SIDE = 1000, 8
LONGEST = 100  # characters of an R that is printed
HEAD = f"""# Activations

Written by `python docs/make_activations.py` from the catalogue, for one hidden layer with sigma_w = 1 and sigma_b = 0,
and 1/2 for the activation's own parameters. *Metric* says what metric, volume and R are, *kernel* what kernel and
tangent kernel are: a closed form, a mixture of error functions, or quadrature (see [What it can derive](classes.md)). R
stands for symbolic d where it is short, else the number of its operations; beside it its value at |x| = 1, d = 2. Costs
are medians in NumPy on one core in microseconds, of R at one of {POINTS} points and of the kernel of one of {SIDE**2}
pairs, and differ from machine to machine.

| activation | φ(z) | metric | kernel | R | R at 1 | R, µs | kernel, µs |
|---|---|---|---|---|---|---|---|
"""


def row(name: str) -> list[str]:
    """Return the cells of an activation, those with its costs last."""
    mlp = infgeo.MLP(name, weight_std=1, bias_std=0)
    own = {symbol.name: 0.5 for symbol in mlp.activation.parameters}
    geo = mlp.numeric(parameters=own)
    rng = np.random.default_rng(0)
    points, side = rng.normal(size=(POINTS, 3)), rng.normal(size=(SIDE, 3))
    kind = kernel = geo.method.replace("_", " ")
    try:
        geo.kernel(side)
    except InfgeoError as error:
        kernel = type(error).__name__
    try:
        value = f"{float(geo.ricci_scalar(np.array([1.0, 0.0]))) + 0.0:.6g}"  # no -0
    except InfgeoError as error:
        none = ["", "", "", cost(geo.kernel, side, SIDE**2)]
        return [name, f"`{mlp.activation.expr}`", type(error).__name__, kernel, *none]
    try:
        R = mlp.metric.ricci_scalar
        formula = f"`{R}`" if len(str(R)) <= LONGEST else f"{count_ops(R)} operations"
    except InfgeoError:
        formula = ""
    costs = [cost(geo.ricci_scalar, points, POINTS), cost(geo.kernel, side, SIDE**2)]
    return [name, f"`{mlp.activation.expr}`", kind, kernel, formula, value, *costs]


def cost(function: Callable, points: np.ndarray, count: int) -> str:
    """Return the median time of a value in microseconds, to two digits."""
    function(points)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        function(points)
        times.append(time.perf_counter() - start)
    return f"{float(f'{np.median(times) / count * 1e6:.1e}'):g}"


def page() -> str:
    """Return the page."""
    rows = ["| " + " | ".join(row(name)) + " |\n" for name in infgeo.activations.available()]
    return HEAD + "".join(rows)


if __name__ == "__main__":
    write_whole(PATH, page().encode())
