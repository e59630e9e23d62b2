"""A SymPy expression of one real variable compiled to a linear program of elementwise torch operations."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import sympy
import torch

from infgeo.errors import InvalidInput


def _logistic_slope(u: torch.Tensor) -> torch.Tensor:
    t = u.abs().neg_().sigmoid_()  # at most 1/2: 1 - t has all digits
    return torch.addcmul(t, t, t, value=-1.0)


# Functions of one argument in torch.
_UNARY: dict[str, Callable[..., Any]] = {
    "exp": torch.exp, "log": torch.log, "sin": torch.sin, "cos": torch.cos, "tan": torch.tan,
    "sinh": torch.sinh, "cosh": torch.cosh, "tanh": torch.tanh, "asin": torch.asin, "acos": torch.acos,
    "atan": torch.atan, "asinh": torch.asinh, "acosh": torch.acosh, "atanh": torch.atanh,
    "erf": torch.erf, "erfc": torch.erfc, "erfinv": torch.erfinv, "Abs": torch.abs, "sign": torch.sign,
    "floor": torch.floor, "ceiling": torch.ceil, "Logistic": torch.sigmoid, "LogisticSlope": _logistic_slope,
    "Softplus": lambda u: torch.logaddexp(u, torch.zeros_like(u)),
    "sech": lambda u: torch.reciprocal(torch.cosh(u)),
    "csch": lambda u: torch.reciprocal(torch.sinh(u)),
    "coth": lambda u: torch.reciprocal(torch.tanh(u)),
    "sec": lambda u: torch.reciprocal(torch.cos(u)),
    "csc": lambda u: torch.reciprocal(torch.sin(u)),
    "cot": lambda u: torch.reciprocal(torch.tan(u)),
    "sinc": lambda u: torch.sinc(u / math.pi),
}  # fmt: skip
_COMPARISONS: dict[type, Callable[..., Any]] = {
    sympy.StrictGreaterThan: torch.gt, sympy.GreaterThan: torch.ge, sympy.StrictLessThan: torch.lt,
    sympy.LessThan: torch.le, sympy.Equality: torch.eq, sympy.Unequality: torch.ne,
}  # fmt: skip


@dataclass(frozen=True)
class _Slot:
    """A place in the program's memory; slot 0 holds the variable."""

    index: int


Operand = _Slot | float | bool


Call = tuple[Callable[..., Any], tuple[Operand, ...]]


class _Builder:
    """Translate expressions to steps; equal subexpressions share one slot."""

    def __init__(self, variable: sympy.Basic) -> None:
        self.variable = variable
        self.steps: list[Call] = []
        self.memo: dict[Hashable, Operand] = {variable: _Slot(0)}

    def emit(self, function: Callable[..., Any], *arguments: Operand) -> Operand:
        key = (function, arguments)
        if key not in self.memo:
            self.steps.append(key)
            self.memo[key] = _Slot(len(self.steps))
        return self.memo[key]

    def constant(self, e: sympy.Basic) -> float:
        if e.free_symbols:
            raise InvalidInput(f"free symbols {e.free_symbols} left in the activation; give them a value")
        value = complex(sympy.N(e, 17)) if e.is_number else complex("nan")
        if value.imag != 0 or math.isnan(value.real):
            raise InvalidInput(f"the constant {e} in the activation is not real; use a real expression")
        return value.real

    def build(self, e: sympy.Basic) -> Operand:
        if e not in self.memo:
            self.memo[e] = self._build(e)
        return self.memo[e]

    def _build(self, e: sympy.Basic) -> Operand:
        if not e.has(self.variable):
            return bool(e) if e in (sympy.true, sympy.false) else self.constant(e)
        if e.is_Add:
            constant, rest = e.as_independent(self.variable, as_Add=True)
            return self._fold(torch.add, constant, rest, 0.0)
        if e.is_Mul:
            constant, rest = e.as_independent(self.variable, as_Add=False)
            return self._fold(torch.mul, constant, rest, 1.0)
        if e.is_Pow:
            return self._power(e.base, e.exp)
        if isinstance(e, sympy.Max | sympy.Min):
            return self._extremum(e)
        if isinstance(e, sympy.Piecewise):
            return self._piecewise(e)
        if isinstance(e, sympy.Heaviside):
            step = self._where(self.emit(torch.gt, self.build(e.args[0]), 0.0), 1.0, 0.0)
            at_zero = self.constant(e.args[1]) if len(e.args) > 1 else 0.5
            return self._where(self.emit(torch.eq, self.build(e.args[0]), 0.0), at_zero, step)
        if isinstance(e, sympy.And | sympy.Or):
            function = torch.logical_and if isinstance(e, sympy.And) else torch.logical_or
            return reduce(partial(self.emit, function), [self.build(condition) for condition in e.args])
        if isinstance(e, sympy.Not):
            return self.emit(torch.logical_not, self.build(e.args[0]))
        if type(e) in _COMPARISONS:
            if not e.lhs.has(self.variable):
                e = e.reversed
            return self.emit(_COMPARISONS[type(e)], self.build(e.lhs), self.build(e.rhs))
        name = type(e).__name__
        if name in _UNARY:
            return self.emit(_UNARY[name], self.build(e.args[0]))
        known = ", ".join(sorted({*_UNARY, "Heaviside", "Max", "Min", "Piecewise", "sqrt"}))
        raise InvalidInput(f"the activation uses {name} (in {e}), which has no torch form here; use one of: {known}")

    def _fold(self, function: Callable[..., Any], constant: sympy.Expr, rest: sympy.Expr, neutral: float) -> Operand:
        """Combine the arguments of a sum or product, its constant part last and as one float."""
        same = rest.is_Add if function is torch.add else rest.is_Mul
        # The shortest factors first: they are the likeliest to be shared with another output.
        terms = sorted(rest.args, key=lambda t: (t.count_ops(), str(t))) if same else (rest,)
        result = reduce(partial(self.emit, function), (self.build(term) for term in terms))
        value = self.constant(constant)
        return result if value == neutral else self.emit(function, result, value)

    def _power(self, base: sympy.Basic, exponent: Any) -> Operand:
        if exponent.has(self.variable):
            if not base.has(self.variable):
                return self.emit(torch.exp, self.build(exponent * sympy.log(base)))
            return self.emit(torch.pow, self.build(base), self.build(exponent))
        slot = self.build(base)
        if exponent == sympy.Rational(-1, 2):
            return self.emit(torch.rsqrt, slot)
        if exponent == sympy.S.Half:
            return self.emit(torch.sqrt, slot)
        if exponent.is_Integer and abs(int(exponent)) <= 8:
            power = self._integer_power(slot, abs(int(exponent)))
            return self.emit(torch.reciprocal, power) if exponent < 0 else power
        return self.emit(torch.pow, slot, self.constant(exponent))

    def _integer_power(self, slot: Operand, n: int) -> Operand:
        if n == 1:
            return slot
        half = self.emit(torch.square, self._integer_power(slot, n // 2))  # z*z: exact and twice differentiable
        return self.emit(torch.mul, half, slot) if n % 2 else half

    def _extremum(self, e: sympy.Basic) -> Operand:
        pair, clamp = (torch.maximum, torch.clamp_min) if isinstance(e, sympy.Max) else (torch.minimum, torch.clamp_max)
        operands = sorted((self.build(a) for a in e.args), key=lambda o: not isinstance(o, _Slot))  # numbers last
        return reduce(lambda a, b: self.emit(pair if isinstance(b, _Slot) else clamp, a, b), operands)

    def _where(self, condition: Operand, then: Operand, otherwise: Operand) -> Operand:
        if isinstance(condition, bool):
            return then if condition else otherwise
        return self.emit(_where, condition, then, otherwise, _Slot(0))

    def _piecewise(self, e: sympy.Basic) -> Operand:
        result: Operand = math.nan  # where no condition holds the function has no value
        for branch, condition in reversed(e.args):
            result = self._where(self.build(condition), self.build(branch), result)
        return result


def _where(
    condition: torch.Tensor, then: torch.Tensor | float, otherwise: torch.Tensor | float, like: torch.Tensor
) -> torch.Tensor:
    """Return torch.where with Python numbers taken in the dtype of the variable."""
    first, second = (v if isinstance(v, torch.Tensor) else like.new_full((), v) for v in (then, otherwise))
    return torch.where(condition, first, second)


@dataclass(frozen=True)
class Program:
    """Steps to run in order, each with the slots that no later one reads; for every output a factor and an operand."""

    steps: tuple[tuple[Call, tuple[int, ...]], ...]
    outputs: tuple[tuple[float, Operand], ...]

    def run_factored(self, z: torch.Tensor) -> tuple[tuple[float, torch.Tensor], ...]:
        """Return each output as (constant factor, tensor).

        Never modify what is returned: two outputs may be one tensor, or `z` itself.
        """
        memory: list[Any] = [z]
        for (function, arguments), dead in self.steps:
            memory.append(function(*(memory[a.index] if isinstance(a, _Slot) else a for a in arguments)))
            for index in dead:
                memory[index] = None
        return tuple(
            (factor, memory[o.index] if isinstance(o, _Slot) else torch.full_like(z, o)) for factor, o in self.outputs
        )

    def run(self, z: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs with their constant factors applied."""
        return tuple(t if factor == 1.0 else t * factor for factor, t in self.run_factored(z))


def compile_program(expressions: Sequence[sympy.Expr], variable: sympy.Basic) -> Program:
    """Compile SymPy expressions in the real symbol `variable` into one program that shares what they have in common."""
    builder = _Builder(variable)
    outputs: list[tuple[float, Operand]] = []
    for e in expressions:
        constant, rest = e.as_independent(variable, as_Add=False)
        if rest == 1:
            outputs.append((1.0, builder.constant(e)))
        else:
            outputs.append((builder.constant(constant), builder.build(rest)))
    kept = {0} | {o.index for _, o in outputs if isinstance(o, _Slot)}
    last = {a.index: i for i, (_, args) in enumerate(builder.steps) for a in args if isinstance(a, _Slot)}
    dead = [tuple(k for k, at in last.items() if at == i and k not in kept) for i in range(len(builder.steps))]
    return Program(tuple(zip(builder.steps, dead, strict=True)), tuple(outputs))
