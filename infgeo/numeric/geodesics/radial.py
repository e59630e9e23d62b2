"""Distances, geodesics, exponential and logarithm of a rotation-invariant metric, of points in any dimension.

Two points and 0 span a plane that the geodesics between them stay in; what happens there is `paths`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infgeo.arguments import one_of
from infgeo.display import Displayed
from infgeo.errors import InvalidInput, NotConverged, SingularMetric
from infgeo.numeric.geodesics.paths import Chords, Pairs, chord_integrals, endpoints, shortest, to_centre
from infgeo.numeric.geodesics.polar import CENTRE, norm, polar
from infgeo.numeric.geodesics.profile import Profile, functions_of, profile_of
from infgeo.numeric.geodesics.slopes import library_of, like, numbers
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.errors import InputError
from infgeo.shorthand import loaded
from infgeo.symbolic.geometry.metric import RadialMetric

_RULES = [np.polynomial.legendre.leggauss(count) for count in (16, 12)]
_AGREEMENT = 1e-13  # of the two
_NEAR = 0.5  # of log |y|/|x|: below, the slope of log rho is integrated, unless it has a pole near by; else subtracted
_SMOOTH = 1e-6  # by how much dR/drho may differ from 1 at 0, which else is a tip
_TINY = 1e-30
_LEAST = 1e-100  # |x| but for 0
_DISTANT = 1e-11  # the share of a length that rounding may be
_SURELY = 1e-6  # by how much a chord may miss 0 where the geodesic is a radius but for rounding


@dataclass(frozen=True, repr=False)
class RadialGeodesic(Displayed):
    """A geodesic from x to y, or many (...), of a rotation-invariant metric, made by `RadialMetric.geodesic`.

    Arguments:
        length: (...).
        velocity: at x (..., d), of length `length`: the logarithm of y at x. Not a number where x = 0 is a tip.
        arrival: the velocity at y (..., d).
        through_centre: whether it goes through 0 along two radii, with a corner there where 0 is a tip.
        nearest: the least |x| on it.
        is_cut: whether another geodesic is as short, so that y lies in the cut locus of x.
    """

    length: Any
    velocity: Any
    arrival: Any
    through_centre: Any
    nearest: Any
    is_cut: Any
    _metric: RadialMetric = field(repr=False)
    _ends: tuple[Any, Any] = field(repr=False)
    _turn: Any = field(repr=False)

    def points(self, t: Any) -> Any:
        """Return the points at the fractions t (m,) of its length, (..., m, d)."""
        t = np.asarray(t, dtype=float)
        if t.ndim != 1 or not bool(((t >= 0) & (t <= 1)).all()):
            raise InvalidInput(f"t has shape {t.shape}; pass fractions (m,) of the length, from 0 to 1")
        x, y = self._ends
        lib, at = library_of(x), like(t, x)[:, None]
        ahead = at <= self._turn[..., None, None]  # of the exponential at x, and behind of that at y
        velocity = lib.where(ahead, self.velocity[..., None, :], -self.arrival[..., None, :])
        start = lib.where(ahead, x[..., None, :], y[..., None, :])
        return exponential(self._metric, start, lib.where(ahead, at, 1 - at) * velocity)


def _refuse_far(chord: np.ndarray, log_rho: np.ndarray, length: np.ndarray, radii: np.ndarray) -> None:
    """Raise NotConverged where chords pass 0 so closely that their angle has no digits for it."""
    with np.errstate(over="ignore"):
        lost = (chord > math.pi / 2) & (np.finfo(float).eps * np.exp(log_rho) > _DISTANT * length)
    if lost.any():
        raise NotConverged(
            f"the geodesic between points of norms up to {np.exp(radii[:, lost].max()):.0e} passes 0 too closely for"
            " its digits: pass points of smaller norms"
        )


def distance(metric: RadialMetric, x: Any, y: Any) -> Any:
    """Return the lengths of the shortest paths, see `RadialMetric.distance`."""
    return geodesic(metric, x, y).length


def logarithm(metric: RadialMetric, x: Any, y: Any) -> Any:
    """Return the vectors at x that lead to y, see `RadialMetric.logarithm`."""
    velocity = geodesic(metric, x, y).velocity
    if not bool(np.isfinite(numbers(velocity)).all()):
        raise SingularMetric("0 is a tip of this metric, where there are no vectors: choose x other than 0")
    return velocity


def geodesic(metric: RadialMetric, x: Any, y: Any, way: str = "shortest") -> RadialGeodesic:
    """Return the geodesics from x to y, see `RadialMetric.geodesic`."""
    around = one_of(way, "way", ("shortest", "around")) == "around"
    points = _points(x, y, "y")
    lib, shape, d = library_of(points[0]), points[0].shape[:-1], points[0].shape[-1]
    functions = functions_of(metric, d)
    x, y = (part.reshape(-1, d) for part in points)
    sizes = np.abs(np.stack([numbers(x), numbers(y)])).max(-1, initial=0)
    if (extreme := (sizes > 0) & ((sizes < _LEAST) | (sizes > 1 / _LEAST))).any():
        raise InvalidInput(f"coordinates of a point are up to {sizes[extreme][0]:.0e}; pass 0, or 1e-100 to 1e100")
    same = (numbers(x) == numbers(y)).all(-1)
    first, second, ratio, angle = polar(*_apart(x, y, same))
    if not len(same):
        zero = lib.zeros_like(points[0][..., 0])
        return RadialGeodesic(zero, points[0], points[0], zero > 0, zero, zero > 0, metric, points, zero)
    radii = np.stack([numbers(end.log_radius) for end in (first, second)])
    profile = profile_of(functions, *np.exp([radii.min(), radii.max()]))
    swap = like(radii[1] < radii[0], x) > 0
    low, high = (lib.where(swap, a.log_radius, b.log_radius) for a, b in ((second, first), (first, second)))
    target = 2 * math.pi - angle if around else angle
    if d == 1:  # there is no way but through 0
        target = lib.where(angle > 1, 0 * angle + 100, angle)
    pairs = Pairs(profile.rho_at(low), _rise(profile, low, high, np.abs(numbers(ratio))), target)
    chord, length, through = _solved(profile, pairs)
    if around and bool((through | same).any()):
        raise InvalidInput("there is no geodesic the other way round 0 between some of these points")
    _refuse_beyond_equator(profile, numbers(length), radii)
    _refuse_far(numbers(chord), numbers(profile.rho_at(high)), numbers(length), radii)
    chords = Chords.of_angle(pairs.rise, chord)
    towards = {
        False: (chords.first, chords.sine_first),
        True: (-chords.second, chords.sine_second),
    }
    vectors = []
    for number, end in enumerate((first, second)):
        cosine, sine = (lib.where(swap, a, b) for a, b in zip(towards[not number], towards[bool(number)], strict=True))
        along, beside = profile.eigenvalues(end.log_radius)
        beside = -beside if around else beside
        unit = (cosine / along)[:, None] * end.along + (sine / beside)[:, None] * end.across
        tip = end.at_centre & (abs(profile.stretch[0] - 1) > _SMOOTH)
        vectors.append(lib.where(like(tip, x)[:, None] > 0, math.nan, length[:, None] * unit))
    nearest = lib.where(
        chords.first < 0, lib.exp(profile.radius_at(pairs.log_rho + lib.log(chords.sine_first))), lib.exp(low)
    )
    centre = first.at_centre | second.at_centre | through
    turn = np.where(first.at_centre, -1.0, np.where(second.at_centre, 2.0, 0.5))
    rows = np.flatnonzero(through)
    log_rho = profile.rho_at(radii[0, rows])
    turn[rows] = to_centre(profile, log_rho) * np.exp(log_rho) / numbers(length)[rows]
    cut = (numbers(angle) > math.pi - 1e-15) & (numbers(chord) < math.pi - _SURELY)
    cut &= ~centre & (d > 1)
    gone = like(same, x) > 0

    def shaped(part: Any) -> Any:
        part = lib.where(gone if part.ndim == 1 else gone[:, None], 0 * part, part)
        return part.reshape((*shape, *part.shape[1:]))

    radius = lib.where(gone, norm(x), lib.where(like(centre, x) > 0, 0.0, nearest))
    flags = ((like(part & ~same, x) > 0).reshape(shape) for part in (through, cut))
    through, cut = flags
    parts = (shaped(length), shaped(vectors[0]), shaped(-vectors[1]), through, radius.reshape(shape), cut)
    return RadialGeodesic(*parts, metric, points, like(turn, x).reshape(shape))


def exponential(metric: RadialMetric, x: Any, v: Any) -> Any:
    """Return where the geodesics that start at x with velocity v are after time 1, see `RadialMetric.exponential`."""
    points = _points(x, v, "v")
    lib, d = library_of(points[0]), points[0].shape[-1]
    functions = functions_of(metric, d)
    x, v = (part.reshape(-1, d) for part in points)
    radius, rest = norm(x), numbers(norm(v)) == 0
    if rest.all():
        return points[0] + 0 * points[1]
    # Where v = 0 another vector stands for it, that leads nowhere far.
    v = lib.where(like(rest, x)[:, None] > 0, x / 1024 + like(_TINY * np.eye(1, d)[0], x), v)
    speed = norm(v)
    start = lib.where(radius > 0, radius, CENTRE * lib.where(speed < 1, speed, 1.0))
    along = lib.where(radius[:, None] > 0, x / start[:, None], v / speed[:, None])
    inward = (along * v).sum(-1)
    across = v - inward[:, None] * along
    sideways = norm(across)
    across = across / lib.where(sideways > 0, sideways, 1.0)[:, None]
    log_radius = lib.log(start)
    profile = profile_of(functions, *np.exp([numbers(log_radius).min(), numbers(log_radius).max()]))
    if bool(((numbers(radius) == 0) & ~rest).any()) and abs(profile.stretch[0] - 1) > _SMOOTH:
        raise SingularMetric("0 is a tip of this metric, where there are no vectors: choose x other than 0")
    weights = profile.eigenvalues(log_radius)
    length = lib.hypot(weights[0] * inward, weights[1] * sideways)
    log_rho = profile.rho_at(log_radius)
    end, angle = endpoints(
        profile, log_rho, weights[0] * inward / length, weights[1] * sideways / length, length / lib.exp(log_rho)
    )
    if bool(np.isnan(numbers(end)).any()):
        longest = float(numbers(length)[np.isnan(numbers(end))].min())
        raise InvalidInput(
            f"a geodesic of length {longest:.6g} leaves the points where the metric exists, or where circles grow with"
            " |x|: pass a shorter v"
        )
    moved = lib.exp(end)[:, None] * (lib.cos(angle)[:, None] * along + lib.sin(angle)[:, None] * across)
    return lib.where(like(rest, x)[:, None] > 0, x, moved).reshape(points[0].shape)


def _solved(profile: Profile, pairs: Pairs) -> tuple[Any, Any, np.ndarray]:
    """Return the angles of chords, lengths, and where geodesics are radii through 0, with derivatives for tensors."""
    fixed = Pairs(*(numbers(part) for part in (pairs.log_rho, pairs.rise, pairs.angle)))
    chord, length, through = shortest(profile, fixed)
    if isinstance(pairs.angle, np.ndarray):
        return chord, length * np.exp(fixed.log_rho), through
    torch = loaded("torch")
    free = like(~through & (chord > 0), pairs.angle) > 0
    with torch.enable_grad():
        at = like(chord, pairs.angle).requires_grad_()
        still = Pairs(*(part.detach() for part in (pairs.log_rho, pairs.rise, pairs.angle)))
        (slope,) = torch.autograd.grad(still.angles(profile, at, 2).sum(), at)
    at = at.detach()
    # One step of Newton's iteration, which moves nothing, for the derivative of the root.
    step = (pairs.angles(profile, at, 2) - pairs.angle) / torch.where(free, slope, 1.0)
    chords = torch.where(free, at - step, at)
    found = chord_integrals(profile, pairs.log_rho, Chords.of_angle(pairs.rise, chords), 2)[0]
    return chords, (found + (like(length, found) - found.detach())) * torch.exp(pairs.log_rho), through


def _rise(profile: Profile, low: Any, high: Any, ratio: np.ndarray) -> Any:
    """Return by how much log rho increases between radii, whose logarithms differ by `ratio`."""
    rise = profile.rho_at(high) - profile.rho_at(low)
    rows, exact = np.flatnonzero(ratio < _NEAR), np.maximum(numbers(rise), 0.0)
    at = numbers(low)[rows, None]
    fine, rough = (
        profile.functions.at(at + ratio[rows, None] * (nodes + 1) / 2)[1] @ weights / 2 for nodes, weights in _RULES
    )
    exact[rows] = np.where(np.abs(fine - rough) <= _AGREEMENT * fine, ratio[rows] * fine, exact[rows])
    return rise + (like(exact, rise) - like(numbers(rise), rise))


def _refuse_beyond_equator(profile: Profile, length: np.ndarray, radii: np.ndarray) -> None:
    """Raise InvalidInput where a path across the largest circle, the equator, might be shorter.

    It is not where circles beyond the equator are as large as those before it: what is beyond can be reflected.
    """
    if profile.equator is None:
        return
    steps = np.arange(0, 40, 2.0**-6)
    (before, sizes), (beyond, others) = (_from_equator(profile, sign * steps) for sign in (-1, 1))
    if bool((np.interp(before, beyond, others, right=0.0) >= sizes * (1 - 1e-3) - 1e-3 * sizes[0]).all()):
        return
    least = np.interp(profile.equator - radii, steps[: len(before)], before).sum(0)
    if bool((length > least).any()):
        raise InvalidInput(
            f"circles around 0 are largest at |x| = {np.exp(profile.equator):.6g}, and paths that cross this one, which"
            " are not known, may be shorter between some of these points: choose points nearer to 0 or to each other"
        )


def _from_equator(profile: Profile, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distances from the equator, and rho there, at steps of log |x|, to three digits."""
    log_rho, slope, stretch = profile.functions.at((profile.equator or 0.0) + steps)
    rho = np.exp(log_rho)
    rates = rho * np.abs(slope * stretch)
    rates[0] = rates[1]  # 0 times infinity
    exists = np.cumprod(np.isfinite(rates)) > 0
    rates, rho = rates[exists], rho[exists]
    return np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2) * np.abs(steps[1])]), rho


def _apart(x: Any, y: Any, same: np.ndarray) -> tuple[Any, Any]:
    """Return the pairs with others in the place of those that coincide."""
    lib, d = library_of(x), x.shape[-1]
    sizes = np.abs(np.concatenate([numbers(x), numbers(y)])).max(-1)
    least = sizes[sizes > 0].min() if bool((sizes > 0).any()) else 1e-3
    gone, zero = (like(part, x)[:, None] > 0 for part in (same, same & (sizes[: len(same)] == 0)))
    x = lib.where(zero, like(least * np.eye(1, d)[0], x), x)
    return x, lib.where(gone, x / 2, y)


def _points(x: Any, other: Any, name: str) -> tuple[Any, Any]:
    """Return two arrays of points or vectors (..., d), or two tensors, in double precision and of one shape."""
    tensors = [hasattr(part, "detach") for part in (x, other)]
    of: Any = NumpyArrays()
    if any(tensors):
        of = loaded("infgeo.numeric.runtime.arrays.of_torch", "TorchArrays")()
    try:
        first, second = of.points(x, "x"), of.points(other, name)
        if first.shape[-1] != second.shape[-1]:
            raise InputError(f"x has dimension {first.shape[-1]} and {name} {second.shape[-1]}: they must agree")
        try:
            pair = np.broadcast_arrays(first, second) if of.lib is np else of.lib.broadcast_tensors(first, second)
        except (ValueError, RuntimeError):
            raise InputError(
                f"the shapes of x, {tuple(first.shape)}, and {name}, {tuple(second.shape)}, do not fit"
            ) from None
    except InputError as error:
        raise InvalidInput(str(error)) from None
    return of.double(pair[0]), of.double(pair[1])
