"""`mlp.numeric(...)`: the functions of an emitted module with the parameters filled in and errors of the package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sympy import Basic, Rational

from infgeo.arguments import flag, one_of, python_name
from infgeo.display import Displayed
from infgeo.errors import (
    ExpectationDiverges,
    InvalidInput,
    MetricDoesNotExist,
    MissingExtra,
    NoClosedForm,
    NotConverged,
)
from infgeo.expressions import exact
from infgeo.numeric.runtime.coordinates import are_several
from infgeo.numeric.runtime.errors import DoesNotExist, InputError, NotAgreed
from infgeo.numeric.runtime.geometry import Geometry
from infgeo.numeric.runtime.normal_mean import AGREEMENT
from infgeo.numeric.runtime.records import Law
from infgeo.numeric.source.formulas import missing_kernel, own_parameters
from infgeo.numeric.source.methods import METHODS, methods_of, resolved
from infgeo.numeric.source.mixture import mixture_of
from infgeo.numeric.source.module import DEFAULTS, first_scale, functions_of, module_source, standalone
from infgeo.numeric.source.of_formula import OF_METRIC, Formula, subject_of
from infgeo.numeric.source.pair import FAST, fast_gram
from infgeo.numeric.source.printing import backend_named
from infgeo.shorthand import loaded

if TYPE_CHECKING:
    from infgeo.numeric.certificates.record import Certificate
    from infgeo.numeric.geodesics.radial import RadialGeodesic
    from infgeo.symbolic.geometry.metric import RadialMetric
    from infgeo.symbolic.kernels.kernel import Kernel
    from infgeo.symbolic.networks.network import MLP


@dataclass(frozen=True, repr=False)
class NumericGeometry(Displayed):
    """Numeric functions of a network's geometry, made by `MLP.numeric`; `kind` says of which kind they are.

    Arguments:
        mlp: the network.
        backend: "numpy", "torch", "jax" or "mpmath". Points are arrays of it: float32 or float64 (kept) for NumPy,
            torch and jax (float64 where jax has been told to keep it: `jax_enable_x64`), nested lists of mpf for
            mpmath. Results of torch and jax are differentiable with respect to points and parameters; those of jax go
            through jit and vmap too.
        parameters: the values of sigma_w, sigma_b and the activation's parameters that the network leaves symbolic; of
            the first layer's weight_std there may be several, one for each coordinate (see `MLP.numeric`).
        method: how expectations are computed: in "closed_form", as a "mixture" of such, or by "quadrature".

    Raises InvalidInput for points of another dtype or shape, or that are not finite, naming value and remedy;
    MetricDoesNotExist, and ExpectationDiverges for the tangent kernel, where an activation jumps.

    Example:
        >>> import infgeo, numpy as np
        >>> geo = infgeo.MLP("erf").numeric(weight_std=1.0, bias_std=0.5)
        >>> float(geo.ricci_scalar(np.array([1.0, 0.0])).round(12))
        -2.239002544484
    """

    mlp: MLP | Formula
    backend: str
    parameters: Mapping[str, Any] = field(hash=False)  # values may be tensors
    method: str = "closed_form"

    def __post_init__(self) -> None:
        """Keep the parameters from being changed."""
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and cross processes by the arguments: a mapping proxy does neither."""
        return type(self), (self.mlp, self.backend, dict(self.parameters), self.method)

    @property
    def tolerance(self) -> float | None:
        """The relative tolerance that method "quadrature" verifies at each evaluation; None for the others."""
        return AGREEMENT if self.method == "quadrature" else None

    def _facts(self) -> dict[str, Any]:
        return super()._facts() | {"kind": self.kind}

    @property
    def kind(self) -> str:
        """What the functions are: a closed form, a mixture with bounds on the errors of phi and phi', or quadrature.

        With |f| = sqrt(E[f(u)^2]), errors e and e' of phi and phi' change the kernel by at most e (|phi(u)| + |phi(v)|)
        + e^2, and E[phi'^2], to which the metric of a layer is proportional, by 2 e' |phi'| + e'^2.
        """
        if self.method == "quadrature":
            return f"quadrature, relative error <= {self.tolerance:g}"
        if self.method == "closed_form":
            return "closed form"
        values = {symbol: self.parameters[symbol.name] for symbol in own_parameters(self.mlp)}
        mixtures = [mixture_of(a) for a, method in methods_of(self.mlp).items() if method == "mixture"]
        errors = (max(float(getattr(x, name).subs(values)) for x in mixtures) for name in ("error", "slope_error"))
        return "mixture, |error of phi| <= {:.1e}, of phi' <= {:.1e}".format(*errors)

    def kernel(self, X: Any, Y: Any = None, *, out: Any = None, threads: int | None = None) -> Any:
        """Return the NNGP kernel, (N, d), (M, d) -> (N, M); without Y the Gram matrix of X, exactly symmetric.

        Arguments:
            X: points (N, d).
            Y: points (M, d); None for X.
            out: NumPy and torch alone, an array (N, M) of the points' dtype that takes the result.
            threads: NumPy and torch alone, how many threads work on the blocks; None for OMP_NUM_THREADS or all
                processors (torch: `torch.get_num_threads()`). The result does not depend on it beyond rounding.
        """
        return self._gram("kernel", X, Y, out, threads)

    def ntk(self, X: Any, Y: Any = None, *, out: Any = None, threads: int | None = None) -> Any:
        """Return the neural tangent kernel, (N, d), (M, d) -> (N, M); arguments as for `kernel`."""
        return self._gram("ntk", X, Y, out, threads)

    def kernel_and_ntk(self, X: Any, Y: Any = None, *, out: Any = None, threads: int | None = None) -> tuple:
        """Return (kernel, ntk), at little more than the cost of `ntk`; `out` is a pair of arrays."""
        return self._gram("kernel_and_ntk", X, Y, out, threads)

    def operator(
        self, X: Any, Y: Any = None, *, which: str = "kernel", noise: Any = 0.0, threads: int | None = None
    ) -> Any:
        """Return the Gram matrix as a linear operator, (N, M), whose products never form it: O(N) memory.

        For NumPy it is one of SciPy (see `infgeo.numeric.operators.scipy_operator.GramOperator`); for torch, with the
        extra `gpytorch`, one of GPyTorch's `linear_operator`, with derivatives by points and scales.

        Arguments:
            X, Y: points (N, d) and (M, d); without Y the symmetric matrix of X.
            which: "kernel" or "ntk".
            noise: >= 0, what is added to the diagonal of a symmetric matrix; for torch it may be a tensor.
            threads: as for `kernel`; products are the same bits for any number.

        Example:
            >>> import infgeo, numpy as np
            >>> from scipy.sparse.linalg import cg
            >>> X = np.array([[0.0], [1.0], [2.0]])
            >>> K = infgeo.MLP("erf").numeric().operator(X, noise=0.1)
            >>> print(cg(K, X[:, 0] ** 2)[0].round(4))
            [ 0.272  -8.1018 11.0023]
        """
        which = one_of(which, "which", ("kernel", "ntk"))
        self._require_blocks("operator", f"take blocks of {which}")
        name = "scipy_operator" if self.backend == "numpy" else "torch_operator"
        return loaded(f"infgeo.numeric.operators.{name}", "gram_operator")(self, X, Y, which, noise, threads)

    def _gram(self, name: str, X: Any, Y: Any, out: Any, threads: int | None) -> Any:
        if self._has_blocks:
            return self._call(name, X, Y, (out, threads))
        for option, value in (("out", out), ("threads", threads)):
            if value is not None:
                self._require_blocks(option, "leave it out")
        return self._call(name, X, Y)

    @property
    def _has_blocks(self) -> bool:
        return self.backend in FAST and self.method != "quadrature"

    def _require_blocks(self, what: str, remedy: str) -> None:
        if not self._has_blocks:
            kind = f"{self.method} for {self.backend}"
            raise InvalidInput(f"{what} is for closed forms and mixtures in NumPy and torch, this is {kind}: {remedy}")

    def kernel_diag(self, X: Any) -> Any:
        """Return k(x, x), (..., d) -> (...)."""
        return self._call("kernel_diag", X)

    def ntk_diag(self, X: Any) -> Any:
        """Return the tangent kernel at (x, x), (..., d) -> (...)."""
        return self._call("ntk_diag", X)

    def kernel_distance(self, X: Any, Y: Any = None, squared: bool = False) -> Any:
        """Return |Phi(x) - Phi(y)|, (N, d), (M, d) -> (N, M), relatively accurate for neighbouring points too.

        `squared` returns its square, which has derivatives at y = x where the distance has a tip: half its Hessian in y
        is the metric.
        """
        return self._call("kernel_distance", X, Y, flag(squared, "squared"))

    def metric(self, X: Any) -> Any:
        """Return the metric g, (..., d) -> (..., d, d)."""
        return self._call("metric", X)

    def volume_element(self, X: Any) -> Any:
        """Return sqrt(det g), (..., d) -> (...)."""
        return self._call("volume_element", X)

    def log_volume_element(self, X: Any) -> Any:
        """Return log sqrt(det g), (..., d) -> (...), without overflow or underflow at large d."""
        return self._call("log_volume_element", X)

    def ricci_scalar(self, X: Any) -> Any:
        """Return the Ricci scalar, positive on spheres, (..., d) -> (...)."""
        return self._call("ricci_scalar", X)

    def distance(self, x: Any, y: Any) -> Any:
        """Return the length of the shortest path, (..., d), (..., d) -> (...); see `RadialMetric.distance`."""
        metric, _, x, y = self._radial_metric(x, y)
        return metric.distance(x, y)

    def geodesic(self, x: Any, y: Any, way: str = "shortest") -> RadialGeodesic:
        """Return the geodesic from x to y; see `RadialMetric.geodesic`. Not for a scale for each coordinate."""
        metric, scales, *ends = self._radial_metric(x, y)
        if scales is not None:
            raise InvalidInput(
                "geodesic is for one weight_std of all coordinates: take distance, exponential and logarithm, or the"
                " geodesic from weight_std * x to weight_std * y of numeric(weight_std=1), whose points are weight_std"
                " times those"
            )
        return metric.geodesic(*ends, way)

    def exponential(self, x: Any, v: Any) -> Any:
        """Return where the geodesic from x with velocity v is after time 1; see `RadialMetric.exponential`."""
        metric, scales, x, v = self._radial_metric(x, v)
        found = metric.exponential(x, v)
        return found if scales is None else found / scales

    def logarithm(self, x: Any, y: Any) -> Any:
        """Return the velocity at x of the shortest geodesic to y; see `RadialMetric.logarithm`."""
        metric, scales, x, y = self._radial_metric(x, y)
        found = metric.logarithm(x, y)
        return found if scales is None else found / scales

    def _radial_metric(self, *points: Any) -> tuple:
        """Return the metric, scales, and points in the coordinates in which it is radial, see `runtime.coordinates`."""
        if self.backend not in ("numpy", "torch"):
            raise InvalidInput(f"distances are for NumPy and torch, and this is {self.backend}")
        if self.method != "closed_form":
            raise NoClosedForm(
                f"geodesics need a closed form of the metric, and this is {self.kind}: take infgeo.finite.geodesic of a"
                " sampled network"
            )
        parameters, scales = self.parameters, None
        if are_several(parameters.get(first_scale(self.mlp) or "")):
            geometry = _geometry(self.mlp, self.backend, self.method)
            try:
                given = (geometry.xp.double(geometry.xp.points(X)) for X in points)
                parameters, scales, *points = geometry.in_unit_coordinates(parameters, *given)  # type: ignore[assignment]
            except InputError as error:
                raise InvalidInput(str(error)) from None
        values = {name: value.item() if hasattr(value, "item") else value for name, value in parameters.items()}
        return _metric_with(self.mlp, tuple(sorted(values.items()))), scales, *points

    @property
    def certificate(self) -> Mapping[str, tuple[Certificate, ...]]:
        """Function -> what is measured of it against 50 digits, in float64 and float32; takes some seconds at first."""
        if self.method != "closed_form" or self.backend == "mpmath":
            raise InvalidInput(
                f"certificates are for closed forms in floating point, this is {self.method} for {self.backend}"
            )
        certify = loaded("infgeo.numeric.certificates.certificate", "certify")
        found = [part for dtype in ("float64", "float32") for part in certify(self.mlp, self.backend, dtype)]
        return {name: tuple(part for part in found if part.quantity == name) for name in {p.quantity for p in found}}

    @property
    def source(self) -> str:
        """The source of the functions, that of `infgeo.emit` without its self-test; raises NoClosedForm without one."""
        return standalone(self.mlp, self.backend)

    def _call(self, name: str, *arguments: Any, make: Any = None) -> Any:
        """Return the function `name` of the arguments, or what `make` makes of the runtime, parameters and them."""
        if name not in functions_of(self.mlp, self.method):
            if name in OF_METRIC and isinstance(self.mlp, Formula):
                raise MetricDoesNotExist(self.mlp.missing)
            if not isinstance(self.mlp, Formula):
                raise NoClosedForm(missing_kernel(self.mlp))
            raise InvalidInput(f"{name} is not among the functions that there are: {', '.join(functions_of(self.mlp))}")
        if make is None and any(type(X).__module__.partition(".")[0] == "dask" for X in arguments):
            return loaded("infgeo.numeric.operators.dask_arrays", "in_blocks")(self, name, *arguments)
        geometry = _geometry(self.mlp, self.backend, self.method)
        try:
            if self.mlp.dimension.is_number:
                found = int(geometry.xp.dimension(geometry.xp.points(arguments[0])))
                if self.mlp.dimension != found:
                    raise InvalidInput(f"X has points of dimension {found}, but this network is {self.mlp.dimension}")
            if make is not None:
                return make(geometry, self.parameters, name, *arguments)
            return getattr(geometry, name)(self.parameters, *arguments)
        except InputError as error:
            raise InvalidInput(str(error)) from None
        except NotAgreed as error:
            raise NotConverged(str(error)) from None
        except DoesNotExist as error:
            diverges = name in ("ntk", "ntk_diag", "kernel_and_ntk") or str(error).startswith("E[phi(z)^2]")
            raise (ExpectationDiverges if diverges else MetricDoesNotExist)(str(error)) from None


@lru_cache(maxsize=64)
def _geometry(mlp: MLP | Formula, backend: str, method: str) -> Geometry:
    """Return what computes: the runtime with the formulas of a network, which alone are generated code."""
    namespace: dict[str, Any] = {"__name__": f"infgeo_emitted_{backend}"}
    try:
        source = module_source(mlp, backend, asked=method)
        exec(compile(source, f"<emitted for {backend}>", "exec"), namespace)
    except ImportError as error:
        if backend == "jax":
            raise MissingExtra("backend = 'jax'", "jax") from error
        raise
    geometry: Geometry = namespace["_GEOMETRY"]
    return (
        replace(geometry, fast=fast_gram(mlp, geometry.laws))
        if backend in FAST and method != "quadrature"
        else geometry
    )


def laws_of(mlp: MLP, backend: str) -> Sequence[Law]:
    """Return the expectations of the activations of a network."""
    return _geometry(mlp, backend, resolved(mlp, None)).laws


def _with_own_values(mlp: MLP | Formula, values: dict[str, Any]) -> tuple[MLP | Formula, dict[str, Any]]:
    """Return a network with the values of its activations' parameters, on which kinks depend, and the other values."""
    own = {}
    for symbol in own_parameters(mlp):
        if symbol.name not in values:
            continue
        try:
            number = float(values[symbol.name])
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidInput(
                f"{symbol.name} = {values[symbol.name]!r} must be a number: by quadrature results are no"
                " functions of an activation's parameters"
            ) from error
        own[symbol.name] = exact(Rational(repr(number)) if math.isfinite(number) else number, symbol.name)
    if not own or isinstance(mlp, Formula):
        return mlp, values
    return mlp.at(**own), {name: value for name, value in values.items() if name not in own}


@lru_cache(maxsize=64)
def _metric_with(mlp: MLP | Formula, values: tuple[tuple[str, Any], ...]) -> RadialMetric:
    """Return the metric of a network or of formulas with numbers for its parameters."""
    metric = mlp.radial_metric if isinstance(mlp, Formula) else mlp.metric
    known = {python_name(symbol.name) for symbol in metric.parameters}
    return metric.at({name: value for name, value in values if name in known})


def numeric(
    what: MLP | Kernel | RadialMetric | Formula,
    weight_std: Any = None,
    bias_std: Any = None,
    backend: str = "numpy",
    parameters: Mapping[str, Any] = MappingProxyType({}),
    method: str | None = None,
) -> NumericGeometry:
    """Return the numeric geometry of a network, a kernel or a metric; see `MLP.numeric` for the arguments.

    Raises NoClosedForm for a method that the network does not have, with the reason; InvalidInput for a scale that the
    network has as a number already, a value outside its domain, a parameter that the activation does not have or that
    is missing.
    """
    method = None if method is None else one_of(method, "method", METHODS)
    backend = backend_named(backend).name
    mlp = subject_of(what, "numeric")
    if isinstance(mlp, Formula) and method not in (None, "closed_form"):
        raise InvalidInput(f"method = {method!r} is for networks; a kernel or a metric is a closed form: leave it out")
    method = resolved(mlp, method)
    names = {symbol.name for symbol in mlp.parameters}
    unknown = sorted(set(parameters) - names)
    if unknown:
        raise InvalidInput(f"unknown parameter {unknown[0]!r}: there are {', '.join(sorted(names)) or 'none'}")
    values = {name: DEFAULTS[name] for name in names if name in DEFAULTS} | dict(parameters)
    for argument, name, value in (("weight_std", "sigma_w", weight_std), ("bias_std", "sigma_b", bias_std)):
        if value is None:
            continue
        if name not in names:
            if isinstance(mlp, Formula):
                raise InvalidInput(f"{argument} = {value!r} is given, but these formulas have no {name}: leave it out")
            fixed = ", ".join(dict.fromkeys(str(getattr(layer, argument)) for layer in mlp.with_weights))
            raise InvalidInput(f"{argument} = {value!r} is given, but the network has {argument} = {fixed} already")
        if name in parameters:
            raise InvalidInput(f"{argument} = {value!r} is given, and {name} = {parameters[name]!r}: leave one out")
        values[name] = value
    for name, value in values.items():
        if isinstance(value, Basic):
            exact(value, name)
    if method == "quadrature":
        mlp, values = _with_own_values(mlp, values)
        names = {symbol.name for symbol in mlp.parameters}
    missing = sorted(names - set(values))
    if missing:
        raise InvalidInput(f"the parameter {missing[0]!r} needs a value: pass {missing[0]}=...")
    try:
        _geometry(mlp, backend, method).values(values)
    except InputError as error:
        raise InvalidInput(str(error)) from None
    return NumericGeometry(mlp, backend, values, method)
