import numpy as np
import pytest

import infgeo
from infgeo.reproduce import bayesian
from infgeo.reproduce.settings import Learned

SETTINGS = Learned(points=5, samples=256)


@pytest.fixture(scope="module")
def result():
    return bayesian.measure(SETTINGS, 0)


def test_the_shift_of_the_posterior_has_the_symmetry_of_xor(result):
    shift = result.arrays["shifts"][0]
    np.testing.assert_allclose(shift, shift.T, rtol=1e-9)  # both inputs exchanged
    np.testing.assert_allclose(shift, shift[::-1], rtol=1e-9)  # all labels turned
    assert shift[2, 2] < 0 < shift[0, 0]  # the origin, which no input is near to, and a corner


def test_claims_are_what_was_measured(result):
    claims = {claim.name: claim for claim in bayesian.claims(SETTINGS, [result])}
    assert len(claims) == 9
    for rule in ("posterior", "one step, NTK", "one step, mean field"):
        assert claims[f"{rule}, simulation"].verdict == "holds"
    assert claims["posterior, boundary"].verdict == claims["one step, mean field, boundary"].verdict == "holds"
    assert claims["one step, NTK, boundary"].verdict == "described"
    learned = infgeo.learned(infgeo.MLP("erf", weight_std=1, bias_std=1), bayesian.INPUTS, bayesian.LABELS, 0.1)
    at_input, on_boundary = learned.volume_shift(np.array([[1.0, 1], [2**0.5, 0]]))
    assert claims["posterior, boundary"].estimate == pytest.approx(on_boundary - at_input)


def test_the_picture_has_a_scale_around_0_for_each_rule(result):
    figure = bayesian.picture(SETTINGS, [result], [])
    figure.draw_without_rendering()
    maps = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in maps] == list(bayesian.TITLES.values())
    assert all(sum(axes.collections[0].get_clim()) == 0 for axes in maps)
