"""The public `check_kernel` and `check_activation`: whether kernels, and what comes of activations, are right."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from infgeo.arguments import flag, function, one_of, positive_integer, seed_integer, shown, words
from infgeo.errors import ExpectationDiverges, InvalidInput, NoClosedForm
from infgeo.numeric.source.methods import resolved
from infgeo.symbolic.networks.network import MLP
from infgeo.testing.agreement import BY_QUADRATURE, BY_SIMULATION, quadrature, simulation
from infgeo.testing.coincidence import Coincidence
from infgeo.testing.expectations import Expectations
from infgeo.testing.kernel_points import Points, points_for, reach_of
from infgeo.testing.outcome import Check, ConformanceReport, Measured, Requirement, conclude, make, requirements_in
from infgeo.testing.structure import VALUES, Structure
from infgeo.testing.subject import KINDS, Subject, Truth, given_values, subject_of, values_of

_SCALES = ((1.0, 0.5), (0.3, 0.15), (0.1, 0.05))
_FEW = 2  # points where each value is integrated numerically


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
        Requirement("quadrature", BY_QUADRATURE, lambda: quadrature(subject, points)),
        Requirement("simulation", BY_SIMULATION, lambda: simulation(subject, points, seed)),
    ]


def check_activation(
    a: Any,
    depth: int | None = None,
    *,
    weight_std: float | None = None,
    bias_std: float | None = None,
    parameters: Mapping[str, float] = MappingProxyType({}),
    input_dim: int = 3,
    seed: int = 0,
    skip: Collection[str] = (),
    raises: bool = True,
) -> ConformanceReport:
    """Check an activation, its Gaussian expectations, and the kernel and tangent kernel of networks with it.

    The function in NumPy and torch and its derivative are compared with the expression, E[phi^2], E[phi'^2] and their
    derivatives with mpmath's quadrature at 30 digits, E[phi' phi'] with the derivative of E[phi phi] (Price's theorem).
    Then come the requirements of `check_kernel`, for the functions in NumPy, differentiated in torch, as `kernel.NAME`
    and `ntk.NAME`; besides, `backends` and `formula` compare them with torch and with the formulas at 60 digits, and
    `formula_metric` is the metric at 60 digits. Without a closed form the kernels are those of method "quadrature".

    Args:
        a: what `infgeo.MLP` takes: a name, text in z, a SymPy expression, a list of layers; or an `infgeo.MLP`.
        depth: number of hidden layers, as for `infgeo.MLP`.
        weight_std, bias_std: values where the network leaves them symbolic; by default 1 and 0.5, or less where the
            expectations are infinite there.
        parameters: values of the activations' own parameters; by default 0.7, 0.9, ... in order of the names.
        input_dim, seed, skip, raises: as for `check_kernel`.

    Returns:
        A `ConformanceReport`; what does not apply is skipped, with the reason.

    Raises:
        ConformanceError: naming all checks that failed; `report` holds the report.

    Example:
        >>> from infgeo.testing import check_activation
        >>> report = check_activation("step")
        >>> report["ntk"].status, report["kernel.metric"].note
        ('skipped', 'exponent of |x - y|: k has no metric, and says so')
    """
    skip, raises = words(skip, "skip"), flag(raises, "raises")
    seed, input_dim = seed_integer(seed, 32), positive_integer(input_dim, "input_dim", maximum=10**6)
    mlp = a if isinstance(a, MLP) else MLP(a, depth=depth)
    if isinstance(a, MLP) and depth is not None:
        raise InvalidInput(f"depth = {depth} is given, and a is a network with its own depth {a.depth}: leave it out")
    checks: list[Check] = []
    values, chosen = _values(mlp, weight_std, bias_std, parameters, input_dim)
    distinct = list(dict.fromkeys(layer.activation for layer in mlp.with_weights))
    heads = ("activation", *KINDS.values())
    if strangers := [name for name in skip if not name.startswith(heads)]:
        raise InvalidInput(
            f"skip names {shown(strangers[0])}, which is no check here: they begin with {', '.join(heads)}"
        )
    for number, activation in enumerate(distinct, start=1):
        own = {symbol.name: values[symbol.name] for symbol in activation.parameters}
        prefix = f"activation_{number}" if len(distinct) > 1 else "activation"
        checks += [make(one, skip, f"{prefix}.") for one in requirements_in(Expectations(activation, own))]
    for kind, title in KINDS.items():
        if title in skip:
            checks.append(Check(title, f"{title} is right", "skipped", note="left out by the caller"))
            continue
        try:
            subject, at = _subject(mlp, kind, values, input_dim, seed)
        except (NoClosedForm, ExpectationDiverges) as error:
            checks.append(Check(title, f"{title} is right", "skipped", note=str(error)))
            continue
        required = [*requirements_of(subject, at, seed), *_twins(subject, at, values)]
        checks += [make(one, skip, f"{title}.") for one in required]
    configuration = {"d": input_dim, "seed": seed, **values} | ({"note": chosen} if chosen else {})
    return conclude(str(mlp), checks, configuration, skip, raises)


def _values(
    mlp: MLP,
    weight_std: float | None,
    bias_std: float | None,
    parameters: Mapping[str, float],
    input_dim: int,
) -> tuple[dict[str, float], str]:
    """Return a number for each parameter of the network, and what was chosen for the sake of finite expectations."""
    given = given_values(weight_std, bias_std, parameters)
    names = {symbol.name for symbol in mlp.parameters}
    reason: InvalidInput | None = None
    found: tuple[dict[str, float], str] | None = None  # in the end of the smallest scales, where points are longest
    for number, (weight, bias) in enumerate(_SCALES):
        defaults = {"sigma_w": weight, "sigma_b": bias}
        values = values_of(mlp.parameters, {n: v for n, v in defaults.items() if n in names} | given)
        try:
            _, shorter = reach_of(str(mlp), Truth(mlp, "nngp", values), input_dim)
        except InvalidInput as error:
            reason = error
            continue
        smaller = "scales chosen so that expectations are finite" if number else ""
        found = values, "; ".join(note for note in (smaller, shorter) if note)
        if not shorter:
            return found
    if found is None:
        assert reason is not None
        raise reason
    return found


def _subject(mlp: MLP, kind: str, values: Mapping[str, float], input_dim: int, seed: int) -> tuple[Subject, Points]:
    """Return the numeric kernel with a graph in torch, or the one by quadrature."""

    def subject(**options: str) -> Subject:
        geometry: Any = mlp.numeric(parameters=values, **options)
        getattr(geometry, "kernel_diag" if kind == "nngp" else "ntk_diag")(np.zeros((1, input_dim)))
        return subject_of(geometry, kind=kind, input_dim=input_dim)

    in_numpy = subject()
    if not in_numpy.slow:
        in_numpy = replace(in_numpy, graph=subject(backend="torch").graph)
        return in_numpy, points_for(in_numpy, None, input_dim, seed)
    points = points_for(in_numpy, None, input_dim, seed)
    return in_numpy, points_for(in_numpy, points.general[-_FEW:], input_dim, seed)


def _twins(subject: Subject, points: Points, values: Mapping[str, float]) -> list[Requirement]:
    """Return the requirements that other implementations agree."""
    assert subject.truth is not None
    truth = subject.truth
    if subject.graph is None:
        return []
    at: dict[str, Any] = {"kind": truth.kind, "input_dim": points.all.shape[1]}

    def against(other: Callable[[], Subject]) -> Callable[[], Measured]:
        def measure() -> Measured:
            X = points.general
            one, two = subject.gram(X, None), other().gram(X, None)
            root = np.sqrt(np.diagonal(two))
            error = np.abs(one - two) / np.maximum(np.outer(root, root), np.finfo(float).tiny)
            return float(error.max()), VALUES * subject.epsilon, f"{len(X)} points"

        return measure

    def in_torch() -> Subject:
        return subject_of(truth.mlp.numeric(parameters=values, backend="torch"), **at)

    def formula() -> Subject:
        return subject_of(truth.kernel, values.get("sigma_w"), values.get("sigma_b"), truth.own, **at)

    relative = "relatively to sqrt(k(x, x) k(y, y))"
    backends = Requirement("backends", f"NumPy and torch agree to bound, {relative}", against(in_torch))
    if resolved(truth.mlp, None) != "closed_form":
        return [backends]
    return [
        backends,
        Requirement("formula", f"values agree to bound with the formula at 60 digits, {relative}", against(formula)),
        Requirement(
            "formula_metric",
            "the metric in closed form is the limit of second differences of the formula at 60 digits; where there is"
            " none, |Phi(x) - Phi(y)|^2 falls more slowly than |x - y|^2",
            lambda: Coincidence(formula(), points).metric(),
        ),
    ]
