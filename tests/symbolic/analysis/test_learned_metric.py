"""Learned metrics of one and two examples against `infgeo.learned`, which has another route and its own tests."""

from __future__ import annotations

import numpy as np
import pytest
from sympy import Rational, nsimplify

import infgeo
from infgeo.analysis import learned_metric
from infgeo.errors import InvalidInput, NoClosedForm

X, Y = np.array([[1.0, 0.5, 0.2], [-0.3, 2.0, 0.7]]), np.array([1.0, -0.5])
AT = np.array([0.3, -0.4, 0.6])


def values(program, x, X, y, noise):
    known = {"s": x @ x, "d": float(len(x)), "noise": noise}
    for i, (point, label) in enumerate(zip(X, y, strict=True), start=1):
        known |= {f"xx_{i}": x @ point, f"y_{i}": label}
        known |= {f"x_{i}x_{j}": point @ other for j, other in enumerate(X, start=1)}
    return {symbol: nsimplify(known[symbol.name], rational=True) for symbol in program.inputs}


def shift(program, x, X, y, noise):
    program = program.select(name for name in program.outputs if name != "ricci_shift")
    at = values(program, x, X, y, noise)
    part = {name: float(program.evaluate(name, at)) for name in program.outputs}
    g = part["I"] * np.eye(len(x)) + part["x x"] * np.outer(x, x)
    for i, one in enumerate(X, start=1):
        g += part[f"x x_{i}"] * (np.outer(x, one) + np.outer(one, x))
        g += sum(part[f"x_{i} x_{j}"] * np.outer(one, other) for j, other in enumerate(X, start=1))
    return g, part["volume_shift"]


@pytest.mark.parametrize(
    ("name", "examples", "dimension"),
    [("erf", 1, 3), ("erf", 2, 2), pytest.param("erf(z) + z/2", 1, 3, marks=pytest.mark.slow)],
)
def test_it_is_the_learned_metric(name, examples, dimension):
    mlp = infgeo.MLP(name, weight_std=Rational(3, 4), bias_std=Rational(1, 2))
    inputs, labels, at = X[:examples, :dimension], Y[:examples], AT[:dimension]
    numeric = infgeo.learned(mlp, inputs, labels, 0.25)
    program = learned_metric(mlp, examples)
    metric, volume = shift(program, at, inputs, labels, 0.25)
    np.testing.assert_allclose(metric, numeric.metric(at), rtol=1e-11)
    assert volume == pytest.approx(float(numeric.volume_shift(at)), rel=1e-11)
    ricci = program.evaluate("ricci_shift", values(program, at, inputs, labels, 0.25))
    assert float(ricci) == pytest.approx(float(numeric.ricci_shift(at)), rel=1e-11)


def test_limits_of_noise():
    mlp = infgeo.MLP("erf", weight_std=1, bias_std=1)
    program = learned_metric(mlp, 2)
    small = shift(program.at(noise=0), AT, X, Y, 0.0)[0]
    np.testing.assert_allclose(small, infgeo.learned(mlp, X, Y, 1e-9).metric(AT), rtol=1e-6)
    # Large noise: what remains times the noise does not know the labels, and adds up over examples.
    large = 1e8 * shift(program, AT, X, Y, 1e8)[0]
    apart = sum(1e8 * shift(learned_metric(mlp), AT, X[[i]], 0 * Y[[i]], 1e8)[0] for i in range(2))
    np.testing.assert_allclose(large, apart, rtol=1e-6)


def test_symmetries():
    program = learned_metric(infgeo.MLP("erf", weight_std=1, bias_std=1), 2)
    expected = shift(program, AT, X, Y, 0.25)
    for other in (shift(program, AT, X[::-1], Y[::-1], 0.25), shift(program, AT, X, -Y, 0.25)):
        np.testing.assert_allclose(other[0], expected[0], rtol=1e-12)
        assert other[1] == pytest.approx(expected[1], rel=1e-12)


def test_what_is_not_covered_is_refused():
    with pytest.raises(InvalidInput, match="depth=1"):
        learned_metric(infgeo.MLP("erf", depth=2))
    with pytest.raises(InvalidInput, match="examples is 3"):
        learned_metric(infgeo.MLP("erf"), 3)
    with pytest.raises(NoClosedForm, match="use infgeo"):
        learned_metric(infgeo.MLP("gaussian"))
    with pytest.raises(NoClosedForm):
        learned_metric(infgeo.MLP("tanh"))
