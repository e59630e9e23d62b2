"""Long programs on arrays: the same values with shared powers, and in pieces."""

import re

import numpy as np
import pytest
import sympy as sp

import infgeo
from infgeo.numeric.source.powers import shared_powers
from infgeo.symbolic.algebra.program import Program

a, b = sp.symbols("a b", positive=True)


def test_shared_powers_are_the_same_expression():
    w = sp.Symbol("w", positive=True)
    expr = a * (1 + a) ** sp.Rational(-5, 2) + 1 / (1 + a) + (b + 1 / (1 + a) ** 2) ** -3 + b**-2 + sp.sqrt(b) / a
    program = Program(((w, expr),), {"y": w * (1 + a) ** sp.Rational(-3, 2), "z": w / b})
    shared = shared_powers(program)
    point = {a: sp.Rational(7, 3), b: sp.Rational(2, 5)}
    for name in program.outputs:
        assert sp.simplify(shared.explicit(name) - program.explicit(name)) == 0
        assert abs(shared.evaluate(name, point, 40) - program.evaluate(name, point, 40)) < sp.Float("1e-36")
    left = [p for _, e in shared.bindings for p in e.atoms(sp.Pow)] + [
        p for e in shared.outputs.values() for p in e.atoms(sp.Pow)
    ]
    assert all(p.exp >= -1 for p in left)


def test_every_name_is_bound_before_its_use():
    mlp = infgeo.MLP("gelu", depth=3)
    for name in ("R", "shear"):
        program = mlp.metric_program
        known = set(program.inputs)
        for symbol, expr in shared_powers(program.select([name])).bindings:
            assert expr.free_symbols <= known
            known.add(symbol)


@pytest.mark.parametrize("name", ["erf", "gelu"])
def test_deep_functions_take_no_slow_powers(name):
    source = infgeo.emit(infgeo.MLP(name, depth=3), certificate="none")
    for function in ("_ricci_scalar", "_metric_parts"):
        body = source.split(f"def {function}(")[1].split("\n\n\n")[0]
        arrays = [line for line in body.splitlines() if not re.match(r"\s+[ct]\d+ = [\w*. +-]*sigma", line)]
        assert not re.findall(r"\*\*\(?-|\*\*[3-9]|\*\*\(?[0-9]\.", "\n".join(arrays))


@pytest.mark.parametrize("quantity", ["metric", "volume_element", "log_volume_element", "ricci_scalar", "kernel_diag"])
def test_many_points_are_those_of_their_pieces(quantity):
    """Results do not depend on how many points there are, nor on their shape."""
    X = np.random.default_rng(1).standard_normal((3, 3001, 2))
    function = getattr(infgeo.MLP("erf", depth=2).numeric(1.3, 0.7), quantity)
    whole = function(X)
    assert whole.shape[:2] == X.shape[:2]
    for i, part in enumerate(X):
        np.testing.assert_array_almost_equal_nulp(whole[i], function(part), 8)
    assert function(X.astype(np.float32)).dtype == np.float32


def test_fan_in_keeps_all_digits_of_mpmath():
    """1/d is a number of mpmath, not a float."""
    import mpmath

    mlp = infgeo.MLP("erf", weight_std=1, bias_std=1, input_scale="fan_in")
    with mpmath.workdps(50):
        value = mlp.numeric(backend="mpmath").ricci_scalar([mpmath.mpf(1), mpmath.mpf(0), mpmath.mpf(0)])
        exact = sp.N(mlp.metric.ricci_scalar.subs({infgeo.conventions.d: 3, infgeo.conventions.s: 1}), 50)
        assert abs(value - mpmath.mpf(str(exact))) < mpmath.mpf(10) ** -47
