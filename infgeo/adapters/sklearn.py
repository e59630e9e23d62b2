"""`InfiniteWidthKernel`: the kernel of an infinitely wide network as a kernel of scikit-learn."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from infgeo.adapters.kernel_network import KINDS, SYMBOLS, gradient_by_scales, network
from infgeo.adapters.random_features import RandomFeatures as RandomFeatures
from infgeo.errors import InvalidInput, MissingExtra
from infgeo.numeric.runtime.coordinates import are_several

try:
    from sklearn.gaussian_process.kernels import Hyperparameter, Kernel
except ImportError as error:
    raise MissingExtra("infgeo.adapters.sklearn", "sklearn") from error


class InfiniteWidthKernel(Kernel):
    """The kernel of a network of infinite width: k(x, y) = E[phi(u) phi(v)] at the last hidden layer, or its NTK.

    For `GaussianProcessRegressor` and the like: it adds and multiplies with other kernels, and the logarithms of
    weight_std and bias_std are its hyperparameters. Estimators that take a function of two arrays, such as
    `SVC(kernel=...)`, take it as it is, and so do `KernelRidge` and `sklearn.metrics.pairwise_kernels`.

    Args:
        activation: what `infgeo.MLP` takes: a name, text in z, a SymPy expression, or a list with one for each layer.
        depth: number of hidden layers.
        weight_std: sigma_w > 0, of all layers; or one for each coordinate, as an anisotropic `RBF` has, for the first
            layer (see `infgeo.MLP.numeric`), other layers then have 1.
        bias_std: sigma_b >= 0, of all layers; 0 stays 0 whatever its bounds are, for it has no logarithm.
        weight_std_bounds, bias_std_bounds: pairs, one for all coordinates or for each, or "fixed". As with every kernel
            of scikit-learn they bind the search alone, which starts at the nearest bound where the value is outside.
        kind: "nngp" or "ntk".
        parameters: values of the activation's own parameters, which stay as they are.

    Points are rows (N, d), float32 or float64; whole numbers are taken as float64. Gradients are derivatives of the
    closed form, forward through the layers (see `infgeo.numeric.source.scale_gradient`).

    Raises InvalidInput, a ValueError, for arguments outside these domains.

    Example:
        >>> import numpy as np
        >>> from sklearn.gaussian_process import GaussianProcessRegressor
        >>> from infgeo.adapters.sklearn import InfiniteWidthKernel
        >>> X = np.array([[0.0], [1.0], [2.0]])
        >>> model = GaussianProcessRegressor(InfiniteWidthKernel("erf", depth=2), optimizer=None).fit(X, X[:, 0] ** 2)
        >>> print(model.predict([[1.0]]).round(6))
        [1.]
    """

    def __init__(
        self,
        activation: Any = "erf",
        depth: int = 1,
        weight_std: float | Sequence[float] = 1.0,
        bias_std: float = 1.0,
        weight_std_bounds: Any = (1e-5, 1e5),
        bias_std_bounds: Any = (1e-5, 1e5),
        kind: str = "nngp",
        parameters: Mapping[str, float] | None = None,
    ) -> None:
        self.activation = activation
        self.depth = depth
        self.weight_std = weight_std
        self.bias_std = bias_std
        self.weight_std_bounds = weight_std_bounds
        self.bias_std_bounds = bias_std_bounds
        self.kind = kind
        self.parameters = parameters

    @property
    def hyperparameter_weight_std(self) -> Hyperparameter:
        """The standard deviation of the weights."""
        return self._hyperparameter("weight_std")

    @property
    def hyperparameter_bias_std(self) -> Hyperparameter:
        """The standard deviation of the biases; fixed where it is 0."""
        return self._hyperparameter("bias_std")

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """Return k(X, Y), (N, d), (M, d) -> (N, M), and with `eval_gradient` its gradient (N, N, free parameters).

        The gradient is with respect to the logarithms of the free hyperparameters, in the order of `theta`, and for Y =
        None alone.
        """
        X, Y = _rows(X), None if Y is None else _rows(Y)
        if eval_gradient and Y is not None:
            raise InvalidInput("the gradient exists for Y = None alone: call kernel(X, eval_gradient=True)")
        mlp, geometry = self._network_and_geometry()
        value = getattr(geometry, KINDS[self.kind])(X, Y)
        return (value, self._gradient(mlp, X)) if eval_gradient else value

    def diag(self, X: Any) -> np.ndarray:
        """Return k(x, x) for each row, (N, d) -> (N,), without the Gram matrix."""
        _, geometry = self._network_and_geometry()
        return getattr(geometry, f"{KINDS[self.kind]}_diag")(_rows(X))

    def is_stationary(self) -> bool:
        """Return False: the kernel depends on where the points are."""
        return False

    def __repr__(self) -> str:
        scales = [f"{name}={_short(getattr(self, name))}" for name in SYMBOLS]
        parameters = [] if self.parameters is None else [f"parameters={self.parameters!r}"]
        parts = [repr(self.activation), f"depth={self.depth}", *scales, f"kind={self.kind!r}", *parameters]
        return f"{type(self).__name__}({', '.join(parts)})"

    def _hyperparameter(self, name: str) -> Hyperparameter:
        """Return a scale as a hyperparameter, its value and bounds checked: both have logarithms, or it is fixed."""
        value, bounds = getattr(self, name), getattr(self, f"{name}_bounds")
        several = name == "weight_std" and are_several(value)
        values = list(value) if several else [value]
        if not values or any(isinstance(one, bool) or not isinstance(one, Real) for one in values):
            raise InvalidInput(f"{name} = {value!r} must be a real number{', or a list of them' * several}")
        numbers = [float(one) for one in values]
        if not all(math.isfinite(one) and (one > 0 or (one == 0 and name == "bias_std")) for one in numbers):
            raise InvalidInput(f"{name} = {value} must be finite and {'>= 0' if name == 'bias_std' else '> 0'}")
        if isinstance(bounds, str):
            proper = bounds == "fixed"
        else:
            ends: Any = np.ravel(np.asarray(bounds, dtype=object))
            proper = len(ends) in (2, 2 * len(values)) and all(isinstance(end, Real) for end in ends)
            proper = proper and all(0 < float(low) <= float(high) for low, high in ends.reshape(-1, 2))
        if not proper:
            raise InvalidInput(f"{name}_bounds = {bounds!r} must be a pair of numbers 0 < low <= high, or 'fixed'")
        return Hyperparameter(name, "numeric", "fixed" if numbers == [0] else bounds, len(values))

    def _network_and_geometry(self) -> tuple[Any, Any]:
        for name in SYMBOLS:
            self._hyperparameter(name)  # checks it
        mlp = network(self.activation, self.depth, self.kind, self.parameters)
        return mlp, mlp.numeric(self.weight_std, self.bias_std, parameters=self.parameters)

    def _gradient(self, mlp: Any, X: np.ndarray) -> np.ndarray:
        """Return the derivatives with respect to the logarithms, d/d(log sigma) = sigma d/d(sigma)."""
        free = [item.name for item in self.hyperparameters if not item.fixed]
        scales: dict[str, Any] = {symbol: getattr(self, name) for name, symbol in SYMBOLS.items()}
        names = [SYMBOLS[name] for name in free]
        points = X.astype(float, order="C")
        gradient = gradient_by_scales(mlp, points, None, scales | dict(self.parameters or {}), names, self.kind)
        factors = np.concatenate([np.ravel(np.asarray(scales[name], float)) for name in names] or [np.empty(0)])
        gradient *= factors[:, None, None]
        if not np.isfinite(gradient).all():
            _, i, j = (int(index) for index in np.argwhere(~np.isfinite(gradient))[0])
            raise InvalidInput(
                f"a derivative of k by the logarithm of {' or '.join(free)} for X[{i}] and X[{j}] leaves double"
                " precision: rescale them"
            )
        return np.moveaxis(gradient, 0, -1).astype(X.dtype, copy=False)


def _short(value: Any) -> str:
    if are_several(value):
        return f"[{', '.join(map(_short, value))}]"
    return f"{float(value):.3g}" if isinstance(value, Real) else repr(value)


def _rows(X: Any) -> np.ndarray:
    """Return points as rows; a single point may come without its row, as from `pairwise_kernels`."""
    if hasattr(X, "toarray"):
        raise InvalidInput("X is a sparse matrix, and these kernels are dense: pass X.toarray()")
    if np.ma.is_masked(X):
        raise InvalidInput("X is masked, and these kernels need every coordinate: drop or fill the masked points")
    try:
        array = np.atleast_2d(np.asarray(X))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"X cannot be made an array ({error}): pass rows of floats of equal length") from error
    return array.astype(float) if array.dtype.kind in "iub" else array
