"""Certificates: the largest error of every emitted function over a stated sample, against mpmath at 50 digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np

from infgeo.conventions import sigma_b, sigma_w
from infgeo.errors import ExpectationDiverges, InfgeoError, InvalidInput, MetricDoesNotExist, NotAccurate
from infgeo.numeric.certificates.accuracy import DIGITS, answered, exact_values, ulps
from infgeo.numeric.emit import functions_of
from infgeo.numeric.geometry import numeric
from infgeo.symbolic.expectations.dual import dual
from infgeo.symbolic.floats.exponentials import large

if TYPE_CHECKING:
    from infgeo.symbolic.networks.network import MLP

POINTWISE = ("metric", "volume_element", "log_volume_element", "ricci_scalar")
PAIRWISE = ("kernel", "ntk", "kernel_distance")
SCALES = ((1.0, 0.0), (1.25, 0.5), (0.125, 1.0))  # (sigma_w, sigma_b)
OWN_PARAMETER = 0.75
# The lengths |x| that are sampled: NumPy's functions of |x| keep their digits everywhere, the others in a range.
_WIDE = {"float64": (1e-150, 1e150), "float32": (1e-30, 1e30)}
_MODERATE = (1e-6, 1e6)
_PAIR_LENGTHS = (0.03125, 1.0, 8.0)  # powers of two: points of one direction are parallel, not nearly so
_ANGLES = (0.0, 1e-9, 1e-5, 1e-2, 0.7, 2.0, np.pi - 1e-4, np.pi)
_COUNT = 20
_SAME_FEATURES = 1e-20  # distances below this are those of points with the same features, as a step has, and rounding


@dataclass(frozen=True)
class Certificate:
    """What was measured of one function.

    Arguments:
        quantity: its name.
        backend, dtype: the arithmetic.
        worst: the largest error, in units in the last place (ulp): of the value; of a kernel, of the norms of the
            features; of a logarithm, of max(its size, 1). Of a function of |x| that would miss its bound, in units of
            what half an ulp of |x| and of each parameter make of it, where that is more: near a zero of the curvature.
        bound: what it must not exceed.
        lengths: the smallest and largest |x| of the sample.
        parameters: the values of the scales and parameters that the network leaves open, one set after the other.
        count: the number of values compared.
        conditioned: how many of them were measured by what half an ulp of |x| and of the parameters makes of them.
    """

    quantity: str
    backend: str
    dtype: str
    worst: float
    bound: float
    lengths: tuple[float, float]
    parameters: tuple[tuple[tuple[str, float], ...], ...]
    count: int
    conditioned: int = 0

    @property
    def holds(self) -> bool:
        """Whether the error is within the bound."""
        return self.worst <= self.bound

    @property
    def relative_error(self) -> float:
        """`worst` times the spacing of floats above 1: the largest relative error where none is `conditioned`."""
        return self.worst * float(np.finfo(self.dtype).eps)

    def __str__(self) -> str:
        """Return one line."""
        low, high = self.lengths
        sets = "; ".join(", ".join(f"{name} = {value:g}" for name, value in values) for values in self.parameters)
        where = f"|x| from {low:.3g} to {high:.3g}" + (f", {sets}" if sets else "")
        zeros = f"; at {self.conditioned}, near zeros, a unit is what half an ulp of |x| and of the parameters makes"
        return (
            f"{self.quantity} for {self.backend} in {self.dtype}: within {self.worst:.3g} ulp (bound {self.bound:g}) at"
            f" {self.count} values, {where}" + (zeros if self.conditioned else "")
        )


@lru_cache(maxsize=64)
def certify(mlp: MLP, backend: str = "numpy", dtype: str = "float64") -> tuple[Certificate, ...]:
    """Measure every function of a network that exists, against mpmath at 50 digits.

    Arguments:
        mlp: the network; scales that it leaves open take the values of SCALES, parameters of activations 3/4.
        backend: "numpy", "torch" or "jax".
        dtype: "float64" or "float32".

    Values that the format cannot represent are left out, and so are points where an expectation is infinite. The
    relative error of a Ricci scalar has no bound near its zeros: rounding |x| or a scale moves it by as much. Where it
    misses its bound such movements are the unit, and `conditioned` says at how many values. The bounds are 8 ulp for
    one layer and 64 for two or three in NumPy, 8 ulp a layer for kernels in norm and 16 for distances. Doubles in torch
    and jax have no wider format: there functions of |x| are held to 2^9 ulp for one layer and 2^13 for more, and
    kernels with growing exponentials, as that of exp(z), to 2^8 ulp a layer, which is what it costs to round the
    exponents. In jax tangent kernels with a kink after an activation that is not homogeneous are held to 2^24 ulp,
    about 8 digits.

    Example:
        >>> import infgeo
        >>> for certificate in certify(infgeo.MLP("relu")):
        ...     print(certificate.quantity, certificate.holds)
        kernel True
        ntk True
        kernel_distance True
        metric True
        volume_element True
        log_volume_element True
        ricci_scalar True
    """
    samples: dict[str, list[float]] = {}
    conditioned: dict[str, int] = {}
    lengths: dict[str, tuple[float, float]] = {}
    cases = tuple(_cases(mlp))
    for values in cases:
        for name, points in _samples(mlp, backend, dtype, values):
            errors = samples.setdefault(name, [])
            found, count = _errors(mlp, name, backend, values, points)
            errors += found
            conditioned[name] = conditioned.get(name, 0) + count
            norms = np.linalg.norm(points.astype(np.longdouble), axis=1)
            lengths[name] = float(norms.min()), float(norms.max())
    sets = tuple(tuple(sorted(case.items())) for case in cases)
    return tuple(
        Certificate(
            name,
            backend,
            dtype,
            max(errors),
            _bound(mlp, name, backend, dtype),
            lengths[name],
            sets,
            len(errors),
            conditioned[name],
        )
        for name, errors in samples.items()
        if errors
    )


def require(certificates: Sequence[Certificate]) -> None:
    """Raise NotAccurate for the first function that misses its bound."""
    for certificate in certificates:
        if not certificate.holds:
            raise NotAccurate(
                f"{certificate}: this form misses its bound; emit(..., certificate='stated') emits it all the same and"
                " states the error"
            )


def _cases(mlp: MLP) -> Iterator[dict[str, float]]:
    """Yield values of the parameters."""
    free = set(mlp.parameters)
    known = []
    for weight_std, bias_std in SCALES:
        values = {symbol.name: 2.0 if symbol.is_integer else OWN_PARAMETER for symbol in free - {sigma_w, sigma_b}}
        values |= {"sigma_w": weight_std} if sigma_w in free else {}
        values |= {"sigma_b": bias_std} if sigma_b in free else {}
        if values not in known:
            known.append(values)
            yield values


def _samples(mlp: MLP, backend: str, dtype: str, values: dict[str, float]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each function with its points, without those where an expectation is infinite."""
    low, high = _WIDE[dtype] if backend == "numpy" and mlp.depth <= 3 else _MODERATE
    angles = np.linspace(0.1, 6.2, _COUNT)
    # No round numbers: zeros of A', B and R like to be there.
    rows = 1.0123 * np.geomspace(low, high / 2, _COUNT)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    directions = np.array([(np.cos(angle), np.sin(angle)) for angle in _ANGLES])
    pairs = np.concatenate([length * directions for length in _PAIR_LENGTHS])
    for names, points in ((PAIRWISE, pairs), (POINTWISE, rows)):
        points = points.astype(dtype)
        finite = _finite(mlp, values, points)
        for name in names:
            if any(finite) and name in functions_of(mlp):
                yield name, points[finite]


def _finite(mlp: MLP, values: dict[str, float], points: np.ndarray) -> np.ndarray:
    """Return where the expectations are finite and no towers of exponentials, of which mpmath keeps all digits."""
    geo = numeric(mlp, parameters=values)
    function = getattr(geo, "kernel_diag" if "kernel_diag" in functions_of(mlp) else "volume_element")

    def size(point: np.ndarray) -> float:
        try:
            return float(function(point.astype(np.float64)[None])[0])
        except (ExpectationDiverges, MetricDoesNotExist):
            return np.inf
        except InvalidInput:  # too large, or too small, which does no harm
            return np.inf if np.abs(point).max() > 1 else 0.0

    with np.errstate(all="ignore"):
        return np.isfinite([size(point) for point in points])


def _errors(mlp: MLP, name: str, backend: str, values: dict[str, float], points: np.ndarray) -> tuple[list[float], int]:
    """Return the errors of a function, nothing where it does not exist, and how many were found by its condition."""
    tested, reference = (
        numeric(mlp, backend=backend, parameters=values),
        numeric(mlp, backend="mpmath", parameters=values),
    )
    try:
        argument = _converted(points, backend)
        if name in POINTWISE:
            points, result = answered(getattr(tested, name), points, argument)
        else:
            result = np.asarray(getattr(tested, name)(argument))
    except (InfgeoError, NotImplementedError):
        return [], 0
    rows = [[mpmath.mpf(float(x)) for x in point] for point in points]
    if name in POINTWISE:
        floor = 1.0 if name == "log_volume_element" else 0.0
        found = [exact_values(getattr(reference, name), row) for row in rows]
        pairs = [
            pair
            for exact, entry in zip(found, result, strict=True)
            for pair in zip(exact, np.ravel(entry), strict=True)
        ]
        errors = [ulps(value, exact, floor) if _representable(exact, result.dtype) else 0.0 for exact, value in pairs]
        missed = [i for i, error in enumerate(errors) if _bound(mlp, name, backend, result.dtype.name) < error < np.inf]
        each = len(errors) // len(rows)
        for i in missed:
            moved = _moved(mlp, name, values, rows[i // each], i % each, float(np.finfo(result.dtype).eps) / 2)
            errors[i] /= max(1.0, sum(ulps(result.dtype.type(pairs[i][0]), value, floor) for value in moved))
        return [error for error, pair in zip(errors, pairs, strict=True) if _representable(pair[0], result.dtype)], len(
            missed
        )
    with mpmath.workdps(DIGITS):
        exact = getattr(reference, name)(rows)
        if name == "kernel_distance":
            sizes = exact.apply(lambda size: size if size > _SAME_FEATURES else mpmath.mpf(0))
        else:
            norms = [mpmath.sqrt(k) for k in (reference.kernel_diag if name == "kernel" else reference.ntk_diag)(rows)]
            sizes = mpmath.matrix([[a * b for b in norms] for a in norms])
        n = len(rows)
        places = [(i, j) for i in range(n) for j in range(i) if _representable(sizes[i, j], result.dtype)]
        eps = mpmath.mpf(float(np.finfo(result.dtype).eps))
        errors = [
            float(abs(mpmath.mpf(float(result[i, j])) - exact[i, j]) / (sizes[i, j] * eps))
            for i, j in places
            if sizes[i, j]
        ]
        return errors, 0


def _moved(mlp: MLP, name: str, values: dict[str, float], row: list, entry: int, step: float) -> Iterator[Any]:
    """Yield an entry of a function where |x|, and where each of the parameters, is larger by the factor 1 + step."""

    def value(point: list, parameters: dict[str, Any]) -> Any:
        return exact_values(getattr(numeric(mlp, backend="mpmath", parameters=parameters), name), point)[entry]

    with mpmath.workdps(DIGITS):
        yield value([x * (1 + mpmath.mpf(step)) for x in row], values)
        for parameter, size in values.items():
            if size:
                yield value(row, values | {parameter: mpmath.mpf(size) * (1 + mpmath.mpf(step))})


def _converted(points: np.ndarray, backend: str) -> Any:
    if backend == "torch":
        import torch

        return torch.as_tensor(points)
    return points


def _representable(exact: Any, dtype: Any) -> bool:
    limits = np.finfo(dtype)
    return exact == 0 or limits.tiny <= abs(exact) <= limits.max


def _bound(mlp: MLP, name: str, backend: str, dtype: str) -> float:
    if name == "ntk" and backend == "jax" and _angles_are_rounded(mlp):
        return 2.0**24
    rounded = backend != "numpy" and dtype == "float64"
    if name in PAIRWISE:
        exponents = rounded and any(large(dual(layer.activation).kernel) for layer in mlp.with_weights)
        return (2.0**8 if exponents else 8.0) * mlp.depth * (1 if name != "kernel_distance" else 2)
    if rounded:
        return 2.0**9 if mlp.depth == 1 else 2.0**13
    return 8.0 if mlp.depth == 1 else 64.0 if mlp.depth <= 3 else 2.0**12


def _angles_are_rounded(mlp: MLP) -> bool:
    """Whether a kink feels the angle between features that are nearly parallel, without twofold numbers."""
    activations = [layer.activation for layer in mlp.with_weights]
    rounded = [i for i, activation in enumerate(activations) if activation.homogeneity is None]
    return any(activation.smoothness == 0 for activation in activations[min(rounded) + 1 :]) if rounded else False
