"""`RandomFeatures`: a random network of finite width as a transformer of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infgeo.adapters.kernel_network import network
from infgeo.arguments import positive_integer
from infgeo.errors import InvalidInput, MissingExtra

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_array, check_random_state
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingExtra("infgeo.adapters.random_features", "sklearn") from error

_ROWS = 2**11  # points at a time


class RandomFeatures(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features Phi(x) (N, d) -> (N, width) of a random network: Phi(x).Phi(y) -> k(x, y), of `InfiniteWidthKernel`.

    The error falls like 1/sqrt(width); in one layer the mean is k at every width. It takes any activation of torch
    functions, also where the kernel has no closed form. `geo.operator(X).approximation_error(...)` measures the error.

    Args:
        activation, depth, weight_std, bias_std, parameters: as for `infgeo.adapters.sklearn.InfiniteWidthKernel`.
        width: number of units of each layer.
        sampler: how the units of the first layer are drawn (see `infgeo.finite.samplers`): "iid", "antithetic",
            "orthogonal" or "sobol".
        random_state: as everywhere in scikit-learn; the network is drawn by `fit`.

    Raises InvalidInput, a ValueError, for arguments outside these domains.

    Source: Rahimi and Recht, NIPS 2007; Cho and Saul, NIPS 2009; Yu et al., NIPS 2016, for orthogonal units.

    Example:
        >>> import numpy as np
        >>> from infgeo.adapters.sklearn import RandomFeatures
        >>> RandomFeatures("relu", width=100, random_state=0).fit_transform(np.eye(3)).shape
        (3, 100)
    """

    def __init__(
        self,
        activation: Any = "erf",
        depth: int = 1,
        width: int = 1000,
        weight_std: float | Sequence[float] = 1.0,
        bias_std: float = 1.0,
        sampler: str = "iid",
        parameters: Mapping[str, float] | None = None,
        random_state: Any = None,
    ) -> None:
        self.activation = activation
        self.depth = depth
        self.width = width
        self.weight_std = weight_std
        self.bias_std = bias_std
        self.sampler = sampler
        self.parameters = parameters
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> RandomFeatures:
        """Draw the network `network_` for points of the dimension of X (N, d)."""
        from infgeo.finite.sampled_network import sample_network

        try:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        except ValueError as error:
            raise InvalidInput(f"random_state is {self.random_state!r}: pass an integer, RandomState, None") from error
        self.n_features_in_ = _points(X).shape[1]
        self.network_ = sample_network(
            network(self.activation, self.depth, "nngp", self.parameters),
            self.n_features_in_,
            positive_integer(self.width, "width"),
            seed,
            weight_std=self.weight_std,
            bias_std=self.bias_std,
            parameters=self.parameters,
            sampler=self.sampler,
        )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of points (N, d), (N, width), in their dtype."""
        import torch

        check_is_fitted(self)
        points = _points(X)
        if points.shape[1] != self.n_features_in_:
            raise InvalidInput(
                f"X has {points.shape[1]} features, but RandomFeatures is expecting {self.n_features_in_} features as"
                " input: pass points of that dimension"
            )
        features = np.empty((len(points), self.network_.width), points.dtype)
        with torch.no_grad():
            for start in range(0, len(points), _ROWS):
                rows = points[start : start + _ROWS]
                features[start : start + _ROWS] = self.network_(torch.from_numpy(rows.astype(float))).numpy()
        return features

    @property
    def _n_features_out(self) -> int:
        return self.network_.width


def _points(X: Any) -> np.ndarray:
    """Return points as scikit-learn takes them, float32 or float64."""
    try:
        return check_array(X, dtype=(np.float64, np.float32))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"X: {error}") from error
