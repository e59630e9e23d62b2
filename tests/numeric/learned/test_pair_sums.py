"""Compiled sums over pairs of training points: against the broadcast formulas, with any number of threads."""

from __future__ import annotations

import importlib.util
import math
from types import ModuleType

import numpy as np
import pytest
import torch

import infgeo
from infgeo.numeric.learned import closed_form, pair_sums
from infgeo.numeric.source.compiled_module import compiled_module

NAMES = ("erf", "probit", "erf(z) + z/2", "z")


@pytest.fixture(autouse=True)
def _compiled_from_the_first_pair_on(monkeypatch):
    monkeypatch.setattr(closed_form, "_FEW", 0)


def interpreted(source):
    """The module of compiled source as Python runs it."""
    module = ModuleType("interpreted")
    exec(source.replace("numba.njit(", "(lambda **_: lambda function: function)("), module.__dict__)
    return module


def task(name, count=23, dimension=2, inputs=5):
    rng = np.random.default_rng(count + dimension)
    X, x = rng.standard_normal((count, dimension)), rng.standard_normal((inputs, dimension))
    y = rng.standard_normal(count)
    return infgeo.learned(infgeo.MLP(name, weight_std=1.1, bias_std=0.4), X, y, 0.5), x


def broadcast(learned, x, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(closed_form, "_FEW", np.inf)
        return learned.metric(x)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_sums_are_the_broadcast_ones(name, monkeypatch):
    """The text that Numba compiles, run by Python."""
    monkeypatch.setattr(pair_sums, "compiled_module", interpreted)
    monkeypatch.setattr(closed_form, "AT_ONCE", 64)  # several strips
    learned, x = task(name)
    assert learned.kind == "closed form" and len(learned._closed.strips) > 1
    plain = broadcast(learned, x, monkeypatch)
    assert not np.array_equal(learned.metric(x), plain)  # these are two computations
    np.testing.assert_allclose(learned.metric(x), plain, rtol=0, atol=1e-13 * np.abs(plain).max())


@pytest.mark.parametrize("name", ["erf", "erf(z) + z/2"])
def test_those_of_descent_have_several_weights(name, monkeypatch):
    monkeypatch.setattr(pair_sums, "compiled_module", interpreted)
    monkeypatch.setattr(closed_form, "AT_ONCE", 64)
    rng = np.random.default_rng(1)
    X, y, x = rng.standard_normal((12, 2)), rng.standard_normal(12), rng.standard_normal((3, 2))
    learned = infgeo.learned(infgeo.MLP(name), X, y, rule="gradient_flow", time=0.5)
    assert len(learned._closed.strips) > 1 < len(learned._closed.strips[0][2])
    plain = broadcast(learned, x, monkeypatch)
    assert not np.array_equal(learned.metric(x), plain)
    np.testing.assert_allclose(learned.metric(x), plain, rtol=0, atol=1e-12 * np.abs(plain).max())


@pytest.mark.parametrize("dimension", [1, 3])
def test_machine_code_is_the_text(dimension, monkeypatch):
    """Of a number of points and inputs that no vector of processors divides; with threads the same bits."""
    pytest.importorskip("numba")
    learned, x = task("erf", 131, dimension, 37)
    found = learned.metric(x)
    plain = broadcast(learned, x, monkeypatch)
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12 * np.abs(plain).max())
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        np.testing.assert_array_equal(learned.metric(x), found)
    assert learned.metric(x[:0]).shape == (0, dimension, dimension)


def test_the_inverse_tangent_is_that_of_the_library():
    compile_sums = closed_form._pair(infgeo.MLP("erf").layers[0].activation)[2]
    atan = interpreted(pair_sums._source(*compile_sums.args)).atan
    x = np.concatenate([np.logspace(-300, 300, 4001), np.linspace(0, 3, 4001), [math.tan(math.pi / 8), 5e-324, np.inf]])
    found, exact = (np.array([function(value) for value in (*x, *-x)]) for function in (atan, math.atan))
    assert np.all(np.abs(found - exact) <= 3 * np.spacing(np.abs(exact)))
    assert math.copysign(1, atan(-0.0)) == -1 and math.isnan(atan(math.nan))


def test_without_numba_and_for_tensors_formulas_are_broadcast(monkeypatch):
    learned, x = task("erf")
    plain = broadcast(learned, x, monkeypatch)
    tensor = torch.tensor(x, requires_grad=True)
    assert torch.autograd.gradcheck(learned.metric, (tensor,))
    gaussian, at = task("gaussian")
    np.testing.assert_array_equal(gaussian.metric(at), broadcast(gaussian, at, monkeypatch))
    compiled_module.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    np.testing.assert_array_equal(learned.metric(x), plain)
    compiled_module.cache_clear()
