"""The catalogue of activations: data only. An entry is a name, an expression of z, and where it is from."""

import re
from collections.abc import Callable
from difflib import get_close_matches

from sympy import (
    Abs,
    Expr,
    Heaviside,
    Max,
    Min,
    Piecewise,
    Rational,
    Symbol,
    cos,
    erf,
    exp,
    factorial,
    log,
    pi,
    sign,
    sin,
    sqrt,
    tanh,
)
from sympy.polys.orthopolys import hermite_prob_poly

from infgeo.arguments import instance, shown
from infgeo.conventions import z
from infgeo.errors import InvalidInput, UnknownActivation
from infgeo.symbolic.activations.activation import Activation

_alpha = Symbol("alpha", real=True)
_scale = Symbol("scale", positive=True)
_gamma = Symbol("gamma", positive=True)
_amplitude, _frequency, _phase = (Symbol(name, real=True) for name in ("amplitude", "frequency", "phase"))
_HALF, _CUBE = Rational(1, 2), Rational("0.044715")
_SELU, _SELU_ALPHA = Rational("1.0507009873554805"), Rational("1.6732632423543772")
_FOURIER = "random Fourier features, Rahimi & Recht 2007"
_CHO_SAUL = "Cho & Saul 2009, arc-cosine kernel of degree"

# Entries without a closed form are here for simulation and measurement; deriving them raises NoClosedForm.
_ENTRIES = (
    Activation("abs", Abs(z), "the even part of ReLU, twice"),
    Activation("cos", cos(z), _FOURIER),
    Activation("cube", z**3, "polynomial networks"),
    Activation("elu", Max(z, 0) + exp(Min(z, 0)) - 1, "Clevert, Unterthiner & Hochreiter 2016"),
    Activation("erf", erf(z / sqrt(2)), "Williams 1997, as scaled in arXiv 2301.11375, section 3"),
    Activation("exp", exp(z), "exponential features"),
    Activation("gabor", exp(-(z**2) / 2) * cos(_frequency * z), "Gabor 1946, the even wavelet"),
    Activation("gaussian", exp(-(z**2) / 2), "Williams 1997, for radial units"),
    Activation("gelu", z * (1 + erf(z / sqrt(2))) / 2, "Hendrycks & Gimpel 2016"),
    Activation("gelu_tanh", z * (1 + tanh(sqrt(2 / pi) * (z + _CUBE * z**3))) / 2, "its approximation, same paper"),
    Activation("hardshrink", Piecewise((z, Abs(z) > _HALF), (0, True)), "hard thresholding"),
    Activation("hardsigmoid", Max(0, Min(z / 6 + _HALF, 1)), "Courbariaux, Bengio & David 2015, as in torch"),
    Activation("hardswish", z * Max(0, Min(z / 6 + _HALF, 1)), "Howard et al. 2019"),
    Activation("hardtanh", Max(-1, Min(z, 1)), "Collobert 2004"),
    Activation("identity", z, "deep linear networks"),
    Activation("logsigmoid", -log(1 + exp(-z)), "the logarithm of the logistic function"),
    Activation("leaky_relu", Max(z, 0) + _alpha * Min(z, 0), "Maas, Hannun & Ng 2013; alpha is the negative slope"),
    Activation("mish", z * tanh(log(1 + exp(z))), "Misra 2020"),
    Activation("probit", (1 + erf(z / sqrt(2))) / 2, "the normal distribution function"),
    Activation(
        "rbf", sqrt(2) * sin(sqrt(2 * _gamma) * z + pi / 4), "Rahimi & Recht 2007: its kernel is exp(-gamma |x - y|^2)"
    ),
    Activation("rectified_cube", Max(z, 0) ** 3, f"{_CHO_SAUL} 3"),
    Activation("rectified_square", Max(z, 0) ** 2, f"{_CHO_SAUL} 2"),
    Activation("relu", Max(z, 0), f"{_CHO_SAUL} 1"),
    Activation("relu6", Min(Max(z, 0), 6), "Krizhevsky 2010"),
    Activation("scaled_erf", erf(_scale * z), "Williams 1997, at any scale"),
    Activation("scaled_gaussian", exp(-_scale * z**2), "Williams 1997, for radial units of any width"),
    Activation("selu", _SELU * (Max(z, 0) + _SELU_ALPHA * (exp(Min(z, 0)) - 1)), "Klambauer et al. 2017"),
    Activation("sigmoid", 1 / (1 + exp(-z)), "the logistic function"),
    Activation("sign", sign(z), "McCulloch & Pitts 1943, with values -1 and 1"),
    Activation("silu", z / (1 + exp(-z)), "Elfwing, Uchibe & Doya 2018"),
    Activation("sin", sin(z), _FOURIER),
    Activation("sinusoid", _amplitude * sin(_frequency * z + _phase), _FOURIER),
    Activation("softshrink", Max(z - _HALF, 0) + Min(z + _HALF, 0), "soft thresholding, Donoho 1995"),
    Activation("softsign", z / (1 + Abs(z)), "Bergstra et al. 2009"),
    Activation("softplus", log(1 + exp(z)), "Dugas et al. 2001"),
    Activation("square", z**2, "polynomial networks"),
    Activation("step", Heaviside(z), f"{_CHO_SAUL} 0"),
    Activation("tanh", tanh(z), "the hyperbolic tangent"),
    Activation("tanhshrink", z - tanh(z), "as in torch"),
    Activation("z_erf", z * erf(z), "a smooth absolute value"),
)
_FAMILIES: dict[str, tuple[Callable[[int], Expr], int, str]] = {
    "hermite": (lambda n: hermite_prob_poly(n, z) / sqrt(factorial(n)), 1, "He_n / sqrt(n!), orthonormal for N(0, 1)"),
    "power": (lambda n: z**n, 1, "polynomial networks"),
    "rectified_power": (lambda n: Max(z, 0) ** n if n else Heaviside(z), 0, "Cho & Saul 2009, arc-cosine kernels"),
}
_NUMBERED = re.compile(rf"({'|'.join(_FAMILIES)})_([0-9]+)")
# Other names of activations -> what to write here: a name of the catalogue, or an expression of z.
_ELSEWHERE = {
    **dict.fromkeys(("swish",), "silu"),
    **dict.fromkeys(("logistic", "expit", "logsig", "sigm"), "sigmoid"),
    **dict.fromkeys(("heaviside", "threshold", "binarystep", "unitstep"), "step"),
    **dict.fromkeys(("linear", "none"), "identity"),
    **dict.fromkeys(("signum", "sgn", "perceptron"), "sign"),
    **dict.fromkeys(("rectifier", "rectifiedlinear", "ramp", "hinge"), "relu"),
    **dict.fromkeys(("prelu", "lrelu"), "leaky_relu"),
    **dict.fromkeys(("normalcdf", "gaussiancdf", "ndtr"), "probit"),
    **dict.fromkeys(("tansig", "hyperbolictangent"), "tanh"),
    **dict.fromkeys(("softrelu", "smoothrelu"), "softplus"),
    **dict.fromkeys(("sine", "siren"), "sin"),
    **dict.fromkeys(("modulus", "absolute", "absolutevalue"), "abs"),
    **dict.fromkeys(("quadratic", "squared"), "square"),
    **dict.fromkeys(("relu2", "squaredrelu"), "rectified_square"),
    **{"cosine": "cos", "exponential": "exp", "cubic": "cube", "gaussianrbf": "gaussian"},
    "elliot": "softsign",
    **dict.fromkeys(("arctan", "atan"), "atan(z)"),
    **dict.fromkeys(("clip", "satlin"), "hardtanh"),
    "hardsilu": "hardswish",
    "quickgelu": "z/(1 + exp(-1.702*z))",
}
LARGEST_DEGREE = 20
_BY_NAME = {entry.name: entry for entry in _ENTRIES}
# Names in torch.nn and torch.nn.functional that have an entry under the same name, spelled differently, or another.
_TORCH = {name.replace("_", ""): name for name in _BY_NAME}
_TORCH |= {"celu": "elu", "prelu": "leaky_relu", "rrelu": "leaky_relu"}


def available() -> tuple[str, ...]:
    """Return the names in the catalogue, sorted; `families` gives those that end in a number.

    >>> [name for name in available() if "erf" in name]
    ['erf', 'scaled_erf', 'z_erf']
    """
    return tuple(sorted(_BY_NAME))


def families() -> dict[str, str]:
    """Return the families of activations, name and source: "hermite" stands for "hermite_1", "hermite_2", ...

    >>> families()["rectified_power"]
    'Cho & Saul 2009, arc-cosine kernels'
    >>> get("hermite_3").expr
    sqrt(6)*(z**3 - 3*z)/6
    """
    return {name: source for name, (_, _, source) in _FAMILIES.items()}


def get(name: str) -> Activation:
    """Return the entry called `name`, also of a family; raises UnknownActivation with the nearest names."""
    instance(name, "name", str, "a name that infgeo.activations.available() lists")
    if name in _BY_NAME:
        return _BY_NAME[name]
    if numbered := _NUMBERED.fullmatch(name):
        make, smallest, source = _FAMILIES[numbered[1]]
        degree = int(numbered[2]) if len(numbered[2]) < 9 else LARGEST_DEGREE + 1
        if not smallest <= degree <= LARGEST_DEGREE:
            raise InvalidInput(f"activation {name!r}: the number must be from {smallest} to {LARGEST_DEGREE}")
        return Activation(name, make(degree), source)
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if name.isalnum() and plain in _TORCH:
        return _BY_NAME[_TORCH[plain]]
    names = {known.replace("_", ""): known for known in _BY_NAME} | _ELSEWHERE
    # What a name means comes before how it is spelled; a spelling far from all says nothing.
    close = [plain] if plain in names else get_close_matches(plain, names, n=1, cutoff=0.6)
    hint = f"did you mean {names[close[0]]!r}? " if close else ""
    raise UnknownActivation(
        f"unknown activation {shown(name)}: {hint}The catalogue has {', '.join(available())}, and the"
        f" families {', '.join(f'{family}_n' for family in families())}"
    )
