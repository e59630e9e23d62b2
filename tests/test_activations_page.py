"""docs/reference/activations.md has a row for every activation, of the kind that its numeric functions say."""

from pathlib import Path

import infgeo
from infgeo.numeric.source.methods import method_of

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "activations.md"


def test_rows_are_those_of_the_catalogue():
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == list(infgeo.activations.available())
    for row in rows:
        activation = infgeo.activations.get(row[0].removeprefix("| "))
        assert row[1] == f"`{activation.expr}`"
        assert row[2] in (method_of(activation).replace("_", " "), "MetricDoesNotExist")
