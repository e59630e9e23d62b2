"""Write docs/reference/accuracy_table.md: the largest measured error of every closed form of the catalogue.

`python docs/make_accuracy.py`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import infgeo
from infgeo.errors import InfgeoError
from infgeo.files import write_whole

PATH = Path(__file__).parent / "reference" / "accuracy_table.md"
QUANTITIES = ("volume_element", "log_volume_element", "metric", "ricci_scalar", "kernel", "ntk", "kernel_distance")
HEAD = f"""# Accuracy, measured

Written by `python docs/make_accuracy.py`: the largest relative error of each function in NumPy, float64, against 50
digits, for one hidden layer with sigma_w = 1 and sigma_b = 0, and 1/2 for the activation's own parameters. The last
column is the largest error of all of them in float32. These are the certificates that `geo.certificate` measures on
your machine ([Accuracy](accuracy.md) has the promise, 1e−12 and 1e−5). An empty cell has no such function, or one that
is no closed form; an activation without a certificate has no row.

| activation | {" | ".join(f"`{name}`" for name in QUANTITIES)} | float32 |
|---|{"---|" * (len(QUANTITIES) + 1)}
"""


def errors(name: str) -> Mapping[tuple[str, str], float]:
    """Return the errors by quantity and format, none where there is no certificate."""
    mlp = infgeo.MLP(name, weight_std=1, bias_std=0)
    geo = mlp.numeric(parameters={symbol.name: 0.5 for symbol in mlp.activation.parameters})
    try:
        return {(q, each.dtype): each.error for q, found in geo.certificate.items() for each in found}
    except (InfgeoError, ZeroDivisionError) as error:  # no closed form; a metric that underflows in the reference
        print(f"{name}: no certificate ({type(error).__name__})")
        return {}


def row(name: str, measured: Mapping[tuple[str, str], float]) -> str:
    """Return a line of the table."""
    double = [measured.get((quantity, "float64")) for quantity in QUANTITIES]
    single = max((error for (_, dtype), error in measured.items() if dtype == "float32"), default=None)
    return f"| {name} | " + " | ".join("" if x is None else f"{x:.1e}" for x in (*double, single)) + " |\n"


def page() -> str:
    """Return the page."""
    measured = {name: errors(name) for name in infgeo.activations.available()}
    return HEAD + "".join(row(name, values) for name, values in measured.items() if values)


if __name__ == "__main__":
    write_whole(PATH, page().encode())
