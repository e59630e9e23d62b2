"""Networks of different layers, and activations that lose digits when they are composed, against mpmath."""

import numpy as np
import pytest

import infgeo
from infgeo.numeric.certificates.accuracy import measure

POINTS = 1.0123 * np.concatenate([np.geomspace(1e-6, 9e5, 5), [0.1, 3.0]])[:, None] * np.array([[0.6, 0.8, 0.1]])
SCALES = ((1.0, 0.0), (1.25, 0.5), (1.0, 1e-3))


def check(names, scales=SCALES, quantities=("ricci_scalar", "log_volume_element")):
    mlp = infgeo.MLP(names)
    own = {symbol.name: 0.75 for symbol in mlp.parameters if not symbol.name.startswith("sigma")}
    for weight_std, bias_std in scales:
        for quantity in quantities:
            assert measure(mlp, quantity, POINTS, weight_std, bias_std, parameters=own) <= 1e-12, (bias_std, quantity)


@pytest.mark.parametrize(
    "names",
    [["relu", "erf"], ["identity", "erf"], ["gelu", "erf"], ["leaky_relu", "gaussian"], ["relu", "erf", "gelu"]],
    ids="-".join,
)
def test_what_saturates_after_what_grows(names):
    """A + s B is small at large |x|, a difference of terms that are not."""
    check(names)


@pytest.mark.parametrize(
    "names", [["square", "gelu"], ["erf", "square"], ["square", "sin"], ["probit", "gelu", "relu"]], ids="-".join
)
def test_what_is_nearly_a_cone(names):
    """At small |x| R is of second order in what the features are off a cone, or off a plane, by."""
    check(names)


@pytest.mark.parametrize(
    "names", [["gaussian"] * 2, ["gaussian"] * 3, ["gaussian", "scaled_gaussian", "erf"]], ids="-".join
)
def test_circles_that_stop_growing(names):
    """1 + alpha tends to 0 at large |x| without biases, and so does the leading order of K_rad."""
    check(names, ((1.0, 0.0), (0.8, 0.0), (1.25, 0.5)))


def test_leading_orders_that_vanish():
    """With two equal layers of z erf(z) the leading order of R at large |x| is 0 for sigma_w = 1."""
    check(["z_erf", "z_erf"], ((1.0, 0.0),))


def test_networks_of_different_layers_at_the_origin():
    geo = infgeo.MLP(["relu", "erf"]).numeric(weight_std=1.0, bias_std=0.0)
    origin, near = np.zeros((1, 2)), np.array([[1e-9, 0.0]])
    np.testing.assert_allclose(geo.metric(origin), geo.metric(near), rtol=1e-12, atol=1e-17)
    assert geo.ricci_scalar(origin).tolist() == [0.0]
    vanishing = infgeo.MLP(["erf", "square"]).numeric(weight_std=1.0, bias_std=0.0)
    assert vanishing.log_volume_element(origin).tolist() == [-np.inf]
    assert np.isnan(vanishing.ricci_scalar(origin)).all()
