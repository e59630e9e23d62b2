"""Random networks and Nystroem's columns as features: their error falls as it should, and its bounds hold."""

import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import infgeo
from infgeo.adapters.sklearn import InfiniteWidthKernel, RandomFeatures
from infgeo.errors import InvalidInput

X = np.random.default_rng(0).standard_normal((60, 3))


@pytest.mark.parametrize("sampler", ["iid", "antithetic", "orthogonal", "sobol"])
def test_one_layer_has_the_kernel_for_its_mean(sampler):
    right = infgeo.MLP("relu").numeric(1.2, 0.5).kernel(X[:2])[0]
    found = []
    for seed in range(200):
        features = RandomFeatures("relu", 1, 16, 1.2, 0.5, sampler, random_state=seed).fit_transform(X[:2])
        found.append(features @ features[0])
    error = np.mean(found, 0) - right
    assert (np.abs(error) < 4 * stats.sem(found)).all()


def test_the_error_falls_with_the_width():
    operator = infgeo.MLP("erf", depth=2).numeric().operator(X)

    def error(width):
        networks = [RandomFeatures("erf", 2, width, random_state=seed) for seed in range(8)]
        return np.mean([operator.approximation_error(one.fit_transform(X)).frobenius for one in networks])

    assert error(100) / error(1600) == pytest.approx(4, rel=0.35)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nystroem_of_scikit_learn(dtype):
    operator = infgeo.MLP("relu").numeric().operator(X)
    errors = []
    for rank in (5, 20, 60):
        model = Nystroem(InfiniteWidthKernel("relu"), n_components=rank, random_state=0)
        features = model.fit_transform(X.astype(dtype))
        E = operator.block(slice(None), slice(None)) - features.astype(float) @ features.astype(float).T
        errors.append(operator.approximation_error(features))
        rounding = 1e-14 * float(np.linalg.norm(features, 2)) ** 2  # all there is at full rank
        assert errors[-1].lower - rounding <= np.linalg.norm(E, 2) <= errors[-1].upper + rounding
    assert errors[0].upper > errors[1].upper > 1e3 * errors[2].upper


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_the_checks_of_scikit_learn():
    other = {"check_dtype_object": "what is no number is a ValueError of the package, not a TypeError"}
    check_estimator(RandomFeatures(width=20), expected_failed_checks=other)


def test_an_estimator_of_scikit_learn():
    model = make_pipeline(RandomFeatures("cos", width=300, random_state=0), Ridge(1e-3)).fit(X, X[:, 0])
    assert model.score(X, X[:, 0]) > 0.95
    features = RandomFeatures(width=7, random_state=1).fit(X)
    assert list(features.get_feature_names_out())[-1] == "randomfeatures6"
    assert features.transform(X.astype(np.float32)).dtype == np.float32
    for other in (pickle.loads(pickle.dumps(features)), clone(features).fit(X)):
        np.testing.assert_array_equal(other.transform(X), features.transform(X))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "no such"}, "no such"),
        ({"depth": 0}, "depth is 0"),
        ({"width": 0}, "width is 0"),
        ({"weight_std": 0.0}, "weight_std is 0.0"),
        ({"sampler": "grid"}, "choose from 'iid'"),
        ({"random_state": "a"}, "random_state is 'a'"),
        ({"parameters": {"alpha": 1.0}}, "must be those of the activation"),
    ],
)
def test_arguments(options, words):
    with pytest.raises(InvalidInput, match=words):
        RandomFeatures(**options).fit(X)


def test_points():
    features = RandomFeatures(width=3).fit(X)
    for points, words in ((X[:, :2], "2 features"), (X[0], "1D array"), (X * np.nan, "NaN")):
        with pytest.raises(InvalidInput, match=words):
            features.transform(points)
