import dataclasses
import json
import math

import pytest

from infgeo.report_text import json_safe
from infgeo.validation.findings import Comparison, Trend
from infgeo.validation.report import ValidationReport


def comparison(**changes):
    values = dict(
        quantity="kernel", point=0, radius=1.0, width=64, theory=1.0, estimate=1.1, standard_error=0.1, z=1.0, p=0.3,
        passed=True,
    )  # fmt: skip
    return Comparison(**values | changes)


def trend(**changes):
    values = dict(
        quantity="kernel", kind="spread", expected=-0.5, value=-0.4, standard_error=0.1, z=1.0, p=0.3, passed=True
    )
    return Trend(**values | changes)


def report(rows=(), trends=(), **changes):
    values = dict(
        configuration={"widths": (64,), "bias_std": 0.0},
        points=((1.0, 0.0),),
        rows=tuple(rows),
        trends=tuple(trends),
        measurements=(),
        curve={},
        level=1e-3,
        adjusted_p=0.3,
        widths_done=(64,),
    )
    return ValidationReport(**values | changes)


def test_a_report_passes_only_when_something_was_checked_and_nothing_failed_and_nothing_is_missing():
    assert report([comparison()], [trend()]).passed
    assert not report().passed
    assert not report([comparison(passed=False)]).passed
    assert not report([comparison()], [trend(passed=False)]).passed
    assert not report([comparison()], partial=True).passed


def test_failures_are_the_checks_that_failed():
    bad, worse = comparison(passed=False), trend(passed=False)
    assert report([comparison(), bad], [worse, trend()]).failures == (bad, worse)


def test_json_is_strict_and_complete():
    rows = [comparison(), comparison(width=None, z=None, p=None, estimate=math.nan, standard_error=math.inf)]
    text = report(rows, [trend()], notes=("a note",)).to_json()

    def refuse(token):
        raise AssertionError(f"{token} is not JSON")

    document = json.loads(text, parse_constant=refuse)
    assert document["passed"] is True and document["failures"] == 0 and document["notes"] == ["a note"]
    assert document["rows"][0] == dataclasses.asdict(rows[0])
    assert document["rows"][1]["estimate"] == "nan" and document["rows"][1]["standard_error"] == "inf"
    assert document["rows"][1]["width"] is None
    assert set(document) == {"passed", "failures", *(field.name for field in dataclasses.fields(ValidationReport))}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ((1, math.inf), [1, "inf"]),
        ({1: (math.nan,)}, {"1": ["nan"]}),
    ],
)
def test_json_safe(value, expected):
    assert json_safe(value) == expected


def test_values_are_frozen():
    for value in (comparison(), trend(), report()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.passed = True
