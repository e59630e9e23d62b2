"""The catalogue of activations: data only. An entry is a name, an expression of z, and where it is from."""

from __future__ import annotations

from difflib import get_close_matches

from sympy import Abs, Heaviside, Max, Min, Symbol, cos, erf, exp, log, sign, sin, sqrt, tanh

from infgeo.conventions import z
from infgeo.errors import UnknownActivation
from infgeo.symbolic.activation import Activation

_alpha = Symbol("alpha", real=True)
_CHO_SAUL = "Cho & Saul 2009, arc-cosine kernel of degree"

# Entries without a closed form are here for simulation and measurement; deriving them raises NoClosedForm.
_ENTRIES = (
    Activation("abs", Abs(z), "the even part of ReLU, twice"),
    Activation("cos", cos(z), "random Fourier features, Rahimi & Recht 2007"),
    Activation("cube", z**3, "polynomial networks"),
    Activation("elu", Max(z, 0) + exp(Min(z, 0)) - 1, "Clevert, Unterthiner & Hochreiter 2016"),
    Activation("erf", erf(z / sqrt(2)), "Williams 1997, as scaled in arXiv 2301.11375, section 3"),
    Activation("exp", exp(z), "exponential features"),
    Activation("gaussian", exp(-(z**2) / 2), "Williams 1997, for radial units"),
    Activation("gelu", z * (1 + erf(z / sqrt(2))) / 2, "Hendrycks & Gimpel 2016"),
    Activation("identity", z, "deep linear networks"),
    Activation("leaky_relu", Max(z, 0) + _alpha * Min(z, 0), "Maas, Hannun & Ng 2013; alpha is the negative slope"),
    Activation("probit", (1 + erf(z / sqrt(2))) / 2, "the normal distribution function"),
    Activation("rectified_cube", Max(z, 0) ** 3, f"{_CHO_SAUL} 3"),
    Activation("rectified_square", Max(z, 0) ** 2, f"{_CHO_SAUL} 2"),
    Activation("relu", Max(z, 0), f"{_CHO_SAUL} 1"),
    Activation("sigmoid", 1 / (1 + exp(-z)), "the logistic function"),
    Activation("sign", sign(z), "McCulloch & Pitts 1943, with values -1 and 1"),
    Activation("silu", z / (1 + exp(-z)), "Elfwing, Uchibe & Doya 2018"),
    Activation("sin", sin(z), "random Fourier features, Rahimi & Recht 2007"),
    Activation("softplus", log(1 + exp(z)), "Dugas et al. 2001"),
    Activation("square", z**2, "polynomial networks"),
    Activation("step", Heaviside(z), f"{_CHO_SAUL} 0"),
    Activation("tanh", tanh(z), "the hyperbolic tangent"),
    Activation("z_erf", z * erf(z), "a smooth absolute value"),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def available() -> tuple[str, ...]:
    """Return the names in the catalogue, sorted.

    >>> [name for name in available() if "erf" in name]
    ['erf', 'z_erf']
    """
    return tuple(sorted(_BY_NAME))


def get(name: str) -> Activation:
    """Return the entry called `name`; raises UnknownActivation with the nearest names."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    close = get_close_matches(name.lower(), _BY_NAME, n=1, cutoff=0.3)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UnknownActivation(f"unknown activation {name!r}: {hint}The catalogue has {', '.join(available())}")
