"""`mlp.numeric(..., method="quadrature")`: the geometry of any activation, its Gaussian expectations by quadrature.

The layers, the recursion of the metric and the checks of points are those of the closed forms; only the expectations
differ. Every result is computed at two levels of the rules of `gaussian_rules` and returned when they agree to
`TOLERANCE`: relative to the value, for kernels relative to sqrt(k(x, x) k(y, y)), for R to |R| + d^2/(A (1 + s)).
Otherwise the rules are refined, and NotConverged is raised in the end. It is slow: milliseconds for a pair of points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from sympy import Expr, Function, lambdify

from infgeo.conventions import d, s
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput, NotConverged
from infgeo.numeric.quadrature import gaussian_rules as rules
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.errors import DoesNotExist
from infgeo.numeric.runtime.geometry import Geometry
from infgeo.numeric.runtime.layers import Dense, Residual, RMSNorm
from infgeo.numeric.runtime.records import Law
from infgeo.numeric.source.conditions import bounds_of
from infgeo.numeric.source.formulas import own_parameters
from infgeo.numeric.source.law_of_nodes import Named
from infgeo.numeric.source.names import in_code, public_name
from infgeo.symbolic.algebra.program import Names
from infgeo.symbolic.networks import layers as symbolic
from infgeo.symbolic.networks.propagate import propagate
from infgeo.symbolic.networks.recursion import LogRadial

if TYPE_CHECKING:
    from infgeo.symbolic.networks.network import MLP

TOLERANCE = 1e-9
LEVELS = 6
ROUNDING = 1e-15  # of h/A = 1 + ..., whose terms are of order 1; two rules may agree by chance where it is lost
_NAMES = ("m", "m_prime", "m0", "psi", "psi_prime", "mu", "nu", "nu_prime")


def quadrature_geometry(mlp: MLP) -> Geometry:
    """Return what computes the geometry of a network in NumPy, its expectations by quadrature."""
    mlp = in_code(mlp)
    names = [symbol.name for symbol in mlp.parameters]
    own = tuple(symbol.name for symbol in own_parameters(mlp))
    numbers = {activation: i for i, activation in enumerate(dict.fromkeys(x.activation for x in mlp.with_weights))}

    @lru_cache(maxsize=64)
    def function(activation: Any, *values: float) -> PiecewiseFunction:
        return PiecewiseFunction(activation, dict(zip(own, values, strict=True)))

    laws = {a: _law(lambda *values, a=a: function(a, *values)) for a in numbers}
    radial = _radial(mlp, numbers, lambda a, values: function(a, *(values[name] for name in own)), names)
    return Geometry(
        NumpyArrays(),
        list(laws.values()),
        _network(mlp, laws),
        bounds_of(mlp),
        tuple(map(public_name, own)),
        parts=lambda s, *scalars: tuple(radial(("A", "shear", "eta"), s, scalars)),
        ricci=lambda s, *scalars: radial(("R",), s, scalars)[0],
    )


def agreed(compute: Callable[[int], np.ndarray], scale: Callable[[np.ndarray], Any], what: str) -> np.ndarray:
    """Return compute(level) once two levels agree to TOLERANCE times `scale` of the value."""
    previous = compute(0)
    for level in range(1, LEVELS):
        value = compute(level)
        with np.errstate(invalid="ignore"):
            error = np.max(np.abs(value - previous) / (scale(value) + 1e-300), initial=0.0)
        if error <= TOLERANCE:
            return value
        previous = value
    raise NotConverged(
        f"{what} by quadrature: the last two rules differ by {error:.1e} of its size, more than {TOLERANCE:g};"
        " use smaller points or scales, or the closed form where there is one"
    )


def _law(function: Callable[..., PiecewiseFunction]) -> Law:
    """Return the law of an activation by quadrature; `function` takes parameter values."""

    def of_order(order: int, values: tuple[float, ...]) -> PiecewiseFunction:
        phi = function(*values)
        if order and phi.no_metric:
            raise DoesNotExist(phi.no_metric)
        return phi

    def over_pairs(order: int, wanted: str) -> Callable:
        def law(p: Any, q: Any, c: Any, Delta: Any, *values: float) -> np.ndarray:
            phi = of_order(order, values)
            p, q, c, Delta = np.broadcast_arrays(p, q, c, Delta)
            result = np.empty(p.shape)
            for i in np.ndindex(p.shape):
                at = (float(p[i]), float(q[i]), float(c[i]), float(Delta[i]))
                norm = np.sqrt(rules.diagonal(phi, at[0], 1, order) * rules.diagonal(phi, at[1], 1, order))
                result[i] = agreed(
                    partial(_pair_value, phi, at, order, wanted),
                    partial(_constant, norm),
                    f"an expectation over a pair of preactivations of activation {phi.name}",
                )
            return result

        return law

    def over_points(order: int) -> Callable:
        def law(variance: Any, *values: float) -> np.ndarray:
            phi = of_order(order, values)
            flat = np.asarray(variance, float)

            def compute(level: int) -> np.ndarray:
                return np.array([rules.diagonal(phi, float(x), level, order) for x in flat.ravel()])

            return agreed(compute, np.abs, f"an expectation of activation {phi.name}").reshape(flat.shape)

        return law

    kernel, moment = over_pairs(0, "product"), over_points(0)
    squared, fall = over_pairs(0, "square"), over_pairs(0, "fall")

    def difference(p: Any, q: Any, omega: Any, delta: Any, c: Any, Delta: Any, *values: float) -> tuple:
        apart = np.where(delta == 0, 0.0, squared(p, q, c, Delta, *values))  # 0 at coincidence, without rounding
        return apart, fall(p, q, c, Delta, *values)

    return Law(kernel, moment, difference, over_pairs(1, "product"), over_points(1))


def _pair_value(
    phi: PiecewiseFunction, at: tuple[float, float, float, float], order: int, wanted: str, level: int
) -> np.ndarray:
    return np.array(rules.pair(phi, *at, level, order)[wanted])


def _constant(norm: float, _: np.ndarray) -> float:
    return norm


def _network(mlp: MLP, laws: dict[Any, Law]) -> Callable:
    """Return the function of d and the parameters' values that makes the layers."""
    arguments = [d, *mlp.parameters]

    def network(*values: float) -> Sequence[Any]:
        at = dict(zip(arguments, values, strict=True))

        def number(expr: Expr) -> float:
            return float(expr.subs(at))

        layers: list[Any] = []
        for layer in mlp.layers:
            if isinstance(layer, symbolic.RMSNorm):
                layers.append(RMSNorm(number(layer.width * layer.epsilon), number(layer.width)))
                continue
            variances = [number(part) for part in layer.variances]
            if isinstance(layer, symbolic.Residual):
                layers.append(
                    Residual(
                        laws[layer.activation],
                        variances[0],
                        variances[1],
                        number(layer.skip**2),
                        number(layer.branch**2),
                    )
                )
            else:
                layers.append(Dense(laws[layer.activation], *variances))
        return layers

    return network


def _radial(mlp: MLP, numbers: dict[Any, int], function: Callable, names: Sequence[str]) -> Callable:
    """Return the function (outputs, s, scalars) that runs the recursion of the metric on quadrature moments."""
    duals = {a: SimpleNamespace(**{name: Function(f"{name}_of_{i}")(v) for name in _NAMES}) for a, i in numbers.items()}
    layers = [x if isinstance(x, symbolic.RMSNorm) else Named(x, duals[x.activation]) for x in mlp.layers]

    @lru_cache(maxsize=1)
    def compiled() -> tuple[list, dict[str, Any]]:
        names = Names()
        outputs = propagate(layers, LogRadial(names)).outputs()
        known = [s, d, *mlp.parameters]
        steps = []
        for symbol, expr in names.bindings:
            steps.append((tuple(known), expr))
            known.append(symbol)
        return steps, {name: (tuple(known), expr) for name, expr in outputs.items()}

    def run(wanted: Sequence[str], at: float, scalars: tuple, level: int) -> list[float]:
        steps, outputs = compiled()
        values = dict(zip(names, scalars[1:], strict=True))
        cache: dict[tuple[int, float], dict[str, float]] = {}

        def moment(activation: Any, name: str) -> Callable[[float], float]:
            def at_variance(variance: float) -> float:
                key = numbers[activation], variance
                if key not in cache:
                    cache[key] = _ratios(rules.moments(function(activation, values), variance, level))
                return cache[key][name]

            return at_variance

        library: dict[str, Callable] = {
            f"{name}_of_{i}": moment(a, name) for a, i in numbers.items() for name in _NAMES
        }
        library["where_nonnegative"] = lambda x, yes, no: yes if x >= 0 else no
        numbers_so_far = [at, *scalars]
        for arguments, expr in steps:
            numbers_so_far.append(float(lambdify(arguments, expr, [library, "math"])(*numbers_so_far)))
        wanted = ["R_float" if name == "R" and "R_float" in outputs else name for name in wanted]
        return [
            float(lambdify(outputs[name][0], outputs[name][1], [library, "math"])(*numbers_so_far)) for name in wanted
        ]

    def radial(wanted: Sequence[str], squares: Any, scalars: tuple) -> list[np.ndarray]:
        flat, what = np.asarray(squares, float), "the Ricci scalar" if wanted == ("R",) else "the metric"
        columns = []
        for at in map(float, flat.ravel()):
            # The shear s B/A may vanish where A does not, and R where curvatures of that size cancel.
            floor = np.array([0.0, 1.0, 0.0])
            if wanted == ("R",):
                floor = np.array([scalars[0] ** 2 / (run(("A",), at, scalars, 1)[0] * (1 + at))])
            compute = partial(_as_array, run, wanted, at, scalars)
            eta = run(("eta",), at, scalars, 1)[0]
            if abs(eta) * TOLERANCE < ROUNDING:
                raise NotConverged(
                    f"{what} at |x|^2 = {at:g} by quadrature: h/A = {eta:.1e} is a difference of larger numbers:"
                    " rounding exceeds the tolerance; use smaller points, or the closed form where there is one"
                )
            columns.append(agreed(compute, partial(_size, floor), f"{what} at |x|^2 = {at:g}"))
        stacked = np.array(columns).reshape(*flat.shape, len(wanted))
        return [stacked[..., i] for i in range(len(wanted))]

    return radial


def _as_array(run: Callable, wanted: Sequence[str], at: float, scalars: tuple, level: int) -> np.ndarray:
    return np.array(run(wanted, at, scalars, level))


def _size(floor: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.abs(value) + floor


def _ratios(moments: dict[str, float]) -> dict[str, float]:
    """Return what `infgeo.symbolic.expectations.dual.Dual` has, from E[phi^2], E[phi'^2] and their derivatives."""
    m1, m2, m0, m01, m02 = (moments[name] for name in ("m_1", "m_2", "m0", "m0_1", "m0_2"))
    psi = m01 / m0
    return {
        "m": moments["m"],
        "m_prime": m1,
        "m0": m0,
        "psi": psi,
        "psi_prime": m02 / m0 - psi * psi,
        "mu": m1 / m0,
        "nu": (m1 - m0) / m0,
        "nu_prime": (m2 - psi * m1) / m0,
    }


def check_backend(backend: str) -> None:
    """Raise InvalidInput for a backend that quadrature does not have."""
    if backend != "numpy":
        raise InvalidInput(
            f"method='quadrature' computes in NumPy, not {backend!r}: drop backend, or method where there is another"
        )
