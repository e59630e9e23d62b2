"""Planar geodesics of a profile: lengths and angles by Gauss rules, and the two equations that have a root.

With Clairaut's constant L, rho = L cosh w along a geodesic, and

    length = integral of rho (dR/drho) dw,    angle = integral of (L/rho) (dR/drho) dw,

which are smooth through the turning point w = 0. Where dR/drho = 1 this is a straight line. So the unknown of a
geodesic between two points is the angle of the chord that it is the image of: it keeps its digits for neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from infgeo.errors import NotConverged
from infgeo.numeric.geodesics.profile import Profile
from infgeo.numeric.geodesics.slopes import library_of, like, numbers

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_LEAST = 1e-30  # of L/rho: a path that comes nearer to 0 passes through it
_ROUNDS, _FURTHEST = 200, 700.0
_TOLERANCE = 1e-12  # between two rules, relative: the finer one is better
_MOST_PIECES = 64
_RISE = 0.05  # of angle per angle of the chord, that is no error of the table
_GRID = 32  # chords at which roots are looked for where geodesics may not be unique


@dataclass(frozen=True)
class Legs:
    """Parts of geodesics on which rho rises: log rho, d log rho/dw and L/rho at the start, and their extents in w.

    They, chords and pairs hold arrays, or tensors for derivatives.
    """

    log_rho: Any
    slope: Any
    tangent: Any
    extent: Any = None

    def __getitem__(self, rows: np.ndarray) -> Legs:
        """Return some of the legs."""
        return Legs(self.log_rho[rows], self.slope[rows], self.tangent[rows], self.extent[rows])

    @property
    def growth(self) -> Any:
        """By how much rho is larger at the end."""
        lib = library_of(self.extent)
        return lib.cosh(self.extent) + self.slope * lib.sinh(self.extent)


def integrals(profile: Profile, legs: Legs, pieces: int = 1) -> tuple[Any, Any]:
    """Return length over the first rho, and angle, of each leg.

    Panels are 1 in w over `pieces`; with 0 pieces dR/drho is interpolated, for some digits only.
    """
    lib = library_of(legs.extent)
    counts = ((pieces or 1) * np.maximum(np.ceil(numbers(legs.extent)), 1)).astype(int)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    nodes = (number[:, None] + (_NODES + 1) / 2) / counts[owner, None]
    each = legs[owner]
    w = each.extent[:, None] * like(nodes, legs.extent)
    growth = lib.cosh(w) + each.slope[:, None] * lib.sinh(w)
    log_rho = each.log_rho[:, None] + lib.log(growth)
    stretch = profile.stretch_at(log_rho) if pieces else profile.stretch_near(log_rho)
    weights = each.extent[:, None] * like(_WEIGHTS / 2 / counts[owner, None], legs.extent)
    length, angle = ((weights * part).sum(-1) for part in (growth * stretch, stretch / growth))
    return _summed(owner, length, len(counts)), _summed(owner, angle * each.tangent, len(counts))


def _summed(owner: np.ndarray, part: Any, number: int) -> Any:
    """Return the sums of the parts that each of a number of rows owns."""
    if isinstance(part, np.ndarray):
        return np.bincount(owner, part, minlength=number)
    return part.new_zeros(number).index_add(0, library_of(part).as_tensor(owner, device=part.device), part)


@dataclass(frozen=True)
class Chords:
    """Straight lines in the plane (rho, angle) between circles, the first of which is not the larger.

    `first` and `second` are the cosines of the angles to the outward radius at the ends, in the direction of travel;
    `sine_first` and `sine_second` their sines, L over rho; `extent` is that in w.
    """

    first: Any
    sine_first: Any
    second: Any
    sine_second: Any
    extent: Any

    @classmethod
    def of_angle(cls, rise: Any, angle: Any) -> Chords:
        """Return chords of an angle in (0, pi]; `rise` is log(rho_2/rho_1) >= 0."""
        lib = library_of(rise)
        m, half = lib.expm1(rise), lib.sin(angle / 2) ** 2
        chord = lib.hypot(m, 2 * lib.sqrt(1 + m) * lib.sin(angle / 2))
        chord = lib.where(chord > 0, chord, 1.0)
        first, second = (m - 2 * (1 + m) * half) / chord, (m + 2 * half) / chord
        sine = lib.sin(angle) / chord
        sine = lib.where(sine * (1 + m) > _LEAST, sine, _LEAST / (1 + m))
        cosine = lib.cos(angle / 2)
        cosine = lib.where(cosine > _LEAST, cosine, 1.0)  # through 0, where the extent is not asked for
        return cls(first, sine * (1 + m), second, sine, lib.arcsinh((2 + m) * chord / (2 * (1 + m) * cosine**2)))


def chord_integrals(profile: Profile, log_rho: Any, chords: Chords, pieces: int = 1) -> tuple[Any, Any]:
    """Return length over rho_1, and angle, of the geodesics that chords from log rho_1 are the image of."""
    lib, turns = library_of(log_rho), numbers(chords.first) < 0
    direct, around = np.flatnonzero(~turns), np.flatnonzero(turns)
    depth = lib.log(chords.sine_first[around])
    one, zero = lib.ones_like(depth), lib.zeros_like(depth)
    down, up = (
        Legs(log_rho[around] + depth, zero, one, lib.arcsinh(cosine[around] / sine[around]))
        for cosine, sine in ((-chords.first, chords.sine_first), (chords.second, chords.sine_second))
    )
    ahead = Legs(log_rho, chords.first, chords.sine_first, chords.extent)[direct]
    parts = [lib.concatenate([getattr(leg, name) for leg in (ahead, down, up)]) for name in Legs.__dataclass_fields__]
    length, angle = integrals(profile, Legs(*parts), pieces)
    scale = lib.concatenate([lib.ones_like(ahead.extent), lib.exp(depth), lib.exp(depth)])
    owner = np.concatenate([direct, around, around])
    return _summed(owner, length * scale, len(turns)), _summed(owner, angle, len(turns))


def root(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    at_low: np.ndarray,
    at_high: np.ndarray,
) -> np.ndarray:
    """Return roots between `low` and `high`, where the function has values of two signs.

    The function takes arguments and the rows that they belong to. The method is that of Chandrupatla: inverse quadratic
    interpolation where that is safe, else halving.
    """
    a, b, fa, fb = (np.array(part, dtype=float) for part in (high, low, at_high, at_low))
    c, fc = a.copy(), fa.copy()
    t = np.where((fa == 0) | (fb == 0), 0.5, np.clip(fa / (fa - fb), 0.05, 0.95))
    result = np.where(np.abs(fa) < np.abs(fb), a, b)
    live = np.flatnonzero((fa != 0) & (fb != 0))
    for _ in range(_ROUNDS):
        if not live.size:
            return result
        x = a[live] + t[live] * (b[live] - a[live])
        fx = function(x, live)
        same = np.sign(fx) == np.sign(fa[live])
        c[live], fc[live] = np.where(same, a[live], b[live]), np.where(same, fa[live], fb[live])
        b[live], fb[live] = np.where(same, b[live], a[live]), np.where(same, fb[live], fa[live])
        a[live], fa[live] = x, fx
        best = np.abs(fa[live]) < np.abs(fb[live])
        result[live] = np.where(best, a[live], b[live])
        width = np.abs(b[live] - a[live])
        least = 2 * np.finfo(float).eps * np.abs(result[live])
        with np.errstate(all="ignore"):
            xi = (a[live] - b[live]) / (c[live] - b[live])
            phi = (fa[live] - fb[live]) / (fc[live] - fb[live])
            quadratic = fa[live] / (fb[live] - fa[live]) * fc[live] / (fb[live] - fc[live]) + (c[live] - a[live]) / (
                b[live] - a[live]
            ) * fa[live] / (fc[live] - fa[live]) * fb[live] / (fc[live] - fb[live])
            safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            edge = np.minimum(0.5, least / width)
        t[live] = np.clip(np.where(safe, quadratic, 0.5), edge, 1 - edge)
        live = live[(width > least) & (fx != 0) & (fx == fx)]
    raise NotConverged("the root of a geodesic's equation was not found; choose other points")


@dataclass(frozen=True)
class Pairs:
    """Pairs of points of a profile: log rho of the one nearer to 0, by how much that of the other is larger, angles."""

    log_rho: Any
    rise: Any
    angle: Any

    def __getitem__(self, rows: np.ndarray) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.log_rho[rows], self.rise[rows], self.angle[rows])

    def measured(self, profile: Profile, chords: Chords, pieces: int) -> tuple[Any, Any]:
        """Return the lengths, over rho_1, and angles of the images of chords."""
        return chord_integrals(profile, self.log_rho, chords, pieces)

    def angles(self, profile: Profile, chord: Any, pieces: int) -> Any:
        """Return the angles of the images of chords of these angles."""
        return self.measured(profile, Chords.of_angle(self.rise, chord), pieces)[1]


def shortest(profile: Profile, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return chord angles and lengths, over rho_1, of the shortest geodesics, and where these are radii through 0.

    Panels are split in two where two rules differ; raises NotConverged where that does not help.
    """
    chord, length, through = np.zeros((3, len(pairs.angle)))
    unique = _unique(profile, pairs)
    for single in (True, False):
        rows, pieces = np.flatnonzero(unique == single), 1
        while rows.size and pieces <= _MOST_PIECES:
            some = pairs[rows]
            chord[rows], through[rows] = _chord_angles(profile, some, single, pieces)
            chords = Chords.of_angle(some.rise, chord[rows])
            (rough, first), (length[rows], second) = (some.measured(profile, chords, p) for p in (pieces, 2 * pieces))
            length[rows[(some.rise == 0) & (some.angle == 0)]] = 0.0
            agree = np.abs(rough - length[rows]) <= _TOLERANCE * length[rows]
            rows, pieces = rows[~(agree & (np.abs(first - second) <= _TOLERANCE * second))], 2 * pieces
        if rows.size:
            raise NotConverged(
                f"the lengths of {rows.size} geodesics by quadrature: the metric varies too quickly, or degenerates,"
                " along them; choose other points"
            )
    return chord, length, through > 0


def _unique(profile: Profile, pairs: Pairs) -> np.ndarray:
    """Return for which pairs the angle surely rises with that of the chord, so that there is one geodesic."""
    if profile.bends_down((pairs.log_rho + pairs.rise).max(initial=-np.inf)):
        return np.full(len(pairs.angle), True)
    grid = np.linspace(0, np.pi, _GRID + 1)[1:-1]
    angles: Any = [pairs.angles(profile, np.full(len(pairs.angle), x), 0) for x in grid]
    angles = np.stack([*angles, np.full(len(pairs.angle), np.pi * profile.stretch[0])])
    return (np.diff(angles, axis=0, prepend=0.0) > _RISE * grid[0]).all(axis=0)


def _chord_angles(profile: Profile, pairs: Pairs, unique: bool, pieces: int) -> tuple[np.ndarray, np.ndarray]:
    def excess(chord: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return pairs[rows].angles(profile, chord, pieces) - pairs.angle[rows]

    every, angle = np.arange(len(pairs.angle)), pairs.angle
    chord, grid = np.full(len(angle), np.pi), np.linspace(0, np.pi, 2 if unique else _GRID + 1)
    inner = [excess(np.full(len(angle), x), every) for x in grid[1:-1]]
    values = np.stack([-angle, *inner, np.pi * profile.stretch[0] - angle])
    through = (values[-1] <= 0) & (angle > 0)
    chord[angle == 0] = 0.0
    least = np.full(len(angle), np.inf)
    if not unique:
        straight = Chords.of_angle(pairs.rise, chord)
        least[through] = pairs.measured(profile, straight, pieces)[0][through]
    for i in range(len(grid) - 1):
        rows = np.flatnonzero((values[i] * values[i + 1] <= 0) & (values[i] != 0) & (angle > 0))
        rows = rows[~through[rows]] if unique else rows
        low, high = (np.full(len(rows), x) for x in grid[i : i + 2])
        at_low, at_high = values[i : i + 2, rows]
        found = root(lambda x, live, rows=rows: excess(x, rows[live]), low, high, at_low, at_high)  # type: ignore[misc]
        length = np.zeros(len(rows))
        if not unique:
            some = pairs[rows]
            length = some.measured(profile, Chords.of_angle(some.rise, found), pieces)[0]
        better = length < least[rows]
        rows = rows[better]
        chord[rows], least[rows], through[rows] = found[better], length[better], False
    return chord, through


def endpoints(profile: Profile, log_rho: Any, cosine: Any, sine: Any, length: Any) -> tuple[Any, Any]:
    """Return log |x| and angle where geodesics end, NaN where they leave the table.

    Arguments:
        log_rho: at the start.
        cosine, sine: of the angle to the outward radius there.
        length: along the geodesic, over the first rho.
    """
    lib = library_of(log_rho)
    sine = lib.where(sine > _LEAST, sine, _LEAST)
    turns = cosine < 0
    depth = lib.where(turns, lib.log(sine), 0 * sine)
    start = Legs(log_rho + depth, lib.where(turns, 0 * cosine, cosine), lib.where(turns, 0 * sine + 1, sine))
    back = replace(start, extent=lib.where(turns, lib.arcsinh(-cosine / sine), 0 * sine))
    inward, turned = integrals(profile, back)
    rest = length / lib.exp(depth) - inward
    target = abs(rest)
    fixed = Legs(*(numbers(part) for part in (start.log_rho, start.slope, start.tangent)))
    known = numbers(target)

    def excess(w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        part = Legs(fixed.log_rho[rows], fixed.slope[rows], fixed.tangent[rows], w)
        value = integrals(profile, part)[0] - known[rows]
        return np.where(np.isnan(value), np.inf, value)

    high, every = np.maximum(np.arcsinh(known), 1e-300), np.arange(len(known))
    value = excess(high, every)
    while (short := np.flatnonzero((value < 0) & (high < _FURTHEST))).size:
        high[short] = 2 * high[short]
        value[short] = excess(high[short], short)
    reached = value >= 0
    found = np.where(known > 0, high, 0.0)
    rows = np.flatnonzero(reached & (known > 0))
    top = np.where(np.isfinite(value), value, known)
    found[rows] = root(lambda w, live: excess(w, rows[live]), 0 * known[rows], high[rows], -known[rows], top[rows])
    reached &= np.abs(excess(found, every)) <= 1e-9 * known + 1e-300
    end = replace(start, extent=like(found, log_rho))
    part, _ = integrals(profile, end)
    growth = end.growth
    if lib is not np:  # one step of Newton's iteration, for derivatives
        slope = (growth * profile.stretch_at(start.log_rho + lib.log(growth))).detach()
        end = replace(start, extent=end.extent - (part - target) / slope)
        growth = end.growth
    angle = integrals(profile, end)[1]
    angle = lib.where(turns, turned + lib.where(rest >= 0, angle, -angle), angle)
    log_radius = profile.radius_at(start.log_rho + lib.log(growth))
    return lib.where(like(reached, turns), log_radius, np.nan), angle


def to_centre(profile: Profile, log_rho: np.ndarray) -> np.ndarray:
    """Return the lengths of radii from 0, over rho."""
    one = np.ones(len(log_rho))
    legs = Legs(log_rho + np.log(_LEAST), 0 * one, one, np.arcsinh(one / _LEAST))
    return integrals(profile, legs)[0] * _LEAST
