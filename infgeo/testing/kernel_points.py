"""The points a kernel is checked at: in general position, and the pairs that kernels get wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sympy import true

from infgeo.conventions import d, s
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.testing.subject import Subject, Truth

REACH = 3.0  # |x| of the longest point
_SHRINKING = (1.0, 0.3, 0.1, 0.03, 0.01)


@dataclass(frozen=True)
class Points:
    """Where a kernel is checked: (N, d) points in general position, and more.

    `all` has besides a copy of one, neighbours at relative distances of 1e-9 and 1e-5, and, where the points are the
    kit's own, 0, a parallel and an antiparallel point. `note` says what was done to stay where the kernel exists.
    """

    general: np.ndarray
    all: np.ndarray
    note: str = ""


def points_for(subject: Subject, points: ArrayLike | None, input_dim: int, seed: int) -> Points:
    """Return the points for a subject; `points` are the user's, or None.

    Raises InvalidInput for points that are no rows of finite numbers, and for networks whose expectations are infinite
    at x = 0 already.
    """
    generator = np.random.default_rng(seed)
    if points is not None:
        try:
            general = np.array(points, dtype=float)
        except Exception as error:  # a user's own objects may raise what they like
            raise InvalidInput(f"points cannot be made an array ({error}): pass rows of floats") from error
        if general.ndim != 2 or len(general) < 2 or general.shape[1] == 0 or not np.isfinite(general).all():
            raise InvalidInput(
                f"points have shape {general.shape}: pass two or more rows (N, d) of finite numbers, no row twice"
            )
        more, note = [general[0]], ""
    else:
        directions = generator.normal(size=(7, input_dim))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        reach, note = reach_of(subject.name, subject.truth, input_dim)
        general = directions * np.geomspace(0.03, 1.0, 7)[:, None] * reach
        more = [general[5], 0.5 * general[6], -general[4]]
        if _has_value_at_zero(subject, general):
            more.append(np.zeros(input_dim))
        else:
            note = "; ".join(part for part in (note, "x = 0 is left out, where the formula is 0/0") if part)
    normal = generator.normal(size=general.shape[1])
    turn = normal / np.linalg.norm(normal) * np.linalg.norm(general[1])
    general = subject.rounded(np.asarray(general))
    near = [general[1] + 1e-9 * turn, general[1] + 1e-5 * turn]
    return Points(general, subject.rounded(np.concatenate([general, more, near])), note)


def _has_value_at_zero(subject: Subject, general: np.ndarray) -> bool:
    """Whether a formula can be evaluated at x = 0; functions must."""
    if subject.formula is None:
        return True
    zero = np.zeros_like(general[:1])
    try:
        values = subject.gram(np.concatenate([zero, general[:1]]), None)
    except ZeroDivisionError:
        return False
    return bool(np.isfinite(values).all())


def reach_of(name: str, truth: Truth | None, input_dim: int) -> tuple[float, str]:
    """Return how long points may be: activations that grow like exp(a z^2) have a kernel up to a variance only."""
    try:
        domain = true if truth is None else truth.mlp.domain
    except NoClosedForm:
        domain = true
    if truth is None or domain == true:
        return REACH, ""
    numbers = {symbol: truth.values[symbol.name] for symbol in truth.mlp.parameters} | {d: input_dim}
    for factor in _SHRINKING:
        # The tails need room: expectations of phi^2 that barely exist are sums of rare events.
        if bool(domain.subs(s, 2 * (REACH * factor) ** 2).subs(numbers)):
            shorter = f"points up to |x| = {REACH * factor:g}: finite where {domain}"
            return REACH * factor, shorter if factor < 1 else ""
    raise InvalidInput(
        f"{name}: its expectations are finite where {domain}, which leaves no points at"
        f" {dict(truth.values)}: pass smaller weight_std and bias_std"
    )
