"""What learning shifts in networks of several layers, to order 1/n: sums over one unit of every layer.

Given the layer before, preactivations are a Gaussian process. Of the log likelihood (1/2) sum_ab M_ab K_ab of the last
layer, M = G^-1 Y Y' G^-1 - C G^-1, a unit of layer l sees h = (1/2) sum_ab M_ab phi_a phi_b with the M of that layer,

    M_cd <- sigma_w^2 (M_cd E[phi'_c phi'_d] + 1_cd sum_b M_cb E[phi''_c phi_b]),

the derivative of the next layer's (1/2) sum_ab M_ab K_ab by this layer's kernel, by Price's theorem. A mean over units
of o(z) is shifted by Cov(o, h) over the law of one unit, as in one layer, and by what the shifts of the layers before
make of the law. That law has the moments v = Var z, r = Cov(z, dz), G = Cov(dz, dz) at x, and with m = E[phi^2] and
m0 = E[phi'^2] as functions of v

    E[phi^2] = m,   E[phi phi' dz] = m' r,   E[phi'^2 dz dz] = m0 G + 2 m0' r r,

while E[phi_x phi_y] changes by E[phi'_x phi'_y] dc + E[phi''_x phi_y] dp/2 + E[phi_x phi''_y] dq/2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from infgeo.conventions import d
from infgeo.errors import NotConverged
from infgeo.numeric.learned.unit_sums import GRIDS, MOST_GRID, combined, grid, net, require_fourth_moments
from infgeo.numeric.quadrature import gaussian_rules
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.networks.network import MLP

_LEVEL = 3  # of the rules for moments of one variable
_REPLICATES = 8
_LOG2_NODES = 14  # of each replicate: errors of some thousandths, where the next order in 1/n is larger
_EXTRA = 2  # coordinates besides those of the training points: a kernel has two points
_RANK = 1e-13  # share of the largest eigenvalue below which a direction of the training points is none
_RESIDUAL = 1e-10  # share of the variance below which training points determine the preactivation at a point
_Law = tuple[Activation, PiecewiseFunction, float, float]  # phi, and the variances of weights and biases
_LOST = 0.25  # of E[phi'^2]: errors of shifts are then estimated badly
_AT_ONCE = 2**22  # numbers


@dataclass(frozen=True, eq=False)
class Units:
    """Units of one layer, as nodes in standard coordinates: first those of the training points, then others.

    Arguments:
        activation, function: phi, and its values and derivatives.
        weight, bias: the variances of weights and biases of this layer.
        nodes, mass: the nodes (N, K + extra) and their weights (N,).
        basis: covariances with all points times `basis` (P, K) are those with the first coordinates.
        features: phi at the training points, (N, P).
        factors: mass times h less its mean, (N,).
    """

    activation: Activation
    function: PiecewiseFunction
    weight: float
    bias: float
    nodes: np.ndarray
    mass: np.ndarray
    basis: np.ndarray
    features: np.ndarray
    factors: np.ndarray

    def conditioned(self, v: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Cov(z, first coordinates), (m, K), and the standard deviation of the rest of z, (m,)."""
        along = covariances @ self.basis
        rest = v - np.square(along).sum(-1)
        return along, np.sqrt(np.where(rest > _RESIDUAL * v, rest, 0))

    def moments(self, v: np.ndarray) -> dict[str, np.ndarray]:
        """Return m, m0 and two derivatives of each, (m,); where v is 0, what derivatives multiply is 0."""
        require_fourth_moments(self.activation, v)
        rows = [gaussian_rules.moments(self.function, float(one) or 1e-8, _LEVEL) for one in v]
        result = {name: np.array([row[name] for row in rows]) for name in ("m", "m_1", "m_2", "m0", "m0_1", "m0_2")}
        result["m"] = np.where(v > 0, result["m"], self.function(np.zeros(1)) ** 2)
        return result


@dataclass(frozen=True, eq=False)
class DeepSums:
    """Shifts of layers by learning, by several sets of nodes, with errors.

    Arguments:
        sets: of each set the layers of the network.
        inputs: the training points (P, d).
        is_grid: whether the sets are two trapezoidal rules, of which the second is finer, and not independent nets.
    """

    sets: tuple[tuple[Units, ...], ...]
    inputs: np.ndarray
    is_grid: bool

    def metric(self, x: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the shift of the metric of a layer, from 1, (m, d, d), and its error."""
        return self._of(_metric, layer, x.shape[1] + 3, x)

    def kernel(self, x: np.ndarray, y: np.ndarray, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the shift of the kernel of a layer, (m, k), and its error."""
        value, error = self._of(_kernel, layer, 6, np.repeat(x, len(y), 0), np.tile(y, (len(x), 1)))
        value, error = value.reshape(len(x), len(y)), error.reshape(len(x), len(y))
        if np.array_equal(x, y):  # u and v have other coordinates
            value, error = (value + value.T) / 2, (error + error.T) / 2
        return value, error

    def _of(
        self, shift: Callable[..., np.ndarray], layer: int, numbers: int, *points: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a shift at points, of blocks of them, and its error; a node has so many numbers at each."""
        size = max(1, _AT_ONCE // (numbers * max(len(layers[0].nodes) for layers in self.sets)))
        blocks = [slice(i, i + size) for i in range(0, max(len(points[0]), 1), size)]
        values = [
            np.concatenate([shift(layers[:layer], self.inputs, *(part[block] for part in points)) for block in blocks])
            for layers in self.sets
        ]
        return combined(np.stack(values), self.is_grid)


def _metric(layers: tuple[Units, ...], inputs: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the shift of the metric of the last of these layers, (m, d) -> (m, d, d), by one set of nodes."""
    (m, size), first = x.shape, layers[0]
    v, r, G = first.weight * np.square(x).sum(-1) + first.bias, first.weight * x, first.weight * np.eye(size)[None]
    S, A = first.weight * x @ inputs.T + first.bias, np.broadcast_to(first.weight * inputs, (m, *inputs.shape))
    dv, dr, dG = np.zeros(m), np.zeros((m, size)), np.zeros((m, size, size))
    for i, units in enumerate(layers):
        along, rest = units.conditioned(v, S)
        steps = np.einsum("mpd,pk->mkd", A, units.basis)  # covariances of dz with the coordinates
        last = _over(r - (along[:, :, None] * steps).sum(1), rest[:, None])
        steps = np.concatenate([steps, last[:, None]], 1)
        left = G - np.einsum("mki,mkj->mij", steps, steps)
        known = units.nodes[:, : steps.shape[1]]
        z = known @ np.concatenate([along, rest[:, None]], 1).T
        dz = np.tensordot(known, steps, (1, 1))  # its mean given z at x and at the training points, (N, m, d)
        phi, slope = units.function(z), units.function(z, 1)
        f = units.factors[:, None]
        square = np.einsum("nm,nmi,nmj->mij", f * slope**2, dz, dz, optimize=True)
        square += (f * slope**2).sum(0)[:, None, None] * left
        moments = units.moments(v)
        _require_nodes((units.mass[:, None] * slope**2).sum(0), moments["m0"])
        # What enters here, and what the law makes of the shifts of the layer before.
        new = moments["m_1"] * dv + (f * phi**2).sum(0)
        tilt = _times(moments["m_2"] * dv, r) + _times(moments["m_1"], dr) + ((f * phi * slope)[..., None] * dz).sum(0)
        pairs = r[:, :, None] * r[:, None, :]
        mixed = r[:, :, None] * dr[:, None, :]
        square += _times(moments["m0"], dG) + _times(moments["m0_1"] * dv, G)
        square += _times(2 * moments["m0_2"] * dv, pairs) + _times(2 * moments["m0_1"], mixed + mixed.mT)
        if i + 1 == len(layers):
            return square
        after = layers[i + 1]
        dv, dr, dG = after.weight * new, after.weight * tilt, after.weight * square
        weighted = units.features * units.mass[:, None]
        S = after.bias + after.weight * phi.T @ weighted
        A = after.weight * np.einsum("nmi,np->mpi", slope[..., None] * dz, weighted, optimize=True)
        G = after.weight * (_times(moments["m0"], G) + _times(2 * moments["m0_1"], pairs))
        r = after.weight * _times(moments["m_1"], r)
        v = after.bias + after.weight * moments["m"]
    raise AssertionError


def _kernel(layers: tuple[Units, ...], inputs: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the shift of the kernel of the last of these layers at pairs, (m, d), (m, d) -> (m,), by one set."""
    first = layers[0]
    p, q, c = (first.weight * (a * b).sum(-1) + first.bias for a, b in ((x, x), (y, y), (x, y)))
    of_x, of_y = (first.weight * a @ inputs.T + first.bias for a in (x, y))
    dp, dq, dc = np.zeros((3, len(x)))
    for i, units in enumerate(layers):
        (one, rest), (two, _) = units.conditioned(p, of_x), units.conditioned(q, of_y)
        shared = _over(c - (one * two).sum(-1), rest)
        rank = one.shape[1]
        own = np.sqrt(np.maximum(q - np.square(two).sum(-1) - shared**2, 0))
        others = units.nodes[:, rank:]
        u = units.nodes[:, :rank] @ one.T + others[:, :1] * rest
        w = units.nodes[:, :rank] @ two.T + others[:, :1] * shared + others[:, 1:2] * own
        phi, chi = units.function(u), units.function(w)
        slope, slant = units.function(u, 1), units.function(w, 1)
        f, mass = units.factors[:, None], units.mass[:, None]
        both = (mass * slope * slant).sum(0)
        on_p = _over((mass * u * slope * chi).sum(0) - c * both, p)
        on_q = _over((mass * w * slant * phi).sum(0) - c * both, q)
        shift = (f * phi * chi).sum(0) + both * dc + (on_p * dp + on_q * dq) / 2
        if i + 1 == len(layers):
            return shift
        after, weighted = layers[i + 1], units.features * units.mass[:, None]
        at_x, at_y = units.moments(p), units.moments(q)
        dp = after.weight * (at_x["m_1"] * dp + (f * phi**2).sum(0))
        dq = after.weight * (at_y["m_1"] * dq + (f * chi**2).sum(0))
        dc = after.weight * shift
        c = after.bias + after.weight * (mass * phi * chi).sum(0)
        of_x, of_y = (after.bias + after.weight * part.T @ weighted for part in (phi, chi))
        p, q = (after.bias + after.weight * moments["m"] for moments in (at_x, at_y))
    raise AssertionError


def has_grid(mlp: MLP, examples: int) -> bool:
    """Return whether sums for so many training points are quadratures: few dimensions, and no kinks."""
    return examples + _EXTRA <= MOST_GRID and not any(
        PiecewiseFunction(layer.activation, {}).places for layer in mlp.with_weights
    )


def deep_sums(mlp: MLP, inputs: np.ndarray, matrix: np.ndarray) -> DeepSums:
    """Return the sums of a network of dense layers, for training points (P, d) and M/2 of the last layer, (P, P)."""
    laws: list[_Law] = []
    for layer in mlp.with_weights:
        function = PiecewiseFunction(layer.activation, {})
        function.require_metric()
        weight, bias = (float(part.subs(d, inputs.shape[1])) for part in layer.variances)
        laws.append((layer.activation, function, weight, bias))
    is_grid = has_grid(mlp, len(inputs))
    count = len(GRIDS) if is_grid else _REPLICATES
    return DeepSums(tuple(_layers(laws, inputs, matrix, is_grid, i) for i in range(count)), inputs, is_grid)


def _layers(
    laws: list[_Law],
    inputs: np.ndarray,
    matrix: np.ndarray,
    is_grid: bool,
    replicate: int,
) -> tuple[Units, ...]:
    """Return all layers by one set of nodes: kernels forwards, then M backwards."""
    covariance = inputs @ inputs.T
    found = []
    for depth, (activation, function, weight, bias) in enumerate(laws):
        covariance = weight * covariance + bias
        require_fourth_moments(activation, covariance.diagonal())
        values, vectors = np.linalg.eigh(covariance)
        kept = np.flatnonzero(values > _RANK * values[-1])[::-1]  # Sobol's first coordinates are best
        root = vectors[:, kept] * np.sqrt(values[kept])
        size = len(kept) + _EXTRA
        nodes, mass = (
            grid(size, *GRIDS[replicate]) if is_grid else net(size, _REPLICATES * depth + replicate, _LOG2_NODES)
        )
        z = nodes[:, : len(kept)] @ root.T
        phi, slope = function(z), function(z, 1)
        weighted = slope * mass[:, None]
        both = slope.T @ weighted
        on_own = _over((z * weighted).T @ phi - covariance * both, covariance.diagonal()[:, None])  # E[phi''_a phi_b]
        basis = vectors[:, kept] / np.sqrt(values[kept])
        found.append((Units(activation, function, weight, bias, nodes, mass, basis, phi, mass), both, on_own))
        covariance = phi.T @ (phi * mass[:, None])
    layers: list[Units] = []
    for units, both, on_own in reversed(found):
        h = ((units.features @ matrix) * units.features).sum(1)
        layers.append(replace(units, factors=units.mass * (h - units.mass @ h)))
        matrix = units.weight * (matrix * both + np.diag((matrix * on_own).sum(1)))
    return tuple(reversed(layers))


def _times(factor: np.ndarray, value: np.ndarray) -> np.ndarray:
    return factor.reshape(-1, *(1,) * (value.ndim - 1)) * value


def _require_nodes(found: np.ndarray, m0: np.ndarray) -> None:
    """Raise NotConverged where nodes miss where phi' is large."""
    lost = np.abs(found / np.where(m0 > 0, m0, 1) - 1) * (m0 > 0)
    if lost.max(initial=0) > _LOST:
        raise NotConverged(
            f"nodes for E[phi'^2] at point {int(lost.argmax())} are wrong by {lost.max():.0%}: pass points of smaller"
            " norm, or smaller scales"
        )


def _over(value: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return a quotient, 0 where the variance, or a standard deviation, is 0: what it multiplies is 0 there."""
    result: np.ndarray = value * np.where(variance > 0, 1 / np.where(variance > 0, variance, 1), 0)
    return result
