"""A SymPy activation as elementwise torch functions: the value, the first two derivatives, and their products.

The derivatives are SymPy's, away from kinks: a DiracDelta that differentiation leaves behind counts as 0, because a
random preactivation meets a kink with probability 0. Each set of outputs is compiled once into a short linear
program in which equal subexpressions are computed once (the exponential of erf serves both derivatives).
`sympy.lambdify` is not used: its torch printer fails on constants.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sympy
import torch
from torch import nn
from torch.nn import functional

from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.finite.torch_program import Program, compile_program


class Logistic(sympy.Function):
    """The function 1/(1 + exp(-u)) as one, so that its derivative does not overflow to inf/inf."""

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        """Return the derivative."""
        return LogisticSlope(self.args[0])


class LogisticSlope(sympy.Function):
    """The derivative of logistic, logistic(u) logistic(-u), from one exponential and accurate far out."""

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        """Return the derivative."""
        return LogisticSlope(self.args[0]) * (1 - 2 * Logistic(self.args[0]))


class Softplus(sympy.Function):
    """The function log(1 + exp(u)) as one that does not overflow."""

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        """Return the derivative."""
        return Logistic(self.args[0])


def _stable(expr: sympy.Expr) -> sympy.Expr:
    """Return `expr` with logistic and softplus patterns named, for they overflow when differentiated as written."""

    def softplus(e: sympy.Expr) -> bool:
        return isinstance(e, sympy.log) and _exponent(e.args[0]) is not None

    def logistic(e: sympy.Expr) -> bool:
        return e.is_Pow and e.exp.is_Integer and e.exp.is_negative and _exponent(e.base) is not None

    expr = expr.replace(softplus, lambda e: Softplus(_exponent(e.args[0])))
    return expr.replace(logistic, lambda e: Logistic(-_exponent(e.base)) ** (-e.exp))


def _exponent(e: sympy.Expr) -> Any:
    """Return u where e = 1 + exp(u), else None."""
    if e.is_Add and len(e.args) == 2 and sympy.S.One in e.args:
        other = e - 1
        if isinstance(other, sympy.exp):
            return other.args[0]
    return None


def _without_deltas(expr: sympy.Expr) -> sympy.Expr:
    """Return `expr` away from kinks: every DiracDelta, and every derivative of one, is 0."""
    return expr.replace(lambda e: isinstance(e, sympy.DiracDelta), lambda e: sympy.S.Zero)


def _vanishes(expr: sympy.Expr) -> bool:
    """Return whether SymPy shows that `expr` is identically 0 (by expansion, then branch by branch)."""
    if expr.is_zero or sympy.expand(expr) == 0:
        return True
    if expr.has(sympy.Piecewise):
        folded = sympy.piecewise_fold(expr)
        if isinstance(folded, sympy.Piecewise):
            return all(sympy.expand(branch) == 0 for branch, _ in folded.args)
        return bool(sympy.expand(folded) == 0)
    return False


def without_values(activation: str, missing: list[str]) -> InvalidInput:
    """Return the error for parameters of an activation that have no value."""
    return InvalidInput(
        f"activation {activation} has parameters without a value: {', '.join(missing)}; "
        f"pass parameters={{{', '.join(f'{m!r}: ...' for m in missing)}}}"
    )


class TorchActivation:
    """The activation φ and its derivatives as torch functions.

    Build it with `torch_activation`. Attributes: `expr` and `symbol` as given, `parameters` (sorted pairs of name and
    value), and `piecewise_linear`: SymPy shows φ'' = 0 away from kinks. Tensors in and out have one shape and dtype.
    """

    def __init__(self, expr: sympy.Expr, symbol: sympy.Symbol, parameters: tuple[tuple[str, float], ...] = ()) -> None:
        """Differentiate `expr` in `symbol`; `parameters` give a value to every other free symbol."""
        expr = exact(expr, "activation")
        self.expr, self.symbol, self.parameters = expr, symbol, parameters
        values = dict(parameters)
        others = {s for s in expr.free_symbols if s != symbol}
        if missing := sorted({s.name for s in others} - set(values)):
            raise without_values(str(expr), missing)
        # Exact rationals, so that "φ'' is 0" is decided exactly; a real variable, so that Abs differentiates.
        self._z = sympy.Dummy("z", real=True)
        at = {s: sympy.Rational(values[s.name]) for s in others}
        phi = _stable(expr.subs(at).xreplace({symbol: self._z}))
        self._phi = phi
        self._first = _without_deltas(sympy.diff(phi, self._z))
        self._second = _without_deltas(sympy.diff(self._first, self._z))
        self.piecewise_linear = _vanishes(self._second)
        if self.piecewise_linear:
            self._second = sympy.S.Zero
        self._programs: dict[tuple[int, bool, bool], Program] = {}
        self._program(0)  # an unknown function is reported here, not in the middle of a run

    def __reduce__(self) -> tuple[Callable[..., "TorchActivation"], tuple[Any, ...]]:
        """Pickle and copy by the expression; the programs are compiled again where it arrives."""
        return TorchActivation, (self.expr, self.symbol, self.parameters)

    def __repr__(self) -> str:
        return f"TorchActivation({self.expr})"

    def _program(self, order: int, products: bool = False, valued: bool = True) -> Program:
        key = order, products, valued
        if key not in self._programs:
            f0, f1, f2 = self._phi, self._first, self._second
            # SymPy merges the products, exp(-z²/2)² into exp(-z²) for erf: fewer passes over memory.
            outputs = [f0, *([f1**2, f1 * f2] if products else [f1, f2])[:order]]
            self._programs[key] = compile_program(outputs if valued else outputs[1:], self._z)
        return self._programs[key]

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Return φ(z); differentiable by torch."""
        (value,) = self._program(0).run(z)
        return value

    def jet(self, z: torch.Tensor, order: int = 2) -> tuple[torch.Tensor, ...]:
        """Return φ(z) and, for order 1, φ'(z) and, for order 2, φ''(z)."""
        return self._program(order).run(z)

    def products(self, z: torch.Tensor, order: int = 2, valued: bool = False) -> tuple[tuple[float, torch.Tensor], ...]:
        """Return φ'(z)² and, for order 2, φ' φ'', each as a pair (constant factor, tensor); φ first if `valued`.

        The constant is left out of the tensor because the caller can apply it after summing over units.
        """
        return self._program(order, True, valued).run_factored(z)


@lru_cache(maxsize=64)
def torch_activation(
    expr: sympy.Expr, symbol: sympy.Symbol, parameters: tuple[tuple[str, float], ...] = ()
) -> TorchActivation:
    """Return the (cached) torch form of the SymPy expression `expr` in the variable `symbol`."""
    return TorchActivation(expr, symbol, parameters)


# Name in the catalogue -> torch's function, faster than the compiled expression. The tests hold them to be equal.
# (torch's softplus is not here: it becomes the identity above 20.)
NATIVE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class ElementwiseActivation(nn.Module):
    """The map z -> factor · φ(z), elementwise, with the derivatives of φ at hand.

    `infgeo.finite` recognises it: stacks of nn.Linear and of these take the fast routes of `pullback`.
    """

    def __init__(self, activation: TorchActivation, factor: float = 1.0, native: str = "") -> None:
        """Hold φ, a constant factor, and the name in `NATIVE` under which torch has φ, if it has it."""
        super().__init__()
        self.activation, self.factor, self.native = activation, factor, native

    @property
    def piecewise_linear(self) -> bool:
        """Whether φ'' = 0 away from kinks."""
        return self.activation.piecewise_linear

    def extra_repr(self) -> str:
        """Show φ and the factor."""
        values = "".join(f", {name}={value:g}" for name, value in self.activation.parameters)
        return f"{self.activation.expr}{values}, factor={self.factor:g}"

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return factor · φ(z)."""
        value: torch.Tensor = NATIVE.get(self.native, self.activation)(z)
        return value if self.factor == 1.0 else value * self.factor

    def jet(self, z: torch.Tensor, order: int = 2) -> tuple[torch.Tensor, ...]:
        """Return factor · φ(z), its first derivative and, for order 2, its second."""
        return tuple(part * self.factor for part in self.activation.jet(z, order))

    def products(self, z: torch.Tensor, order: int = 2, valued: bool = False) -> tuple[tuple[float, torch.Tensor], ...]:
        """Return the products of `TorchActivation.products` with the factor in them."""
        found = self.activation.products(z, order, valued)
        first = [(constant * self.factor, value) for constant, value in found[: int(valued)]]
        return (*first, *((constant * self.factor**2, part) for constant, part in found[int(valued) :]))
