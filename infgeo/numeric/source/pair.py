"""The formula of a pair as source that Numba compiles: the kernel and the tangent kernel of each activation.

The functions of the activations stand behind the loops of `runtime.gram.compiled`. Inverse sines are a polynomial, so
that compilers make vectors of them; the rest is what the C library has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from sympy import Add, Expr, Integer, Pow, Symbol, exp

from infgeo.conventions import Delta, c, p, q
from infgeo.errors import NoClosedForm
from infgeo.numeric.runtime.gram.fast import FastGram, PairLaw
from infgeo.numeric.source.compiled_module import compiled_module
from infgeo.numeric.source.cosine_form import cosine_form
from infgeo.numeric.source.formulas import has_arcs, law_names, loses_digits, own_parameters
from infgeo.numeric.source.law_of_nodes import nodes_source
from infgeo.numeric.source.methods import method_of
from infgeo.numeric.source.mixture import NODE_A, mixture_of
from infgeo.numeric.source.names import in_code
from infgeo.numeric.source.of_formula import Formula
from infgeo.numeric.source.printing import MATH, Backend, Printer, scalar_source
from infgeo.symbolic.activations.activation import Activation
from infgeo.symbolic.algebra.graph import cse, distinct
from infgeo.symbolic.algebra.simplify import longer
from infgeo.symbolic.expectations.dual import dual as dual_of
from infgeo.symbolic.floats.exponentials import paired
from infgeo.symbolic.networks.network import MLP

FAST = ("numpy", "torch")  # the backends whose arrays compiled code can read
LONGEST = 300  # operations of a kernel that is compiled
LARGEST_EXPONENT = {"float64": 512.0, "float32": 8.0}  # up to which one rounding of it is within the tolerance
# asin x = x + x^3 P(x^2) for |x| <= 1/2, highest power first: mpmath.chebyfit, errors 1.5e-17 and 4.2e-9.
ARCSINE = {
    "float64": (
        0.028757851367421566, -0.014851887071247204, 0.01740087944269402, 0.005457506718640358, 0.01032281435018578,
        0.011479177415184906, 0.013971212973552933, 0.017352392720869973, 0.02237217294214989, 0.030381944138531247,
        0.04464285714635543, 0.07499999999998433, 0.16666666666666669,
    ),
    "float32": (
        0.03369084720283012, 0.017149238357677253, 0.03110066273549457, 0.04459940152851218, 0.07500094543497424,
        0.16666666337430908,
    ),
}  # fmt: skip
_HEAD = """import math

import numba
import numpy as np

from infgeo.numeric.runtime.gram.fast import PairLaw
from infgeo.numeric.runtime.gram.series import HermiteSeries

T = np.{format}
LARGEST_EXPONENT = {largest}
jit = numba.njit(nogil=True, error_model="numpy", cache={cache}, fastmath={{"contract"}})
jit_of_sums = numba.njit(nogil=True, error_model="numpy", cache={cache}, fastmath={{"nnan", "nsz", "reassoc"}})


@jit
def asin(x):
    a = abs(x)
    large = a > T(0.5)
    t = (T(1) - a) * T(0.5) if large else x * x
    r = math.sqrt(t)
    y = T({first})
{horner}
    y = r + r * t * y
    y = T(math.pi / 2) - T(2) * y if large else y
    return y if x >= T(0) else -y


@jit
def exp_difference(a, b, difference):
    return -math.exp(a) * math.expm1(-difference) if difference >= T(0) else math.exp(b) * math.expm1(difference)
"""
# No parameter is called like these names: they end in a line or have a digit, or are short.
_LAW = """
@jit
def law_{n}(f, D, numbers_, size_1, scale_1, sizes_2, scales_2, own_, row_, columns_):
    weight_, bias_, skip_, branch_, learned_ = numbers_[0], numbers_[1], numbers_[2], numbers_[3], numbers_[4]
{scalars}    p = size_1
    for j in range(f.shape[0]):
        c_, q = weight_ * f[j] + bias_, sizes_2[j]
{pair}
{lines}
"""
# Kernels as series, see `runtime.gram.series`.
_SERIES = """
@jit
def law_{n}(f, D, numbers_, size_1, scale_1, sizes_2, scales_2, own_, row_, columns_):
    weight_, bias_, skip_, branch_, learned_ = numbers_[0], numbers_[1], numbers_[2], numbers_[3], numbers_[4]
    first_, step_, count_, size_ = int(numbers_[7]), int(numbers_[8]), int(numbers_[9]), f.shape[0]
    x_, t_, k_, s_ = np.empty(size_, T), np.empty(size_, T), np.zeros(size_, T), np.zeros(size_, T)
    for j in range(size_):
        x_[j] = max(min((weight_ * f[j] + bias_) * scale_1 * scales_2[j], T(1)), T(-1))
        t_[j] = x_[j] * x_[j] if step_ == 2 else x_[j]
    for n in range(count_ - 4, -1, -4):
        a_0, a_1, a_2, a_3 = row_[n], row_[n + 1], row_[n + 2], row_[n + 3]
        b_0, b_1, b_2, b_3 = columns_[n], columns_[n + 1], columns_[n + 2], columns_[n + 3]
        for j in range(size_):
            t = t_[j]
            k_[j] = a_0 * b_0[j] + t * (a_1 * b_1[j] + t * (a_2 * b_2[j] + t * (a_3 * b_3[j] + t * k_[j])))
{slopes}    for j in range(size_):
        if first_ == 1:
            k_[j] *= x_[j]
{lines}
"""
_SERIES_SLOPES = """    for n in range(count_ - 4, -1, -4):
        m = T(first_ + step_ * n)
        d_ = T(step_)
        a_0, a_1, a_2, a_3 = m * row_[n], (m + d_) * row_[n + 1], (m + 2 * d_) * row_[n + 2], (m + 3 * d_) * row_[n + 3]
        b_0, b_1, b_2, b_3 = columns_[n], columns_[n + 1], columns_[n + 2], columns_[n + 3]
        for j in range(size_):
            t = t_[j]
            s_[j] = a_0 * b_0[j] + t * (a_1 * b_1[j] + t * (a_2 * b_2[j] + t * (a_3 * b_3[j] + t * s_[j])))
    for j in range(size_):
        if first_ == 0 and x_[j] == T(0):
            s_[j], x_[j] = (row_[1] * columns_[1][j] if step_ == 1 else T(0)), T(1)
        s_[j] *= scale_1 * scales_2[j] * (T(1) if first_ == 1 else T(1) / x_[j])
"""
_SERIES_BOTH = """        c_ = weight_ * f[j] + bias_
        D[j] = skip_ * D[j] + branch_ * (learned_ * k_[j] + s_[j] * (c_ + weight_ * D[j]))
"""
_KERNEL = """        f[j] = skip_ * f[j] + branch_ * k_"""
_BOTH = """        D[j] = skip_ * D[j] + branch_ * (learned_ * k_ + slope_ * (c_ + weight_ * D[j]))
        f[j] = skip_ * f[j] + branch_ * k_"""
_COSINE = """        c = max(min(c_ * scale_1 * scales_2[j], T(1)), T(-1))
        Delta = (T(1) - c) * (T(1) + c)"""
_DETERMINANT = """        c = c_
        Delta = max(p * q - c * c, T(0))"""
# Names of scalars in a loop; inverse sines have a function of their own.
_COMPILED = Backend(
    "compiled",
    MATH | {"asin": "asin", "exp_difference": "exp_difference", "Max": "max", "Min": "min"},
    MATH,
)


class _Typed(Printer):
    """Prints numbers in the format of the arithmetic, whole powers as products."""

    def _constant(self, expr: Expr) -> str:
        return f"T({super()._constant(expr)})"

    def _print_Function(self, expr: Expr) -> str:
        name = type(expr).__name__
        if name not in self.names:
            raise NoClosedForm(f"the function {name} is not compiled")
        return f"{self.names[name]}({', '.join(self._print(argument) for argument in expr.args)})"

    def _print_Pow(self, expr: Expr, rational: bool = False) -> str:
        base, exponent = expr.as_base_exp()
        if exponent.is_Integer and abs(exponent) <= 32:
            power = "*".join([self._factor(base)] * abs(int(exponent)))
            return f"({power})" if exponent > 0 else f"(T(1)/({power}))"
        halves = 2 * exponent
        if halves.is_Integer and abs(halves) <= 32:
            root = f"math.sqrt({self._print(base)})"
            power = "*".join([root, *[self._factor(base)] * (abs(int(halves)) // 2)])
            return f"({power})" if halves > 0 else f"(T(1)/({power}))"
        return f"({self._factor(base)})**({self._print(exponent)})"


def _lines(outputs: dict[str, Expr]) -> str:
    """Return assignments of the outputs."""
    counter = (Symbol(f"t{i}") for i in range(10**6))
    shared, reduced = cse(list(outputs.values()), counter)
    printer = _Typed(_COMPILED, scalar=False)
    pairs = [*shared, *zip((Symbol(name) for name in outputs), reduced, strict=True)]
    return "\n".join(f"        {symbol.name} = {printer.doprint(expr)}" for symbol, expr in pairs)


def _order(kernel: Expr, law_is_sharp: bool) -> float:
    """Return how a kernel depends on a small p q - c^2: 1 as its inverse does, 1/2 as its root, or 0."""
    for part in distinct(kernel):
        if isinstance(part, Pow) and part.exp.is_negative and part.base.has(Delta):
            return 1
    return 0.5 if law_is_sharp else 0


def _rate(kernel: Expr) -> Expr | None:
    """Return the largest factor of a variance in the exponents of a kernel; None without any."""
    rates: list[Expr] = []
    for part in distinct(kernel):
        if isinstance(part, exp):
            terms = Add.make_args(part.args[0].expand())
            if not all(term.as_independent(p, q, c, Delta)[1] in (1, p, q, c) for term in terms):
                raise NoClosedForm("the exponents of this kernel are not linear in the variances")
            rates += [abs(term.as_independent(p, q, c)[0]) for term in terms if term.has(p, q, c)]
    return Add(*dict.fromkeys(rates)) if rates else None


def _law(activation: Activation, own: tuple[Symbol, ...], n: int, tangent: bool) -> tuple[str, str]:
    """Return the compiled functions of an activation, and the source of its PairLaw; raises where there are none."""
    if method_of(activation) == "mixture":
        return _series(activation, own, n, tangent)
    dual = dual_of(activation)
    names = {"k_": dual.kernel}
    if tangent:
        names["slope_"] = dual.derivative_kernel
    if loses_digits(dual) or any(longer(expr, LONGEST) for expr in names.values()):
        raise NoClosedForm("this kernel is too long to be compiled, or needs more digits")
    arcs = has_arcs(activation)
    steep = activation.smoothness < 0 or (activation.homogeneity is None and arcs)
    order = _order(dual.kernel, bool(steep))
    if tangent:
        order = max(order, _order(names["slope_"], bool(activation.smoothness <= 0 or arcs)))
    rate = _rate(dual.kernel)
    outputs = [paired(expr) for expr in names.values()]
    extra, outputs = cosine_form(outputs) or (None, outputs)
    forms = dict(zip(names, outputs, strict=True))
    text = _LAW.format(
        n=n,
        scalars="".join(f"    {symbol.name} = own_[{i}]\n" for i, symbol in enumerate(own)),
        pair=_COSINE if extra is not None else _DETERMINANT,
        lines=_lines(forms) + "\n" + (_BOTH if tangent else _KERNEL),
    )
    arguments = ", ".join(symbol.name for symbol in own)
    fields = {"order": repr(order)} if order else {}
    if extra is not None:
        fields["extra"] = f"lambda {arguments}: {scalar_source(extra, _COMPILED)}"
    if rate is not None:
        fields["rate"] = f"lambda {arguments}: {scalar_source(rate, _COMPILED)}"
    return text, f"PairLaw({', '.join(f'{name}={value}' for name, value in fields.items())})"


def _series(activation: Activation, own: tuple[Symbol, ...], n: int, tangent: bool) -> tuple[str, str]:
    """Return the same of a mixture."""
    terms = []
    for term in mixture_of(activation).terms:
        if term.slope != 0 or (term.factor.kind == "erf" and term.decay != 0):
            raise NoClosedForm("there is no series of this mixture")
        parts = (term.coefficient, Integer(term.power), term.decay, term.factor.scale)
        terms.append(f"({', '.join(scalar_source(part, _COMPILED) for part in parts)})")
    text = _SERIES.format(
        n=n,
        slopes=_SERIES_SLOPES if tangent else "",
        lines=(_SERIES_BOTH if tangent else "") + "        f[j] = skip_ * f[j] + branch_ * k_[j]",
    )
    arguments = ", ".join(symbol.name for symbol in own)
    series = f"HermiteSeries(_NODES, lambda {', '.join(filter(None, (NODE_A.name, arguments)))}: [{', '.join(terms)}])"
    return text, f"PairLaw(extra=lambda {arguments}: 0.0, series={series})"


@lru_cache(maxsize=64)
def _sources(mlp: MLP | Formula, tangent: bool) -> tuple[str, str] | None:
    """Return the compiled functions of a network, and the list of its pair laws; None where one is not compiled."""
    if isinstance(mlp, Formula):
        return None
    texts, records = [], []
    try:
        for n, activation in enumerate(law_names(mlp)):
            text, record = _law(activation, own_parameters(mlp), n, tangent)
            texts.append(text)
            records.append(record)
    except NoClosedForm:
        return None
    cases = "".join(
        f"    {'if' if n == 0 else 'elif'} law == {n}:\n"
        f"        law_{n}(f, D, numbers, size, scale, sizes, scales, own, row, columns)\n"
        for n in range(len(records))
    )
    texts.append(f"\n@jit\ndef apply(law, f, D, numbers, size, scale, sizes, scales, own, row, columns):\n{cases}")
    return "\n".join(texts), f"[{', '.join(records)}]"


def _loops() -> str:
    """Return the functions of `runtime.gram.compiled`, without its head, each to be compiled."""
    text = resources.files("infgeo.numeric.runtime.gram").joinpath("compiled.py").read_text(encoding="utf-8")
    body = text[text.index("\nTILE") :]
    body = body.replace("\ndef largest_cosine", "\n@jit_of_sums\ndef largest_cosine")
    return (
        body.replace("\n\ndef ", "\n\n@jit\ndef ")
        .replace(": Any", "")
        .replace(") -> None:", "):")
        .replace(") -> Any:", "):")
    )


def compiled_source(mlp: MLP | Formula, tangent: bool, dtype: str, cache: bool = True) -> str:
    """Return the source of a module with `strip`, for the format of the arithmetic; empty where there is none."""
    found = _sources(in_code(mlp), tangent)
    if found is None:
        return ""
    first, *others = ARCSINE[dtype]
    horner = "\n".join(f"    y = y * t + T({value!r})" for value in others)
    head = _HEAD.format(format=dtype, largest=LARGEST_EXPONENT[dtype], cache=cache, first=repr(first), horner=horner)
    nodes = f"{nodes_source()}\n" if "_NODES" in found[1] else ""
    records = f"{nodes}PAIR_LAWS = {found[1]}\n\n\n"
    return "\n".join([head, found[0], _loops(), records])


def fast_gram(mlp: MLP | Formula, laws: Sequence[Any]) -> FastGram:
    """Return what computes Gram matrices of a network without derivatives."""

    def compiled(tangent: bool, dtype: str) -> tuple[Callable, Sequence[PairLaw]] | None:
        source = compiled_source(mlp, tangent, dtype)
        module = compiled_module(source) if source else None
        return None if module is None else (module.strip, module.PAIR_LAWS)

    return FastGram(laws, compiled)


def fast_source(mlp: MLP | Formula) -> str:
    """Return the source that defines `_FAST` in an emitted file, in double precision; needs Numba when it runs."""
    kinds = {tangent: _sources(in_code(mlp), tangent) for tangent in (False, True)}
    if kinds[False] is None:
        return "_FAST = FastGram(_LAWS, lambda tangent, dtype: None)"
    head = compiled_source(mlp, False, "float64").partition("\n@jit\ndef law_0")[0]
    loops = _loops()
    shared, start, strip = loops.partition("\n@jit\ndef strip")
    parts = [
        "T = np.float64\njit = jit_of_sums = compiler('__file__' in globals()) or (lambda function: function)",
        f"LARGEST_EXPONENT = {LARGEST_EXPONENT['float64']}",
        head[head.index("@jit\ndef asin") :],
        shared,
    ]
    records = {}
    for tangent, found in kinds.items():
        if found is not None:
            suffix = "_ntk" if tangent else "_kernel"
            text = found[0] + start + strip
            parts.append(re.sub(r"\b(law_\d+|apply|strip)\(", rf"\1{suffix}(", text))
            records[tangent] = f"(strip{suffix}, {found[1]})"
    table = ", ".join(f"{tangent}: {record}" for tangent, record in records.items())
    parts.append(f"_STRIPS = {{{table}}}")
    parts.append("_FAST = FastGram(_LAWS, lambda tangent, dtype: _STRIPS.get(tangent) if compiler(False) else None)")
    return "\n\n\n".join(part.strip("\n") for part in parts)
