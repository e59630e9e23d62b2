"""Figure D.1 against closed forms by hand and against SymPy's textbook curvature."""

import numpy as np
import pytest
import sympy

import infgeo
from infgeo.reproduce import cube_roots
from infgeo.reproduce.settings import CubeRoots

POINTS = [("3/10", "-1/5"), ("-7/5", "9/10"), ("11/10", "17/10"), ("0", "0"), ("2", "-5/2")]


@pytest.fixture(scope="module")
def results():
    return cube_roots.measure(CubeRoots(points=13), 0)


def textbook(bias, point):
    """The geometry of the three units at a point by SymPy and the textbook definitions, to 50 digits."""
    x, y = sympy.symbols("x y", real=True)
    weights = [(sympy.Integer(1), sympy.Integer(0))]
    weights += [(-sympy.Rational(1, 2), sign * sympy.sqrt(3) / 2) for sign in (1, -1)]
    features = [sympy.erf((a * x + b * y + bias) / sympy.sqrt(2)) / sympy.sqrt(3) for a, b in weights]
    jacobian = sympy.Matrix(features).jacobian([x, y])
    metric = infgeo.Metric(jacobian.T * jacobian, [x, y], simplify=False)
    return metric.at({x: sympy.Rational(point[0]), y: sympy.Rational(point[1])})


@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("point", POINTS)
def test_the_geometry_is_that_of_the_textbook(bias, point):
    slow = textbook(bias, point)
    volume, ricci = float(slow.volume_element), float(slow.ricci_scalar)
    where = np.array([float(sympy.Rational(v)) for v in point])
    measured = cube_roots.geometry(bias, where)
    assert float(measured.volume_element) == pytest.approx(volume, rel=1e-11)
    assert float(measured.ricci_scalar) == pytest.approx(ricci, rel=1e-9, abs=1e-12)
    formula = [float(value) for value in cube_roots.closed_form(bias, where)]
    assert formula == pytest.approx([volume, ricci], rel=1e-11, abs=1e-13)


def test_swapped_signs_give_the_printed_factor_of_three():
    slow = textbook(1, POINTS[0])
    inverse, gamma = slow.inverse, slow.christoffel
    quadratic = sum(
        inverse[a, b] * (gamma[c, c, e] * gamma[e, a, b] - gamma[c, b, e] * gamma[e, a, c])
        for a in range(2) for b in range(2) for c in range(2) for e in range(2)
    )  # fmt: skip
    swapped = slow.ricci_scalar - 2 * quadratic
    assert float(swapped / slow.ricci_scalar) == pytest.approx(3.0, rel=1e-20)


@pytest.mark.parametrize("bias", [0.0, 0.3, 1.0, 2.0])
def test_the_ricci_scalar_changes_sign_on_the_circle_of_radius_2b(bias):
    angles = np.linspace(0, 6, 17)
    circle = np.stack((np.cos(angles), np.sin(angles)), -1)
    assert (cube_roots.geometry(bias, (2 * bias + 0.05) * circle).ricci_scalar < 0).all()
    if bias:
        assert (cube_roots.geometry(bias, (2 * bias - 0.05) * circle).ricci_scalar > 0).all()


def test_the_claims_hold_and_can_fail(results):
    made = cube_roots.claims(CubeRoots(points=13), [results])
    assert {claim.verdict for claim in made} == {"holds", "described"}
    broken = {name: values | {"error_ricci": 2.0} for name, values in results.statistics.items()}
    bent = type(results)(results.seed, results.arrays, broken, 0.0)
    assert "does not hold" in {claim.verdict for claim in cube_roots.claims(CubeRoots(points=13), [bent])}


def test_the_picture_has_shared_scales_and_symmetric_colours(results):
    settings = CubeRoots(points=13)
    figure = cube_roots.picture(settings, [results], [])
    assert [a.get_title() for a in figure.axes[:4]] == ["$b = 0$", "$b = 0$", "$b = 1$", "$b = 1$"]  # a bias a row
    volume, ricci = [[a.collections[0] for a in figure.axes[column:4:2]] for column in (0, 1)]
    assert volume[0].get_clim() == volume[1].get_clim()
    assert ricci[0].get_clim() == ricci[1].get_clim() and sum(ricci[0].get_clim()) == 0
    figure.draw_without_rendering()
