"""The statistics of the verdict: p-values, extrapolation to infinite width, exponents, and Holm's correction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True)
class LinearFit:
    """A weighted least-squares fit with known standard errors of the data.

    `coefficients` and `errors` are in the order of the columns, `degrees_of_freedom` those of each error (Welch and
    Satterthwaite), `chi2` the sum of squared normalised residuals, expected `residual_df`.
    """

    coefficients: np.ndarray
    errors: np.ndarray
    degrees_of_freedom: np.ndarray
    chi2: float
    residual_df: int


def weighted_fit(
    columns: np.ndarray, y: np.ndarray, errors: np.ndarray, dofs: np.ndarray, model: np.ndarray | None = None
) -> LinearFit:
    """Fit y (K,) = columns (K, p) @ coefficients, K >= p, with weights 1 / model^2 (default: 1 / errors^2).

    The coefficients are linear in the data, c = W y with W = (X'DX)^-1 X'D and D = diag(1/model^2), so that
    var c = sum W^2 e^2, with var^2 / sum((W^2 e^2)^2 / dof) degrees of freedom when each e has `dofs` of its own.
    chi^2 has the expectation `residual_df` for weights 1 / errors^2 only.
    """
    scale = 1.0 / (errors if model is None else model)
    weights = np.linalg.pinv(columns * scale[:, None]) * scale
    coefficients = weights @ y
    parts = (weights * errors) ** 2
    variance = parts.sum(axis=1)
    freedom = variance**2 / (parts**2 / dofs).sum(axis=1)
    residuals = (y - columns @ coefficients) / errors
    return LinearFit(coefficients, np.sqrt(variance), freedom, float(residuals @ residuals), len(y) - columns.shape[1])


def extrapolate(widths: Sequence[int], y: np.ndarray, errors: np.ndarray, dofs: np.ndarray) -> LinearFit:
    """Fit y(n) = y_inf + b / n, and + c / n^2 where there are four widths or more: coefficients (y_inf, b, c).

    The weights are n: the variance of a replicate mean is sigma^2 / n to leading order. Weights 1/e^2 would prefer the
    widths where the estimate e came out too small by chance, and report an error that is too small. The errors e
    themselves are propagated. Simulated normal data give a p-value of y_inf below 1e-5 with a probability of about 1e-5
    from 16 samples on, and of 2e-5 to 3e-5 with 8 samples. chi^2 is that of weights 1/e^2, for which `fit_p` errs on
    the safe side; a degree of freedom is always left for it.
    """
    n = np.asarray(widths, dtype=float)
    terms = 3 if len(n) >= 4 else 2
    columns = np.stack([(n[-1] / n) ** k for k in range(terms)], axis=1)  # scaled for the sake of rounding
    fit = weighted_fit(columns, y, errors, dofs, model=n**-0.5)
    chi2 = weighted_fit(columns, y, errors, dofs).chi2
    scale = n[-1] ** np.arange(terms)
    return LinearFit(fit.coefficients * scale, fit.errors * scale, fit.degrees_of_freedom, chi2, fit.residual_df)


def exponent(
    widths: Sequence[int], logs: np.ndarray, errors: np.ndarray, dofs: np.ndarray, corrections: int
) -> tuple[float, float, float]:
    """Return the exponent t of n, its standard error and degrees of freedom, in log y = a + t log n + sum_k e_k / n^k.

    `corrections` terms e_k stand for what a power law leaves out at finite n; they are fitted, not assumed.
    """
    n = np.asarray(widths, dtype=float)
    columns = [np.ones_like(n), np.log(n / n[0]), *((n[0] / n) ** k for k in range(1, corrections + 1))]
    fit = weighted_fit(np.stack(columns, axis=1), logs, errors, dofs)
    return float(fit.coefficients[1]), float(fit.errors[1]), float(fit.degrees_of_freedom[1])


def student_p(z: float, degrees_of_freedom: float) -> float:
    """Return the two-sided p-value of z under Student's t."""
    return float(2.0 * special.stdtr(degrees_of_freedom, -abs(z)))


def fit_p(fit: LinearFit, dofs: np.ndarray) -> float:
    """Return the p-value of a chi^2 whose standard errors are estimates: Fisher's F, with the fewest of `dofs`."""
    if fit.residual_df < 1:
        return 1.0
    return float(special.fdtrc(fit.residual_df, float(np.min(dofs)), fit.chi2 / fit.residual_df))


def holm(p_values: Sequence[float], level: float) -> tuple[list[bool], float | None]:
    """Return which hypotheses stand, and the smallest adjusted p-value (Holm 1979).

    The i-th smallest of m p-values is rejected when it and all smaller ones are at most level / (m - i), i from 0:
    the probability of one false rejection or more is at most `level`, however the checks depend on one another.
    """
    m = len(p_values)
    stands = [True] * m
    order = sorted(range(m), key=lambda i: p_values[i] if math.isfinite(p_values[i]) else 0.0)
    for rank, i in enumerate(order):
        # a p-value that is not a number is a check that could not be made: it counts as failed
        if math.isfinite(p_values[i]) and p_values[i] > level / (m - rank):
            break
        stands[i] = False
    return stands, (min(1.0, m * p_values[order[0]]) if m else None)
