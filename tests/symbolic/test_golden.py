"""The printed form of R at depth 1: its operation count and its text, so that a change of form is seen in review.

Regenerate with `python -m tests.symbolic.test_golden` from the root of the repository, and read the difference.
"""

from pathlib import Path

import pytest

import infgeo
from infgeo.errors import MetricDoesNotExist, NoClosedForm

GOLDEN = Path(__file__).parent / "golden" / "ricci.txt"
LONGEST = 300  # longer formulas are recorded by their operation count alone


def line(name):
    """Return the record of one activation: name, operation count of R, R."""
    R = infgeo.MLP(name).metric.ricci_scalar
    text = str(R)
    return f"{name}\t{R.count_ops()}\t{text if len(text) <= LONGEST else '...'}"


def recorded():
    return {text.split("\t")[0]: text for text in GOLDEN.read_text(encoding="utf-8").splitlines()}


@pytest.mark.parametrize("name", infgeo.activations.available())
def test_form_of_the_ricci_scalar(name):
    try:
        assert line(name) == recorded()[name]
    except (NoClosedForm, MetricDoesNotExist):
        assert name not in recorded()


def write():
    lines = []
    for name in infgeo.activations.available():
        try:
            lines.append(line(name))
        except (NoClosedForm, MetricDoesNotExist):
            continue
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
