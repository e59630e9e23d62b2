"""What networks of finite width do before they learn: bias and spread of order 1/n, as formulas or at points.

One layer has formulas. At any depth the law of a layer's preactivations at x has the moments v = Var z, r = Cov(z, dz),
G = Cov(dz, dz). Means over the n units of the layer make the law of the next one. With m = E[phi^2] and
m0 = E[phi'^2] as functions of v, they are

    E[phi^2] = m,   E[phi phi' dz] = m' r,   E[phi'^2 dz dz] = m0 G + 2 m0' r r.

If the law has the bias b/n and the covariance C/n, the means have bias (D b + D^2 C/2)/n, and covariance
(D C D' + V)/n: D and D^2 are the derivatives of these functions, V is the covariance over one unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from infgeo.arguments import instance
from infgeo.conventions import DEFAULT_BIAS_STD, DEFAULT_WEIGHT_STD, d, sigma_b, sigma_w
from infgeo.display import Displayed
from infgeo.errors import InvalidInput, NotConverged
from infgeo.numeric.quadrature import gaussian_rules
from infgeo.numeric.quadrature.piecewise import PiecewiseFunction
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.errors import InputError
from infgeo.symbolic.analysis.finite_width import ShallowForms
from infgeo.symbolic.networks.layers import Dense
from infgeo.symbolic.networks.network import MLP

_LEVELS = (2, 3)
_TOLERANCE = 1e-7
_BESIDE = 3  # Gauss-Hermite nodes for dz given z: fourth powers are integrated exactly
_Layer = tuple[PiecewiseFunction, float, float]  # phi, and the variances of weights and biases
_FRAME = 3  # coordinates: along x, and two across it, which stand for all others


@dataclass(frozen=True, eq=False, repr=False)
class FiniteWidthAt(Displayed):
    """What width n changes at points, times n, to leading order; for points (..., d).

    Arguments:
        kernel_bias, kernel_variance: of k(x, x), (...).
        metric_bias: of the metric, (..., d, d).
        log_volume_bias, log_volume_variance: of log sqrt det g, (...).
    """

    kernel_bias: np.ndarray
    kernel_variance: np.ndarray
    metric_bias: np.ndarray
    log_volume_bias: np.ndarray
    log_volume_variance: np.ndarray


@dataclass(frozen=True, repr=False)
class FiniteWidth(ShallowForms):
    """What width n changes, times n, to leading order: `ShallowForms` for one layer, values at points for any depth."""

    def at(self, x: Any) -> FiniteWidthAt:
        """Return the corrections of order 1/n at points, by quadrature: for any depth and any activation.

        In one layer kernel and metric have no bias; for deep networks bias and spread are carried through the layers.

        Args:
            x: points (..., d). Scales that the network leaves symbolic are 1.

        Raises:
            InvalidInput: for a point at which preactivations have variance 0.
            MetricDoesNotExist, ExpectationDiverges: where E[phi'^2], or E[phi'^4], is infinite.
            NotConverged: where two rules disagree by 1e-7.

        Source: compare Yaida 2020 (arXiv 1910.00019) on kernels.
        """
        try:
            points = NumpyArrays().points(x, "x").astype(np.float64)
        except InputError as error:
            raise InvalidInput(str(error)) from None
        size = points.shape[-1]
        network = with_numbers(self.mlp, size)
        layers: list[_Layer] = []
        for one in network.with_weights:
            weight, bias = (float(part.subs(d, size)) for part in one.variances)
            layers.append((PiecewiseFunction(one.activation, {}), weight, bias))
            layers[-1][0].require_metric()
        rows = points.reshape(-1, size)
        found = [_at(layers, row) for row in rows]
        shape = points.shape[:-1]
        columns = [np.array([row[i] for row in found]).reshape(shape) for i in range(6)]
        kernel_bias, kernel_variance, radial, tangential, log_volume_bias, log_volume_variance = columns
        norms = np.linalg.norm(points, axis=-1, keepdims=True)
        along = points / np.where(norms > 0, norms, 1)
        metric = tangential[..., None, None] * np.eye(size)
        metric = metric + (radial - tangential)[..., None, None] * along[..., :, None] * along[..., None, :]
        return FiniteWidthAt(kernel_bias, kernel_variance, metric, log_volume_bias, log_volume_variance)


def finite_width(mlp: MLP) -> FiniteWidth:
    """Return what finite width changes, to order 1/n, if all hidden layers have n units.

    One layer has formulas, that are `log_volume_bias` and the like of the result; in deeper networks, and where
    E[phi'^4] has no closed form, these raise NoClosedForm. Values at points, `at(x)`, are there for all.

    Args:
        mlp: an `infgeo.MLP` of dense layers.

    Raises:
        InvalidInput: for layers that are not dense.

    >>> import infgeo
    >>> one = finite_width(infgeo.MLP("erf", weight_std=1, bias_std=0))
    >>> one.metric_covariance["off-diagonal"]
    4/(pi**2*sqrt(4*s + 1))
    >>> deep = finite_width(infgeo.MLP("erf", depth=2)).at([1.0, 0.0])
    >>> deep.metric_bias.round(4).tolist()
    [[-0.0009, 0.0], [0.0, -0.001]]
    >>> round(float(deep.log_volume_bias), 2), round(float(deep.log_volume_variance), 2)
    (-5.19, 4.25)
    """
    instance(mlp, "mlp", MLP, "an infgeo.MLP of dense layers")
    if not all(isinstance(layer, Dense) for layer in mlp.layers):
        raise InvalidInput(f"mlp is {mlp}; finite width is that of dense layers: pass a network of these alone")
    return FiniteWidth(mlp)


def with_numbers(mlp: MLP, dimension: int) -> MLP:
    """Return a network whose symbolic scales are their defaults; raises InvalidInput for other parameters."""
    values = {sigma_w: DEFAULT_WEIGHT_STD, sigma_b: DEFAULT_BIAS_STD, d: dimension}
    known = {*mlp.parameters, *mlp.dimension.free_symbols}
    network = mlp.at({symbol: value for symbol, value in values.items() if symbol in known})
    if missing := network.parameters:
        raise InvalidInput(f"the parameter {missing[0]} needs a value: pass mlp.at({missing[0]}=...)")
    return network


def _at(layers: list[_Layer], x: np.ndarray) -> np.ndarray:
    """Return bias and variance of the kernel, bias of the metric along x and across it, those of the log volume."""
    (coarse, _), (fine, sizes) = (_by_level(layers, float(np.linalg.norm(x)), len(x), level) for level in _LEVELS)
    gap = (np.abs(coarse - fine) / np.where(sizes > 0, sizes, 1)).max()
    if not gap <= _TOLERANCE:
        raise NotConverged(
            f"two rules for what finite width changes at |x| = {np.linalg.norm(x):g} differ by {gap:.1g}: pass points"
            " of smaller norm, or smaller scales"
        )
    return fine


def _by_level(layers: list[_Layer], r: float, size: int, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of `_at` by a rule of one level, and sizes that their errors are measured by."""
    frame = min(size, _FRAME)
    count = 1 + frame + frame**2
    bias, covariance = np.zeros(count), np.zeros((count, count))
    means: tuple[float, np.ndarray, np.ndarray] = (r * r, r * np.eye(frame)[0], np.eye(frame))  # of the input
    for function, weight, of_bias in layers:
        v, along, G = weight * means[0] + of_bias, weight * means[1], weight * means[2]
        bias, covariance = weight * bias, weight**2 * covariance
        if v <= 0:
            raise InvalidInput("x has a point at which preactivations have variance 0: give a bias, or drop x = 0")
        t, mass = gaussian_rules._nodes(function, v, level, integrand=partial(_fourth, function))
        z = np.sqrt(v) * t
        m, m0 = (
            [(_hermite(2 * k, t) * function(z, order) ** 2) @ mass / (2 * v) ** k for k in range(4)] for order in (0, 1)
        )
        first, second = _derivatives(m, m0, along, G, covariance)
        bias = first @ bias + second
        covariance = first @ covariance @ first.T + _of_unit(function, z, mass, v, along, G)
        means = m[0], m[1] * along, m0[0] * G + 2 * m0[1] * np.outer(along, along)
    g, metric = means[2], covariance[1 + frame :, 1 + frame :].reshape((frame,) * 4)
    of_metric = bias[1 + frame :].reshape(frame, frame)
    radial, across, others = g[0, 0], g[-1, -1], size - 1
    square = metric[0, 0, 0, 0] / radial**2
    spread, trace = square, square
    if others:
        tangential = metric[1, 1, 1, 1] / across**2
        spread = spread + others * tangential + 2 * others * metric[0, 1, 0, 1] / (radial * across)
        trace = trace + others * tangential + 2 * others * metric[0, 0, 1, 1] / (radial * across)
    if others > 1:
        spread = spread + others * (others - 1) * metric[1, 2, 1, 2] / across**2
        trace = trace + others * (others - 1) * metric[1, 1, 2, 2] / across**2
    shift = (of_metric[0, 0] / radial + others * of_metric[-1, -1] / across) / 2
    values = [bias[0], covariance[0, 0], of_metric[0, 0], of_metric[-1, -1], shift - spread / 4, trace / 4]
    sizes = [covariance[0, 0] ** 0.5, covariance[0, 0], radial, across, spread, trace]
    return np.array(values), np.array(sizes)


def _derivatives(
    m: list[float], m0: list[float], r: np.ndarray, G: np.ndarray, C: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first derivative of a layer's means by (v, r, G), and half the second contracted with a covariance."""
    size = len(r)
    eye, pairs = np.eye(size), np.outer(r, r)
    first = np.zeros_like(C)
    first[0, 0] = m[1]
    first[1 : 1 + size, 0] = m[2] * r
    first[1 : 1 + size, 1 : 1 + size] = m[1] * eye
    first[1 + size :, 0] = (m0[1] * G + 2 * m0[2] * pairs).ravel()
    mixed = np.einsum("ia,j->ija", eye, r) + np.einsum("ja,i->ija", eye, r)
    first[1 + size :, 1 : 1 + size] = 2 * m0[1] * mixed.reshape(-1, size)
    first[1 + size :, 1 + size :] = m0[0] * np.eye(size**2)
    on_v, on_r = C[0, 0], C[0, 1 : 1 + size]
    second = np.concatenate([[m[2] * on_v / 2], m[3] * r * on_v / 2 + m[2] * on_r, np.zeros(size**2)])
    of_metric = (m0[2] * G + 2 * m0[3] * pairs) * on_v / 2 + m0[1] * C[0, 1 + size :].reshape(size, size)
    of_metric += 2 * m0[2] * (np.outer(r, on_r) + np.outer(on_r, r)) + 2 * m0[1] * C[1 : 1 + size, 1 : 1 + size]
    second[1 + size :] = of_metric.ravel()
    return first, second


def _of_unit(
    function: PiecewiseFunction, z: np.ndarray, mass: np.ndarray, v: float, r: np.ndarray, G: np.ndarray
) -> np.ndarray:
    """Return the covariance of phi^2, phi phi' dz and phi'^2 dz dz over one unit."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_BESIDE)
    grid = np.stack(np.meshgrid(*[nodes] * len(r), indexing="ij"), -1).reshape(-1, len(r))
    beside = np.stack(np.meshgrid(*[weights / weights.sum()] * len(r), indexing="ij"), -1).reshape(-1, len(r)).prod(1)
    rest = np.sqrt(np.maximum(G.diagonal() - r**2 / v, 0))  # the frame is that of x: G is diagonal
    dz = (z[:, None] * r / v)[:, None] + grid * rest  # (z, others, coordinates)
    phi, slope = function(z)[:, None, None], function(z, 1)[:, None, None]
    pairs = (dz[..., :, None] * dz[..., None, :]).reshape(*dz.shape[:2], -1)
    parts = np.concatenate([np.broadcast_to(phi**2, (*dz.shape[:2], 1)), phi * slope * dz, slope**2 * pairs], -1)
    rows, weight = parts.reshape(-1, parts.shape[-1]), (mass[:, None] * beside).ravel()
    mean = weight @ rows
    return (rows * weight[:, None]).T @ rows - np.outer(mean, mean)


def _fourth(function: PiecewiseFunction, z: np.ndarray) -> np.ndarray:
    return function(z) ** 4 + function(z, 1) ** 4


def _hermite(order: int, t: np.ndarray) -> np.ndarray:
    """Return the Hermite polynomial of an even order: d^k/dv^k E[F] = E[He_2k(t) F]/(2 v)^k for t = z/sqrt(v)."""
    result: np.ndarray = np.polynomial.hermite_e.hermeval(t, [0] * order + [1])
    return result
