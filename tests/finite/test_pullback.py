"""The general route on surfaces whose curvature is known, and against brute-force Christoffel symbols."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import pullback, sample_network
from tests.finite.surfaces import SHEAR, hyperbolic, paraboloid, sheared, sphere, torus
from tests.finite.twins import ERF, christoffel_ricci, network, points


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("radius", [1.0, 1e-3, 1e4])
def test_sphere(d: int, radius: float) -> None:
    u = torch.tensor([[1.0, 0.7, 0.4], [0.5, 1.2, 2.0], [2.0, 0.3, -1.0]], dtype=torch.float64)[:, :d]
    shear = torch.linalg.inv(SHEAR[:d, :d])
    result = pullback(sheared(sphere(radius), d), u @ shear.T)
    expected = torch.full((3,), d * (d - 1) / radius**2, dtype=torch.float64)
    torch.testing.assert_close(result.ricci_scalar, expected, rtol=2e-13, atol=0)
    sines = u[:, 0].sin() if d == 2 else u[:, 0].sin() ** 2 * u[:, 1].sin()
    volume = math.log(abs(float(torch.linalg.det(SHEAR[:d, :d])))) + d * math.log(radius) + sines.abs().log()
    torch.testing.assert_close(result.log_volume_element, volume, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(result.volume_element, volume.exp(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("d", [2, 3])
def test_hyperbolic_space_in_sheared_coordinates(d: int) -> None:
    u = torch.tensor([[-1.0, 0.7, 0.4], [-2.5, -1.2, 2.0]], dtype=torch.float64)[:, :d]
    result = pullback(sheared(hyperbolic, d), u @ torch.linalg.inv(SHEAR[:d, :d]).T)
    expected = torch.full((2,), -float(d * (d - 1)), dtype=torch.float64)
    torch.testing.assert_close(result.ricci_scalar, expected, rtol=1e-11, atol=0)


def test_plane_rolled_into_a_cylinder_is_flat() -> None:
    def cylinder(u: torch.Tensor) -> torch.Tensor:
        return torch.stack((u[..., 0].cos(), u[..., 0].sin(), u[..., 1]), -1)

    assert pullback(sheared(cylinder, 2), points(5, 2)).ricci_scalar.abs().max() < 1e-14
    assert pullback(lambda u: u @ SHEAR, points(5, 3)).ricci_scalar.abs().max() == 0


def test_torus_and_paraboloid() -> None:
    u = points(6, 2, seed=1)
    shear = torch.linalg.inv(SHEAR[:2, :2])
    gauss = u[:, 0].cos() / (0.7 * (2.0 + 0.7 * u[:, 0].cos()))
    torch.testing.assert_close(pullback(torus, u).ricci_scalar, 2 * gauss, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(pullback(sheared(torus, 2), u @ shear.T).ricci_scalar, 2 * gauss, rtol=1e-12, atol=1e-13)
    gauss = 1.5**2 / (1 + 1.5**2 * u.square().sum(-1)) ** 2
    torch.testing.assert_close(pullback(paraboloid, u).ricci_scalar, 2 * gauss, rtol=1e-12, atol=0)


@pytest.mark.parametrize("d", [2, 3])
def test_christoffel_twin_on_a_generic_immersion(d: int) -> None:
    weights = points(7, d, seed=2)

    def features(u: torch.Tensor) -> torch.Tensor:
        return torch.cat(((u @ weights.T).sin(), (u @ weights[:3].T) ** 2, u.prod(-1, keepdim=True)), -1)

    x = points(3, d, seed=3)
    twin = torch.stack([christoffel_ricci(features, p) for p in x])
    torch.testing.assert_close(pullback(features, x).ricci_scalar, twin, rtol=1e-10, atol=1e-11)


def test_the_twin_itself_has_the_sign_of_the_sphere() -> None:
    x = torch.tensor([1.0, 0.7], dtype=torch.float64)
    assert float(christoffel_ricci(sheared(sphere(1.0), 2), x)) == pytest.approx(2.0, rel=1e-12)


def test_ill_conditioned_coordinates_keep_their_digits() -> None:
    stretch = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 1e-3]], dtype=torch.float64)  # condition of g about 1e7
    u = torch.tensor([1.0, 0.7], dtype=torch.float64)
    result = pullback(lambda v: sphere(1.0)(v @ stretch.T), torch.linalg.solve(stretch, u))
    assert float(result.ricci_scalar) == pytest.approx(2.0, rel=1e-8)  # H carries its rounding times that


def test_shapes_follow_the_points_and_d_one_is_flat() -> None:
    x = points(6, 2).reshape(2, 3, 2)
    result = pullback(torus, x)
    assert result.metric.shape == (2, 3, 2, 2)
    assert result.log_volume_element.shape == result.ricci_scalar.shape == (2, 3)
    assert result.width == 3 and result.input_dim == 2 and not result.is_flat_by_construction
    assert pullback(torus, x[0, 0]).ricci_scalar.shape == ()
    assert pullback(torus, x[:0]).ricci_scalar.shape == (0, 3)
    curve = pullback(lambda u: torch.cat((u.cos(), u.sin(), u**2), -1), points(4, 1))
    assert curve.ricci_scalar.tolist() == [0.0] * 4 and curve.is_flat_by_construction and "one-dim" in curve.note


def test_blocks_of_points_do_not_change_the_result() -> None:
    x = points(50, 2)
    one_by_one, whole = pullback(torus, x, memory_budget=1), pullback(torus, x)
    torch.testing.assert_close(one_by_one.ricci_scalar, whole.ricci_scalar, rtol=1e-13, atol=1e-14)


def test_trained_module_in_float32_is_measured_in_its_own_dtype() -> None:
    torch_state = torch.get_rng_state()
    module = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    torch.set_rng_state(torch_state)
    result = pullback(module, [[0.1, 0.2]])
    assert result.x.dtype == torch.float32 and result.metric.dtype == torch.float64
    double = pullback(module.double(), [[0.1, 0.2]])
    torch.testing.assert_close(result.metric, double.metric, rtol=1e-5, atol=0)
    assert not double.ricci_scalar.requires_grad
    with pytest.raises(InvalidInput, match=r"x\.to\('cpu', torch\.float64\)"):
        pullback(module, torch.zeros(2))


def small_module() -> torch.nn.Module:
    module = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5)).double()
    for i, parameter in enumerate(module.parameters()):
        parameter.data = torch.linspace(-1, 1 + i, parameter.numel(), dtype=torch.float64).sin().reshape_as(parameter)
    return module


def step(module: torch.nn.Module) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(points(3, 2)).square().sum().backward()
    optimizer.step()


def replace(module: torch.nn.Module) -> None:
    module[0] = torch.nn.Linear(2, 8).double()


def load(module: torch.nn.Module) -> None:
    module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()})


@pytest.mark.parametrize("change", [step, replace, load, torch.nn.Module.float])
def test_quantities_of_different_weights_are_never_mixed(change: Callable[[torch.nn.Module], object]) -> None:
    module = small_module()
    result = pullback(module, points(3, 2))
    metric, volume = result.metric.clone(), result.volume_element.clone()
    change(module)
    assert torch.equal(result.metric, metric) and torch.equal(result.volume_element, volume)
    with pytest.raises(InvalidInput, match="features changed since pullback was called; call it again"):
        _ = result.ricci_scalar
    assert pullback(module, points(3, 2).numpy()).ricci_scalar.shape == (3,)


def test_a_sampled_network_is_watched_too() -> None:
    net = sample_network(network(ERF, 1), 2, 16, seed=0)
    result = pullback(net, points(3, 2))
    with torch.no_grad():
        next(net.parameters()).mul_(2)
    with pytest.raises(InvalidInput, match="features changed"):
        _ = result.metric


def test_the_points_are_copied() -> None:
    x = points(3, 2)
    result = pullback(torus, x)
    expected = pullback(torus, x.clone()).ricci_scalar
    x += 1
    assert torch.equal(result.ricci_scalar, expected)


def test_singular_metrics_are_named() -> None:
    narrow = pullback(lambda u: u[..., :1], points(2, 3))
    assert narrow.metric.shape == (2, 3, 3)
    for name in ("ricci_scalar", "log_volume_element", "volume_element"):
        with pytest.raises(SingularMetric, match=r"width 1 < input dimension 3.*use width >= 3"):
            getattr(narrow, name)
    x = torch.tensor([[0.5, 0.5], [0.0, 1.0]], dtype=torch.float64)  # the pole of the sphere has no polar metric
    folded = pullback(sphere(1.0), x)
    for name in ("ricci_scalar", "log_volume_element"):
        with pytest.raises(SingularMetric, match=r"1 point\(s\), first at index \(1,\), x = \(0, 1\), with width 3"):
            getattr(folded, name)
    duplicate = pullback(lambda u: torch.stack((u.sum(-1), u.sum(-1) ** 2, u.sum(-1).sin()), -1), points(2, 2))
    with pytest.raises(SingularMetric, match="larger width"):
        _ = duplicate.ricci_scalar


def test_features_that_are_no_feature_vector() -> None:
    x = points(2, 2)
    with pytest.raises(InvalidInput, match="callable or module"):
        pullback(3, x)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"is \(\) torch.float64; it must be a real tensor"):
        pullback(lambda u: u.sum(), x)
    with pytest.raises(InvalidInput, match=r"is list"):
        pullback(lambda u: [u], x)  # type: ignore[arg-type,return-value]
    with pytest.raises(InvalidInput, match="complex"):
        pullback(lambda u: torch.complex(u, u), x)
    with pytest.raises(InvalidInput, match="memory_budget"):
        pullback(torus, x, memory_budget=0)


@pytest.mark.parametrize("d", [2, 3])
def test_operation_without_forward_mode(d: int) -> None:
    class Cube(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(u: torch.Tensor) -> torch.Tensor:
            return u**3

        @staticmethod
        def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(inputs[0])

        @staticmethod
        def backward(ctx, grad):  # type: ignore[no-untyped-def]
            return 3 * ctx.saved_tensors[0] ** 2 * grad

    x, weights = points(2, d, seed=4), points(6, d, seed=5)
    reference = pullback(lambda u: (u @ weights.T) ** 3, x)
    result = pullback(lambda u: Cube.apply(u @ weights.T), x)
    torch.testing.assert_close(result.ricci_scalar, reference.ricci_scalar, rtol=1e-10, atol=1e-11)
