"""Activations from text: what SymPy builds from the same formula, or one InvalidInput in a moment; never evaluated."""

import time
import warnings

import pytest
import sympy as sp
from sympy import (
    Abs,
    E,
    Heaviside,
    Max,
    Min,
    Piecewise,
    Rational,
    atan,
    cos,
    cosh,
    erf,
    erfc,
    exp,
    log,
    pi,
    sign,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
)

import infgeo
from infgeo.conventions import z
from infgeo.errors import InvalidInput, UnknownActivation
from infgeo.symbolic.activations.catalogue import available, get
from infgeo.symbolic.activations.parsing import ALLOWED, FUNCTIONS, MAX_LENGTH, parse

a, b, alpha = sp.symbols("a b alpha", real=True)
half = Rational(1, 2)

PAIRS = [
    ("z", z),
    ("-z", -z),
    ("+z", z),
    ("- -z", z),
    ("  z - 1 ", z - 1),
    ("((((z))))", z),
    ("z*exp(-z**2/2)", z * exp(-(z**2) / 2)),
    ("erf(3*z) + z/5", erf(3 * z) + z / 5),
    ("erf(z/sqrt(2))", erf(z / sqrt(2))),
    ("z*(1 + erf(z/sqrt(2)))/2", z * (1 + erf(z / sqrt(2))) / 2),
    ("0.1*z", z / 10),
    (".5*z", z / 2),
    ("5.*z", 5 * z),
    ("0.1*z + 0.2*z", 3 * z / 10),
    ("1e-3*z + 2.5E+2", z / 1000 + 250),
    ("123456789012345678901234567890*z", 123456789012345678901234567890 * z),
    ("10**-5*z", z / 10**5),
    ("2**64*z", 2**64 * z),
    ("2**100*z", 2**100 * z),
    ("z**-1", 1 / z),
    ("-z**2", -(z**2)),
    ("2**3**2*z", 512 * z),
    ("z/2/3", z / 6),
    ("z-1-2", z - 3),
    ("z**0.5", sqrt(z)),
    ("z**(1/3)", z ** Rational(1, 3)),
    ("z**100", z**100),
    ("E**z", exp(z)),
    ("E*z + pi", E * z + pi),
    ("2**z", 2**z),
    ("exp(1000*z)", exp(1000 * z)),
    ("exp(log(1 + z**2)*3)", (1 + z**2) ** 3),
    ("a*Max(z, 0) + b*Min(z, 0)", a * Max(z, 0) + b * Min(z, 0)),
    ("alpha*sin(z + a)*cos(b*z)", alpha * sin(z + a) * cos(b * z)),
    ("max(z, -1, min(z, 1/2))", Max(z, -1, Min(z, half))),
    ("relu(z - 1)", Max(z - 1, 0)),
    ("abs(z) - Abs(z - 1)", Abs(z) - Abs(z - 1)),
    ("step(z) - 1/2", Heaviside(z) - half),
    ("Heaviside(z)*sign(z)", Heaviside(z) * sign(z)),
    ("log(1 + exp(z))", log(1 + exp(z))),
    ("z*tanh(log(1+exp(z)))", z * tanh(log(1 + exp(z)))),
    ("erfc(z) + tan(z) + sinh(z) - cosh(z)*atan(z)", erfc(z) + tan(z) + sinh(z) - cosh(z) * atan(z)),
    ("exp(-1/z**2)", exp(-1 / z**2)),
    ("erf(sqrt(a)*z)", erf(sqrt(a) * z)),
    ("Piecewise((z, z > 0), (exp(z) - 1, True))", Piecewise((z, z > 0), (exp(z) - 1, True))),
    ("Piecewise((-1, z < -1), (z, z <= 1), (1, True))", Piecewise((-1, z < -1), (z, z <= 1), (1, True))),
    ("Piecewise((z, a >= z), (a, True))", Piecewise((z, a >= z), (a, True))),
    ("Piecewise((z, 0 < z), (0, True))", Piecewise((z, sp.Integer(0) < z), (0, True))),
    ("Piecewise((log(1+z), z > 0), (-log(1-z), True))", Piecewise((log(1 + z), z > 0), (-log(1 - z), True))),
    ("+".join(["z"] * 250), 250 * z),
    ("+".join(f"z**{n}" for n in range(1, 60)), sum(z**n for n in range(1, 60))),
    ("1/(1 + 1/(1 + 1/(1 + 1/(1 + z))))", 1 / (1 + 1 / (1 + 1 / (1 + 1 / (1 + z))))),
]


@pytest.mark.parametrize(("text", "expr"), PAIRS)
def test_text_is_the_expression_that_sympy_builds(text, expr):
    assert parse(text) == expr


@pytest.mark.parametrize("expr", [expr for _, expr in PAIRS])
def test_the_text_of_an_expression_is_read_back(expr):
    if len(str(expr)) <= MAX_LENGTH:
        assert parse(str(expr)) == expr


@pytest.mark.parametrize("name", available())
def test_the_formulas_of_the_catalogue_are_read_back_up_to_the_signs_of_their_parameters(name):
    expr = get(name).expr
    assert str(parse(str(expr))) in (
        str(expr),
        str(expr.xreplace({s: sp.Symbol(s.name, real=True) for s in get(name).parameters})),
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_called_by_its_name(name):
    assert parse(f"{name}(z, 2)" if name.lower() in ("max", "min") else f"{name}(z)").has(z)


def test_a_decimal_is_the_rational_of_its_text():
    assert parse("0.1*z").coeff(z) == Rational(1, 10)
    assert not parse("0.1*z + 1e-30").has(sp.Float)


# What is no formula, with a piece that the message shows.
NOT_FORMULAS = [
    ("__import__('os').system('x')", "'"),
    ("__import__(z)", "__import__(z)"),
    ("__builtins__", "__builtins__"),
    ("__class__*z", "__class__"),
    ("_z*z", "_z"),
    ("().__class__", "."),
    ("().__class__.__bases__[0].__subclasses__()", "."),
    ("z.func", "."),
    ("z.func(2)", "."),
    ("z .diff", "."),
    ("1 .real", "."),
    ("1..real*z", "1..real"),
    ("...", "."),
    ("z[0]", "["),
    ("[z]", "["),
    ("{z}", "{"),
    ("[z for z in z]", "["),
    ("(z for z in z)", "(z for z in z)"),
    ("lambda z: z", ":"),
    ("lambda: z", ":"),
    ("(z := 1)", ":"),
    ("z = 1", "z = 1"),
    ("f'{z}'", "'"),
    ('"z"', '"'),
    ("'z'*9", "'"),
    ("z if z else 1", "z if z else 1"),
    ("z and z", "z and z"),
    ("not z", "not z"),
    ("z is z", "z is z"),
    ("z in z", "z in z"),
    ("await z", "await z"),
    ("(yield z)", "yield z"),
    ("*z", "*z"),
    ("exp(*z)", "*z"),
    ("exp(**z)", "exp(**z)"),
    ("exp(x=z)", "exp(x=z)"),
    ("exp(z, evaluate=False)", "exp(z, evaluate=False)"),
    ("z, z", "z, z"),
    ("(z, 1)", "(z, 1)"),
    ("()", "()"),
    ("z;z", ";"),
    ("z # z", "#"),
    ("z\\", "\\"),
    ("z@z", "@"),
    ("z%2", "%"),
    ("z//2", "z//2"),
    ("~z", "~"),
    ("z|z", "|"),
    ("z!", "!"),
    ("z$", "$"),
    ("z`", "`"),
    ("z<<2", "z<<2"),
    ("z<1", "z<1"),
    ("z==1", "z==1"),
    ("z^2", "write **"),
    ("z + True", "True"),
    ("True + z", "True"),
    ("None*z", "None"),
    ("1j*z", "1j"),
    ("0x10*z", "0x10"),
    ("1_000*z", "1_000"),
    ("2z", "write * for products"),
    ("2(z+1)", "write * for products"),
    ("(z)(z)", "write * for products"),
    ("z(z)", "write * for products"),
    ("z z", "invalid syntax"),
    ("007*z", "007"),
    ("1if z else 2", "1if"),
    ("", "empty"),
    ("   ", "empty"),
    ("\n", "\n"),
    ("\t", "\t"),
    ("z\n+1", "\n"),
    ("z\t", "\t"),
    ("z\r", "\r"),
    ("z\0", "\0"),
    ("\0", "\0"),
    ("z\x1b[31m", "\x1b"),
    ("\ufeffz*2", "\ufeff"),
    ("еrf(z)", "е"),  # Cyrillic
    ("ｅrf(z)", "ｅ"),  # full width: Python itself would read erf
    ("𝓏 + 1", "𝓏"),
    ("z²", "²"),
    ("z − 1", "−"),
    ("π*z", "π"),
    ("٣*z", "٣"),  # a digit in Arabic
    ("2*z\u202e", "\u202e"),
    ("2*\udcff", "\udcff"),  # what undecodable bytes of a command line become
    ("print(z)", "print(z)"),
    ("eval(z)", "eval(z)"),
    ("sympify(z)", "sympify(z)"),
    ("maxout(z)", "maxout(z)"),
    ("asin(z)", "asin(z)"),
    ("erf", "write erf(...)"),
    ("erf + z", "write erf(...)"),
    ("gelu + z", "gelu"),
    ("nan", "nan"),
    ("inf", "inf"),
    ("-inf*z", "inf"),
    ("oo*z", "oo"),
    ("I*z", "I"),
    ("zoo + z", "zoo"),
    ("sigma_w*z", "sigma_w"),
    ("erf()", "one argument"),
    ("erf(z, 2)", "one argument"),
    ("Max(z)", "two arguments"),
    ("Heaviside(z, 0)", "one argument"),
    ("exp(z", "never closed"),
    ("z)", "unmatched"),
    ("z +", "invalid syntax"),
    ("z ** ** z", "invalid syntax"),
    ("Piecewise()", "Piecewise()"),
    ("Piecewise(z)", "pair"),
    ("Piecewise((z, z > 0))", "True"),
    ("Piecewise((z, z > 0), (1, z < 0))", "True"),
    ("Piecewise((z, True), (1, True))", "True"),
    ("Piecewise((z, False), (1, True))", "False"),
    ("Piecewise((z, 0 < z < 1), (1, True))", "0 < z < 1"),
    ("Piecewise((z, z == 1), (1, True))", "z == 1"),
    ("Piecewise((z, z), (1, True))", "one comparison"),
    ("Piecewise((z, not z > 1), (1, True))", "one comparison"),
    ("Piecewise((z, z > 0, 1), (1, True))", "pair"),
    ("Piecewise((z, z > True), (1, True))", "True"),
    ("Piecewise(*z)", "*z"),
    ("Piecewise((1, Piecewise((z, z > 0), (1, True)) > 0), (2, True))", "compares a Piecewise"),
]
# What would take SymPy long, or is no number.
BEYOND_BOUNDS = [
    "9**9**9",
    "9**9**9**9",
    "9**9**9*z",
    "z**9**9",
    "z**101",
    "z**-101",
    "z**60*z**60",
    "((z + 1)**100)**100",
    "z**1.0000001",
    "2**(1/1000)*z",
    "((10**100)**100)**100*z",
    "(1/7)**100**100*z",
    "1.0000001**1000000000*z",
    "exp(1000000000*log(1.0000001))*z",
    "exp(1000000000*log(1 + z**2))",
    "sinh(1000000000*log(1.0000001))*z",
    "pi**(1000000000*log(1.0000001)/log(pi))*z",
    "1.0000001**(z + 1000000000)/1.0000001**z",
    "((2**(z + 100))**100)**100",
    "z**(a + 1000000000)/z**a",
    "exp(exp(exp(exp(9))))*z",
    "exp(exp(exp(exp(z - z + 9))))*z",
    "sign(sin(exp(exp(exp(9)))))*z",
    "E**E**E**E**E*z",
    "E**E**E**E**E**E**E**E*z",
    "Heaviside(exp(-10**99) - exp(-10**98))*z",
    "1e999",
    "1e400*z",
    "1e-400*z",
    "1e99999999999*z",
    "1e-99999999999*z",
    "1" * 51 + "*z",
    "*".join(["1e200", "1e200", "z"]),
    "1/0",
    "z/0",
    "0/0*z",
    "z/(z - z)",
    "0**-1*z",
    "log(0)*z",
    "sqrt(-1)*z",
    "(-2)**(1/3)*z",
    "sqrt(-z**2)",
    "log(-1 - z**2)",
    "Max(sqrt(-1 - z**2), 0)",
    "Heaviside(log((a - z + 3)**100))",
    "sqrt(cos((z + 2 + pi)**100)**z)",
    "cosh((z + a*sqrt(z) + b*log(z) + log(a))**9)",
    "cosh(log(z)*exp(1.0000001))",
    "cosh(tanh((a - z + 7)**100))",
    "cosh(((z + a + 1)**20 + 1)**20)",
    "Max(cosh(0.1 + z**1.0000001), 1)",
    "tanh(Piecewise((2, z < 2), ((3 + E/z - a)**100, True)))",
    "Piecewise((0, Heaviside(E) > erf(50)), (7, True))",
    "exp(" * 1000,
    "exp(" * 100 + "z" + ")" * 100,
    "exp(" * 21 + "z" + ")" * 21,
    "Max(" * 60 + "z" + ", 1)" * 60,
    "(" * 249 + "z" + ")" * 249,
    "(" * 500,
    ")" * 500,
    "-" * 499 + "z",
    "z" + "**z" * 160,
    "z*(" * 120 + "z" + ")" * 120,
    "z" * 501,
    "z+" * 10**6 + "z",
    "1" * 10**6,
]


def _name(text):
    return ascii(text[:50])


@pytest.mark.parametrize("text", [*(text for text, _ in NOT_FORMULAS), *BEYOND_BOUNDS], ids=_name)
def test_anything_else_is_refused_at_once(text):
    start = time.process_time()
    with warnings.catch_warnings(), pytest.raises(InvalidInput) as caught:
        warnings.simplefilter("error")  # Python's parser warns of some of these
        parse(text)
    assert time.process_time() - start < 1
    message = str(caught.value)
    assert message.isascii() and "\n" not in message and len(message) < 700
    if text not in available():
        with pytest.raises(InvalidInput):
            infgeo.MLP(text)


@pytest.mark.parametrize(("text", "piece"), NOT_FORMULAS, ids=_name)
def test_the_message_shows_the_piece(text, piece):
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert ascii(piece)[1:-1] in str(caught.value)


@pytest.mark.parametrize("text", ["z.func", "z if z else 1", "eval(z)", "", "z z"])
def test_the_message_lists_what_is_allowed(text):
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert ALLOWED in str(caught.value) and all(name in ALLOWED for name in FUNCTIONS)


@pytest.mark.parametrize("value", [b"z", 3, None, z])
def test_only_text_is_read(value):
    with pytest.raises(InvalidInput, match="text"):
        parse(value)


# the same path as SymPy's expressions


def test_an_activation_from_text_is_that_of_the_expression():
    text, expr = infgeo.MLP("erf(z/sqrt(2))", depth=2), infgeo.MLP(erf(z / sqrt(2)), depth=2)
    assert text == expr and text.activation == expr.activation
    assert text.kernel.expr == expr.kernel.expr == infgeo.MLP("erf", depth=2).kernel.expr
    assert text.metric.A == expr.metric.A


def test_text_in_lists_and_layers():
    layers = infgeo.layers
    network = infgeo.MLP(["erf(2*z)", "relu", layers.Residual("z*exp(-z**2)"), layers.Dense("z")])
    assert [layer.activation.expr for layer in network.layers] == [erf(2 * z), Max(z, 0), z * exp(-(z**2)), z]


def test_parameters_are_real_and_given_by_name():
    network = infgeo.MLP("alpha*erf(z/sqrt(2))", weight_std=1, bias_std=0)
    assert network.activation.parameters == (alpha,)
    assert network.numeric(alpha=2.0).kernel([[1.0, 0.0]])[0, 0] == pytest.approx(
        4 * infgeo.MLP("erf", weight_std=1, bias_std=0).numeric().kernel([[1.0, 0.0]])[0, 0]
    )


def test_names_stay_names():
    assert infgeo.MLP("exp").activation is get("exp") and infgeo.MLP("z").activation.expr == z
    for text in ("erff", "t", "pi", "E", "nan", "True", "lambda", "еrf", "__import__"):
        with pytest.raises(UnknownActivation):
            infgeo.MLP(text)
    for text in ("leaky-relu", "Leaky ReLU", " leaky_relu"):
        with pytest.raises(UnknownActivation, match="did you mean 'leaky_relu'"):
            infgeo.MLP(text)


@pytest.mark.parametrize(
    ("text", "words"), [("2*a", "variable z"), ("erf(t)", "variable z"), ("1+1", "constant"), ("z-z", "constant")]
)
def test_text_without_z_is_refused(text, words):
    with pytest.raises(InvalidInput, match=words):
        infgeo.MLP(text)


def test_the_variable_of_text_is_z():
    assert (
        infgeo.MLP("erf(a*z)", variable=z) == infgeo.MLP("erf(a*z)") == infgeo.MLP("erf(a*z)", variable=sp.Symbol("y"))
    )
    with pytest.raises(InvalidInput, match="the variable of text is z"):
        infgeo.MLP("erf(a*z)", variable=a)
