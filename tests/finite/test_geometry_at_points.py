"""Ricci tensor, sectional curvature, Christoffel symbols and second fundamental form, each by a route of its own."""

from __future__ import annotations

import math

import pytest
import sympy as sp
import torch

import infgeo
from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import pullback, sample_network
from tests.finite.surfaces import SHEAR, hyperbolic, paraboloid, sheared, sphere, torus
from tests.finite.twins import ERF, RELU, network, points, textbook

ANGLES = torch.tensor([[1.0, 0.7, 0.4], [0.5, 1.2, 2.0], [2.0, 0.3, -1.0]], dtype=torch.float64)


def unsheared(u: torch.Tensor) -> torch.Tensor:
    """Coordinates whose sheared ones are u."""
    d = u.shape[-1]
    return u @ torch.linalg.inv(SHEAR[:d, :d]).T


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("radius", [1.0, 1e-3, 1e4])
def test_spheres(d: int, radius: float) -> None:
    features = sheared(sphere(radius), d)
    x = unsheared(ANGLES[:, :d])
    result = pullback(features, x)
    scale = (d - 1) / radius**2 * result.metric
    torch.testing.assert_close(result.ricci_tensor, scale, rtol=1e-12, atol=float(1e-12 * scale.abs().max()))
    for seed in (0, 1):
        u, v = points(2, d, seed)
        curvature = result.sectional_curvature(u, 1e3 * v)
        torch.testing.assert_close(curvature, torch.full((3,), radius**-2, dtype=x.dtype), rtol=1e-12, atol=0)
    # the normal of the sphere is the radius: II_ij = −g_ij Φ/a²
    expected = -result.metric[:, None] * features(x)[:, :, None, None] / radius**2
    atol = float(1e-13 * expected.abs().max())
    torch.testing.assert_close(result.second_fundamental_form, expected, rtol=1e-12, atol=atol)
    if d == 2:
        torch.testing.assert_close(result.gaussian_curvature, result.ricci_scalar / 2, rtol=0, atol=0)


@pytest.mark.parametrize("d", [2, 3])
def test_hyperbolic_space(d: int) -> None:
    u = torch.tensor([[-1.0, 0.7, 0.4], [-2.5, -1.2, 2.0]], dtype=torch.float64)[:, :d]
    result = pullback(sheared(hyperbolic, d), unsheared(u))
    torch.testing.assert_close(result.ricci_tensor, (1 - d) * result.metric, rtol=1e-10, atol=1e-12)
    one = torch.ones(2, dtype=u.dtype)
    for seed in (0, 1):
        torch.testing.assert_close(result.sectional_curvature(*points(2, d, seed)), -one, rtol=1e-10, atol=0)


def test_second_fundamental_forms_of_the_torus_and_the_paraboloid() -> None:
    u = points(5, 2, seed=1)
    a, b = u.T
    normal = torch.stack((a.cos() * b.cos(), a.cos() * b.sin(), a.sin()), -1)
    form = pullback(torus, u).second_fundamental_form
    zero = torch.zeros_like(a)
    diagonal = torch.stack((torch.full_like(a, -0.7), zero, zero, -(2 + 0.7 * a.cos()) * a.cos()), -1).reshape(5, 2, 2)
    torch.testing.assert_close(form, normal[:, :, None, None] * diagonal[:, None], rtol=1e-12, atol=1e-13)
    upward = torch.cat((-1.5 * u, torch.ones(5, 1, dtype=u.dtype)), -1)
    bend = 1.5 * upward / upward.square().sum(-1, keepdim=True)
    expected = bend[:, :, None, None] * torch.eye(2, dtype=u.dtype)
    torch.testing.assert_close(pullback(paraboloid, u).second_fundamental_form, expected, rtol=1e-12, atol=1e-13)


def test_a_product_of_spheres_has_flat_mixed_planes() -> None:
    def product(u: torch.Tensor) -> torch.Tensor:
        return torch.cat((sphere(1.0)(u[..., :2]), sphere(0.5)(u[..., 2:])), -1)

    mix = torch.linalg.qr(points(4, 4, seed=3))[0] + 0.1
    x = torch.linalg.solve(mix, torch.tensor([1.0, 0.7, 0.9, -0.4], dtype=torch.float64))
    result = pullback(lambda u: product(u @ mix.T), x)
    directions = torch.linalg.inv(mix).T  # row i moves the i-th angle
    for i, j, curvature in ((0, 1, 1.0), (2, 3, 4.0), (0, 2, 0.0), (1, 3, 0.0)):
        found = float(result.sectional_curvature(directions[i], directions[j] + 0.3 * directions[i]))
        assert found == pytest.approx(curvature, rel=1e-11, abs=1e-11)
    blocks = torch.diag(torch.tensor([1.0, 1.0, 4.0, 4.0], dtype=torch.float64))
    ricci = directions @ result.ricci_tensor @ directions.T
    expected = blocks @ (directions @ result.metric @ directions.T)
    torch.testing.assert_close(ricci, expected, rtol=1e-10, atol=1e-11)
    assert float(result.ricci_scalar) == pytest.approx(2 + 8, rel=1e-11)


def test_geometry_to_fifty_digits() -> None:
    """A polynomial immersion, against textbook definitions by SymPy."""
    x = sp.symbols("x_1:4", real=True)
    a, b, c = x
    forms = (a + b * c / 2, b - a**2 / 3 + c**3 / 5, c + a * b, a * b * c - b**2, c**2 + 3 * a / 4)
    jacobian = sp.Matrix(forms).jacobian(x)
    at = dict(zip(x, map(sp.Rational, ("1/2", "-3/4", "5/4")), strict=True))
    exact = infgeo.Metric(jacobian.T * jacobian, x, simplify=False).at(at)

    def features(u: torch.Tensor) -> torch.Tensor:
        a, b, c = u.unbind(-1)
        return torch.stack((a + b * c / 2, b - a**2 / 3 + c**3 / 5, c + a * b, a * b * c - b**2, c**2 + 0.75 * a), -1)

    result = pullback(features, [0.5, -0.75, 1.25])

    def numbers(array: object) -> torch.Tensor:
        return torch.tensor([float(v) for v in sp.flatten(sp.Array(array))], dtype=torch.float64)

    for ours, theirs in (
        (result.christoffel, exact.christoffel),
        (result.ricci_tensor, exact.ricci_tensor),
        (result.metric, exact.matrix),
    ):
        torch.testing.assert_close(ours.flatten(), numbers(theirs), rtol=1e-13, atol=1e-14)
    assert float(result.ricci_scalar) == pytest.approx(float(exact.ricci_scalar), rel=1e-13)


@pytest.mark.parametrize("kind", ["general", "one layer", "deep"])
def test_textbook_twin(kind: str) -> None:
    weights = points(7, 3, seed=2)

    def generic(u: torch.Tensor) -> torch.Tensor:
        return torch.cat(((u @ weights.T).sin(), (u @ weights[:3].T) ** 2, u.prod(-1, keepdim=True)), -1)

    features = generic if kind == "general" else sample_network(network(ERF, 1 if kind == "one layer" else 2), 3, 9, 4)
    x = points(2, 3, seed=3)
    result = pullback(features, x)
    u, v = points(2, 3, seed=8), points(2, 3, seed=9)
    curvature = result.sectional_curvature(u, v)
    for i in range(2):
        twin = textbook(features, x[i])
        torch.testing.assert_close(result.christoffel[i], twin.christoffel, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(result.ricci_tensor[i], twin.ricci_tensor, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(result.ricci_scalar[i], twin.ricci_scalar, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(curvature[i], twin.sectional_curvature(u[i], v[i]), rtol=1e-9, atol=1e-10)
    trace = torch.einsum("pij,pij->p", torch.linalg.inv(result.metric), result.ricci_tensor)
    torch.testing.assert_close(trace, result.ricci_scalar, rtol=1e-10, atol=1e-12)
    # in two dimensions every plane is the plane
    flat = pullback(lambda p: generic(torch.cat((p, p[..., :1]), -1)), x[:, :2])
    torch.testing.assert_close(flat.sectional_curvature([1.0, 0.0], [0.4, 2.0]), flat.gaussian_curvature)


def test_blocks_and_shapes() -> None:
    x = points(6, 2).reshape(3, 2, 2)
    whole, single = pullback(torus, x), pullback(torus, x, memory_budget=1)
    for name, shape in (
        ("ricci_tensor", (2, 2)),
        ("christoffel", (2, 2, 2)),
        ("second_fundamental_form", (3, 2, 2)),
        ("gaussian_curvature", ()),
        ("rank", ()),
        ("singular_values", (2,)),
        ("log_pseudo_volume", ()),
    ):
        value = getattr(whole, name)
        assert value.shape == (3, 2, *shape), name
        torch.testing.assert_close(getattr(single, name), value, rtol=1e-12, atol=1e-13)
        assert getattr(pullback(torus, x[:0]), name).shape == (0, 2, *shape), name
    assert whole.sectional_curvature(x, x.flip(-1) + 1).shape == (3, 2)
    assert pullback(torus, x[:0]).sectional_curvature([1.0, 0.0], [0.0, 1.0]).shape == (0, 2)


def test_the_ricci_scalar_does_without_the_hessian_where_it_does_not_fit() -> None:
    weights = points(40, 6, seed=2)
    x = 0.5 * points(3, 6, seed=3)
    deep = sample_network(network(ERF, 2), 6, 30, seed=4)
    for features in (lambda u: torch.cat(((u @ weights.T).tanh(), u**2), -1), deep):
        whole = pullback(features, x)
        pairs = pullback(features, x, memory_budget=4 * 8 * whole.width * 36 - 1)
        torch.testing.assert_close(pairs.ricci_scalar, whole.ricci_scalar, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(pairs.metric, whole.metric, rtol=1e-13, atol=1e-14)
        assert not torch.equal(pairs.ricci_scalar, whole.ricci_scalar)  # it was another route
    folded = pullback(
        lambda u: (u @ weights.T @ weights[:, :1]).sin() * weights[:, 0], x, memory_budget=1, singular="nan"
    )
    assert torch.isnan(folded.ricci_scalar).all()


def test_flat_maps_have_no_curvature_of_any_kind() -> None:
    relu = pullback(sample_network(network(RELU, 2), 3, 20, seed=1), points(4, 3))
    for name in ("ricci_tensor", "christoffel", "second_fundamental_form"):
        assert not getattr(relu, name).any()
    assert not relu.sectional_curvature([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]).any()


def test_rank_deficient_points() -> None:
    x = torch.tensor([[0.5, 0.5], [0.0, 1.0]], dtype=torch.float64)  # the pole of the sphere has no polar metric
    names = ("ricci_scalar", "ricci_tensor", "christoffel", "second_fundamental_form", "log_volume_element")
    result = pullback(sphere(1.0), x)
    for name in names:
        with pytest.raises(SingularMetric, match=r"at 1 point\(s\), first at index \(1,\).*of rank 1"):
            getattr(result, name)
    with pytest.raises(SingularMetric, match="of rank 1"):
        result.sectional_curvature([1.0, 0.0], [0.0, 1.0])
    assert result.rank.tolist() == [2, 1]
    assert result.log_pseudo_volume[1] == 0.0 and result.singular_values[1].tolist() == [1.0, 0.0]
    marked = pullback(sphere(1.0), x, singular="nan")
    for name in names[:-1]:
        value = getattr(marked, name)
        assert torch.isfinite(value[0]).all() and torch.isnan(value[1]).all(), name
    assert marked.ricci_scalar[0] == pytest.approx(2.0) and marked.volume_element[1] == 0.0
    assert torch.isneginf(marked.log_volume_element[1])
    assert torch.isnan(marked.sectional_curvature([1.0, 0.0], [0.0, 1.0])).tolist() == [False, True]


def test_a_graded_metric_of_full_rank_is_not_singular() -> None:
    stretch = torch.tensor([1e-80, 1e60], dtype=torch.float64)
    u = torch.tensor([[1.0, 0.7]], dtype=torch.float64)
    result = pullback(lambda p: sphere(1.0)(p / stretch), u * stretch)
    assert result.rank.tolist() == [2] and float(result.gaussian_curvature) == pytest.approx(1.0, rel=1e-12)
    expected = math.log(math.sin(1.0)) - float(stretch.log().sum())
    assert float(result.log_volume_element) == pytest.approx(expected, rel=1e-14)
    assert float(result.log_pseudo_volume) == pytest.approx(expected, rel=1e-14)


def kahan(d: int) -> torch.Tensor:
    """Upper triangular, pivots above 1e-3, and numerically singular all the same for d = 90 (Kahan 1966)."""
    sine, cosine = math.sin(1.2), math.cos(1.2)
    powers = sine ** torch.arange(d, dtype=torch.float64)
    return powers[:, None] * (
        torch.eye(d, dtype=torch.float64) - cosine * torch.ones(d, d, dtype=torch.float64).triu(1)
    )


def test_rank_and_singularity_agree_where_pivots_hide_the_rank() -> None:
    for d, rank in ((20, 20), (90, 89)):
        matrix = kahan(d)
        x = torch.ones(1, d, dtype=torch.float64)
        result = pullback(lambda u, m=matrix: u @ m.T, x, singular="nan")
        assert result.rank.tolist() == [rank]
        assert torch.isfinite(result.log_volume_element).tolist() == [rank == d]
        assert torch.isfinite(result.ricci_scalar).tolist() == [rank == d]


def test_log_volume_of_many_coordinates_whatever_was_asked_for_before() -> None:
    d = 260
    matrix = torch.eye(d, dtype=torch.float64) + 0.02 * points(d, d)
    expected = float(torch.linalg.slogdet(matrix).logabsdet)
    x = torch.ones(3, d, dtype=torch.float64)
    x[1], x[2, 0] = 0.0, -1.0

    def features(u: torch.Tensor) -> torch.Tensor:  # regular, singular, outside the domain
        first = u[..., :1]
        return torch.cat((u * first.square(), first, (first + 0.5).log()), -1)

    for first in ("log_volume_element", "rank", "metric"):
        one = pullback(lambda u: (u @ matrix.T).exp().log(), x[:1])
        getattr(one, first)
        assert float(one.log_volume_element) == pytest.approx(expected, abs=1e-11)
        three = pullback(features, x, singular="nan")
        getattr(three, first)
        assert torch.isfinite(three.log_volume_element[0]) and torch.isneginf(three.log_volume_element[1])
        assert torch.isnan(three.log_volume_element[2]) and three.rank.tolist() == [d, 1, -1]
        with pytest.raises(SingularMetric, match=r"first at index \(1,\).*of rank 1"):
            getattr(again := pullback(features, x[:2]), first)
            _ = again.log_volume_element


def test_arguments_of_the_sectional_curvature() -> None:
    result = pullback(torus, points(3, 2))
    with pytest.raises(InvalidInput, match=r"u has shape \(3,\); it must broadcast to the points, \(3, 2\)"):
        result.sectional_curvature([1.0, 0.0, 0.0], [0.0, 1.0])
    with pytest.raises(SingularMetric, match=r"u and v span no plane at index \(0,\)"):
        result.sectional_curvature([1.0, 2.0], [2.0, 4.0])
    line = pullback(lambda u: torch.cat((u.cos(), u.sin()), -1), points(3, 1))
    with pytest.raises(InvalidInput, match="d = 1"):
        line.sectional_curvature([1.0], [1.0])
    with pytest.raises(InvalidInput, match="d = 1; ask for ricci_scalar"):
        _ = line.gaussian_curvature
    with pytest.raises(InvalidInput, match="d = 2; ask for volume_element"):
        _ = result.length_element
    torch.testing.assert_close(line.length_element, torch.ones(3, dtype=torch.float64))
    assert not line.ricci_tensor.any()
    with pytest.raises(InvalidInput, match="singular is 'zero'"):
        pullback(torus, points(3, 2), singular="zero")
