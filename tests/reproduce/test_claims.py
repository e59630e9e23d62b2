import dataclasses
import json
import math

import pytest
from scipy.stats import chi2, ttest_1samp

from infgeo.report_text import strict_json
from infgeo.reproduce.claims import FAILS, HOLDS, OPEN, SHOWN, exact, from_document, measured

VALUES = (0.31, 0.22, 0.40, 0.28, 0.35)


def test_estimate_interval_and_p_are_those_of_the_textbook():
    claim = measured("gain", "the gain", VALUES, 1, [0.2, 0.01, 0.3, 0.04, 0.5])
    interval = ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    assert (claim.low, claim.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert claim.p == 1 / 32
    statistic = -2 * sum(math.log(p) for p in (0.2, 0.01, 0.3, 0.04, 0.5))
    assert claim.p_within == pytest.approx(chi2.sf(statistic, 10), rel=1e-12)
    assert claim.verdict == HOLDS


@pytest.mark.parametrize(
    ("values", "direction", "p_within", "verdict"),
    [
        (VALUES, 1, (), HOLDS),
        (VALUES, -1, (), FAILS),
        ([-v for v in VALUES], -1, (), HOLDS),
        ([-v for v in VALUES], 1, (), FAILS),
        ((0.3, -0.2, 0.4, -0.3, 0.1), 1, (), OPEN),
        (VALUES, 0, (), SHOWN),
        (VALUES[:1], 1, (), OPEN),  # one seed
        (VALUES[:4], 1, (), OPEN),  # four seeds: the test over signs cannot be below 1/16
        (VALUES, 1, (0.5,) * 5, HOLDS),  # the networks are the units; what each says of itself stands beside
        ((*VALUES, None), 1, (), OPEN),  # a seed without the quantity
        ((None, None), 1, (), OPEN),
    ],
)
def test_verdicts(values, direction, p_within, verdict):
    claim = measured("name", "statement", values, direction, p_within)
    assert claim.verdict == verdict
    assert claim.missing == sum(v is None for v in values)
    assert verdict in claim.line()


def test_exact_claims_and_descriptions():
    assert exact("a", "b", 1e-12, True).verdict == HOLDS and exact("a", "b", 1.0, False).verdict == FAILS
    assert exact("a", "b", 2.0).verdict == SHOWN


@pytest.mark.parametrize("values", [VALUES, (None,), (0.5, None)])
def test_a_claim_comes_back_from_its_record(values):
    claim = measured("name", "statement", values, 1)
    document = json.loads(strict_json({"claim": claim}))["claim"]
    again = from_document(document)
    assert repr(dataclasses.astuple(again)) == repr(dataclasses.astuple(claim))
