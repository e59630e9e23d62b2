"""What depth does: against iterated maps by quadrature, series of kernels, and simulated networks."""

import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo import analysis
from infgeo.conventions import s, s_x, s_y, xy
from infgeo.errors import InvalidInput, MetricDoesNotExist
from tests.oracle import moment, pair_moment

PHI = {
    "tanh": np.tanh,
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "erf": lambda x: sp.lambdify("x", sp.erf(sp.Symbol("x") / sp.sqrt(2)), "scipy")(x),
}


def iterated(phi, weight, bias, layers=220):
    """Variance and correlation after many layers, from 1 and 0.5."""
    v, c = 1.0, 0.5
    for _ in range(80):
        v = bias**2 + weight**2 * pair_moment(phi, phi, v, v, v)
    for _ in range(layers):
        c = (bias**2 + weight**2 * pair_moment(phi, phi, v, v, c * v)) / v
    return v, c


@pytest.mark.parametrize(("name", "weight", "bias"), [("tanh", 2.0, 0.3), ("erf", 2.0, 0.3), ("tanh", 0.9, 0.5)])
def test_fixed_points_against_iteration(name, weight, bias):
    v, c = iterated(PHI[name], weight, bias)
    mlp = infgeo.MLP(name, weight_std=weight, bias_std=bias)
    (point,) = analysis.fixed_points(mlp)
    assert abs(point.variance - v) < 1e-9
    first = analysis.correlations(mlp)[0]
    assert abs(first.correlation - c) < 1e-7 and first.attracts == sp.true
    h = 1e-5
    slope = pair_moment(PHI[name], PHI[name], v, v, (c + h) * v) - pair_moment(PHI[name], PHI[name], v, v, (c - h) * v)
    assert c > 1 - 1e-6 or abs(first.slope - weight**2 * slope / (2 * h * v)) < 1e-6
    symbol, slope = mlp.activation.symbol, mlp.activation.expr.diff(mlp.activation.symbol)
    chi = weight**2 * float(moment(lambda t: slope.subs(symbol, t).evalf() ** 2, v))
    assert abs(point.chi - chi) < 1e-9


def test_fixed_point_of_an_integrand():
    v, _ = iterated(PHI["mish"], 1.1, 0.5)
    (point,) = analysis.fixed_points(infgeo.MLP("mish", weight_std=1.1, bias_std=0.5))
    assert abs(point.variance - v) < 1e-7 * v and point.attracts == sp.true


@pytest.mark.parametrize(
    "layers", ["erf", ["erf", "gelu"], ["sin", infgeo.layers.Residual("erf"), infgeo.layers.RMSNorm()]]
)
def test_great_circles_against_the_kernel(layers):
    """C(t) = k(s, s, s cos t): its derivatives at t = 0."""
    mlp = infgeo.MLP(layers, weight_std=sp.Rational(6, 5), bias_std=sp.Rational(1, 2), input_scale=None)
    mlp = mlp.at(d=3)
    image = analysis.great_circles(mlp)[-1]
    t, at = sp.Symbol("t"), sp.Rational(7, 5)
    C = mlp.kernel.expr.subs({s_x: at, s_y: at, xy: at * sp.cos(t)})
    with sp.evaluate(True):
        h = sp.Rational(1, 1000)
        values = [sp.N(C.subs(t, k * h), 40) for k in range(5)]
    # Even in t: differences of the eighth order.
    second = (
        2
        * (
            sum(
                w * (x - values[0])
                for w, x in zip(
                    (sp.Rational(8, 5), -sp.Rational(1, 5), sp.Rational(8, 315), -sp.Rational(1, 560)),
                    values[1:],
                    strict=True,
                )
            )
        )
        / h**2
    )
    fourth = (
        2
        * (
            sum(
                w * (x - values[0])
                for w, x in zip(
                    (-sp.Rational(122, 15), sp.Rational(169, 60), -sp.Rational(2, 5), sp.Rational(7, 240)),
                    values[1:],
                    strict=True,
                )
            )
        )
        / h**4
    )
    assert abs(sp.N(image.speed_squared.subs(s, at), 20) + second) < 1e-12
    assert abs(sp.N(image.acceleration_squared.subs(s, at), 20) - fourth) < 1e-10
    assert abs(sp.N(image.radius_squared.subs(s, at), 20) - values[0]) < 1e-18


def test_great_circles_of_tanh_against_simulation():
    """Length and curvature through 4 layers of tanh in the chaotic phase (Poole et al. 2016, figure 3)."""
    weight, bias, width, networks = 2.5, 0.3, 400, 30
    mlp = infgeo.MLP("tanh", depth=4, weight_std=weight, bias_std=bias)
    images = [
        [float(part.subs(s, 1).evalf()) for part in (image.speed_squared, image.acceleration_squared)]
        for image in analysis.great_circles(mlp)
    ]
    generator = torch.Generator().manual_seed(0)
    angles = torch.linspace(0, 2 * np.pi, 25, dtype=torch.float64)[:-1]
    h, tangent, bend = (
        torch.stack([a, b], -1)
        for a, b in ((angles.cos(), angles.sin()), (-angles.sin(), angles.cos()), (-angles.cos(), -angles.sin()))
    )
    start, found = (h, tangent, bend), []
    for _ in range(networks):
        h, tangent, bend = start
        parts, size = [], 1.0
        for _ in range(4):
            W = weight / np.sqrt(size) * torch.randn(width, h.shape[-1], generator=generator, dtype=torch.float64)
            b = bias * torch.randn(width, generator=generator, dtype=torch.float64)
            z, dz, ddz = h @ W.T + b, tangent @ W.T, bend @ W.T
            slope = 1 - z.tanh() ** 2
            h, tangent, bend = z.tanh(), slope * dz, slope * ddz - 2 * z.tanh() * slope * dz**2
            size = width
            parts.append([float((part**2).sum(-1).mean() / width) for part in (tangent, bend)])
        found.append(parts)
    found, images = np.array(found), np.array(images)
    score = (found.mean(0) - images) / (found.std(0, ddof=1) / np.sqrt(networks))
    # The bias of order 1/width is below a standard error of these replicates in the first layer; deeper it grows.
    assert np.abs(score[0]).max() < 4 and np.abs(found.mean(0) / images - 1).max() < 0.1


@pytest.mark.parametrize("name", ["mish", "softsign", "tanh"])
def test_zero_is_a_fixed_point_without_bias(name):
    """There m(v) = phi'(0)^2 v, so that both maps have one slope."""
    mlp = infgeo.MLP(name, weight_std=0.9, bias_std=0)
    point = analysis.fixed_points(mlp)[0]
    slope = float(mlp.activation.expr.diff(mlp.activation.symbol).subs(mlp.activation.symbol, sp.Rational(1, 10**9)))
    assert point.variance == 0 and abs(point.slope - 0.81 * slope**2) < 1e-7 and point.slope == point.chi


def test_refusals():
    with pytest.raises(MetricDoesNotExist):
        analysis.great_circles(infgeo.MLP("relu"))
    with pytest.raises(InvalidInput, match="give numbers for sigma_w"):
        analysis.fixed_points(infgeo.MLP("tanh", bias_std=1))
    with pytest.raises(InvalidInput, match="attracts"):
        analysis.correlations(infgeo.MLP("identity", weight_std=2, bias_std=1))
    assert analysis.correlations(infgeo.MLP("erf", weight_std=0.5, bias_std=0.1))[0].correlation == 1
