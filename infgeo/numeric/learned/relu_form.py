"""The first-order shift of the metric in closed form for phi(z) = m z + k |z|: ReLU, leaky ReLU, |z|.

Here phi'(z)^2 = e + f sgn(z), with e = m^2 + k^2 and f = 2 m k. Beside w w, what is odd in the weights w has no mean,
so that of phi'(z_x)^2 phi(z_a) phi(z_b) there remains

    e (m^2 z_a z_b + k^2 |z_a| |z_b|) + f m k (z_a |z_b| + |z_a| z_b) sgn(z_x).

Three signs never meet, and no orthant of three variables is needed. The first part gives one matrix for all x. The
second one gives a term for each training point b, 2 f m k E[w w (r_b.w) |z_b| sgn(z_x)] with
r_b = sum_a weights_ab x~_a.

In weights of variance 1 let t be the angle of x~ to x~_b, u the direction of x~_b, and n, normal to u, that towards x~.
The signs are a function of the angle in the plane of u and n. With a = r.u, b = r.n and p = A u + B n

    E[w w (r.w) (u.w) sgn(u.w) sgn(x~.w)] = (A a + B b) I + p r + r p + F (u u - n n) + G (u n + n u),
    A = 1 - (2 t - sin 2t)/pi,   B = (2/pi) sin^2 t,
    F = B (a sin 2t - b cos 2t),   G = -B (a cos 2t + b sin 2t).

Arrays may be of NumPy or torch. Source: chapter 14 of the theory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from infgeo.conventions import z
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.numeric.learned.libraries import library, like
from infgeo.symbolic.activations.activation import Activation

_AT_ONCE = 2**17  # coordinates of pairs of points


@dataclass(frozen=True, eq=False)
class ReluForm:
    """E[phi'(z_x)^2 w w h(w)] less E[phi'(z_x)^2 w w] E[h(w)], for h = sum_ab weights_ab phi(z_a) phi(z_b).

    Arguments:
        scales: standard deviations of the weights and of the bias, (d + 1,).
        directions: the unit vectors u of the training points times `scales`, (P, d + 1); 0 for a point that is 0.
        partners: 2 f m k |x~_b| r_b, in weights of variance 1, (P, d + 1).
        constant: the part that is the same for all x, (d, d).
    """

    scales: np.ndarray
    directions: np.ndarray
    partners: np.ndarray
    constant: np.ndarray

    def metric(self, x: Any) -> Any:
        """Return the shift, (m, d) -> (m, d, d), for an array of NumPy or torch; there it has one derivative.

        Raises InvalidInput for x = 0 without bias, where the metric depends on the direction from which x comes.
        """
        size = max(1, _AT_ONCE // self.directions.size)
        return library(x).concat([self._of_block(x[i : i + size]) for i in range(0, max(len(x), 1), size)])

    def _of_block(self, x: Any) -> Any:
        d, of_x = x.shape[-1], library(x)
        scales, directions, partners, constant = (
            like(x, part) for part in (self.scales, self.directions, self.partners, self.constant)
        )
        if not self.partners.any():
            return constant + 0 * x[:, :1, None]
        extended = of_x.concat([x, of_x.ones_like(x[:, :1])], -1) * scales
        if not (extended != 0).any(-1).all():
            raise InvalidInput(
                "x has a point 0, and the network no bias: all units have their kink there, and the learned metric no"
                " limit; pass points beside it, or a network with bias"
            )
        angle, sine, cosine, n = _angles(_directions(extended)[:, None], directions)
        r, u, B = partners, directions, 2 / np.pi * sine * sine
        A = 1 - 2 / np.pi * (angle - sine * cosine)
        along, across = (r * u).sum(-1), (r * n).sum(-1)
        double_sine, double_cosine = 2 * sine * cosine, (cosine - sine) * (cosine + sine)
        F = (B * (along * double_sine - across * double_cosine))[..., None]
        G = -(B * (along * double_cosine + across * double_sine))[..., None]
        trace = (A * along + B * across).sum(-1)
        u, n, r = u[:, :d], n[..., :d], r[:, :d]
        mixed = (A[..., None] * u + B[..., None] * n).mT @ r
        plane = u.mT @ (F * u + G * n) + n.mT @ (G * u - F * n)
        scales = scales[:d]
        total = trace[:, None, None] * like(x, np.eye(d)) + mixed + mixed.mT + plane
        return constant + total * scales * scales[:, None]


def _directions(x: Any) -> Any:
    """Return unit vectors, (..., d + 1); 0 for 0."""
    largest: Any = abs(x).max(-1, keepdims=True) if isinstance(x, np.ndarray) else abs(x.detach()).amax(-1, True)
    x = x / (largest + (largest == 0))
    return x / _root((x * x).sum(-1))[..., None]


def _root(x: Any) -> Any:
    """Return sqrt(x), with 1 and no derivative for 0."""
    return (x + (x == 0)) ** 0.5


def _angles(x: Any, u: Any) -> tuple[Any, Any, Any, Any]:
    """Return angle, sine and cosine of unit vectors x and u, and the unit vector normal to u towards x.

    They are of the differences x - u and x + u, and have all digits for vectors that are nearly parallel or opposite.
    There the normal has an error of a rounding over the sine; it is 0 for vectors that are parallel or opposite.
    """
    of_x = library(x)
    near, far = ((x - u) ** 2).sum(-1), ((x + u) ** 2).sum(-1)
    cosine = of_x.where(near < far, 1 - near / 2, far / 2 - 1)
    normal = x - cosine[..., None] * u
    near, far = _root(near) * (near > 0), _root(far) * (far > 0)
    sine = near * far / 2
    return 2 * of_x.atan2(near, far), sine, cosine, normal * ((sine > 0) / (sine + (sine == 0)))[..., None]


def relu_form(activation: Activation, variances: np.ndarray, inputs: np.ndarray, weights: np.ndarray) -> ReluForm:
    """Return the closed form for training points (P, d + 1), the last coordinate 1, and symmetric weights (P, P).

    Raises NoClosedForm for an activation that is not a z below 0 and b z above.
    """
    pieces = activation.pieces
    slopes = [part / z for part in pieces.parts]
    if pieces.places != (0,) or not all(slope.is_number for slope in slopes):
        raise NoClosedForm(f"activation {activation.name} is not a z below 0 and b z above")
    below, above = map(float, slopes)
    m, k = (above + below) / 2, (above - below) / 2
    e, f = m**2 + k**2, 2 * m * k
    d, scales = len(variances) - 1, np.sqrt(variances)
    points = inputs * scales
    directions = _directions(points)
    lengths = (points * directions).sum(-1)
    of_partners = lengths[:, None] * (weights @ points)
    moved = m**2 * of_partners
    size = max(1, _AT_ONCE // points.size)
    for i in range(0, len(points), size):
        rows = slice(i, i + size)
        angle, sine, _, _ = _angles(directions[rows, None], directions)
        of_pairs = k**2 * lengths[rows, None] * weights[rows]  # the lengths of the columns are in `points`
        moved[rows] += (of_pairs * (1 - 2 / np.pi * angle)) @ points
        moved[rows] += 2 / np.pi * ((of_pairs * sine) @ lengths)[:, None] * directions[rows]
    half = (e * scales[:, None] * scales * (directions.T @ moved))[:d, :d]
    return ReluForm(scales, directions, 2 * f * m * k * of_partners, half + half.T)
