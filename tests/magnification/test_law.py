"""Training against the law of order 1/n: the numbers against textbook ones, and networks that obey or break it."""

import numpy as np
import pytest
from scipy.stats import linregress

from infgeo.errors import InvalidInput
from infgeo.magnification import law, over_seeds

RANDOM = np.random.default_rng(0)
SHIFT = RANDOM.standard_normal(40)
BEFORE = RANDOM.standard_normal((6, 40))
WIDTH = 50


def trained(slope=0.8, noise=0.01, offset=0.1):
    return BEFORE + slope * SHIFT / WIDTH + offset + noise * RANDOM.standard_normal(BEFORE.shape)


def test_the_numbers_are_those_of_the_regression_of_the_mean_change():
    after = trained()
    found, change = law(after, BEFORE, SHIFT, WIDTH), (after - BEFORE).mean(0)
    line = linregress(SHIFT / WIDTH, change)
    assert (found.correlation, found.slope) == pytest.approx((line.rvalue, line.slope), rel=1e-10)
    rest = change - SHIFT / WIDTH
    assert found.r2 == pytest.approx(1 - np.mean(rest**2) / change.var(), rel=1e-10)
    assert found.r2_shifted == pytest.approx(1 - rest.var() / change.var(), rel=1e-10)
    assert found.r2 < 0 < found.r2_shifted  # the offset counts in the first alone
    assert (found.networks, found.points, found.singular) == (6, 40, 0)


def test_one_network_and_points_where_one_of_them_is_singular():
    after, before = trained(noise=0.0), BEFORE.copy()
    after[2, 3] = before[4, 5] = -np.inf
    found = law(after, before, SHIFT, WIDTH)
    assert (found.points, found.singular) == (38, 2) and found.slope == pytest.approx(0.8)
    one = law(after[0], before[0], SHIFT, WIDTH)
    assert one.networks == 1 and one.correlation == pytest.approx(1.0)


def test_seeds_are_summed_up_with_the_side_of_the_claim():
    rows = over_seeds([law(trained(), BEFORE, SHIFT, WIDTH) for _ in range(5)])
    assert rows["correlation"].p == 1 / 32 and rows["r2"].p is None
    assert rows["slope"].low < 0.8 < rows["slope"].high
    against = law(trained(slope=-1.0), BEFORE, SHIFT, WIDTH)
    assert against.correlation < -0.9 and against.r2_shifted < 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((BEFORE, BEFORE[0], SHIFT, 50), "shapes"),
        ((BEFORE, BEFORE, SHIFT[:-1], 50), "shapes"),
        ((BEFORE[None], BEFORE[None], SHIFT, 50), "shapes"),
        ((BEFORE, BEFORE, SHIFT, 50), "constant"),
        ((trained(), BEFORE, np.ones(40), 50), "constant"),
        ((trained(), BEFORE, SHIFT, 0), "width"),
        ((trained() * np.nan, BEFORE, SHIFT, 50), "nan"),
    ],
)
def test_bad_input_is_one_clear_error(arguments, said):
    with pytest.raises(InvalidInput, match=said):
        law(*arguments)
