"""The public `check_kernel`: whether a function of two points is the kernel it should be."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from infgeo.arguments import flag, function, one_of, positive_integer, seed_integer, shown, words
from infgeo.errors import InvalidInput
from infgeo.symbolic.networks.network import MLP
from infgeo.testing.coincidence import Coincidence
from infgeo.testing.kernel_points import Points, points_for
from infgeo.testing.layer_quadrature import quadrature
from infgeo.testing.outcome import ConformanceReport, Requirement, conclude, make, requirements_in
from infgeo.testing.simulated import simulation
from infgeo.testing.structure import Structure
from infgeo.testing.subject import KINDS, Subject, subject_of


def check_kernel(
    k: Any,
    *,
    kind: str = "nngp",
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] = MappingProxyType({}),
    network: MLP | None = None,
    diagonal: Callable | None = None,
    distance: Callable | None = None,
    metric: Callable | None = None,
    points: ArrayLike | None = None,
    input_dim: int = 3,
    dtype: Any = "float64",
    seed: int = 0,
    skip: Collection[str] = (),
    raises: bool = True,
) -> ConformanceReport:
    """Check that k is a kernel, and, where its network is known, that it is that network's.

    Required are: finite values (`finite`), symmetry, positive semidefinite Gram matrices, one and the same diagonal
    however it is computed, values that do not depend on what is evaluated with them (`evaluation`), continuity at
    coincidence, distances that fit, the metric, gradient and Hessian at coincidence, and the agreement with quadrature
    (to 1e-10: a kernel that is wrong by 1e-9 fails) and with simulated networks (z-scores, fixed seed).

    Args:
        k: an `infgeo.Kernel` (evaluated at 60 digits), what `MLP.numeric` returns or one of its methods `kernel` and
            `ntk`, a module written by `infgeo.emit`, a kernel of `infgeo.adapters`, of scikit-learn or of GPyTorch, or
            any function k(X, Y) of arrays or tensors (N, d), (M, d) that takes None for Y = X and returns (N, M).
        kind: "nngp" or "ntk", which of two kernels is meant where k has both, and which of `network`.
        weight_std, bias_std, parameters: values for symbols; by default 1, 1, and 0.7, 0.9, ... in order of the names.
        network: the `infgeo.MLP` that k claims to be of, for functions that do not say so themselves.
        diagonal, distance, metric: functions k(x, x), (N, d) -> (N,), |Phi(x) - Phi(y)|, (N, d), (M, d) -> (N, M), and
            (N, d) -> (N, d, d), to be checked against k; by default those that k comes with.
        points: rows (N, d), N >= 2, to check at; default 7 of lengths up to 3, with 0 and special pairs added.
        input_dim: d of the default points.
        dtype: "float64" or "float32", of the points that k is given.
        seed: of points and simulated networks.
        skip: names of checks to leave out.
        raises: whether to raise where a check fails; the report is returned otherwise.

    Returns:
        A `ConformanceReport`; what does not apply is skipped, with the reason. It is no proof: what holds at some
        points is necessary, not sufficient.

    Raises:
        ConformanceError: an AssertionError that names all checks that failed; `report` holds the report.

    Example:
        >>> import infgeo
        >>> from infgeo.testing import check_kernel
        >>> check_kernel(infgeo.MLP("erf").numeric(1.0, 0.5)).passed
        True
        >>> report = check_kernel(lambda X, Y=None: -X @ (X if Y is None else Y).T, raises=False)
        >>> [check.name for check in report.failures]
        ['positive_semidefinite']
    """
    skip, kind, raises = words(skip, "skip"), one_of(kind, "kind", KINDS), flag(raises, "raises")
    seed, input_dim = seed_integer(seed, 32), positive_integer(input_dim, "input_dim", maximum=10**6)
    try:
        dtype = np.dtype(dtype)
    except Exception:  # of many kinds
        dtype = np.dtype(object)
    if dtype.name not in ("float64", "float32"):
        raise InvalidInput(f"dtype is {shown(dtype)}; pass 'float64' or 'float32'")
    functions = {"diagonal": diagonal, "distance": distance, "metric": metric}
    for name, value in functions.items():
        function(value, name, "a function of an array of points")
    given = weight_std, bias_std, parameters, network
    subject = subject_of(k, *given, kind=kind, input_dim=input_dim, functions=functions, dtype=dtype)
    at = points_for(subject, points, input_dim, seed)
    checks = [make(requirement, skip) for requirement in requirements_of(subject, at, seed)]
    configuration: dict[str, Any] = {"d": at.all.shape[1], "seed": seed}
    if subject.truth is not None:
        configuration |= subject.truth.values
    if at.note:
        configuration["note"] = at.note
    return conclude(subject.name, checks, configuration, skip, raises)


def requirements_of(subject: Subject, points: Points, seed: int) -> list[Requirement]:
    """Return all requirements on a kernel, in order."""
    return [
        *requirements_in(Structure(subject, points)),
        *requirements_in(Coincidence(subject, points)),
        quadrature(subject, points),
        simulation(subject, points, seed),
    ]
