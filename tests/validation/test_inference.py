"""The statistics of the verdict, each against a slow twin."""

import numpy as np
import pytest
from scipy import stats

from infgeo.validation import inference


def test_extrapolation_recovers_the_coefficients_and_its_errors_are_those_of_the_noise():
    n = np.array([64, 128, 256, 512, 1024])
    exact = 2.0 - 3.0 / n + 50.0 / n**2
    errors = 0.05 / np.sqrt(n)
    dofs = np.full(5, 500.0)
    fit = inference.extrapolate(n, exact, errors, dofs)
    assert fit.coefficients == pytest.approx([2.0, -3.0, 50.0], rel=1e-8)
    assert fit.chi2 < 1e-12 and fit.residual_df == 2
    rng = np.random.default_rng(0)
    fits = [inference.extrapolate(n, exact + errors * rng.standard_normal(5), errors, dofs) for _ in range(2000)]
    spread = np.std([f.coefficients for f in fits], axis=0)
    assert spread == pytest.approx(fit.errors, rel=0.06)
    assert np.mean([f.chi2 for f in fits]) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(("widths", "samples"), [((64, 128, 256), 8), ((64, 128, 256, 512, 1024, 2048), 8)])
def test_extrapolation_from_few_networks_raises_no_more_false_alarms_than_it_says(widths, samples):
    rng = np.random.default_rng(3)
    n, runs, level = np.array(widths, dtype=float), 20_000, 1e-2
    dofs = np.full(len(n), samples - 1.0)
    scale = 1 / np.sqrt(n * samples)
    y = scale * rng.standard_normal((runs, len(n)))
    errors = scale * np.sqrt(rng.chisquare(samples - 1, y.shape) / (samples - 1))
    alarms = misfits = 0
    for mean, error in zip(y, errors, strict=True):
        fit = inference.extrapolate(widths, mean, error, dofs)
        alarms += inference.student_p(fit.coefficients[0] / fit.errors[0], fit.degrees_of_freedom[0]) < level
        misfits += inference.fit_p(fit, dofs) < level
    deviation = np.sqrt(runs * level)
    assert abs(alarms - runs * level) < 3.5 * deviation and misfits < runs * level + 3.5 * deviation


def test_three_widths_fit_one_correction_and_four_fit_two():
    fit = inference.extrapolate((64, 128, 256), 1 + 5 / np.array([64.0, 128, 256]), np.full(3, 0.1), np.full(3, 9.0))
    assert fit.coefficients == pytest.approx([1.0, 5.0]) and fit.residual_df == 1
    n = np.array([64.0, 128, 256, 512])
    fit = inference.extrapolate((64, 128, 256, 512), 1 + 5 / n - 40 / n**2, np.full(4, 0.1), np.full(4, 9.0))
    assert fit.coefficients == pytest.approx([1.0, 5.0, -40.0]) and fit.residual_df == 1


def test_exponent_of_a_power_law_with_corrections():
    n = np.array([64.0, 128, 256, 512, 1024])
    logs = np.log(7 * n**-0.5) + 3 / n - 40 / n**2
    value, _, _ = inference.exponent(n, logs, np.full(5, 0.01), np.full(5, 15.0), 2)
    assert value == pytest.approx(-0.5, abs=1e-9)


def test_holm_by_hand():
    stands, adjusted = inference.holm([0.01, 0.04, 0.005, 0.9], 0.05)
    assert stands == [False, True, False, True]  # 0.005 <= 0.05/4, 0.01 <= 0.05/3, 0.04 > 0.05/2
    assert adjusted == pytest.approx(0.02)
    # 0.02 is above level / 3 and below level / 2, 0.04 above level / 2 and below level; 0.02 alone is above level / 3.
    assert inference.holm([0.04, 0.01, 0.02], 0.05)[0] == [False, False, False]
    assert inference.holm([0.04, 0.02, 0.02], 0.05)[0] == [True, True, True]
    assert inference.holm([0.06, 0.01, 0.02], 0.05)[0] == [True, False, False]
    assert inference.holm([0.05], 0.05)[0] == [False]
    assert inference.holm([], 0.05) == ([], None)
    assert inference.holm([float("nan"), 0.5], 0.05)[0] == [False, True]


def test_student_and_fisher_p_values():
    assert inference.student_p(2.5, 7) == pytest.approx(2 * stats.t.sf(2.5, 7))
    fit = inference.LinearFit(np.zeros(2), np.ones(2), np.ones(2), 9.0, 3)
    assert inference.fit_p(fit, np.array([40.0, 50.0])) == pytest.approx(stats.f.sf(3.0, 3, 40))
