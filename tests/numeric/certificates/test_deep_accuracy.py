"""Volume and Ricci scalar of networks of different layers from tiny to huge |x| against 50 digits."""

import numpy as np
import pytest

import infgeo
from infgeo.errors import InvalidInput
from infgeo.numeric.certificates.accuracy import measure

LENGTHS = 1.0123 * np.concatenate([np.geomspace(1e-40, 1e40, 5), np.geomspace(1e-2, 1e8, 3)])
POINTS = LENGTHS[:, None] * np.array([[0.6, 0.8]])
SCALES = ((1.0, 0.0), (1.25, 0.5), (1.0, 1e-6))


def check(names, quantity, points=POINTS, scales=SCALES):
    mlp = infgeo.MLP(names)
    own = {symbol.name: 0.75 for symbol in mlp.parameters if not symbol.name.startswith("sigma")}
    for weight_std, bias_std in scales:
        found = measure(mlp, quantity, points, weight_std, bias_std, parameters=own)
        assert found.worst <= 64, (bias_std, found)
        assert found.count > 0


@pytest.mark.parametrize(
    "names",
    [["relu", "erf"], ["identity", "erf"], ["gelu", "erf"], ["leaky_relu", "gaussian"], ["relu", "erf", "gelu"]],
    ids="-".join,
)
def test_what_saturates_after_what_grows(names):
    """A + s B is small at large |x|, a difference of terms that are not."""
    check(names, "ricci_scalar")
    check(names, "log_volume_element", scales=SCALES[:1])
    check(names, "volume_element", scales=SCALES[1:2])


@pytest.mark.parametrize(
    "names",
    [["square", "gelu"], ["erf", "square"], ["square", "sin"], ["cube", "erf"], ["probit", "gelu", "relu"]],
    ids="-".join,
)
def test_what_is_nearly_a_cone(names):
    """At small |x| R is of second order in what the features are off a cone, or off a plane, by."""
    check(names, "ricci_scalar")


@pytest.mark.parametrize(
    "names",
    [["gaussian"] * 2, ["gaussian"] * 3, ["scaled_gaussian"] * 2, ["gaussian", "scaled_gaussian", "erf"]],
    ids="-".join,
)
def test_circles_that_stop_growing(names):
    """1 + alpha tends to 0 at large |x| without biases, and so does the leading order of K_rad."""
    check(names, "ricci_scalar", scales=((1.0, 0.0), (0.8, 0.0), (1.25, 0.5), (0.9, 1e-6)))
    check(names, "ricci_scalar", LENGTHS[::2, None] * np.array([[0.6, 0.8, 0.1]]), scales=((0.8, 0.0), (0.9, 1e-6)))


def test_to_the_ends_of_the_format():
    ends = 1.0123 * np.array([[0.6e-150, 0.8e-150], [0.6e-80, 0.8e-80], [0.6e80, 0.8e80], [0.6e150, 0.8e150]])
    for quantity in ("ricci_scalar", "log_volume_element"):
        check(["relu", "erf"], quantity, ends)


def test_three_dimensions():
    """K_tan counts, too."""
    points = LENGTHS[::3, None] * np.array([[0.6, 0.8, 0.1]])
    for names in (["relu", "erf"], ["erf", "square"], ["square", "gelu"]):
        check(names, "ricci_scalar", points)


def test_networks_of_different_layers_at_the_origin():
    """Without bias the limits of quotients are wanted there."""
    geo = infgeo.MLP(["relu", "erf"]).numeric(weight_std=1.0, bias_std=0.0)
    origin, near = np.zeros((1, 2)), np.array([[1e-100, 0.0]])
    np.testing.assert_allclose(geo.metric(origin), geo.metric(near), rtol=1e-15)
    assert geo.ricci_scalar(origin).tolist() == [0.0]
    vanishing = infgeo.MLP(["erf", "square"]).numeric(weight_std=1.0, bias_std=0.0)
    assert vanishing.log_volume_element(origin).tolist() == [-np.inf]
    assert np.isnan(vanishing.ricci_scalar(origin)).all()


@pytest.mark.parametrize("name", ["cube", "rectified_cube"])
def test_areas_that_underflow(name):
    """A is |x|^52 with three layers: no number of double precision below |x| = 1e-6, and below 1e-24 refused."""
    geo = infgeo.MLP(name, depth=3).numeric(weight_std=1.0, bias_std=0.0)
    plane = np.array([[1e-20, 2e-20], [1e-15, 0.0], [0.3, 0.4]])
    assert geo.ricci_scalar(plane).tolist() == [0.0, 0.0, 0.0]
    # Cones of three dimensions are curved, here beyond the largest number.
    for size in (1e-20, 1e-150):
        with pytest.raises(InvalidInput):
            geo.ricci_scalar(np.array([[size, 0.0, 0.0]]))
