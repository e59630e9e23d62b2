"""Monte Carlo estimates: exact moments at finite width, honest standard errors, the same bits, and what is refused."""

from __future__ import annotations

import math
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import sympy as sp
import torch
from scipy import special, stats

from infgeo.errors import InvalidInput, SingularMetric
from infgeo.finite import FiniteEstimates, estimate, pullback, sample_network
from infgeo.finite.running_mean import Estimate, RunningMean, replicate_seed
from tests.finite.twins import ERF, RELU, Z, general_geometry, infinite_eigenvalues, network, points

RADII = (0.0, 0.6, 2.5)


def along(dim: int, radii: tuple[float, ...] = RADII) -> torch.Tensor:
    direction = points(1, dim, seed=20)
    return torch.tensor(radii, dtype=torch.float64)[:, None] * direction / direction.norm()


def z_scores(got: Estimate | None, expected: Any) -> torch.Tensor:
    assert got is not None
    return (got.mean - torch.as_tensor(expected, dtype=torch.float64)) / got.standard_error


def fields(result: FiniteEstimates) -> dict[str, Estimate]:
    return {name: value for name, value in vars(result).items() if isinstance(value, Estimate)}


def assert_same_bits(a: FiniteEstimates, b: FiniteEstimates) -> None:
    assert fields(a).keys() == fields(b).keys()
    for name, value in fields(a).items():
        assert torch.equal(value.mean, fields(b)[name].mean), name
        assert torch.equal(value.standard_error, fields(b)[name].standard_error), name


@pytest.mark.parametrize("expr", [ERF, sp.tanh(Z)], ids=str)
@pytest.mark.parametrize(("width", "samples"), [(2, 4000), (5, 3000), (30, 1500)])
def test_mean_determinant_is_exact_at_every_width(expr: sp.Expr, width: int, samples: int) -> None:
    """Cauchy–Binet: E[det g] = n(n−1)…(n−d+1)/nᵈ det g_∞; and E[g] = g_∞."""
    dim = 2
    scales: dict[str, Any] = {"weight_std": 1.3, "bias_std": 0.8}
    x = along(dim, RADII[:2])
    wanted = ["log_mean_det_metric", "metric_radial", "metric_tangential"]
    got = estimate(network(expr), x, width, samples, seed=width, quantities=wanted, **scales)
    tangential, radial = np.array([infinite_eigenvalues(expr, r, 1.3, 0.8) for r in RADII[:2]]).T
    log_det = (dim - 1) * np.log(tangential) + np.log(radial)
    finite = special.gammaln(width + 1) - special.gammaln(width - dim + 1) - dim * math.log(width)
    assert got.log_mean_det_metric is not None and got.log_mean_det_metric.standard_error.max() < 0.08
    assert z_scores(got.log_mean_det_metric, log_det + finite).abs().max() < 4
    assert z_scores(got.metric_radial, radial).abs().max() < 4
    assert z_scores(got.metric_tangential, tangential).abs().max() < 4
    if width <= 5:  # the test has the power to see the factor
        assert z_scores(got.log_mean_det_metric, log_det).abs().min() > 6


def test_linear_network_has_wishart_moments() -> None:
    """φ(z) = z: g is Wishart, its log determinant a sum of log χ² variables, and R = 0."""
    dim, width, std = 3, 6, 1.4
    x = along(dim)
    got = estimate(network(Z), x, width, 3000, seed=1, weight_std=std, bias_std=0.5)
    half = (width - np.arange(dim)) / 2
    mean_log = dim * math.log(2 * std**2 / width) + special.digamma(half).sum()
    mean_root = (2 * std**2 / width) ** (dim / 2) * np.exp((special.gammaln(half + 0.5) - special.gammaln(half)).sum())
    assert z_scores(got.log_volume_element, mean_log / 2).abs().max() < 4
    assert z_scores(got.volume_element, mean_root).abs().max() < 4
    assert z_scores(got.metric, std**2 * torch.eye(dim, dtype=torch.float64)).abs().max() < 4
    assert z_scores(got.kernel, std**2 * x @ x.T + 0.25).abs().max() < 4
    # the variance too is known: Var log det = Σ ψ'((n − i)/2)
    assert got.log_volume_element is not None
    variance = 3000 * got.log_volume_element.standard_error**2
    expected = special.polygamma(1, half).sum() / 4
    assert ((variance / expected - 1).abs() < 4 * math.sqrt(2.5 / 3000)).all()
    assert got.ricci_scalar is not None and got.ricci_scalar.exact and "piecewise linear" in got.ricci_scalar.note
    assert not got.ricci_scalar.mean.any() and not got.ricci_scalar.standard_error.any()


def test_ricci_bias_falls_as_one_over_width() -> None:
    """Shallow erf: R_n = R_∞ + c/n + …; R_∞ as printed for the infinite network, σ_w = σ_b = 1."""
    dim, s = 3, 1.5**2
    x = along(dim, (1.5,))
    limit = -math.pi * s * (dim - 1) * (dim + 2) / (2 * 3 * math.sqrt(1 + 2 * (1 + s)))
    means, errors = [], []
    for width, samples in ((20, 6000), (40, 6000), (640, 1000)):
        ricci = estimate(network(), x, width, samples, seed=3, quantities=["ricci_scalar"]).ricci_scalar
        assert ricci is not None
        means.append(float(ricci.mean))
        errors.append(float(ricci.standard_error))
    bias = [m - limit for m in means]
    assert abs(bias[0]) / errors[0] > 8  # seen at width 20 …
    assert abs(bias[1]) / errors[1] > 8
    assert abs(bias[2]) / errors[2] < 4  # … and gone at 640
    ratio = bias[0] / bias[1]
    error = abs(ratio) * math.hypot(errors[0] / bias[0], errors[1] / bias[1])
    assert abs(ratio - 2) < 4 * error and error < 0.5


@pytest.mark.parametrize("depth", [1, 2])
def test_statistics_are_those_of_the_sampled_networks(depth: int) -> None:
    """Slow twin: the same networks one by one, the general route, torch's mean and standard deviation."""
    mlp, x, samples = network(ERF, depth), torch.cat([along(3), points(2, 3)]), 12
    got = estimate(mlp, x, 25, samples, seed=9, weight_std=1.2)
    rows: dict[str, list[torch.Tensor]] = {name: [] for name in fields(got)}
    unit = x / x.norm(dim=-1, keepdim=True)
    unit[0] = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    for index in range(samples):
        net = sample_network(mlp, 3, 25, replicate_seed(9, 25, index), weight_std=1.2)
        general = general_geometry(net, x, True, 2**28)
        features = net(x).detach()
        radial = (unit[:, None] @ general.metric @ unit[:, :, None])[:, 0, 0]
        assert general.ricci_scalar is not None
        rows["kernel"].append(features @ features.T)
        rows["metric"].append(general.metric)
        rows["metric_radial"].append(radial)
        rows["metric_tangential"].append((general.metric.diagonal(dim1=1, dim2=2).sum(-1) - radial) / 2)
        rows["log_mean_det_metric"].append(general.log_determinant.exp())
        rows["volume_element"].append((general.log_determinant / 2).exp())
        rows["log_volume_element"].append(general.log_determinant / 2)
        rows["ricci_scalar"].append(general.ricci_scalar)
    for name, values in rows.items():
        stack = torch.stack(values)
        mean, error = stack.mean(0), stack.std(0) / math.sqrt(samples)
        if name == "log_mean_det_metric":
            mean, error = mean.log(), error / mean
        estimated = fields(got)[name]
        assert estimated.samples == samples and estimated.mean.dtype == torch.float64
        torch.testing.assert_close(estimated.mean, mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(estimated.standard_error, error, rtol=1e-8, atol=1e-12)


def test_standard_errors_are_honest() -> None:
    """Over independent runs, 90 % t-intervals cover 90 %, and standard errors have the scale of the true error."""
    runs, samples, std = 300, 10, 1.0
    x = along(2, (1.0,))
    quantile = stats.t.ppf(0.95, samples - 1)
    covered, log_det_scores = 0, []
    truth = math.log(19 / 20) + 4 * math.log(std)
    for seed in range(runs):
        got = estimate(network(Z), x, 20, samples, seed=seed, quantities=["metric_tangential", "log_mean_det_metric"])
        covered += int(z_scores(got.metric_tangential, std**2).abs() < quantile)
        log_det_scores.append(float(z_scores(got.log_mean_det_metric, truth)))
    assert abs(covered - 0.9 * runs) < 4 * math.sqrt(0.09 * runs)
    # the log of a mean over 10 is not normal: its scores have heavier tails than t, but their middle half is known
    inside = sum(abs(score) < stats.t.ppf(0.75, samples - 1) for score in log_det_scores)
    assert abs(inside - 0.5 * runs) < 4 * math.sqrt(0.25 * runs)


def test_same_seed_same_bits_and_replicates_are_a_prefix() -> None:
    x, mlp = along(3), network()
    first = estimate(mlp, x, 10, 6, seed=4)
    assert_same_bits(first, estimate(mlp, x, 10, 6, seed=4))
    assert not torch.equal(fields(first)["metric"].mean, fields(estimate(mlp, x, 10, 6, seed=5))["metric"].mean)
    part = estimate(mlp, x, 10, 6, seed=4, quantities=["ricci_scalar"])
    assert torch.equal(fields(part)["ricci_scalar"].mean, fields(first)["ricci_scalar"].mean)
    assert part.metric is None and part.kernel is None and part.log_mean_det_metric is None


def test_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    estimate(network(), along(2), 5, 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_replicate_seeds_differ() -> None:
    seeds = {replicate_seed(0, 100, i) for i in range(20_000)}
    assert len(seeds) == 20_000 and max(seeds) < 2**32
    assert len({replicate_seed(s, w, 0) for s in range(50) for w in range(1, 50)}) == 50 * 49
    assert [replicate_seed(0, 100, i) for i in range(2)] == [replicate_seed(0, 100, i) for i in range(2)]


@pytest.mark.parametrize("depth", [1, 2])
def test_memory_budget_and_dtype(depth: int) -> None:
    x, mlp = along(3), network(ERF, depth)
    whole = estimate(mlp, x, 40, 4)
    blocks = estimate(mlp, x, 40, 4, memory_budget=2000)
    for name, value in fields(whole).items():
        torch.testing.assert_close(fields(blocks)[name].mean, value.mean, rtol=1e-11, atol=1e-12)
    # the samplers that draw in float64 and round show what float32 does to one and the same network
    exact = estimate(mlp, x, 40, 4, "orthogonal")
    single = estimate(mlp, x, 40, 4, "orthogonal", dtype=torch.float32)
    for name, value in fields(exact).items():
        assert fields(single)[name].mean.dtype == torch.float64
        torch.testing.assert_close(fields(single)[name].mean, value.mean, rtol=1e-3, atol=1e-3)


def test_one_dimension_and_widths_below_the_dimension() -> None:
    line = estimate(network(), along(1), 1, 5)
    assert line.metric_tangential is None
    assert line.ricci_scalar is not None and line.ricci_scalar.exact and not line.ricci_scalar.mean.any()
    x = along(3)
    for name in ("ricci_scalar", "log_volume_element", "log_mean_det_metric"):
        with pytest.raises(SingularMetric, match="width 2 < input dimension 3"):
            estimate(network(), x, 2, 5, quantities=["metric", name])
    for name in ("ricci_scalar", "log_volume_element", "log_mean_det_metric"):
        with pytest.raises(SingularMetric, match=r"4 of the antithetic sampler has 2 pairs.*use width >= 5"):
            estimate(network(), x, 4, 5, "antithetic", quantities=[name])
    assert torch.isfinite(fields(estimate(network(), x, 5, 5, "antithetic"))["ricci_scalar"].mean).all()
    narrow = estimate(network(Z), x, 2, 2000, quantities=["metric", "kernel", "volume_element"])
    assert z_scores(narrow.metric, torch.eye(3, dtype=torch.float64)).abs().max() < 4
    assert narrow.volume_element is not None and not narrow.volume_element.mean.any()


def test_replicates_that_lose_rank_count_as_zero_volume_or_are_named() -> None:
    """Two ReLU units without bias: rank 2 iff both are active, probability 1/4."""
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    got = estimate(network(RELU), x, 2, 4000, quantities=["log_mean_det_metric", "volume_element"], bias_std=0.0)
    # det g = (1/4) det(W)² when both units are active; by symmetry E = (1/4)(1/4) 2
    assert z_scores(got.log_mean_det_metric, math.log(2 / 16)).abs().max() < 4
    singular = (
        r"in replicate \d+ of width 2, .*first at index \(0,\), x = \(1, 0\).*quantities=\['kernel', 'metric_radial'\]"
    )
    with pytest.raises(SingularMetric, match=singular):
        estimate(network(RELU), x, 2, 50, quantities=["log_volume_element"], bias_std=0.0)
    estimate(network(RELU), x, 2, 50, quantities=["kernel", "metric_radial"], bias_std=0.0)


def test_running_log_mean_survives_extremes() -> None:
    running, plain = RunningMean(log=True), RunningMean()
    logs = torch.tensor([[-math.inf, 900.0, -2000.0], [-math.inf, 905.0, -1999.0], [0.5, 890.0, -math.inf]])
    shift = torch.tensor([0.0, 905.0, -2000.0])
    for row in logs.double():
        running.add(row[None])
        plain.add((row - shift).exp()[None])
    expected = plain.estimate()
    got = running.estimate()
    torch.testing.assert_close(got.mean, shift + expected.mean.log(), rtol=1e-14, atol=0)
    torch.testing.assert_close(got.standard_error, expected.standard_error / expected.mean, rtol=1e-13, atol=0)


def test_batches_merge_to_the_mean_and_error_of_all() -> None:
    data = 3.0 + torch.randn(23, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first, second = RunningMean(), RunningMean()
    for part in data[:14].split([1, 4, 9]):
        first.add(part)
    second.add(data[14:])
    first.merge(second)
    got = first.estimate()
    torch.testing.assert_close(got.mean, data.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(got.standard_error, data.std(0) / 23**0.5, rtol=1e-13, atol=0)
    assert got.samples == 23


def test_progress_and_interruption() -> None:
    calls: list[tuple[int, int]] = []
    estimate(network(), along(2), 5, 4, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimate(network(), along(2), 5, 4, progress=interrupt)
    with ThreadPoolExecutor(1) as threads, pytest.raises(KeyboardInterrupt):
        estimate(network(), along(2), 5, 1000, progress=interrupt, executor=threads)


def test_replicates_in_flight_are_bounded() -> None:
    class Counting(Executor):
        in_flight = most = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            outer = self

            class Lazy(Future[Any]):
                def result(self, timeout: float | None = None) -> Any:
                    outer.in_flight -= 1
                    return fn(*args, **kwargs)

            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            return Lazy()

    counting = Counting()
    assert_same_bits(estimate(network(), along(2), 3, 300), estimate(network(), along(2), 3, 300, executor=counting))
    assert counting.in_flight == 0 and 1 < counting.most < 299


def test_scales_reach_the_networks() -> None:
    x = points(3, 2)
    got = estimate(network(Z), x, 4, 2000, weight_std=0.5, bias_std=0.0, quantities="kernel")
    assert z_scores(got.kernel, 0.25 * x @ x.T).abs().max() < 4
    alpha = sp.Symbol("alpha")
    leaky = estimate(network(alpha * Z), x, 4, 2, parameters={"alpha": 2.0}, quantities="kernel")
    plain = estimate(network(Z), x, 4, 2, quantities="kernel")
    torch.testing.assert_close(fields(leaky)["kernel"].mean, 4 * fields(plain)["kernel"].mean, rtol=1e-14, atol=0)


def test_tiny_and_huge_points() -> None:
    x = torch.tensor([[3e-200, 4e-200], [3e150, 4e150]], dtype=torch.float64)
    got = estimate(network(Z), x, 4, 3, bias_std=1.0, quantities=["metric", "metric_radial"])
    unit = torch.tensor([0.6, 0.8], dtype=torch.float64)
    expected = torch.einsum("i,pij,j->p", unit, fields(got)["metric"].mean, unit)
    torch.testing.assert_close(fields(got)["metric_radial"].mean, expected, rtol=1e-13, atol=0)


def test_estimate_agrees_with_pullback_on_a_grid() -> None:
    x = points(500, 2, seed=30)
    got = estimate(network(), x, 30, 2, seed=1, quantities=["ricci_scalar"])
    each = [pullback(sample_network(network(), 2, 30, replicate_seed(1, 30, i)), x).ricci_scalar for i in (0, 1)]
    torch.testing.assert_close(fields(got)["ricci_scalar"].mean, (each[0] + each[1]) / 2, rtol=1e-11, atol=1e-12)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"samples": 1}, "samples is 1; it must be an integer >= 2: a standard error needs two"),
    ({"samples": 2.0}, "samples"),
    ({"width": 0}, "width is 0"), ({"width": "3"}, "width is '3'"), ({"seed": -1}, "seed is -1"),
    ({"seed": 2**63}, r"below 2\*\*63"), ({"seed": 1.5}, "seed is 1.5"),
    ({"sampler": "halton"}, "'halton'; choose from 'iid', 'antithetic', 'orthogonal', 'sobol'"),
    ({"quantities": ["volume"]}, r"'volume'; choose from kernel"), ({"quantities": []}, "choose from"),
    ({"executor": 2}, "executor is 2"), ({"progress": True}, "progress is True"),
    ({"memory_budget": -5}, "memory_budget"),
    ({"device": "cuda:99"}, "device is 'cuda:99'"), ({"dtype": torch.int32}, "int32"), ({"x": [0.0, 1.0]}, r"\(N, d\)"),
    ({"x": np.zeros((0, 2))}, r"shape \(0, 2\)"),
    ({"x": np.zeros((1, 2), int)}, "int64"), ({"x": [[math.inf]]}, "is inf"),
    ({"weight_std": -1.0}, "weight_std"), ({"parameters": {"q": 1.0}}, "parameters name q"),
    ({"mlp": None}, "attribute"),
    ({"x": [[1e39, 0.0]], "dtype": torch.float32}, r"x in torch.float32\[0, 0\] is inf"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        estimate(**{"mlp": network(), "x": [[0.0, 1.0]], "width": 3, "samples": 2, **arguments})
