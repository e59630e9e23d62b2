"""The profile of a rotation-invariant metric g = A I + B x x^T: radius and stretch as functions of rho = |x| sqrt(A).

In polar coordinates dl^2 = dR^2 + rho^2 dtheta^2 with dR^2 = (A + s B) dr^2. The stretch dR/drho is 1 in the plane; it
is all by which paths differ from straight lines in the plane with polar coordinates (rho, theta).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from sympy import Expr, Float, Integer

from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.numeric.geodesics.slopes import library_of, numbers, with_slope
from infgeo.numeric.source.module import compiled
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.floats.normal_tails import program_with_tails
from infgeo.symbolic.geometry.metric import RadialMetric, d, s

_STEP, _REACH = 2.0**-4, 150.0  # of the table in log |x|
_TOWARDS_END = 50  # halvings of the last step before the metric ends
_DIGITS = 1e-13  # relative error up to which doubles are taken
_FLAT = 1e-12  # by how much a stretch may seem to rise between entries of the table, where it does not


@dataclass(frozen=True)
class Functions:
    """A metric without symbols: |x|^2 -> A, (A + s B)/A and s A'/A, and |x|^2 -> the curvature along radii."""

    parts: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    curvature: Callable[[np.ndarray], np.ndarray]

    def at(self, log_radius: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log rho, dlog rho/dlog |x| and dR/drho."""
        with np.errstate(all="ignore"):
            A, eta, alpha = self.parts(np.exp(2 * log_radius))
            return log_radius + np.log(A) / 2, 1 + alpha, np.sqrt(eta) / (1 + alpha)


@dataclass(frozen=True)
class Profile:
    """A metric as functions of log |x|, with a table of them on an interval where rho increases.

    Arguments:
        functions: the metric.
        log_radius, log_rho, stretch: the table.
        equator: log |x| where rho stops to increase, or None.
    """

    functions: Functions
    log_radius: np.ndarray
    log_rho: np.ndarray
    stretch: np.ndarray
    equator: float | None

    def rho_at(self, log_radius: Any) -> Any:
        """Return log rho where log |x| is given."""
        value, slope, _ = self.functions.at(numbers(log_radius))
        return with_slope(log_radius, value, lambda: slope)

    def eigenvalues(self, log_radius: Any) -> tuple[Any, Any]:
        """Return the square roots of A + s B and A: lengths of unit vectors along the radius and across it."""
        lib, at = library_of(log_radius), numbers(log_radius)
        _, slope, stretch = self.functions.at(at)
        across = lib.exp(self.rho_at(log_radius) - log_radius)
        factor = stretch * slope

        def turn() -> np.ndarray:  # d (stretch slope)/dlog |x|, by differences of a smooth function
            step = 2.0**-10
            ends = [np.prod(self.functions.at(at + k * step)[1:], axis=0) for k in (-2, -1, 1, 2)]
            return (8 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / (12 * step)

        return across * with_slope(log_radius, factor, turn), across

    def radius_at(self, log_rho: Any) -> Any:
        """Return log |x| where log rho is given."""
        value, _ = self._inverse(numbers(log_rho))
        return with_slope(log_rho, value, lambda: 1 / self.functions.at(value)[1])

    def stretch_at(self, log_rho: Any) -> Any:
        """Return dR/drho where log rho is given."""
        at = numbers(log_rho)
        log_radius, stretch = self._inverse(at)

        def slope() -> np.ndarray:
            with np.errstate(all="ignore"):
                found = self.functions.curvature(np.exp(2 * log_radius)) * np.exp(2 * at) * stretch**3
            return np.where(np.isfinite(found), found, 0.0)

        return with_slope(log_rho, stretch, slope)

    def stretch_near(self, log_rho: np.ndarray) -> np.ndarray:
        """Return dR/drho to some digits."""
        return np.interp(log_rho, self.log_rho, self.stretch)

    def bends_down(self, log_rho: float) -> bool:
        """Whether dR/drho nowhere increases up to log rho: no curvature along radii is positive there."""
        stretch = self.stretch[self.log_rho <= log_rho]
        return bool(np.all(np.diff(stretch) <= _FLAT * stretch[1:]))

    def _inverse(self, log_rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log |x| and dR/drho where log rho is given: below a table that goes to 0 a cone, NaN elsewhere."""
        known, grid = self.log_rho, self.log_radius
        inside = (log_rho >= known[0]) & (log_rho <= known[-1])
        wanted = np.clip(log_rho, known[0], known[-1])
        cell = np.clip(np.searchsorted(known, wanted) - 1, 0, len(known) - 2)
        low, high = grid[cell], grid[cell + 1]
        y = low + (high - low) * (wanted - known[cell]) / (known[cell + 1] - known[cell])
        for _ in range(60):
            value, slope, stretch = self.functions.at(y)
            error = value - wanted
            low, high = np.where(error <= 0, y, low), np.where(error >= 0, y, high)
            new = y - error / slope
            new = np.where((new >= low) & (new <= high), new, (low + high) / 2)
            change, y = np.abs((new - y) * np.maximum(slope, 1)).max(initial=0.0), new
            if change <= 1e-8:  # the next step is its square
                break
        stretch = self.functions.at(y)[2]
        below = (log_rho < known[0]) & (grid[0] < -_REACH / 2)
        slope = self.functions.at(grid[:1])[1]
        y = np.where(inside, y, np.where(below, grid[0] + (log_rho - known[0]) / slope, np.nan))
        return y, np.where(inside | below, stretch, np.nan)


def functions_of(metric: RadialMetric, dimension: int) -> Functions:
    """Return the functions of a metric; raises InvalidInput where it has symbols, or is one of another dimension."""
    if metric.dimension.is_number and metric.dimension != dimension:
        raise InvalidInput(
            f"the points have dimension {dimension}, but this metric was taken at d = {metric.dimension}"
        )
    if metric.parameters:
        name = metric.parameters[0].name
        raise InvalidInput(f"distances are numbers, and this metric has the symbol {name}: take g.at({name}=...) first")
    return _functions(metric.program.bindings, tuple(metric.program.outputs.items()), dimension)


@lru_cache(maxsize=64)
def _functions(bindings: Any, outputs: tuple[tuple[str, Expr], ...], dimension: int) -> Functions:
    program = Program(bindings, dict(outputs)).select(["A", "eta", "alpha", "K_rad"])
    program = program.substituted({d: Integer(dimension)})
    parts, curvature = (_with_digits(program.select(names)) for names in (["A", "eta", "alpha"], ["K_rad"]))
    return Functions(
        lambda squares: tuple(part + 0 * squares for part in parts(squares)),
        lambda squares: curvature(squares) + 0 * squares,
    )


def _with_digits(program: Program) -> Callable[..., Any]:
    """Return a program of s as a function of arrays, in double-double numbers where these keep more digits."""
    in_floats = program_with_tails(program)
    double = compiled(in_floats, [s], [], "numpy")
    if program.adds_up:
        return double
    try:
        precise = compiled(in_floats, [s], [], "numpy", precise=True)
    except NoClosedForm:
        return double
    points = 10.0 ** np.arange(-12, 13, 3)

    def digits(name: str, x: float) -> float:
        value = program.evaluate(name, {s: Float(x, 40)}, 40)
        return float(value) if value.is_Number else np.nan

    exact = [[digits(name, x) for x in points] for name in program.outputs]

    def error(function: Callable[..., Any]) -> float:
        with np.errstate(all="ignore"):
            found = np.broadcast_arrays(points, *np.atleast_2d(function(points)))[1:]
            errors = np.abs(np.asarray(found) - exact) / (np.abs(exact) + 1e-300)
        return float(np.max(errors[np.isfinite(exact)], initial=0.0))

    rough = error(double)
    return precise if rough > _DIGITS and error(precise) < rough else double


def profile_of(functions: Functions, smallest: float, largest: float) -> Profile:
    """Return the profile around the radii from `smallest` to `largest`.

    Raises InvalidInput where the metric does not exist there, or rho does not increase.
    """
    start, end = np.log([smallest, largest])
    grid = np.unique(np.concatenate([np.arange(-_REACH, _REACH, _STEP), [start, end]]))

    def state(y: np.ndarray) -> np.ndarray:
        """Return 1 where rho increases, 0 where it does not, -1 where there is no metric."""
        log_rho, slope, stretch = functions.at(y)
        exists = np.isfinite(log_rho) & np.isfinite(slope) & ((stretch > 0) | (slope <= 0))
        return np.where(exists, np.where(slope > 0, 1, 0), -1)

    good = state(grid)
    used = (grid >= start) & (grid <= end)
    for code, text in ((-1, "is not finite and positive definite"), (0, "is singular, or has circles that shrink")):
        if bool((good[used] == code).any()):
            radius = float(np.exp(grid[used][good[used] == code][0]))
            raise InvalidInput(
                f"the metric {text} at |x| = {radius:.6g}: geodesics are known where A > 0, A + s B > 0 and s A"
                " increases with s = |x|^2; choose other points"
            )
    first, last = np.flatnonzero(used)[[0, -1]]
    above, below = np.flatnonzero(good[last:] < 1), np.flatnonzero(good[first::-1] < 1)
    equator = None
    lowest = first - below[0] + 1 if below.size else 0
    if not above.size:
        grid = grid[lowest:]
    else:
        highest, outside = grid[last + above[0] - 1 : last + above[0] + 1]
        inside = highest
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if state(np.array([middle]))[0] == 1 else (inside, middle)
        equator = float(inside) if state(np.array([outside]))[0] == 0 else None
        towards = inside - (inside - highest) * 0.5 ** np.arange(1, _TOWARDS_END)
        grid = np.unique(np.concatenate([grid[lowest : last + above[0]], towards]))
    log_rho, _, stretch = functions.at(grid)
    keep = np.concatenate([[True], np.diff(np.maximum.accumulate(log_rho)) > 0])
    return Profile(functions, grid[keep], log_rho[keep], stretch[keep], equator)
