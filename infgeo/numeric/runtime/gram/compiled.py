"""Gram matrices one pair after another, in loops that Numba compiles: a strip of rows against all columns.

The text of this module is compiled for each network, with `T` for the format of the arithmetic, `jit` for Numba's
decorator, and behind it the functions of its activations, which `apply` calls by number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

T: Any = np.float64
LARGEST_EXPONENT = 512.0
apply: Any = None

TILE = 512  # pairs at a time whose values stay in the nearest cache
SIDE = 16  # of squares that are transposed


def largest_cosine(f: np.ndarray, weight: float, bias: float, scale: float, scales: np.ndarray) -> float:
    """Return the largest |rho| of pairs, from the features' kernel f."""
    largest = T(0)
    for j in range(f.shape[0]):
        largest = max(largest, abs((weight * f[j] + bias) * scale * scales[j]))
    return largest


def mark_parallel(
    f: np.ndarray, weight: float, bias: float, scale: float, scales: np.ndarray, near: float, bad: np.ndarray
) -> bool:
    """Mark pairs whose cosine rho has 1 - rho^2 < near; return whether there are any."""
    largest = largest_cosine(f, weight, bias, scale, scales)
    if (T(1) - largest) * (T(1) + largest) >= near:
        return False
    for j in range(f.shape[0]):
        rho = (weight * f[j] + bias) * scale * scales[j]
        bad[j] |= (T(1) - rho) * (T(1) + rho) < near
    return True


def mark_exponents(
    f: np.ndarray, weight: float, bias: float, v: float, w: np.ndarray, rate: float, bad: np.ndarray
) -> bool:
    """Mark pairs with exponents, `rate` times sums of variances and covariance, that are large and cancel."""
    some = False
    for j in range(f.shape[0]):
        total, c = v + w[j], abs(weight * f[j] + bias)
        large = (rate * total > T(LARGEST_EXPONENT)) & (rate * (total - T(2) * c) < T(80))
        bad[j] |= large
        some |= large
    return some


def normalise(f: np.ndarray, D: np.ndarray, unit: float, scale: float, scales: np.ndarray) -> None:
    """Divide features by their norms, from `scale` = sqrt(unit) / norm."""
    for j in range(f.shape[0]):
        both = scale * scales[j]
        f[j] *= both
        D[j] *= both / unit


def mirror(out: np.ndarray, first: int, last: int, left: int, right: int) -> None:
    """Copy rows and columns of a matrix, right of its diagonal, to their mirror images, by small squares."""
    square = np.empty((SIDE, SIDE), out.dtype)
    for j in range(left, right, SIDE):
        for i in range(first, last, SIDE):  # along the rows that are written
            if i + SIDE <= min(j, last) and j + SIDE <= right:
                for n in range(SIDE):
                    row = out[i + n, j : j + SIDE]
                    for m in range(SIDE):
                        square[m, n] = row[m]
                for m in range(SIDE):
                    row = out[j + m, i : i + SIDE]
                    for n in range(SIDE):
                        row[n] = square[m, n]
            else:
                for m in range(j, min(j + SIDE, right)):
                    for n in range(i, min(i + SIDE, last, m)):
                        out[m, n] = out[n, m]


def strip(
    products: np.ndarray,  # (n, m), x.y of rows and columns; overwritten
    first: int,  # the number of the first row
    left: int,  # the number of the first column
    symmetric: bool,
    kinds: np.ndarray,  # of each layer: the number of its law, -1 for a normalisation
    numbers: np.ndarray,  # (layers, 10): weight, bias, skip, branch, if a residual block, near, rate; series: `fast`
    rows: np.ndarray,  # (layers, 2, N): sizes and scales of the rows' preactivations, see `fast`
    columns: np.ndarray,  # (layers, 2, M)
    own: np.ndarray,  # the activations' parameters
    row_series: np.ndarray,  # (layers, N, terms): coefficients of the laws that are series
    column_series: np.ndarray,  # (layers, terms, M)
    kernel: np.ndarray,  # (N, M), or (0, 0) where it is not wanted
    ntk: np.ndarray,
    bad_rows: np.ndarray,  # (n m), takes the pairs that must be computed one by one
    bad_columns: np.ndarray,
) -> int:
    """Write rows of the matrices, and of symmetric ones their mirror images; return how many pairs are left over."""
    count = 0
    rest = np.zeros(TILE, products.dtype)
    bad = np.zeros(TILE, np.bool_)
    for start in range(0, products.shape[1], TILE):
        size, here = min(TILE, products.shape[1] - start), left + start
        series = column_series[:, :, here : here + size].copy()
        for n in range(products.shape[0]):
            i, f, D = first + n, products[n, start : start + size], rest[:size]
            D[:] = T(0)
            some = False
            for layer in range(kinds.shape[0]):
                weight, bias, near, rate = numbers[layer, 0], numbers[layer, 1], numbers[layer, 5], numbers[layer, 6]
                v, w = rows[layer, 0, i], columns[layer, 0, here : here + size]
                scale, scales = rows[layer, 1, i], columns[layer, 1, here : here + size]
                if kinds[layer] < 0:
                    normalise(f, D, weight, scale, scales)
                    continue
                if near > 0:
                    some |= mark_parallel(f, weight, bias, scale, scales, near, bad)
                if rate > 0:
                    some |= mark_exponents(f, weight, bias, v, w, rate, bad)
                apply(kinds[layer], f, D, numbers[layer], v, scale, w, scales, own, row_series[layer, i], series[layer])
            if kernel.shape[0]:
                kernel[i, here : here + size] = f
            if ntk.shape[0]:
                for j in range(size):
                    ntk[i, here + j] = f[j] + D[j]
            if some:
                for j in range(size):
                    if bad[j] and (here + j > i or not symmetric):
                        bad_rows[count], bad_columns[count] = i, here + j
                        count += 1
                    bad[j] = False
        # While the tile is in the cache.
        if symmetric and kernel.shape[0]:
            mirror(kernel, first, first + products.shape[0], here, here + size)
        if symmetric and ntk.shape[0]:
            mirror(ntk, first, first + products.shape[0], here, here + size)
    return count
