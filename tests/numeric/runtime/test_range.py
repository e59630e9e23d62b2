"""What layers reach decides: right over the range of the format, wider where it ends, and one clear error beyond."""

import mpmath
import numpy as np
import pytest
import torch

import infgeo
from infgeo.errors import InfgeoError, InvalidInput

ARRAYS = {"numpy": np.asarray, "torch": torch.as_tensor}
LAYERS = infgeo.layers
PAIR = np.array([[0.6, 0.8, -0.1], [-0.3, 0.9, 0.2]])


def relu_kernels(x, y, scales):
    """Cho and Saul 2009 by hand: the kernel and the tangent kernel of ReLU layers without biases, in 40 digits."""
    x, y = ([mpmath.mpf(float(part)) for part in point] for point in (x, y))
    p, q, c = mpmath.fdot(x, x), mpmath.fdot(y, y), mpmath.fdot(x, y)
    tangent = mpmath.mpf(0)
    for scale in scales:
        w = mpmath.mpf(scale) ** 2
        p, q, c, tangent = w * p, w * q, w * c, w * tangent
        rho = min(c / mpmath.sqrt(p * q), mpmath.mpf(1))
        angle = mpmath.acos(rho)
        tangent = (c + tangent) * (mpmath.pi - angle) / (2 * mpmath.pi)
        c = mpmath.sqrt(p * q) * (mpmath.sqrt(1 - rho**2) + (mpmath.pi - angle) * rho) / (2 * mpmath.pi)
        p, q = p / 2, q / 2
    return c, c + tangent


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "scales", [range(1, 16), [100.0] * 8, [0.1] * 15, [1e-7] * 12, [100.0] * 42, [1e-7] * 5], ids=lambda s: f"{list(s)}"
)
def test_deep_networks_against_the_recursion_by_hand(scales, dtype, backend):
    """In [0, 1]^100, as in google/neural-tangents issue 197; beyond the format there is an error."""
    x = np.random.default_rng(0).random((2, 100)).astype(dtype)
    geo = infgeo.MLP(["relu"] * len(scales), weight_std=list(scales), bias_std=0).numeric(backend=backend)
    with mpmath.workdps(40):
        truth = relu_kernels(*x, scales)
    size = mpmath.log10(abs(truth[0]))
    try:
        found = geo.kernel_and_ntk(ARRAYS[backend](x))
    except InvalidInput as error:
        assert "does not keep the digits" in str(error)
        assert abs(size) > (36 if dtype == np.float32 else 70)
        return
    for gram, value in zip(found, truth, strict=True):
        assert np.asarray(gram).dtype == dtype
        assert abs(mpmath.mpf(float(gram[0, 1])) / value - 1) < (1e-5 if dtype == np.float32 else 1e-12)


NETWORKS = {
    "erf": infgeo.MLP("erf"),
    "deep erf": infgeo.MLP("erf", depth=3),
    "gelu": infgeo.MLP("gelu", depth=4),
    "cube": infgeo.MLP("cube", depth=3),
    "square": infgeo.MLP("square", depth=2),
    "exp": infgeo.MLP("exp", depth=2),
    "cos": infgeo.MLP("cos", depth=2),
    "gaussian": infgeo.MLP("gaussian", depth=2),
    "normalised": infgeo.MLP([LAYERS.RMSNorm(0.1), "erf", LAYERS.RMSNorm(0), "relu"]),
    "residual": infgeo.MLP(["relu", LAYERS.Residual("erf", skip=1, branch=2)]),
}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_kernels_and_distances_are_right_or_refused(name, backend):
    """Against 200 digits, over lengths and scales; a batch may hold points of all lengths and 0."""
    answers = 0
    for weight_std, bias_std in ((1e-7, 1.0), (100.0, 0.0)):
        geo = NETWORKS[name].numeric(weight_std, bias_std, backend=backend)
        exact = NETWORKS[name].numeric(weight_std, bias_std, backend="mpmath")
        for dtype, lengths in ((np.float64, (1e-80, 1.0, 1e80)), (np.float32, (1e6,))):
            for length in lengths:
                points = (PAIR * length).astype(dtype)
                rows = [[mpmath.mpf(float(x)) for x in row] for row in points]
                for function in ("kernel", "ntk", "kernel_distance"):
                    try:
                        value = float(getattr(geo, function)(ARRAYS[backend](points))[0, 1])
                    except InfgeoError:
                        continue
                    with mpmath.workdps(200):
                        truth = getattr(exact, function)(rows)
                        size = truth[0, 1]
                        if function != "kernel_distance":
                            size = mpmath.sqrt(truth[0, 0] * truth[1, 1])
                        error = abs(mpmath.mpf(value) - truth[0, 1])
                        assert error <= (1e-5 if dtype == np.float32 else 1e-12) * abs(size), (length, function, value)
                    answers += 1
    assert answers >= 5


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_one_extreme_point_is_named(backend):
    """Nor is it passed over: its length is named."""
    points = np.random.default_rng(0).normal(size=(90, 3))
    points[3], points[5] = 0, points[4]
    far = ARRAYS[backend](np.concatenate([points, [[1e80, -2e80, 0]]]))
    geo = infgeo.MLP("erf", depth=2).numeric(1.3, 0.5, backend=backend)
    for function in ("kernel", "ntk", "kernel_distance", "kernel_diag", "metric", "ricci_scalar"):
        with pytest.raises(InvalidInput, match=r"up to 1e80 .*float64 does not keep the digits"):
            getattr(geo, function)(far)
    assert np.isfinite(np.asarray(geo.kernel(far[:90]))).all()


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_the_length_say_where_they_leave_the_format(backend, dtype):
    geo = infgeo.MLP("relu", depth=12).numeric(1e-2, 0.0, backend=backend)
    point = ARRAYS[backend](np.array([[0.6, 0.8]], dtype))
    A = mpmath.mpf(10) ** -48 / 4096
    if dtype == np.float32:
        with pytest.raises(InvalidInput, match="the metric leaves the range of"):
            geo.metric(point)
    else:
        assert abs(float(geo.metric(point)[0, 0, 0]) / A - 1) < 1e-12
    assert abs(float(geo.log_volume_element(point)[0]) / mpmath.log(A) - 1) < 1e-6
    deep = infgeo.MLP("relu", depth=12).numeric(1e-30, 0.0, backend=backend)
    with pytest.raises(InvalidInput, match=r"range|does not keep the digits"):
        deep.metric(point)
    wide = infgeo.MLP("erf").numeric(0.1, 0.0, backend=backend)
    with pytest.raises(InvalidInput, match=r"the volume element \(log_volume_element"):
        wide.volume_element(ARRAYS[backend](np.ones((1, 784), dtype)))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_differences_whose_squares_vanish_are_named(backend):
    points = np.array([[1.0, 1e-170], [1.0, 2e-170]])
    with pytest.raises(InvalidInput, match="differ by so little"):
        infgeo.MLP("erf").numeric(backend=backend).kernel_distance(ARRAYS[backend](points))


def test_transforms_of_torch_see_what_layers_reach():
    """Values are looked at inside of grad and vmap, points and scales of every sample too."""
    mlp = infgeo.MLP("relu", depth=3)
    X, scales = torch.tensor(PAIR), torch.tensor([1.0, 1.5], dtype=torch.float64)

    def total(x, weight_std=1.3):
        return mlp.numeric(weight_std, 0.5, backend="torch").kernel(x[None], X).sum()

    by_scale = torch.func.vmap(lambda scale: total(X[0], scale))(scales)
    assert torch.allclose(by_scale, torch.stack([total(X[0], scale) for scale in scales]), rtol=1e-12)
    slopes = torch.func.vmap(torch.func.grad(total))(2 * X)
    for i in range(2):
        for j in range(3):
            step = 1e-6 * torch.eye(3, dtype=torch.float64)[j]
            difference = (total(2 * X[i] + step) - total(2 * X[i] - step)) / 2e-6
            assert abs(slopes[i, j] - difference) < 1e-7
    for transformed in (torch.func.grad(total), lambda x: torch.func.vmap(total, in_dims=1)(torch.stack([x, x], 1))):
        with pytest.raises(InvalidInput, match="does not keep the digits"):
            transformed(1e90 * X[0])
    with pytest.raises(InvalidInput, match="sigma_w"):
        torch.func.vmap(lambda scale: total(X[0], scale))(-scales)
