"""The public `check_activation`: whether what is derived from an activation, and computed with it, is right."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from infgeo.arguments import flag, positive_integer, seed_integer, shown, words
from infgeo.errors import ExpectationDiverges, InvalidInput, NoClosedForm
from infgeo.numeric.source.methods import resolved
from infgeo.symbolic.networks.network import MLP
from infgeo.testing.coincidence import Coincidence
from infgeo.testing.expectations import Expectations
from infgeo.testing.kernel_check import requirements_of
from infgeo.testing.kernel_points import Points, points_for, reach_of
from infgeo.testing.outcome import (
    Check,
    ConformanceReport,
    Measured,
    Requirement,
    conclude,
    make,
    prefixed,
    requirements_in,
)
from infgeo.testing.structure import VALUES
from infgeo.testing.subject import KINDS, Subject, Truth, given_values, subject_of, values_of

_SCALES = ((1.0, 0.5), (0.3, 0.15), (0.1, 0.05))
_FEW = 2  # points where each value is integrated numerically


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
        checks += [make(one, skip) for one in prefixed(prefix, requirements_in(Expectations(activation, own)))]
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
        checks += [make(one, skip) for one in prefixed(title, required)]
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
    possible: list[tuple[dict[str, float], str]] = []
    for number, (weight, bias) in enumerate(_SCALES):
        defaults = {"sigma_w": weight, "sigma_b": bias}
        values = values_of(mlp.parameters, {n: v for n, v in defaults.items() if n in names} | given)
        try:
            _, shorter = reach_of(str(mlp), Truth(mlp, "nngp", values), input_dim)
        except InvalidInput as error:
            reason = error
            continue
        smaller = "scales chosen so that expectations are finite" if number else ""
        possible.append((values, "; ".join(note for note in (smaller, shorter) if note)))
        if not shorter:
            return possible[-1]
    if not possible:
        assert reason is not None
        raise reason
    return possible[-1]  # of the smallest scales, where points are longest


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
