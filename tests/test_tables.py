"""The tables of the reference: a row for every activation, of the kind its functions say, and errors as promised."""

from pathlib import Path

import infgeo
from docs import make_accuracy
from infgeo.numeric.source.methods import method_of

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def rows_of(name):
    lines = (REFERENCE / name).read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines if line.startswith("| ")][1:]


def test_rows_are_those_of_the_catalogue():
    rows = rows_of("activations.md")
    assert [row[0] for row in rows] == list(infgeo.activations.available())
    for row in rows:
        activation = infgeo.activations.get(row[0])
        assert row[1] == f"`{activation.expr}`"
        assert row[2] in (method_of(activation).replace("_", " "), "MetricDoesNotExist")


def test_measured_errors_are_within_the_promise_and_what_is_measured_today():
    rows = {row[0]: row[1:] for row in rows_of("accuracy_table.md")}
    assert {"erf", "relu", "gelu", "step", "sin", "hardtanh"} <= set(rows) <= set(infgeo.activations.available())
    for name, (*double, single) in rows.items():
        assert all(float(error) <= 1e-12 for error in double if error.strip()), name
        assert not single.strip() or float(single) <= 1e-5, name
    measured = make_accuracy.errors("erf")
    for quantity, error in zip(make_accuracy.QUANTITIES, rows["erf"][:-1], strict=True):
        assert measured[quantity, "float64"] < 100 * float(error) + 1e-15
