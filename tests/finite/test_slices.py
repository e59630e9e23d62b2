"""Lines and planes of inputs, and what is measured in high dimension."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import pullback, pullback_slice
from tests.finite.surfaces import sphere
from tests.finite.twins import ERF, double_backward, extrinsic_ricci, network, points

DOUBLE = torch.float64


def radial(x: torch.Tensor) -> torch.Tensor:
    """R^d without 0 onto the unit sphere."""
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)


def convolutional(channels: int = 3, side: int = 32) -> nn.Module:
    module = nn.Sequential(
        nn.Conv2d(channels, 4, 3, stride=2), nn.GELU(), nn.Conv2d(4, 4, 3, stride=2), nn.SiLU(), nn.Flatten(),
        nn.LazyLinear(16), nn.Tanh(),
    ).double()  # fmt: skip
    module(torch.zeros(1, channels, side, side, dtype=DOUBLE))
    generator = torch.Generator().manual_seed(3)
    for p in module.parameters():
        p.data = torch.randn(p.shape, generator=generator, dtype=DOUBLE) * 2 / max(1, p[0].numel()) ** 0.5
    return module


def test_a_plane_through_the_origins_side_is_a_piece_of_a_sphere() -> None:
    origin, u, v = points(3, 60, seed=1)
    t = points(7, 2, seed=2)
    plane = pullback_slice(radial, t, origin, torch.stack((u, v)))
    torch.testing.assert_close(plane.gaussian_curvature, torch.ones(7, dtype=DOUBLE), rtol=1e-11, atol=0)
    torch.testing.assert_close(plane.ricci_scalar, torch.full((7,), 2.0, dtype=DOUBLE), rtol=1e-11, atol=0)
    # the plane of the whole sphere's metric: h = Dᵀ g D with g = (1 − x xᵀ/|x|²)/|x|²
    x = origin + t @ torch.stack((u, v))
    square = x.square().sum(-1)[:, None, None]
    g = (torch.eye(60, dtype=DOUBLE) - x[:, :, None] * x[:, None, :] / square) / square
    d = torch.stack((u, v), 1)
    torch.testing.assert_close(plane.metric, d.T @ g @ d, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(plane.log_volume_element, torch.linalg.slogdet(d.T @ g @ d)[1] / 2)


def test_a_line_has_the_length_of_its_image() -> None:
    origin, u = points(2, 40, seed=1)
    t = torch.linspace(-1, 1, 2001, dtype=DOUBLE)[:, None]
    line = pullback_slice(radial, t, origin, u[None])
    angle = torch.acos((radial(origin - u) * radial(origin + u)).sum())
    assert float(torch.trapezoid(line.length_element, t[:, 0])) == pytest.approx(float(angle), rel=1e-5)
    assert line.ricci_scalar.abs().max() == 0 and "one-dim" in line.note
    bend = line.second_fundamental_form[..., 0, 0] / line.metric[..., 0]  # curvature of a great circle, towards 0
    torch.testing.assert_close(bend, -radial(origin + t * u), rtol=1e-9, atol=1e-11)


def test_a_slice_is_the_pullback_of_the_map_restricted_by_hand() -> None:
    module, shape = convolutional(), (3, 32, 32)
    images = points(3, 3072, seed=4).reshape(3, *shape)
    directions = torch.stack((images[1] - images[0], images[2] - images[0]))
    t = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.3, 0.4]], dtype=DOUBLE)
    plane = pullback_slice(module, t, images[0], directions, input_shape=shape)

    def restricted(s: torch.Tensor) -> torch.Tensor:
        return module((images[0].flatten() + s @ directions.flatten(1)).reshape(-1, *shape))

    for i in range(3):
        j, h = double_backward(restricted, t[i])
        torch.testing.assert_close(plane.metric[i], j.mT @ j, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(plane.ricci_scalar[i], extrinsic_ricci(j, h), rtol=1e-7, atol=1e-9)
    assert plane.gaussian_curvature.abs().min() > 1e-6
    listed = pullback_slice(module, t, images[0].flatten(), list(directions), input_shape=shape)
    torch.testing.assert_close(listed.metric, plane.metric, rtol=1e-13, atol=0)
    hidden = pullback_slice(module, t, images[0], directions, input_shape=shape, layer="3")
    assert hidden.width == 4 * 7 * 7 and torch.isfinite(hidden.gaussian_curvature).all()


def test_a_slice_costs_what_its_directions_cost() -> None:
    calls: list[int] = []
    module = convolutional()

    def counted(x: torch.Tensor) -> torch.Tensor:
        calls.append(x.shape[0])
        return module(x)

    image, other = points(2, 3072, seed=4).reshape(2, 3, 32, 32)
    line = pullback_slice(counted, [[0.0], [0.5]], image, other[None], input_shape=(3, 32, 32))
    assert torch.isfinite(line.length_element).all() and sum(calls) < 60


def test_the_curvature_of_the_plane_is_not_that_of_the_surface() -> None:
    """Sectional curvature is that of the whole space: 1 on a sphere, wherever the plane bends in it."""
    features = sphere(1.0)
    x = torch.tensor([1.0, 0.7, 0.4], dtype=DOUBLE)
    u, v = torch.eye(3, dtype=DOUBLE)[1:]
    assert float(pullback(features, x).sectional_curvature(u, v)) == pytest.approx(1.0, rel=1e-11)
    # the angles 1 and 2 at fixed angle 0 sweep a sphere of radius sin 1
    surface = pullback_slice(features, [0.0, 0.0], x, torch.stack((u, v)))
    assert float(surface.gaussian_curvature) == pytest.approx(1 / math.sin(1.0) ** 2, rel=1e-11)


def test_images_of_3072_numbers() -> None:
    module, shape = convolutional(), (3, 32, 32)
    x = points(2, 3072, seed=6).reshape(2, *shape)
    result = pullback(module, x, input_shape=shape)
    j = torch.stack([torch.autograd.functional.jacobian(lambda p: module(p[None])[0], p).flatten(1) for p in x])
    torch.testing.assert_close(result.singular_values, torch.linalg.svdvals(j), rtol=1e-10, atol=0)
    assert result.rank.tolist() == [16, 16]
    volume = torch.linalg.slogdet(j @ j.mT)[1] / 2
    torch.testing.assert_close(result.log_pseudo_volume, volume, rtol=1e-11, atol=0)
    with pytest.raises(SingularMetric, match=r"width 16 < input dimension 3072.*log_pseudo_volume"):
        _ = result.log_volume_element
    marked = pullback(module, x, input_shape=shape, singular="nan")
    assert torch.isneginf(marked.log_volume_element).all()
    u, v = points(2, 3072, seed=7).reshape(2, *shape)
    assert torch.isnan(marked.sectional_curvature(u, v)).all()


def test_log_volume_and_sectional_curvature_in_300_dimensions() -> None:
    weight = torch.linalg.qr(points(320, 320, seed=1))[0][:, :300] * torch.linspace(0.5, 2, 320, dtype=DOUBLE)[:, None]
    x = 0.3 * points(1, 300, seed=2)
    result = pullback(lambda u: (u @ weight.T).tanh(), x)
    j = (1 - (x @ weight.T).tanh().square()).mT * weight
    torch.testing.assert_close(
        result.log_volume_element, torch.linalg.slogdet(j.mT @ j)[1][None] / 2, rtol=1e-11, atol=0
    )
    torch.testing.assert_close(result.log_pseudo_volume, result.log_volume_element, rtol=1e-12, atol=0)
    assert result.rank.tolist() == [300]
    # the surface in the plane of u, v bends as the whole space does, less what it bends inside it: by hand
    u, v = torch.linalg.qr(points(300, 2, seed=3))[0].T
    slope = 1 - (x[0] @ weight.T).tanh() ** 2
    bend = -2 * (x[0] @ weight.T).tanh() * slope
    wu, wv = weight @ u, weight @ v
    normal = torch.eye(320, dtype=DOUBLE) - j @ torch.linalg.solve(j.mT @ j, j.mT)
    uu, uv, vv = (normal @ (bend * a * b) for a, b in ((wu, wu), (wu, wv), (wv, wv)))
    gram = torch.stack((j @ u, j @ v))
    expected = (uu @ vv - uv @ uv) / torch.linalg.det(gram @ gram.T)
    assert float(result.sectional_curvature(u, v)) == pytest.approx(float(expected), rel=1e-9)


def test_more_directions_than_two() -> None:
    from infgeo.finite import sample_network

    net = sample_network(network(ERF, 2), 6, 30, seed=2)
    origin, basis = points(1, 6)[0], points(3, 6, seed=9)
    volume = pullback_slice(net, points(4, 3, seed=5), origin, basis)
    whole = pullback(net, origin + points(4, 3, seed=5) @ basis)
    torch.testing.assert_close(volume.metric, basis @ whole.metric @ basis.T, rtol=1e-11, atol=1e-13)
    assert volume.ricci_tensor.shape == (4, 3, 3)


def test_bad_slices() -> None:
    origin = torch.ones(3, dtype=DOUBLE)
    basis = torch.eye(3, dtype=DOUBLE)
    for t, start, directions, message in (
        ([[0.0]], origin, basis[:2], r"t has shape \(1, 1\), and there are 2 directions"),
        ([0.0, 0.0], origin, basis[0], r"directions has shape \(3,\); pass \(k, 3\)"),
        ([0.0, 0.0], origin, basis[:2, :2], r"directions has shape \(2, 2\); pass \(k, 3\)"),
        ([0.0, 0.0], torch.ones(2, 3, dtype=DOUBLE), basis[:2], r"origin has shape \(2, 3\); pass one point"),
        ([0.0, 0.0], origin, torch.stack((basis[0], -2 * basis[0])), "linearly dependent"),
        ([0.0, 0.0], origin, 0 * basis[:2], "linearly dependent"),
        ([0.0, math.nan], origin, basis[:2], r"t\[1\] is nan"),
        ([0.0, 0.0], torch.ones(3, dtype=torch.int64), basis[:2], "origin has dtype torch.int64"),
    ):
        with pytest.raises(InvalidInput, match=message):
            pullback_slice(radial, t, start, directions)
    with pytest.raises(InvalidInput, match="features is 3"):
        pullback_slice(3, [0.0], origin, basis[:1])  # type: ignore[arg-type]
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)).double()
    with pytest.raises(InvalidInput, match="depend on the other points of the batch"):
        t = torch.tensor([[0.1, 0.0], [0.2, 0.0], [0.3, 0.1]], dtype=torch.float64)
        pullback_slice(lambda u: u.sin() if u.shape[0] < 3 else u.cos(), t, torch.zeros(4), torch.eye(4)[:2])
    with pytest.raises(InvalidInput, match="training mode"):
        pullback_slice(module, [0.0], origin, basis[:1])
    with pytest.raises(InvalidInput, match=r"origin is torch\.float32"):
        pullback_slice(module.eval(), [0.0], origin.float(), basis[:1])
    flat = pullback_slice(nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU()).double(), [0.1, 0.2], origin, basis[:2])
    assert flat.ricci_scalar == 0 and "piecewise linear" in flat.note
