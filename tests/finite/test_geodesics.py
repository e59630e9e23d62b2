"""Geodesics of any feature map: spheres, a torus by its equation, large inputs, and what goes wrong."""

import math

import numpy
import pytest
import torch

import infgeo
from infgeo.errors import InvalidInput, NotConverged, SingularMetric
from infgeo.finite import distance, exponential, frechet_mean, geodesic, graph_path, logarithm, path_length, pullback


def sphere(u):
    t, p = u.unbind(-1)
    return torch.stack((t.sin() * p.cos(), t.sin() * p.sin(), t.cos()), -1)


def decoder(seed=0, wide=784):
    torch.manual_seed(seed)
    layers = (torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Linear(64, wide), torch.nn.Sigmoid())
    with torch.no_grad():
        layers[2].weight *= 5
    return torch.nn.Sequential(*layers).double()


def great_circle(x, y):
    a, b = sphere(torch.as_tensor(x)), sphere(torch.as_tensor(y))
    return 2 * torch.atan2((a - b).norm(dim=-1), (a + b).norm(dim=-1))


PAIRS = torch.tensor([[[1.0, 0.0], [0.7, 1.0], [2.0, -1.0]], [[1.0, 2.0], [2.1, 0.4], [1.0, 1.0]]], dtype=torch.float64)


def test_great_circles():
    x, y = PAIRS
    path = geodesic(sphere, x, y)
    assert bool(path.converged.all()) and bool(path.regular.all()) and path.points.shape == (3, 65, 2)
    assert path.length.tolist() == pytest.approx(great_circle(x, y).tolist(), rel=1e-7)
    assert path.energy.sqrt().tolist() == pytest.approx(path.length.tolist(), rel=1e-3)
    assert bool((path.residual < 2e-3).all()) and bool((path.length_error < 1e-3).all())
    normal = torch.linalg.cross(sphere(x), sphere(y))
    assert float((sphere(path.points) * normal[:, None]).sum(-1).abs().max()) < 1e-4  # in one plane
    steps = sphere(path.points).diff(dim=1).norm(dim=-1)
    assert float((steps / steps.mean(dim=1, keepdim=True) - 1).abs().max()) < 1e-4  # of one speed
    assert distance(sphere, x, y).tolist() == path.length.tolist()
    rough = geodesic(sphere, x, y, tolerance=0.1)
    assert bool((rough.residual > 10 * path.residual).all())


def test_exponential_and_logarithm_are_inverse():
    x, y = PAIRS
    v = logarithm(sphere, x, y)
    speed = torch.einsum("pi,pij,pj->p", v, pullback(sphere, x).metric, v).sqrt()
    assert speed.tolist() == pytest.approx(great_circle(x, y).tolist(), rel=1e-5)
    assert float((exponential(sphere, x, v) - y).abs().max()) < 2e-5
    around = exponential(sphere, [math.pi / 2, 0.0], [0.0, 7.0])  # once round the equator, and on
    assert around.tolist() == pytest.approx([math.pi / 2, 7.0], abs=1e-7)
    assert exponential(sphere, x, 0 * x).tolist() == x.tolist()


@pytest.mark.parametrize("many", [2, 20])
def test_exponential_of_many_coordinates_agrees_with_few(many):
    network = infgeo.finite.sample_network(infgeo.MLP("erf"), 2, 40, seed=0)
    mix = torch.linalg.qr(torch.randn(many, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    rest = torch.eye(many, dtype=torch.float64) - mix @ mix.T

    def features(u):  # a product with flat space
        return torch.cat([network(u @ mix), u @ rest], dim=-1)

    x, v = torch.tensor([[0.3, -0.2]], dtype=torch.float64), torch.tensor([[0.4, 0.3]], dtype=torch.float64)
    ours = exponential(features, x @ mix.T, v @ mix.T) @ mix
    assert ours.tolist()[0] == pytest.approx(exponential(network, x, v).tolist()[0], rel=1e-6)


def test_geodesics_of_a_decoder_are_shorter_and_solve_their_equation():
    module, generator = decoder(), torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 6, 2, dtype=torch.float64, generator=generator)
    path = geodesic(module, x, y)
    straight = path_length(module, torch.stack([x + t * (y - x) for t in torch.linspace(0, 1, 65)], dim=1))
    assert bool(path.converged.all()) and bool((path.length <= straight * (1 + 1e-9)).all())
    assert bool((path.length < 0.999 * straight).any())
    assert bool((path.length >= (module(x) - module(y)).norm(dim=-1) * (1 - 1e-6)).all())
    assert path_length(module, path.points).tolist() == pytest.approx(path.length.tolist(), rel=1e-12)
    assert float((exponential(module, x, path.velocity) - y).norm(dim=1).max()) < 2e-3
    alone = geodesic(module, x[2], y[2])
    assert float(alone.length) == pytest.approx(float(path.length[2]), rel=1e-8)
    # Christoffel symbols of `pullback` along it, by differences of the path
    p, h = path.points, 1 / 64
    bend = (16 * (p[:, 3:-1] + p[:, 1:-3]) - 30 * p[:, 2:-2] - p[:, 4:] - p[:, :-4]) / (12 * h**2)
    slope = (8 * (p[:, 3:-1] - p[:, 1:-3]) - (p[:, 4:] - p[:, :-4])) / (12 * h)
    force = torch.einsum("pmkij,pmi,pmj->pmk", pullback(module, p[:, 2:-2].contiguous()).christoffel, slope, slope)
    assert float(((bend + force).norm(dim=-1) / slope.norm(dim=-1)).max()) < 0.05


def test_large_inputs_slices_and_float32():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(3 * 64, 20), torch.nn.Tanh()
    )
    x, y = torch.randn(2, 1, 10, 10)
    path = geodesic(module, x, y, input_shape=(1, 10, 10), steps=16)
    assert bool(path.converged) and path.points.shape == (17, 100) and path.points.dtype == torch.float32
    plane = (x, torch.stack([y - x, torch.roll(x, 1, -1)]))
    within = geodesic(module, [0.0, 0.0], [1.0, 0.0], plane=plane, input_shape=(1, 10, 10), steps=16)
    assert within.points.shape == (17, 2) and float(within.length) >= float(path.length) * (1 - 1e-3)


def test_starts_lead_to_other_geodesics():
    cloud = torch.rand(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 8 - 4

    def hill(u):  # too high to go over
        return torch.cat([u, 6 * torch.exp(-(u**2).sum(-1, keepdim=True))], dim=-1)

    x, y = torch.tensor([-2.0, 0.1], dtype=torch.float64), torch.tensor([2.0, 0.1], dtype=torch.float64)
    start = graph_path(hill, cloud, x, y)
    assert start.shape == (33, 2) and torch.equal(start[0], x) and torch.equal(start[-1], y)
    assert float(path_length(hill, start)) < float(
        path_length(hill, torch.stack([x + t * (y - x) for t in torch.linspace(0, 1, 33)]))
    )
    found = geodesic(hill, x, y, start=start)
    mirrored = geodesic(hill, x, y, start=start * torch.tensor([1.0, -1.0]))
    assert bool(found.converged) and float(found.length) < float(path_length(hill, start))
    assert abs(float(found.points[32, 1]) - float(mirrored.points[32, 1])) > 0.5
    with pytest.raises(InvalidInput, match="no edges lead"):
        graph_path(hill, torch.tensor([[-2.1, 0.0], [2.1, 0.0]]).double(), x, y, neighbours=1)


def test_mean_of_points():
    angles = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64) * math.pi / 3
    ring = torch.stack([math.pi / 2 + 0.5 * angles.cos(), 0.5 * angles.sin()], dim=-1)
    mean = frechet_mean(sphere, ring)
    logs = logarithm(sphere, mean, ring)
    assert float(logs.mean(dim=0).norm()) < 1e-4 * float(logs.norm(dim=1).mean())
    assert frechet_mean(sphere, ring, [1.0, 0.0, 0.0]).tolist() == pytest.approx(ring[0].tolist(), abs=1e-6)
    with pytest.raises(InvalidInput, match="weights must be 3 numbers"):
        frechet_mean(sphere, ring, [1.0, 2.0])


def test_what_goes_wrong_is_said_and_paths_are_kept(monkeypatch):
    monkeypatch.setattr("infgeo.finite.geodesics._MOST_CALLS", 300)  # which a lost geodesic takes seconds to reach

    def fold(u):
        return torch.stack((u[..., 0] ** 2, u[..., 1]), -1)

    x, y = [1.0, 1.0], [-1.0, 1.2]
    path = geodesic(fold, x, y, iterations=5)
    assert not bool(path.regular) and "regular=False" in repr(path)
    for shift in (0.013, -0.21):  # the shortest path in feature space jumps over the fold
        assert not bool(geodesic(lambda u, by=shift: fold(u + torch.tensor([by, 0.0]).to(u)), x, y).regular)
    with pytest.raises(SingularMetric, match="no full rank") as caught:
        distance(fold, x, y)
    assert caught.value.found.points.shape == (65, 2)
    with pytest.raises(NotConverged, match="metric loses rank"):
        exponential(fold, [0.5, 1.0], [-3.0, 1.0])
    hard = geodesic(decoder(), [-2.0, 1.0], [2.0, 1.5], iterations=1)
    assert not bool(hard.converged)
    with pytest.raises(NotConverged, match="pass iterations"):
        hard.require()
    with pytest.raises(InvalidInput, match="not finite on 1 path"):
        geodesic(torch.log, x, y)
    with pytest.raises(InvalidInput, match="do not fit"):
        geodesic(sphere, [1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(InvalidInput, match="steps is 4"):
        geodesic(sphere, x, y, steps=4)
    with pytest.raises(InvalidInput, match="start has shape"):
        geodesic(sphere, x, y, start=numpy.zeros((5, 3)))
    still = geodesic(decoder(), x, x)
    assert float(still.length) < 1e-12 and bool(still.converged)
    seen = []
    geodesic(sphere, [1.0, 0.0], [1.0, 1.0], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
