"""Rules of learning: the integrals of a flow against quadrature of matrix exponentials, and the limits of a flow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.linalg import expm

import infgeo
from infgeo.errors import InvalidInput
from infgeo.numeric.learned.rules import flow

XOR = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
LABELS = np.array([-1.0, 1, 1, -1])
POINTS = np.array([[0.3, -0.4], [0.0, 0.0], [1.0, 1.0]])
ERF = infgeo.MLP("erf", weight_std=1, bias_std=1)


def matrices(rank):
    rng = np.random.default_rng(0)
    root, products = rng.standard_normal((4, rank)), rng.standard_normal((4, 4))
    return root @ root.T, products @ products.T


@pytest.mark.parametrize("time", [1e-3, 0.5, 30.0])
@pytest.mark.parametrize("rank", [4, 2, 0])
def test_the_integrals_of_a_flow(rank, time):
    H, N = matrices(rank)
    T, U = flow(H, N, time)

    def integral(f):
        return quad_vec(f, 0, time, epsabs=0, epsrel=1e-12)[0]

    np.testing.assert_allclose(T, integral(lambda t: expm(-H * t)), rtol=0, atol=1e-11 * np.abs(T).max())
    expected = integral(lambda t: expm(-H * t) @ N @ flow(H, N, t)[0])
    np.testing.assert_allclose(U, expected, rtol=0, atol=1e-11 * np.abs(U).max())
    np.testing.assert_allclose(U + U.T, T @ N @ T, rtol=0, atol=1e-12 * np.abs(U).max())  # d(r r')/dt


def test_the_integrals_have_their_digits_where_nearly_nothing_decays():
    N = matrices(4)[1][:3, :3]
    for slow in (1e-18, 1e-9, 0.9e-2, 1.1e-2):  # on both sides of the series
        T, U = flow(np.diag([0.7, slow, slow]), N, 1.0)
        assert T[1, 1] == pytest.approx(-np.expm1(-slow) / slow, rel=1e-15)
        g = quad_vec(lambda t, a=slow: np.exp(-0.7 * t) * -np.expm1(-a * t) / a, 0, 1, epsabs=0, epsrel=1e-14)[0]
        assert U[0, 1] == pytest.approx(N[0, 1] * g, rel=1e-13)


def test_a_long_flow_comes_to_its_end_and_a_short_one_is_a_step():
    H, N = matrices(4)
    for long, end in zip(flow(H, N, 1e5), flow(H, N, np.inf), strict=True):
        np.testing.assert_allclose(long, end, rtol=0, atol=1e-12 * np.abs(end).max())
    step = infgeo.learned(ERF, XOR, LABELS, rule="gradient_step", learning_rate=1e-5).metric(POINTS)
    short = infgeo.learned(ERF, XOR, LABELS, rule="gradient_flow", time=1e-5).metric(POINTS)
    np.testing.assert_allclose(short, step, rtol=0, atol=1e-4 * np.abs(step).max())
    assert np.abs(short - step).max() > 1e-6 * np.abs(step).max()


def test_training_to_the_end_is_not_the_posterior():
    """XOR fitted exactly: the centre shrinks five times as much as in the posterior."""
    fitted = infgeo.learned(ERF, XOR, LABELS, rule="gradient_flow", time=np.inf)
    np.testing.assert_allclose(fitted.volume_shift(POINTS[1]), -4.4957, rtol=1e-4)
    assert fitted.kind == "closed form"
    np.testing.assert_allclose(fitted.metric(POINTS, width=100) - fitted.metric(POINTS) / 100,
                               ERF.numeric().metric(POINTS), rtol=1e-12)  # fmt: skip


def test_labels_that_contradict_each_other_are_never_fitted():
    twice = np.concatenate([XOR, XOR[:1]])
    options = {"rule": "gradient_flow"}
    with pytest.raises(InvalidInput, match=r"time is inf.*never fitted; pass a finite time"):
        infgeo.learned(ERF, twice, np.append(LABELS, 1.0), **options, time=np.inf).metric(POINTS)
    merged = infgeo.learned(ERF, XOR, LABELS, **options, time=1.0).metric(POINTS)
    both = infgeo.learned(ERF, twice, np.append(LABELS, LABELS[0]), **options, time=1.0).metric(POINTS)
    assert np.isfinite(both).all() and np.abs(both - merged).max() > 1e-3
