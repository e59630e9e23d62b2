"""The checks of an activation, on the catalogue."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sympy

import infgeo
from infgeo.testing import check_activation

NUMERIC_ONLY = ("gelu_tanh", "logsigmoid", "mish", "sigmoid", "silu", "softplus", "softsign", "tanh", "tanhshrink")
# At 60 digits their formulas take minutes.
PIECES = ("elu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "relu6", "selu", "softshrink")
CLOSED = [name for name in infgeo.activations.available() if name not in (*NUMERIC_ONLY, *PIECES)]


# The metric of the tangent kernel takes seconds to derive; tests/symbolic does it for more.
NTK_METRIC = ("erf", "relu", "identity", "gaussian", "cube", "sign", "step")


@pytest.mark.parametrize("name", CLOSED)
def test_every_closed_form_of_the_catalogue(name):
    skip = () if name in NTK_METRIC else ("ntk.metric", "ntk.hessian", "ntk.formula_metric")
    report = check_activation(name, skip=skip)
    assert report["kernel.quadrature"].status == report["kernel.metric"].status == "passed"
    assert report["activation.moments"].status == report["kernel.formula"].status == "passed"
    jumps = name in ("sign", "step")
    assert (report["ntk"].status == "skipped") if jumps else (report["ntk.quadrature"].status == "passed")
    assert report["kernel.hessian"].status == ("skipped" if jumps else "passed")
    heavy = name == "exp"  # the square of exp(z) has tails that no number of networks shows
    assert report["kernel.simulation"].status == ("skipped" if heavy else "passed")


def test_mixtures_are_held_to_what_closed_forms_are():
    report = check_activation("tanh")
    for check in ("kernel.simulation", "kernel.metric", "kernel.quadrature", "ntk.quadrature", "ntk.backends"):
        assert report[check].status == "passed"
    assert "outside the class" in report["activation.moments"].note


@pytest.mark.parametrize("name", ["atan(z)"])
def test_activations_without_a_closed_form(name):
    report = check_activation(name)
    assert report["kernel.simulation"].status == report["kernel.metric"].status == "passed"
    assert report["ntk.simulation"].status == "passed"
    assert report["kernel.quadrature"].note == "k is integrated numerically itself"
    assert "outside the class" in report["activation.moments"].note


def test_a_wrong_derivation_is_caught(monkeypatch):
    """Moments, kernels and metrics of the wrong function: of 1.0001 erf."""
    from infgeo.symbolic.activations.catalogue import get
    from infgeo.testing import expectations

    wrong = replace(get("erf"), expr=sympy.Rational(10001, 10000) * get("erf").expr)
    monkeypatch.setattr(expectations, "dual", lambda _: infgeo.MLP(wrong.expr).dual)
    report = check_activation("erf", raises=False, skip=["kernel", "ntk"])
    assert [check.name for check in report.failures] == ["activation.moments"]
