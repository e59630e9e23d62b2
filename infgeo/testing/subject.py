"""What is checked, in one form: functions of NumPy points, and what else is known about them."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Symbol, lambdify

from infgeo.arguments import real_number, values_by_name
from infgeo.conventions import DEFAULT_BIAS_STD, DEFAULT_WEIGHT_STD, d, s, s_x, s_y, xy
from infgeo.errors import InvalidInput
from infgeo.numeric.geometry import NumericGeometry
from infgeo.numeric.source.of_formula import Formula
from infgeo.symbolic.kernels.kernel import Kernel
from infgeo.symbolic.networks.layers import LayerNorm
from infgeo.symbolic.networks.network import MLP, NetworkKernel, TangentKernel

DType = np.dtype | type[np.floating]
KINDS = {"nngp": "kernel", "ntk": "ntk"}
DIGITS = 60  # of formulas
_QUADRATURE = 1e-13  # unit of rounding of kernels by quadrature


@dataclass(frozen=True)
class Truth:
    """The network that a kernel claims to be of, with a number for each of its parameters."""

    mlp: MLP
    kind: str
    values: Mapping[str, float]

    @property
    def own(self) -> dict[str, float]:
        """The values of the activations' parameters, by name."""
        return {name: value for name, value in self.values.items() if name not in ("sigma_w", "sigma_b")}

    @property
    def scales(self) -> dict[str, float]:
        """The values of weight_std and bias_std, where the network leaves them symbolic."""
        names = {"sigma_w": "weight_std", "sigma_b": "bias_std"}
        return {names[name]: value for name, value in self.values.items() if name in names}

    @property
    def kernel(self) -> Kernel:
        """The kernel in closed form; raises NoClosedForm."""
        return self.mlp.kernel if self.kind == "nngp" else self.mlp.ntk


@dataclass(frozen=True)
class Subject:
    """A kernel to be checked. Points and results are float64 arrays of NumPy; `epsilon` is the unit of rounding.

    Args:
        name: what it is, in words.
        gram: k(X, Y), (N, d), (M, d) -> (N, M); Y may be None.
        diagonal: k(x, x), (N, d) -> (N,).
        distance: |Phi(x) - Phi(y)|, (N, d), (M, d) -> (N, M).
        metric: (N, d) -> (N, d, d).
        graph: k of torch tensors, for automatic differentiation.
        formula: k(x, y) of lists of mpf, for kernels that are formulas.
        truth: the network.
        same_bits: whether all diagonals must agree to the bit.
        slow: whether values take milliseconds each, so that fewer are asked for.
        missing: why an optional function is missing.
        dtype: what points are rounded to.
    """

    name: str
    gram: Callable[..., np.ndarray]
    epsilon: float
    diagonal: Callable[[np.ndarray], np.ndarray] | None = None
    distance: Callable[..., np.ndarray] | None = None
    metric: Callable[[np.ndarray], np.ndarray] | None = None
    graph: Callable[..., Any] | None = None
    formula: Callable[[list, list], Any] | None = None
    truth: Truth | None = None
    same_bits: bool = False
    slow: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    dtype: DType = np.float64

    def rounded(self, X: np.ndarray) -> np.ndarray:
        """Return points as the kernel sees them, in float64."""
        return X.astype(self.dtype).astype(float)

    def squared_distance(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return |Phi(x) - Phi(y)|^2 = k(x, x) + k(y, y) - 2 k(x, y), as the kernel gives it."""
        k = self.gram(self.rounded(np.stack([x, y])), None)
        return float(k[0, 0] + k[1, 1] - k[0, 1] - k[1, 0])

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Why a function is missing, by its name."""
        plain = {
            "diagonal": "k is a function of two sets of points alone: pass diagonal=... to check it too",
            "distance": "k comes without distances of features",
            "metric": "no metric is known for k: pass metric=...",
            "graph": "k is not computed in torch, so that nothing is differentiated",
            "truth": "it is not known which network k is the kernel of: pass network=infgeo.MLP(...)",
        }
        return plain | dict(self.missing)


def subject_of(
    k: Any,
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] = MappingProxyType({}),
    network: MLP | None = None,
    *,
    kind: str,
    input_dim: int,
    functions: Mapping[str, Callable | None] = MappingProxyType({}),
    dtype: DType = np.float64,
) -> Subject:
    """Return `k` as a subject; see `check_kernel` for what it may be."""
    given = given_values(weight_std, bias_std, parameters)
    if isinstance(k, MLP):
        k = k.kernel if kind == "nngp" else k.ntk
    if any(isinstance(layer, LayerNorm) for layer in getattr(getattr(k, "network", network), "layers", ())):
        raise InvalidInput("check_kernel does not know LayerNorm yet: pass infgeo.Kernel(mlp.kernel.expr)")
    if isinstance(k, Kernel):
        subject = _of_formula(k, given, input_dim)
    elif isinstance(getattr(k, "__self__", None), NumericGeometry) and k.__name__ in KINDS.values():
        kind = next(key for key, name in KINDS.items() if name == k.__name__)
        subject = _of_geometry(k.__self__, kind, dtype)
    elif isinstance(k, NumericGeometry):
        subject = _of_geometry(k, kind, dtype)
    elif type(k).__module__ in ("infgeo.adapters.sklearn", "infgeo.adapters.gpytorch"):
        subject = _of_adapter(k, dtype)
    elif callable(getattr(k, "kernel", None)) and callable(getattr(k, "kernel_diag", None)):
        backend = next((name for name in ("torch", "jax", "mpmath") if hasattr(k, name)), "numpy")
        subject = replace(_of_functions(k, kind, backend, dtype), same_bits=True)  # a file that `infgeo.emit` wrote
    elif callable(k):
        subject = _of_callable(k, dtype)
    else:
        raise InvalidInput(
            f"k = {k!r} is no kernel: pass an infgeo.Kernel, what MLP.numeric returns, or a function k(X, Y=None)"
        )
    if network is not None:
        if not isinstance(network, MLP):
            raise InvalidInput(f"network = {network!r} must be an infgeo.MLP")
        subject = replace(subject, truth=Truth(network, kind, values_of(network.parameters, given)))
    theirs = {name: _called(function, lambda X, _: X, dtype) for name, function in functions.items() if function}
    return replace(subject, dtype=dtype, **theirs)  # type: ignore[arg-type]


def given_values(weight_std: float | None, bias_std: float | None, parameters: Mapping[str, float]) -> dict[str, float]:
    """Return the values that were given, by the name of the symbol."""
    scales = {"sigma_w": ("weight_std", weight_std), "sigma_b": ("bias_std", bias_std)}
    given = {
        name: real_number(value, argument, minimum=0.0, strict=name == "sigma_w")
        for name, (argument, value) in scales.items()
        if value is not None
    }
    return given | values_by_name(parameters)


def values_of(symbols: Iterable[Symbol], given: Mapping[str, float]) -> dict[str, float]:
    """Return a number for each symbol: the one given, the default of a scale, or 0.7, 0.9, ... in order of the names.

    Raises InvalidInput for a value that belongs to no symbol.
    """
    names = {symbol.name: symbol for symbol in symbols}
    if unknown := sorted(set(given) - set(names)):
        raise InvalidInput(f"values are given for {', '.join(unknown)}: this has {', '.join(sorted(names)) or 'none'}")
    defaults = {"sigma_w": DEFAULT_WEIGHT_STD, "sigma_b": DEFAULT_BIAS_STD}
    others = sorted(set(names) - set(defaults))
    chosen = {name: 2.0 if names[name].is_integer else round(0.7 + 0.2 * i, 10) for i, name in enumerate(others)}
    defaults |= {name: -value if names[name].is_negative else value for name, value in chosen.items()}
    return {name: float(given.get(name, defaults[name])) for name in sorted(names)}


def _of_formula(k: Kernel, given: Mapping[str, float], input_dim: int) -> Subject:
    network = k.network if isinstance(k, (NetworkKernel, TangentKernel)) else None
    symbols = k.expr.free_symbols - {s_x, s_y, xy, d}
    symbols |= set() if network is None else set(network.parameters)
    values = values_of(symbols, given)
    numbers = {symbol: mpmath.mpf(values[symbol.name]) for symbol in symbols} | {d: mpmath.mpf(input_dim)}
    value = _in_mpmath(k.expr, (s_x, s_y, xy), numbers)

    def formula(x: list, y: list) -> Any:
        norms, product = (mpmath.fdot(x, x), mpmath.fdot(y, y)), mpmath.fdot(x, y)
        try:
            result = value(*norms, product)
        except (ZeroDivisionError, AttributeError):  # of a number that rounding makes complex
            # Quotients that have a limit where x and y are parallel: take it from a little beside.
            with mpmath.workdps(2 * mpmath.mp.dps):
                result = value(*norms, product * (1 - mpmath.mpf(10) ** -(mpmath.mp.dps // 2)))
        # A square root of what is 0 but for rounding may have a small imaginary part.
        return result.real if abs(result.imag) <= abs(result.real) * mpmath.mpf(10) ** (-DIGITS // 3) else mpmath.nan

    def gram(X: np.ndarray, Y: np.ndarray | None = None) -> np.ndarray:
        with mpmath.workdps(DIGITS):
            rows = [[mpmath.mpf(float(t)) for t in x] for x in X]
            columns = rows if Y is None else [[mpmath.mpf(float(t)) for t in y] for y in Y]
            return np.array([[float(formula(x, y)) for y in columns] for x in rows]).reshape(len(rows), len(columns))

    missing = {"distance": "a formula has no function of its own for distances"}
    diagonal = _in_mpmath(k.diagonal, (s,), numbers)

    def on_diagonal(X: np.ndarray) -> np.ndarray:
        with mpmath.workdps(DIGITS):
            return np.array([float(diagonal(mpmath.fdot(list(x), list(x))).real) for x in X])

    truth, name = None, f"k(x, y) = {k.expr}"
    if network is not None:
        truth = Truth(network, "nngp" if isinstance(k, NetworkKernel) else "ntk", values)
        name = f"{type(k).__name__} of {network}"
    metric, epsilon = _metric_of(k, numbers), float(np.finfo(float).eps)
    return Subject(name, gram, epsilon, on_diagonal, None, metric, None, formula, truth, missing=missing)


def _metric_of(k: Kernel, numbers: Mapping[Symbol, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the metric of a formula as a function of points; it raises MetricDoesNotExist where there is none."""

    def metric(X: np.ndarray) -> np.ndarray:
        at = {d: mpmath.mpf(X.shape[1]), **numbers}
        parts = [_in_mpmath(part, (s,), at) for part in (k.metric.A, k.metric.B)]
        with mpmath.workdps(DIGITS):
            A, B = ([float(part(mpmath.fdot(list(x), list(x))).real) for x in X] for part in parts)
        return np.array([a * np.eye(len(x)) + b * np.outer(x, x) for a, b, x in zip(A, B, X, strict=True)])

    return metric


def _in_mpmath(expr: Expr, arguments: tuple[Symbol, ...], numbers: Mapping[Symbol, Any]) -> Callable:
    others = sorted(numbers, key=lambda symbol: symbol.name)
    function = lambdify((*arguments, *others), expr, "mpmath", cse=True)
    tail = [numbers[symbol] for symbol in others]

    def value(*at: Any) -> Any:
        return mpmath.mpmathify(function(*at, *tail))

    return value


def _of_geometry(geometry: NumericGeometry, kind: str, dtype: DType) -> Subject:
    if isinstance(geometry.mlp, Formula):
        return replace(_of_functions(geometry, "nngp", geometry.backend, dtype), name=f"{geometry.mlp}")
    mlp = geometry.mlp
    truth = Truth(mlp, kind, {name: float(value) for name, value in geometry.parameters.items()})
    scales = ", ".join(f"{name} = {value:g}" for name, value in truth.values.items())
    name = f"{KINDS[kind]} of {mlp} in {geometry.backend}, {geometry.method.replace('_', ' ')}; {scales}"
    subject = replace(_of_functions(geometry, kind, geometry.backend, dtype), name=name, truth=truth)
    if geometry.method == "quadrature":
        missing = {**subject.missing, "quadrature": "k is integrated numerically itself"}
        return replace(subject, epsilon=_QUADRATURE, slow=True, missing=missing)
    if kind == "ntk" and geometry.method == "closed_form":
        numbers = {symbol: mpmath.mpf(truth.values[symbol.name]) for symbol in mlp.parameters}
        subject = replace(subject, metric=_metric_of(mlp.ntk, numbers))
    return replace(subject, same_bits=True)


def _of_functions(geometry: Any, kind: str, backend: str, dtype: DType) -> Subject:
    """Return the subject of an object with kernel, ntk, kernel_diag and the other functions of emitted modules."""
    into = {"mpmath": lambda X, _: X.tolist(), "torch": _to_torch}.get(backend, np.ndarray.astype)
    called = partial(_called, into=into, dtype=dtype)
    nngp = kind == "nngp"
    missing = {} if nngp else dict.fromkeys(("distance", "metric"), "the tangent kernel comes without this function")
    return Subject(
        getattr(geometry, "__name__", type(geometry).__name__),
        called(getattr(geometry, KINDS[kind])),
        float(np.finfo(dtype).eps),
        called(geometry.kernel_diag if nngp else geometry.ntk_diag),
        called(geometry.kernel_distance) if nngp else None,
        called(geometry.metric) if nngp else None,
        getattr(geometry, KINDS[kind]) if backend == "torch" else None,
        missing=missing,
    )


def _of_callable(k: Callable, dtype: DType) -> Subject:
    """Return the subject of a function k(X, Y=None), of scikit-learn's kernels, or of GPyTorch's."""
    name = getattr(k, "__name__", None) or str(k).partition("\n")[0]
    gpytorch = sys.modules.get("gpytorch")
    if gpytorch is not None and isinstance(k, gpytorch.kernels.Kernel):
        return _of_gpytorch(k, type(k).__name__, dtype)
    of_sklearn = sys.modules.get("sklearn.gaussian_process.kernels")
    diagonal = None
    if of_sklearn is not None and isinstance(k, of_sklearn.Kernel):
        diagonal = _called(k.diag, np.ndarray.astype, dtype)
    probe = np.array([[0.5, 0.25], [0.25, 0.5]], dtype)
    try:
        value = k(probe, None)
    except Exception as first:
        try:
            value = k(_to_torch(probe, dtype), None)
        except Exception as second:
            raise InvalidInput(
                f"k = {name} takes neither arrays nor tensors as k(X, None): {type(first).__name__}: {first};"
                f" {type(second).__name__}: {second}"
            ) from first
    torch = sys.modules.get("torch")
    in_torch = torch is not None and isinstance(value, torch.Tensor)
    gram = _called(k, _to_torch if in_torch else np.ndarray.astype, dtype)
    result = _to_numpy(value, keep=True).dtype
    coarser = max(np.finfo(part).eps for part in (dtype, result if result.kind == "f" else dtype))
    return Subject(name, gram, float(coarser), diagonal, graph=k if in_torch else None)


def _of_gpytorch(k: Any, name: str, dtype: DType) -> Subject:
    def dense(x: Any, y: Any = None) -> Any:
        return k(x, x if y is None else y).to_dense()

    # Parameters are kept in float32 unless told otherwise, and some kernels compute in their precision.
    dtypes = {str(parameter.dtype) for parameter in k.parameters()}
    epsilon = float(np.finfo(np.float32 if "torch.float32" in dtypes else dtype).eps)
    gram, diagonal = (_called(part, _to_torch, dtype) for part in (dense, partial(k, diag=True)))
    return Subject(name, gram, epsilon, diagonal, graph=dense)


def _of_adapter(k: Any, dtype: DType) -> Subject:
    """Return the subject of a kernel of `infgeo.adapters`, which knows its network."""
    from infgeo.adapters.kernel_network import network

    subject = _of_callable(k, dtype)
    scales = {"sigma_w": k.weight_std, "sigma_b": k.bias_std}
    if not hasattr(k, "mlp"):
        own = {name: float(value) for name, value in (k.parameters or {}).items()}
        mlp = network(k.activation, k.depth, k.kind, k.parameters)
        return replace(subject, truth=Truth(mlp, k.kind, own | {name: float(v) for name, v in scales.items()}))
    if any(value.numel() > 1 for value in scales.values()):
        return replace(subject, missing={"truth": "a batch of kernels has no single network"})
    return replace(subject, truth=Truth(k.mlp, k.kind, k.own | {name: v.item() for name, v in scales.items()}))


def _called(function: Callable, into: Callable[[np.ndarray, DType], Any], dtype: DType) -> Callable[..., np.ndarray]:
    """Return a function of arrays of NumPy, made of one that takes what `into` makes of them."""

    def call(*points: np.ndarray | None) -> np.ndarray:
        return _to_numpy(function(*(None if part is None else into(part, dtype) for part in points)))

    return call


def _to_torch(X: np.ndarray, dtype: DType) -> Any:
    import torch

    return torch.from_numpy(X.astype(dtype))


def _to_numpy(value: Any, keep: bool = False) -> np.ndarray:
    """Return an array or tensor or mpmath matrix as float64."""
    if isinstance(value, mpmath.matrix):
        return np.array(value.tolist(), dtype=float)
    if isinstance(value, list) and any(isinstance(part, mpmath.matrix) for part in value):
        return np.array([_to_numpy(part) for part in value])
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if not keep and np.iscomplexobj(value):
        raise InvalidInput("k has complex values, kernels are real")
    return np.asarray(value) if keep else np.asarray(value, dtype=float)
