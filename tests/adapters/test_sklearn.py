"""scikit-learn's own checks of kernels, on ours; gradients against differences at 50 digits; other estimators."""

import importlib.util
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.gaussian_process.tests import test_kernels as host
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import pairwise_kernels
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import infgeo
from infgeo.adapters.sklearn import InfiniteWidthKernel
from infgeo.errors import ExpectationDiverges, InvalidInput

KERNELS = [
    InfiniteWidthKernel(),
    InfiniteWidthKernel("relu", depth=3, weight_std=1.4, bias_std=0.3),
    InfiniteWidthKernel("gelu", kind="ntk", weight_std=0.7, weight_std_bounds=(0.5, 2.0)),
    InfiniteWidthKernel("relu", depth=3, kind="ntk", bias_std=0.0),
    InfiniteWidthKernel("erf", depth=3, kind="ntk", bias_std_bounds="fixed"),
    InfiniteWidthKernel("leaky_relu", parameters={"alpha": 0.2}),
    InfiniteWidthKernel("z**2 + z", weight_std=0.4),
    InfiniteWidthKernel(["erf", "relu"], weight_std_bounds="fixed"),
    2.0 * InfiniteWidthKernel("sin") + WhiteKernel(0.1),
    InfiniteWidthKernel("gaussian") ** 2 * InfiniteWidthKernel("step"),
]
CHECKS = [
    host.test_kernel_gradient,
    host.test_kernel_theta,
    host.test_auto_vs_cross,
    host.test_kernel_diag,
    host.test_kernel_clone,
    host.test_kernel_clone_after_set_params,
    host.test_set_get_params,
    host.test_repr_kernels,
    host.test_kernel_input_type,
]
# A scale for each coordinate, for points of the host's two.
OF_COORDINATES = [
    InfiniteWidthKernel("erf", weight_std=[1.2, 0.4], bias_std=0.5),
    InfiniteWidthKernel("relu", depth=2, kind="ntk", weight_std=(0.7, 1.5), weight_std_bounds=[(0.1, 2.0), (0.5, 9.0)]),
    InfiniteWidthKernel("tanh", weight_std=[0.7, 1.5], bias_std_bounds="fixed") * ConstantKernel(2.0),
]
X, Y = np.random.default_rng(0).normal(size=(2, 7, 3))


def applies(check, kernel):
    """Leave out what the host leaves out: white noise in one check, operators and fixed values in another."""
    if check is host.test_auto_vs_cross:
        return "White" not in repr(kernel)
    if check is host.test_kernel_theta:
        alone = isinstance(kernel, InfiniteWidthKernel)
        return alone and not any(item.fixed or item.n_elements > 1 for item in kernel.hyperparameters)
    return True


@pytest.mark.parametrize(
    ("kernel", "check"),
    [(kernel, check) for kernel in [*KERNELS, *OF_COORDINATES] for check in CHECKS if applies(check, kernel)],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_host_suite(kernel, check):
    check(kernel)


@pytest.mark.parametrize("kernel", KERNELS[:-2], ids=repr)
def test_pairwise_kernels(kernel):
    assert (pairwise_kernels(X, Y, metric=kernel) == kernel(X, Y)).all()
    by_pairs = pairwise_kernels(X[:2], Y[:2], metric=lambda x, y: kernel(x, y)[0, 0])
    assert np.abs(by_pairs - kernel(X[:2], Y[:2])).max() < 1e-14


@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[1], KERNELS[3], KERNELS[2]], ids=repr)
def test_gradient_against_differences_at_fifty_digits(kernel):
    _, gradient = kernel(X, eval_gradient=True)
    free = [item.name for item in kernel.hyperparameters if not item.fixed]
    assert gradient.shape == (7, 7, len(free))
    with mpmath.workdps(50):
        step = mpmath.mpf(10) ** -15
        for k, name in enumerate(free):
            grams = []
            for sign in (1, -1):
                scales = {"weight_std": mpmath.mpf(kernel.weight_std), "bias_std": mpmath.mpf(kernel.bias_std)}
                scales[name] *= mpmath.exp(sign * step)
                geometry = infgeo.MLP(kernel.activation, depth=kernel.depth).numeric(
                    scales["weight_std"], scales["bias_std"], backend="mpmath"
                )
                grams.append((geometry.kernel if kernel.kind == "nngp" else geometry.ntk)(X.tolist()))
            difference = (grams[0] - grams[1]) / (2 * step)
            error = max(abs(gradient[i, j, k] - difference[i, j]) for i in range(7) for j in range(7))
            assert error <= 1e-13 * np.abs(gradient).max()


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_cloned_and_pickled(kernel):
    for other in (clone(kernel), pickle.loads(pickle.dumps(kernel))):
        assert other == kernel
        assert (other(X) == kernel(X)).all()
        assert (kernel.diag(X) == np.diag(kernel(X))).all()


@pytest.mark.parametrize("activation", ["erf", "relu", "tanh", "softsign"])
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_gradients_by_scales_of_coordinates(activation, kind):
    """Against central differences, with coincident, parallel and coordinatewise equal points; fixed ones drop out."""
    points = np.concatenate([X[:2, :2], X[:1, :2], 2 * X[1:2, :2], X[2:3, :2] * [1, 3], X[3:5, :2]])
    points = points[:3] if activation == "softsign" else points  # each pair is an integral
    kernel = InfiniteWidthKernel(activation, weight_std=[1.3, 0.6], bias_std=0.4, kind=kind)
    value, gradient = kernel(points, eval_gradient=True)
    geometry = infgeo.MLP(activation).numeric([1.3, 0.6], 0.4)
    assert (value == (geometry.kernel if kind == "nngp" else geometry.ntk)(points)).all()
    assert kernel.theta == pytest.approx(np.log([0.4, 1.3, 0.6])) and kernel.bounds.shape == (3, 2)
    for i, step in enumerate(1e-5 * np.eye(3)):
        above, below = (kernel.clone_with_theta(kernel.theta + sign * step)(points) for sign in (1, -1))
        assert np.abs(gradient[..., i] - (above - below) / 2e-5).max() < 1e-8 * np.abs(gradient).max()
    for fixed, rest in (("bias_std", [1, 2]), ("weight_std", [0])):
        one = kernel.set_params(**{f"{fixed}_bounds": "fixed"})
        assert np.array_equal(one(points, eval_gradient=True)[1], gradient[..., rest])
        kernel.set_params(**{f"{fixed}_bounds": (1e-5, 1e5)})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scales_of_coordinates_are_cloned_shown_and_found():
    for kernel in OF_COORDINATES[:2]:
        assert clone(kernel) == kernel == pickle.loads(pickle.dumps(kernel))
        assert clone(kernel).weight_std is not kernel.weight_std or isinstance(kernel.weight_std, tuple)
        assert (eval(repr(kernel))(X[:, :2]) == kernel(X[:, :2])).all()
        assert (kernel.diag(X[:, :2]) == np.diag(kernel(X[:, :2]))).all()
    start = InfiniteWidthKernel("erf", weight_std=[1.0, 1.0, 1.0]) + WhiteKernel(1e-4, "fixed")
    points = np.random.default_rng(1).uniform(-2, 2, (40, 3))
    model = GaussianProcessRegressor(start).fit(points, np.sin(2 * points[:, 1]))
    found = model.kernel_.k1.weight_std
    assert np.argmax(found) == 1 and found[1] > 5 * max(found[0], found[2])
    for weight_std, message in (
        ([1.0, 2.0], "sigma_w has 2 values, and points have 3"),
        ([1.0, -2.0, 1.0], "must be finite and > 0"),
        ([1.0, "2", 1.0], "or a list of them"),
        ([], "or a list of them"),
    ):
        with pytest.raises(InvalidInput, match=message):
            InfiniteWidthKernel(weight_std=weight_std)(X)
    with pytest.raises(InvalidInput, match="weight_std_bounds"):
        InfiniteWidthKernel(weight_std=[1.0, 2.0, 3.0], weight_std_bounds=[(0.1, 1.0), (0.1, 1.0)])(X)


def test_values_are_those_of_the_package():
    kernel = InfiniteWidthKernel("relu", depth=2, weight_std=1.3, bias_std=0.2, kind="ntk")
    geometry = infgeo.MLP("relu", depth=2).numeric(1.3, 0.2)
    assert (kernel(X, Y) == geometry.ntk(X, Y)).all()
    assert kernel(X.astype(np.float32)).dtype == np.float32
    assert (kernel([[1, 2]]) == kernel(np.array([[1.0, 2.0]]))).all()


def test_estimators():
    labels = (X[:, 0] > 0).astype(int)
    kernel = InfiniteWidthKernel("erf", depth=2)
    assert (SVC(kernel=kernel).fit(X, labels).predict(X).shape) == (7,)
    ridge = KernelRidge(alpha=1e-10, kernel=kernel).fit(X, X[:, 1])
    assert np.abs(ridge.predict(X) - X[:, 1]).max() < 1e-4
    assert GaussianProcessClassifier(kernel, optimizer=None).fit(X, labels).score(X, labels) == 1


def test_hyperparameters_are_found():
    """Data drawn from a kernel are likelier under scales near its own than at the start of the search."""
    points = np.random.default_rng(1).uniform(-3, 3, (60, 1))
    truth = ConstantKernel(1.0, "fixed") * InfiniteWidthKernel("erf", weight_std=2.0, bias_std=1.0) + WhiteKernel(1e-3)
    values = np.random.default_rng(2).multivariate_normal(np.zeros(60), truth(points))
    start = InfiniteWidthKernel("erf", weight_std=0.3, bias_std=0.3) + WhiteKernel(1e-3, "fixed")
    model = GaussianProcessRegressor(start).fit(points, values)
    found = model.log_marginal_likelihood_value_
    assert found > model.log_marginal_likelihood(start.theta) + 1
    assert found >= GaussianProcessRegressor(truth, optimizer=None).fit(points, values).log_marginal_likelihood_value_


def test_bad_input_is_one_clear_error():
    from scipy import sparse

    for kernel, message in (
        (InfiniteWidthKernel(kind="rbf"), "kind is 'rbf'; choose from 'nngp', 'ntk'"),
        (InfiniteWidthKernel(depth=0), "depth"),
        (InfiniteWidthKernel(weight_std=-1.0, weight_std_bounds="fixed"), "weight_std = -1.0 must be finite and > 0"),
        (InfiniteWidthKernel(weight_std=0.0), "weight_std = 0.0 must be finite and > 0"),
        (InfiniteWidthKernel(bias_std=float("nan")), "bias_std = nan must be finite and >= 0"),
        (InfiniteWidthKernel(bias_std=[1.0, 2.0]), "must be a real number"),
        (InfiniteWidthKernel(weight_std_bounds=(0.0, 1.0)), "0 < low <= high"),
        (InfiniteWidthKernel(weight_std_bounds=(2.0, 1.0)), "0 < low <= high"),
        (InfiniteWidthKernel(weight_std_bounds=None), "weight_std_bounds = None must be a pair"),
        (InfiniteWidthKernel(["erf", "relu"], depth=3), "activation lists 2 layers"),
        (InfiniteWidthKernel(depth=True), "depth is True"),
        (InfiniteWidthKernel(depth=1.0), "depth is 1.0"),
        (InfiniteWidthKernel({}), "must be a name, text"),
        (InfiniteWidthKernel(weight_std="a"), "weight_std = 'a' must be a real number"),
        (InfiniteWidthKernel(bias_std_bounds="free"), "bias_std_bounds = 'free' must be a pair"),
        (InfiniteWidthKernel("leaky_relu"), "alpha"),
        (InfiniteWidthKernel("no_such"), "no_such"),
    ):
        with pytest.raises(InvalidInput, match=message):
            kernel(X)
    for points in ([[1.0, 2.0], [3.0]], torch.ones(2, 2, requires_grad=True)):
        with pytest.raises(InvalidInput, match="X cannot be made an array"):
            InfiniteWidthKernel()(points)
    for parameters in ([1], "alpha"):
        with pytest.raises(InvalidInput, match="pass a mapping"):
            InfiniteWidthKernel("leaky_relu", parameters=parameters)(X)
    with pytest.raises(InvalidInput, match="does not keep the digits"):
        InfiniteWidthKernel()(np.array([[1e-160, 0.0], [1e200, 0.0]]), eval_gradient=True)
    with pytest.raises(InvalidInput, match="masked"):
        InfiniteWidthKernel()(np.ma.masked_array(X, mask=X > 0))
    with pytest.raises(InvalidInput, match="sparse"):
        InfiniteWidthKernel()(sparse.csr_matrix(X))
    with pytest.raises(InvalidInput, match="finite"):
        InfiniteWidthKernel()(np.array([[np.nan]]))
    with pytest.raises(ExpectationDiverges, match="tangent"):
        InfiniteWidthKernel("step", kind="ntk")(X)
    with pytest.raises(InvalidInput, match="Y = None"):
        InfiniteWidthKernel()(X, Y, eval_gradient=True)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_values_outside_their_bounds_do_what_the_host_s_do():
    """RBF evaluates there, and a search starts at the nearest bound: so do these."""
    for host_kernel, ours in (
        (RBF(1.0, (2.0, 3.0)), InfiniteWidthKernel(weight_std_bounds=(2.0, 3.0), bias_std_bounds="fixed")),
        (RBF(5.0, (2.0, 3.0)), InfiniteWidthKernel(weight_std=5.0, weight_std_bounds=(2, 3), bias_std_bounds="fixed")),
    ):
        assert np.array_equal(ours.bounds, host_kernel.bounds)
        for kernel in (host_kernel, ours):
            assert clone(kernel).theta == kernel.theta
            assert kernel.clone_with_theta(np.log([10.0]))(X, eval_gradient=True)[1].shape == (7, 7, 1)
            model = GaussianProcessRegressor(kernel + WhiteKernel(0.1, "fixed")).fit(X, X[:, 0])
            assert 2 - 1e-9 <= np.exp(model.kernel_.theta[0]) <= 3 + 1e-9
    assert ours.set_params(weight_std=9.0)(X).shape == (7, 7)
    for value in (float("nan"), -1.0):
        with pytest.raises(InvalidInput, match="must be finite and > 0"):
            GaussianProcessRegressor(InfiniteWidthKernel(weight_std=value)).fit(X, X[:, 0])


@pytest.mark.parametrize("activation", ["erf", "relu", "gelu", "sin", "gaussian"])
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_gradients_with_one_scale_fixed(activation, kind):
    """Against central differences in the logarithms, depth 3; a fixed scale leaves the gradient without its slice."""
    settings = {"activation": activation, "depth": 3, "kind": kind, "weight_std": 1.1, "bias_std": 0.4}
    both = InfiniteWidthKernel(**settings)
    _, gradient = both(X, eval_gradient=True)
    for i in range(2):
        step = np.where(np.arange(2) == i, 1e-5, 0.0)
        above, below = (both.clone_with_theta(both.theta + sign * step)(X) for sign in (1, -1))
        assert np.abs(gradient[..., i] - (above - below) / 2e-5).max() < 1e-8 * np.abs(gradient).max()
    for i, name in enumerate(["bias_std", "weight_std"]):
        one = InfiniteWidthKernel(**settings, **{f"{name}_bounds": "fixed"})
        assert (one(X, eval_gradient=True)[1] == gradient[..., [1 - i]]).all()


def test_representation_gives_the_kernel_back():
    for kernel in (InfiniteWidthKernel("leaky_relu", parameters={"alpha": 0.2}), InfiniteWidthKernel(["erf", "relu"])):
        assert eval(repr(kernel)) == kernel
    assert eval(repr(InfiniteWidthKernel(weight_std=Fraction(1, 2)))) == InfiniteWidthKernel(weight_std=0.5)


def test_search_over_architectures():
    search = GridSearchCV(
        GaussianProcessRegressor(InfiniteWidthKernel(), alpha=0.1, optimizer=None),
        {"kernel__depth": [1, 2], "kernel__activation": ["erf", "relu"], "kernel__kind": ["nngp", "ntk"]},
        cv=2,
        error_score="raise",
    )
    assert set(search.fit(X, X[:, 0]).best_params_) == {"kernel__depth", "kernel__activation", "kernel__kind"}


def test_gradients_warn_of_nothing():
    program = (
        "import warnings; warnings.simplefilter('error'); import numpy as np;"
        " from infgeo.adapters.sklearn import InfiniteWidthKernel; X = np.ones((2, 2));"
        " print(InfiniteWidthKernel()(X, eval_gradient=True)[1].shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "(2, 2, 2)"


def test_the_worked_example_runs_and_says_what_it_says():
    """benchmarks/regression.py on part of its data."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "regression.py"
    spec = importlib.util.spec_from_file_location("regression", path)
    example = importlib.util.module_from_spec(spec)
    sys.modules["regression"] = example  # dataclasses look their module up
    spec.loader.exec_module(example)
    results = example.fits(120, {name: example.KERNELS[name] for name in ("RBF", "erf, 1 layer")})
    assert [fit.name for fit in results] == ["RBF", "erf, 1 layer"]
    for fit in results:
        assert np.isfinite([fit.likelihood, fit.error, fit.log_density]).all()
        assert fit.likelihood > fit.likelihood_at_start
        assert fit.error < 1  # better than the mean
