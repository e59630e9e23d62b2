"""LayerNorm through the states of the fold: metrics against derivatives of kernels, kernels against simulation."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import infgeo
from infgeo.conventions import d, s, s_x, s_y, sigma_b, sigma_w, xy
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput, MetricDoesNotExist, SingularMetric
from infgeo.layers import LayerNorm, Residual, RMSNorm
from infgeo.symbolic.kernels.kernel import metric_by_definition
from infgeo.testing import check_kernel

HALF = sp.Rational(1, 2)
SCALES = {"weight_std": sp.Rational(6, 5), "bias_std": sp.Rational(2, 5)}
NETWORKS = {
    "last": ["gelu", LayerNorm()],
    "between": ["cos", LayerNorm(HALF), "erf"],
    "after a residual block": ["z**2", Residual("erf", skip=2), LayerNorm(1)],
    "after a norm": ["exp(z/2)", RMSNorm(1), LayerNorm(HALF), Residual("gelu")],
}


def at_three(expr, *symbols):
    """The expression at d = 3 as a function of mpf."""
    return sp.lambdify(symbols, expr.subs(d, 3), "mpmath", cse=True)


@pytest.mark.parametrize("kind", ["kernel", "ntk"])
@pytest.mark.parametrize("name", NETWORKS)
def test_metric_is_the_mixed_derivative_of_the_kernel(name, kind):
    kernel = getattr(infgeo.MLP(NETWORKS[name], **SCALES), kind)
    k, g = at_three(kernel.expr, s_x, s_y, xy), kernel.metric
    with mpmath.workdps(60):
        here = mpmath.mpf("1.1")

        def partial(*orders):
            return mpmath.diff(k, (here, here, here), orders)

        slow = partial(0, 0, 1), partial(0, 0, 2) + 2 * partial(1, 0, 1) + 2 * partial(0, 1, 1) + 4 * partial(1, 1, 0)
        for fast, twin in zip((g.A, g.B), slow, strict=True):
            assert abs(at_three(fast, s)(here) - twin) < mpmath.mpf(10) ** -20 * (1 + abs(twin))


def test_curvature_is_that_of_the_kernel():
    mlp = infgeo.MLP(["gelu", LayerNorm(1)], **SCALES)
    twin, at = metric_by_definition(mlp.kernel.expr), {s: sp.Rational(7, 5), d: 3}
    for output in ("A", "B", "R"):
        fast, slow = (metric.program.evaluate(output, at, 30) for metric in (mlp.metric, twin))
        assert abs(fast - slow) < abs(slow) * sp.Rational(1, 10**20)


@pytest.mark.parametrize("name", ["gelu", "relu", "exp", "cos", "erf", "gabor", "square", "rectified_cube", "probit"])
def test_mean_of_an_activation(name):
    activation = infgeo.activations.get(name)
    own = dict.fromkeys(activation.parameters, HALF)
    phi, law = activation.expr.subs(own), infgeo.MLP(name).dual
    with mpmath.workdps(30):
        function = sp.lambdify(activation.symbol, phi.rewrite(sp.Piecewise), "mpmath")
        density = mpmath.quad(
            lambda z: function(z) * mpmath.npdf(z, 0, mpmath.sqrt(mpmath.mpf(7) / 5)),
            [-mpmath.inf, -3, 0, 3, mpmath.inf],
        )
        assert abs(law.mean.subs(own).subs(v, sp.Rational(7, 5)).evalf(25) - density) < 1e-18


def test_kernels_are_those_of_wide_networks():
    """Kernel and tangent kernel of networks written here in torch, by 16 draws of width 1000."""
    mlp = infgeo.MLP(["gelu", LayerNorm(sp.Rational(1, 10)), Residual("relu"), LayerNorm(sp.Rational(1, 5))], **SCALES)
    x, y = torch.tensor([[0.7, -0.4, 0.3], [0.9, -0.1, 0.6]], dtype=torch.float64)
    at = {s_x: float(x @ x), s_y: float(y @ y), xy: float(x @ y)}
    width, root = 1000, 1000**0.5
    generator = torch.Generator().manual_seed(0)

    def centred(h, epsilon):
        h = h - h.mean()
        return h / torch.sqrt((h * h).mean() + epsilon)

    def network(parts, x):
        first, bias, second, bias2, branch, readout = parts
        h = centred(torch.nn.functional.gelu(1.2 * first @ x + 0.4 * bias), 0.1)
        h = centred(h + branch @ torch.relu(1.2 * second @ h / root + 0.4 * bias2) / root, 0.2)
        return h, readout @ h / root

    found = []
    for _ in range(16):
        shapes = ((width, 3), (width,), (width, width), (width,), (width, width), (width,))
        parts = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
        (h, out), (h2, out2) = network(parts, x), network(parts, y)
        gradients = (torch.autograd.grad(part, parts) for part in (out, out2))
        tangent = sum(float((a * b).sum()) for a, b in zip(*gradients, strict=True))
        found.append((float(h.detach() @ h2.detach()) / width, tangent))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 4
    theory = [float(kernel.expr.subs(at)) for kernel in (mlp.kernel, mlp.ntk)]
    assert np.all(np.abs(mean - theory) < 4 * error + 2 / width)


def test_verdicts():
    """A norm with epsilon = 0 leaves the direction alone; a jump stays one; domains take the variance of the units."""
    for activation, norm in (("z", LayerNorm()), ("z**2", LayerNorm()), ("relu", RMSNorm())):
        with pytest.raises(SingularMetric, match="do not depend on"):
            infgeo.MLP([activation, norm], bias_std=0).metric  # noqa: B018
    with pytest.raises(MetricDoesNotExist, match="jump"):
        infgeo.MLP(["step", LayerNorm(1)]).metric  # noqa: B018
    assert infgeo.MLP(["cos", LayerNorm()], bias_std=0).metric.singular_set == sp.Eq(s, 0)
    assert infgeo.MLP(["cos", LayerNorm(1), "erf"]).metric.singular_set == sp.Eq(s, 0) & sp.Eq(sigma_b, 0)
    domain = infgeo.MLP(["exp(z**2)", LayerNorm(), "exp(z**2)"], bias_std=0).domain
    assert domain == (sigma_w**2 * s < sp.Rational(1, 4)) & (sigma_w**2 < sp.Rational(1, 4))


@pytest.mark.parametrize("layers", [[LayerNorm(), "erf"], [RMSNorm(1), LayerNorm(1), "erf"]], ids=str)
def test_not_of_the_input(layers):
    with pytest.raises(InvalidInput, match="rotation-invariant"):
        infgeo.MLP(layers)


def test_refusals_say_what_works():
    mlp = infgeo.MLP(["erf", LayerNorm(1)], weight_std=1, bias_std=1)
    for function in (mlp.numeric, mlp.kernel.numeric, lambda: infgeo.emit(mlp)):
        with pytest.raises(InvalidInput, match="LayerNorm"):
            function()
    with pytest.raises(InvalidInput, match="LayerNorm"):
        check_kernel(mlp, input_dim=3)
    x = np.array([1.0, 2.0])
    assert np.allclose(infgeo.Kernel(mlp.kernel.expr).numeric().metric(x), mlp.metric.numeric().metric(x), rtol=1e-12)


def test_sampled_networks_have_the_kernel():
    """Means over networks of one width against the closed form, in units of their errors."""
    torch = pytest.importorskip("torch")
    mlp = infgeo.MLP(["gelu", LayerNorm(1), "erf"], weight_std=1, bias_std=1)
    x, y = torch.tensor([[1.0, 0.5], [0.2, -0.7]], dtype=torch.float64)
    found = []
    for seed in range(40):
        network = infgeo.finite.sample_network(mlp, 2, 1000, seed=seed).double()
        with torch.no_grad():
            found.append(float(network(x[None])[0] @ network(y[None])[0]))
    at = {infgeo.symbols.s_x: 1.25, infgeo.symbols.s_y: 0.53, infgeo.symbols.xy: -0.15}
    exact = float(mlp.kernel.expr.subs(at))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert abs(np.mean(found) - exact) < 5 * error, (np.mean(found), exact, error)
