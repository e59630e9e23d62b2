"""How far features are from a kernel: norms of K - Phi Phi^T from its products with random vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import erfinv

from infgeo.arguments import fraction, positive_integer, seed_integer
from infgeo.display import Displayed
from infgeo.errors import InvalidInput
from infgeo.numeric.operators.products import BlockedGram


@dataclass(frozen=True, repr=False)
class ErrorNorms(Displayed):
    """Norms of the error E = K - Phi Phi^T of features Phi (N, m), measured by random vectors.

    With standard normal vectors w_1 ... w_r and p products, P(max_i |E^p w_i| < c |E|^p) <= P(|z| < c)^r for a normal
    number z: the component of w along the eigenvector of the largest |eigenvalue| decides alone. So |E| is at most
    (max_i |E^p w_i| / c)^(1/p), but for the probability 1 - confidence; with p = 1 this is the lemma, where P(|z| < c)
    is bounded by c sqrt(2/pi). E[|E w|^2] = |E|_F^2 (Hutchinson).

    They are norms of what is computed: entries of K have errors of 1e-12 of its norm, in float32 of 1e-5.

    Args:
        lower, upper: bounds of the spectral norm |E|; the lower one is certain, a norm |E q| for orthonormal vectors.
        confidence: the probability with which the upper one holds.
        frobenius, frobenius_standard_error: the Frobenius norm and its standard error.
        rank: m.
        probes: r.

    Source: Halko, Martinsson and Tropp, SIAM Review 53 (2011), lemma 4.1 and section 4.4.
    """

    lower: float
    upper: float
    confidence: float
    frobenius: float
    frobenius_standard_error: float
    rank: int
    probes: int


def approximation_error(
    gram: BlockedGram, features: Any, probes: int, iterations: int, confidence: float, seed: int
) -> ErrorNorms:
    """Return the norms of the error of features; see `GramOperator.approximation_error` for the arguments."""
    Phi = _features(features, gram.shape[0])
    count, powers = positive_integer(probes, "probes", 2), positive_integer(iterations, "iterations", 0) + 1
    confidence = fraction(confidence, "confidence")
    W = np.random.default_rng(seed_integer(seed, 64)).standard_normal((gram.shape[0], count))

    def error(V: np.ndarray) -> np.ndarray:
        return gram.product(V) - Phi @ (Phi.T @ V)

    # E^p W = (E Q_p) R_p ... R_1 with orthonormal Q.
    factor, squares, logarithm = np.eye(count), np.empty(0), 0.0
    image = W
    for power in range(powers):
        Q, R = np.linalg.qr(image)
        with np.errstate(over="ignore", invalid="ignore"):
            factor, image = R @ factor, error(Q)
        if not np.isfinite(image).all():
            raise InvalidInput("features are so large that Phi Phi^T leaves double precision; rescale them")
        if power == 0:
            squares = np.square(image @ factor).sum(0)
        size = np.abs(factor).max() or 1.0  # powers leave the range of numbers
        factor, logarithm = factor / size, logarithm + np.log(size)
    largest = np.linalg.norm(image @ factor, axis=0).max()
    c = np.sqrt(2) * erfinv((1 - confidence) ** (1 / count))
    mean, deviation = squares.mean(), squares.std(ddof=1) / np.sqrt(count)
    frobenius = float(np.sqrt(mean))
    return ErrorNorms(
        lower=float(np.linalg.norm(image, 2)),
        upper=float((largest / c) ** (1 / powers) * np.exp(logarithm / powers)),
        confidence=confidence,
        frobenius=frobenius,
        frobenius_standard_error=float(deviation / (2 * frobenius)) if frobenius else 0.0,
        rank=Phi.shape[1],
        probes=count,
    )


def _features(features: Any, count: int) -> np.ndarray:
    """Return features as an array (N, m) in double precision, or raise InvalidInput."""
    try:
        Phi = np.asarray(features)
        if Phi.dtype.kind == "c":
            raise TypeError("complex numbers")
        Phi = np.asarray(Phi, float)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"features cannot be made an array ({error}): pass an array (N, m)") from error
    if Phi.ndim != 2 or len(Phi) != count:
        raise InvalidInput(f"features has shape {Phi.shape}; pass ({count}, m), one row for each point of the operator")
    if not np.isfinite(Phi).all():
        raise InvalidInput("features holds numbers that are not finite; pass finite ones")
    return Phi
