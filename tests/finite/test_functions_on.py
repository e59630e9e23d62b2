"""Laplacians and level sets against spheres, cylinders and written-out derivatives; the geometry of single points."""

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from torch import nn

from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import laplacian, level_sets, mesh_laplacian, pullback, pullback_slice
from tests.finite.surfaces import hyperbolic, paraboloid, sheared, sphere, torus

U = torch.tensor([[0.4, 0.3], [1.1, -0.7], [0.8, 2.0]], dtype=torch.float64)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_spherical_harmonics(degree):
    harmonic = [lambda y: y[..., 0], lambda y: y[..., 0] * y[..., 1], lambda y: y[..., 0] * y[..., 1] * y[..., 2]]
    skewed = sheared(sphere(2.0), 2)
    function = lambda u: harmonic[degree - 1](skewed(u))  # noqa: E731
    expected = -degree * (degree + 1) / 4 * function(U)
    assert torch.allclose(laplacian(function, pullback(skewed, U)), expected, rtol=1e-10)


def test_laplacian_is_the_divergence_of_the_gradient():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 4)).double().eval()
    function = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double().eval()

    def flux(x, output):  # √g g⁻¹ ∂f, with √g
        g = pullback(net, x, output=output).metric
        slope = torch.autograd.functional.jacobian(lambda x: function(x)[0], x)
        return g.det().sqrt() * torch.linalg.solve(g, slope), g.det().sqrt()

    for output in ("euclidean", "gaussian"):
        for x, value in zip(U, laplacian(function, pullback(net, U, output=output)), strict=True):
            step = 1e-4 * torch.eye(2, dtype=torch.float64)
            ends = [(flux(x + e, output)[0] - flux(x - e, output)[0])[i] for i, e in enumerate(step)]
            assert float(value) == pytest.approx(float(sum(ends) / 2e-4 / flux(x, output)[1]), rel=1e-5)


def test_on_a_slice_the_function_is_of_its_coordinates():
    plane = pullback_slice(sphere(1.0), [[0.4], [0.9]], [0.0, 0.3], [[2.0, 0.0]])  # an arc, at twice the speed
    assert torch.allclose(laplacian(lambda t: t[..., 0] ** 2, plane), torch.full((2,), 0.5, dtype=torch.float64))


def test_level_sets_in_euclidean_space():
    x = torch.tensor([[0.5, 1.0, -2.0], [1.0, 2.0, 2.0]], dtype=torch.float64)
    flat = pullback(nn.Identity(), x)
    ball = level_sets(lambda x: x.square().sum(-1), flat)
    radius = x.norm(dim=1)
    assert torch.allclose(ball.principal_curvatures, (1 / radius[:, None]).expand(2, 2))
    assert torch.allclose(ball.gaussian_curvature, radius**-2)
    assert torch.allclose(ball.normal, x / radius[:, None])
    tube = level_sets(lambda x: -x[..., :2].square().sum(-1), flat)  # values fall outwards
    across = -1 / x[:, :2].norm(dim=1)
    assert torch.allclose(tube.principal_curvatures, torch.stack((0 * across, across), -1), atol=1e-12)
    assert torch.allclose(tube.mean_curvature, across / 2)


def test_level_sets_in_a_curved_metric():
    parallels = level_sets(lambda u: u[..., 0], pullback(sphere(2.0), U))  # circles around the pole of the sphere
    assert torch.allclose(parallels.gaussian_curvature, 1 / (2 * U[:, 0].tan()), rtol=1e-10)
    assert torch.allclose(parallels.normal, torch.tensor([0.5, 0.0]).double().expand(3, 2), atol=1e-12)
    t = torch.tensor([[-1.0, 0.2, 0.4], [-0.6, 0.1, 0.0]], dtype=torch.float64)
    horospheres = level_sets(lambda u: u[..., :1], pullback(hyperbolic, t))
    assert torch.allclose(horospheres.principal_curvatures, torch.ones(2, 2, dtype=torch.float64), rtol=1e-8)


def icosphere(times):
    phi = (1 + 5**0.5) / 2
    corners = [p for a in (-1, 1) for b in (-phi, phi) for p in ((0, a, b), (a, b, 0), (b, 0, a))]
    points = [np.array(p) / np.linalg.norm(p) for p in corners]
    near = [[i for i in range(12) if 0.1 < np.linalg.norm(points[i] - p) < 1.1] for p in points]
    faces = [(i, j, k) for i in range(12) for j in near[i] for k in near[j] if i < j < k and k in near[i]]
    for _ in range(times):
        middle: dict[frozenset[int], int] = {}
        finer = []
        for face in faces:
            for pair in (frozenset((face[i], face[i - 1])) for i in range(3)):
                if pair not in middle:
                    middle[pair] = len(points)
                    sum_ = sum(points[i] for i in pair)
                    points.append(sum_ / np.linalg.norm(sum_))
            m = [middle[frozenset((face[i], face[i - 1]))] for i in range(3)]
            finer += [tuple(m), *((face[i], m[i], m[(i + 1) % 3]) for i in range(3))]
        faces = finer
    return np.array(points), np.array(faces)


def test_eigenvalues_on_a_mesh_of_the_sphere():
    errors = []
    for times in (2, 3):
        points, faces = icosphere(times)
        # the points are stretched, and features put them back on the sphere of radius 2
        stiffness, masses = mesh_laplacian(
            lambda x: 2 * x / torch.tensor([1.0, 2.0, 3.0]).double(), points * [1, 2, 3], faces
        )
        assert masses.sum() == pytest.approx(16 * np.pi, rel=0.03)
        values = 4 * eigh(stiffness.toarray(), np.diag(masses), eigvals_only=True, subset_by_index=[0, 8])
        expected = np.array([0, *[2] * 3, *[6] * 5])
        errors.append(np.abs(values - expected).max())
    assert errors[1] < 0.06
    assert errors[1] < errors[0] / 3.5  # of second order


def test_a_mesh_of_the_plane_takes_any_metric():
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9)), -1).reshape(-1, 2)
    _, masses = mesh_laplacian(lambda x: x, grid, output="gaussian")  # ∫ √2/σ dμ dlogσ over the unit square
    assert masses.sum() == pytest.approx(2**0.5 * (1 - np.exp(-1)), rel=2e-3)
    stiffness, masses = mesh_laplacian(paraboloid, grid - 0.5)
    linear = grid @ [1.0, 2.0]
    assert np.allclose(stiffness @ np.ones(81), 0, atol=1e-13)
    assert stiffness.diagonal().min() > 0
    assert linear @ stiffness @ linear > 0


def test_points_of_surfaces():
    ball, ring = pullback(sheared(sphere(2.0), 2), U), pullback(torus, U)
    assert torch.allclose(ball.mean_curvature_vector, -sheared(sphere(2.0), 2)(U) / 4, rtol=1e-9)
    a = U[:, 0]
    mean = (1 / 0.7 + a.cos() / (2 + 0.7 * a.cos())) / 2
    assert torch.allclose(ring.mean_curvature_vector.norm(dim=1), mean, rtol=1e-10)
    for found in (ball, ring, pullback(lambda x: x.sum(-1, keepdim=True), U)):
        rows, values = found.principal_directions, found.singular_values
        assert torch.allclose(rows @ found.metric @ rows.mT, torch.diag_embed(values**2), atol=1e-10)
    assert not ball.is_flat.any()


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(2, 6), nn.Linear(6, 6)

    def forward(self, x):
        x = self.first(x)
        return x + torch.relu(self.second(x))


def test_flatness_is_recognised():
    torch.manual_seed(0)
    flow = nn.Sequential(nn.Linear(2, 2), nn.Tanh()).double().eval()
    coupled = pullback(lambda x: torch.stack((x[..., 0], x[..., 1] * x[..., 0].exp()), -1), U)
    for found in (pullback(flow, U), coupled, pullback(nn.Sequential(flow, nn.Linear(2, 2).double()), U)):
        assert found.ricci_scalar.tolist() == [0, 0, 0]
        assert bool(found.is_flat.all())
        assert "as many features as coordinates" in found.note
    residual = pullback(Residual().double().eval(), U)
    assert (residual.ricci_scalar.tolist(), residual.is_flat.tolist()) == ([0, 0, 0], [True] * 3)
    cylinder = pullback(lambda u: torch.stack((u[..., 0].cos(), u[..., 0].sin(), u[..., 1]), -1), U)
    assert not cylinder.is_flat.any()  # its features are bent, so that nothing is known by construction
    with pytest.raises(SingularMetric):
        _ = pullback(lambda x: x.sum(-1, keepdim=True).expand(*x.shape[:-1], 2), U).ricci_scalar
    assert not pullback(flow, U, output="gaussian").is_flat.any()


def test_no_points_give_no_numbers():
    none = pullback(torus, U[:0])
    found = level_sets(lambda u: u[..., 0], none)
    assert (found.normal.shape, found.principal_curvatures.shape, found.mean_curvature.shape) == ((0, 2), (0, 1), (0,))
    assert laplacian(lambda u: u[..., 0], none).shape == none.transverse_ricci_scalar.shape == (0,)


def test_what_is_refused():
    flat = pullback(nn.Identity(), U)
    with pytest.raises(InvalidInput, match="2 numbers"):
        laplacian(nn.Identity(), flat)
    with pytest.raises(SingularMetric, match="gradient"):
        level_sets(lambda x: (x - U[0]).square().sum(-1), flat)
    marked = level_sets(lambda x: (x - U[0]).square().sum(-1), pullback(nn.Identity(), U, singular="nan"))
    assert torch.isnan(marked.mean_curvature).tolist() == [True, False, False]
    with pytest.raises(InvalidInput, match="one coordinate"):
        level_sets(lambda x: x[..., 0], pullback(nn.Identity(), U[:, :1]))
    for triangles, words in (([[0, 1, 3]], "vertices 0 to 3"), ([[0, 1]], "integers"), ([[0, 0, 1]], "no area")):
        with pytest.raises(InvalidInput, match=words):
            mesh_laplacian(nn.Identity(), U, triangles)
    with pytest.raises(InvalidInput, match="a plane's points"):
        mesh_laplacian(lambda x: x, torch.randn(5, 3))
