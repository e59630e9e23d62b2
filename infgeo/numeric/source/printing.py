"""From SymPy expressions to the source text of straight-line functions, for NumPy, torch, jax and mpmath.

What lambdify gets wrong is handled here: constants become literals, subexpressions of the parameters alone are
computed once as scalars (so that float32 arrays stay float32), negative powers never pass through an overflowing
positive one, and constant results keep the shape of the points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sympy import Add, Expr, Mul, Rational, Symbol, sqrt
from sympy.printing.pycode import MpmathPrinter, PythonCodePrinter

from infgeo.arguments import one_of
from infgeo.errors import InvalidInput, NoClosedForm
from infgeo.numeric.source.powers import shared_powers
from infgeo.symbolic.algebra.graph import cse
from infgeo.symbolic.algebra.primitives import PRIMITIVES
from infgeo.symbolic.algebra.program import Program

# SymPy function -> name in the array library; {m} is the library's prefix.
_COMMON = {"exp": "exp", "log": "log", "sin": "sin", "cos": "cos", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh"}
_NUMPY = {
    **_COMMON,
    "atan": "arctan",
    "atan2": "arctan2",
    "asin": "arcsin",
    "acos": "arccos",
    "Abs": "abs",
    "sign": "sign",
    "Max": "maximum",
    "Min": "minimum",
}
_TORCH = {**_COMMON, "atan": "atan", "atan2": "atan2", "asin": "asin", "acos": "acos", "Abs": "abs", "sign": "sign"}
_MPMATH = {**_COMMON, "atan": "atan", "atan2": "atan2", "asin": "asin", "acos": "acos", "Abs": "fabs", "sign": "sign"}

# Of arrays alone: what activations that are integrated numerically are made of.
_NUMPY_ARRAYS = {"asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh", "floor": "floor"}
_ARRAYS = {name: name for name in _NUMPY_ARRAYS}
_SPECIAL = {
    **{"besselj": "special.jv", "besseli": "special.iv", "erfi": "special.erfi"},
    **{"airyai": "special.airy({})[0]", "airybi": "special.airy({})[2]", "Si": "special.sici({})[0]"},
    **{"fresnels": "special.fresnel({})[0]", "fresnelc": "special.fresnel({})[1]"},
}


@dataclass(frozen=True)
class Backend:
    """How one array library spells things.

    Arguments:
        name: "numpy", "torch", "jax" or "mpmath".
        functions: SymPy function name -> source text of the function on arrays.
        scalar_functions: the same on scalars, the parameters.
        exact_numbers: whether constants are printed as exact expressions rather than as literals.
        double_double: whether numbers are double-double, constants too, and powers by products.
        differentiable: whether results have derivatives, so that those at coincident points need formulas of their own.
    """

    name: str
    functions: Mapping[str, str]
    scalar_functions: Mapping[str, str]
    exact_numbers: bool = False
    double_double: bool = False
    differentiable: bool = False


def _prefixed(prefix: str, names: Mapping[str, str], **extra: str) -> dict[str, str]:
    return {key: f"{prefix}.{value}" for key, value in names.items()} | extra


MATH = _prefixed(
    "math", _MPMATH, **{name: f"math.{name}" for name in ("sqrt", "erf", "erfc", "gamma", "expm1", "log1p")}
)
NUMPY = Backend(
    "numpy",
    _SPECIAL
    | _prefixed(
        "np", _NUMPY | _NUMPY_ARRAYS, sqrt="np.sqrt", expm1="np.expm1", log1p="np.log1p", erf="_xp.erf", erfc="_xp.erfc"
    ),
    MATH,
)
_MORE = {"expm1": "expm1", "log1p": "log1p"}
_SCALARS_OF_TORCH = _prefixed(
    "torch", {**_TORCH, **_MORE, "sqrt": "sqrt"}, erf="torch.special.erf", erfc="torch.special.erfc", gamma="_xp.gamma"
)
TORCH = Backend(
    "torch",
    _SCALARS_OF_TORCH | _prefixed("torch", _ARRAYS) | {"sqrt": "_xp.sqrt", "atan2": "_xp.atan2"},
    _SCALARS_OF_TORCH,
    differentiable=True,
)
JAX = Backend(
    "jax",
    _prefixed(
        "jnp",
        _NUMPY | _NUMPY_ARRAYS,
        sqrt="_xp.sqrt",
        atan2="_xp.atan2",
        expm1="jnp.expm1",
        log1p="jnp.log1p",
        erf="jax.lax.erf",
        erfc="jax.lax.erfc",
    ),
    {name: f"scalars.{name}" for name in (*_NUMPY, "sqrt", "expm1", "log1p", "erf", "erfc", "gamma")},
    differentiable=True,
)
# Both scalars and arrays are double-double numbers, see `runtime.double_double`.
_DOUBLE_DOUBLE = {
    name: f"dd_{name}" for name in ("exp", "exp_difference", "sin", "cos", "atan", "atan2", "sqrt", "power")
} | {name: f"dd_{name}" for name in ("erf", "erfc", "scaled_erfc")}
DOUBLE_DOUBLE = Backend("double-double", _DOUBLE_DOUBLE, _DOUBLE_DOUBLE, double_double=True)
_MP = _prefixed(
    "mpmath",
    _MPMATH,
    **{name: f"mpmath.{name}" for name in ("sqrt", "erf", "erfc", "gamma", "expm1", "log1p")},
)
MPMATH = Backend(
    "mpmath",
    _MP | _prefixed("mpmath", _ARRAYS | {name: name for name in _SPECIAL} | {"Si": "si"}),
    _MP,
    exact_numbers=True,
)
BACKENDS = {backend.name: backend for backend in (NUMPY, TORCH, JAX, MPMATH)}


def backend_named(name: str) -> Backend:
    """Return the backend called `name`; raises InvalidInput with the names there are."""
    return BACKENDS[one_of(name, "backend", BACKENDS)]


class Printer(PythonCodePrinter):
    """Prints one expression for a backend, with the array or the scalar spelling of functions."""

    def __init__(self, backend: Backend, scalar: bool) -> None:
        super().__init__({"fully_qualified_modules": False})
        self.backend = backend
        self.names = backend.scalar_functions if scalar else backend.functions
        self.products = backend.name == "numpy" and not scalar  # a power of an array costs ten of them

    def _print_Function(self, expr: Expr) -> str:
        name = type(expr).__name__
        arguments = ", ".join(self._print(argument) for argument in expr.args)
        if name in self.names:
            form = self.names[name]
            return form.format(arguments) if "{}" in form else f"{form}({arguments})"
        if isinstance(expr, PRIMITIVES) and not self.backend.double_double:
            return f"_xp.{name}({arguments})"
        raise NoClosedForm(f"the function {name} in {expr} has no {self.backend.name} form: it cannot be emitted")

    def _constant(self, expr: Expr) -> str:
        """Print an expression without symbols: a literal, correctly rounded, or an exact mpmath expression."""
        if expr.is_Integer and (self.backend.exact_numbers or abs(expr) < 2**53):
            return str(expr)
        if self.backend.exact_numbers:
            return f"({MpmathPrinter().doprint(expr)})"
        value = float(expr.evalf(30))
        if not math.isfinite(value):
            raise InvalidInput(
                f"scales or parameters of this network lead to {expr.evalf(3)}, beyond the range of float64;"
                " pass values nearer to 1, or backend='mpmath'"
            )
        if self.backend.double_double:
            return f"DoubleDouble({value!r}, {float((expr - Rational(value)).evalf(30))!r})"
        return repr(value)

    def _print_Pow(self, expr: Expr, rational: bool = False) -> str:
        base, exponent = expr.as_base_exp()
        while self.backend.double_double and exponent.is_Rational and exponent.q > 2 and exponent.q % 2 == 0:
            base, exponent = sqrt(base), 2 * exponent
        if self.backend.double_double and exponent.is_Rational and exponent.q <= 2 and exponent != Rational(1, 2):
            power = self._factor(base)
            if abs(exponent) != 1:
                power = f"{self.names['power']}({self._print(base)}, {2 * abs(exponent)})"
            return f"1/{power}" if exponent.is_negative else power
        if self.backend.double_double and exponent != Rational(1, 2):
            raise NoClosedForm(f"the power {exponent} has no form in double-double numbers")
        if exponent == Rational(1, 2):
            return f"{self.names['sqrt']}({self._print(base)})"
        if exponent == Rational(-1, 2):
            return f"1/{self.names['sqrt']}({self._print(base)})"
        if exponent == -1:
            return f"1/{self._factor(base)}"
        if self.products and base.is_Symbol and exponent.is_Integer and 3 <= exponent <= 32:
            return _by_squares(base.name, int(exponent))
        return f"{self._factor(base)}**{self._factor(exponent)}"

    def _factor(self, expr: Expr) -> str:
        text = self._print(expr)
        plain = expr.is_Symbol or expr.is_Function or (expr.is_Integer and expr.is_nonnegative)
        return text if plain else f"({text})"

    def _print(self, expr: Expr, **kwargs: object) -> str:
        if expr.is_number:
            return self._constant(expr)
        return self._print_Function(expr) if expr.is_Function else super()._print(expr, **kwargs)

    def _print_Mul(self, expr: Mul) -> str:
        # Each negative power is its own factor: the product of denominators overflows before the quotient does.
        numerator: list[str] = []
        denominator: list[str] = []
        coefficient, rest = expr.as_coeff_Mul()
        constants = [coefficient, *(f for f in Mul.make_args(rest) if f.is_number)]
        constant = Mul(*constants)
        for part in Mul.make_args(rest):
            if part.is_number:
                continue
            base, exponent = part.as_base_exp()
            if exponent == -1:
                denominator.append(self._factor(base))
            elif exponent == Rational(-1, 2):
                denominator.append(f"{self.names['sqrt']}({self._print(base)})")
            elif part.is_Pow and not part.is_Function:
                numerator.append(self._print(part))
            else:
                numerator.append(self._factor(part))
        sign = ""
        if constant == -1 and numerator:
            sign = "-"
        elif constant != 1:
            numerator.insert(0, self._constant(constant))
        text = sign + ("*".join(numerator) or "1")
        return text + "".join(f"/{part}" for part in denominator)

    def _print_Add(self, expr: Add, order: object = None) -> str:
        text = ""
        for i, term in enumerate(sorted(expr.args, key=lambda t: (t.could_extract_minus_sign(), str(t)))):
            negative = term.could_extract_minus_sign()
            printed = self._print(-term if negative else term)
            if isinstance(term, Add):
                printed = f"({printed})"
            text += (f"-{printed}" if negative else printed) if i == 0 else f" {'-' if negative else '+'} {printed}"
        return text

    def _print_Symbol(self, expr: Symbol) -> str:
        return str(expr.name)

    def emptyPrinter(self, expr: Expr) -> str:
        """Refuse what has no form."""
        raise NoClosedForm(
            f"{expr} of type {type(expr).__name__} has no {self.backend.name} form: it cannot be emitted"
        )

    def doprint(self, expr: Expr, assign_to: object = None) -> str:
        """Return the source text of `expr`."""
        return self._print(expr)


def _by_squares(name: str, n: int) -> str:
    """Return the n-th power of a name by squares and products."""
    if n <= 2:
        return name if n == 1 else f"{name}**2"
    return f"{name}*{_by_squares(name, n - 1)}" if n % 2 else f"({_by_squares(name, n // 2)})**2"


def function_source(
    name: str,
    program: Program,
    arrays: Sequence[Symbol],
    scalars: Sequence[Symbol],
    backend: Backend,
    doc: str,
    deep: bool = False,
) -> str:
    """Return the source of `def name(*arrays, *scalars)` that returns the tuple of the program's outputs.

    Arguments:
        program: its inputs must be among `arrays` and `scalars`.
        arrays: the arguments that are arrays; a result that contains none of them takes the shape of the first.
        scalars: the parameters: Python floats (numpy, jax if known), tensors without dimension (torch), mpf (mpmath).
        doc: one line, the docstring.
        deep: whether powers of the same base may share their work at the cost of a rounding or two.
    """
    if deep and not backend.exact_numbers:
        program = shared_powers(program)
    bound = [expr for _, expr in program.bindings]
    outputs = list(program.outputs.values())
    taken = {symbol.name for symbol in program.inputs} | {symbol.name for symbol, _ in program.bindings}
    counter = (symbol for symbol in (Symbol(f"t{i}") for i in range(10**6)) if symbol.name not in taken)
    shared, reduced = cse([*bound, *outputs], counter)
    assignments = _ordered(shared, list(zip((symbol for symbol, _ in program.bindings), reduced, strict=False)))
    results = reduced[len(bound) :]
    array_names = {symbol.name for symbol in arrays}
    scalar, array = Printer(backend, scalar=True), Printer(backend, scalar=False)
    hoisted = _Hoist(array_names)
    body: list[str] = []
    constants: dict[Expr, Expr] = {}
    for symbol, expr in assignments:
        expr = expr.xreplace(constants)
        if expr.is_number:
            constants[symbol] = expr
            continue
        if not _depends(expr, array_names):
            body.append(f"{symbol.name} = {scalar.doprint(expr)}")
            continue
        body.append(f"{symbol.name} = {array.doprint(hoisted.split(expr, body, scalar))}")
        array_names.add(symbol.name)
    texts = []
    for expr in results:
        expr = expr.xreplace(constants)
        expr = hoisted.split(expr, body, scalar)
        text = (array if _depends(expr, array_names) else scalar).doprint(expr)
        constant = not _depends(expr, array_names) and not backend.double_double
        texts.append(f"_xp.constant({arrays[0].name}, {text})" if constant else text)
    arguments = ", ".join(symbol.name for symbol in (*arrays, *scalars))
    lines = [f"def {name}({arguments}):", f'    """{doc}"""', *(f"    {line}" for line in body)]
    # In many digits evaluations are expensive, and one point's functions share them.
    head = ["@remembered"] if backend.exact_numbers else []
    return "\n".join([*head, *lines, f"    return {', '.join(texts)}"])


def _depends(expr: Expr, names: set[str]) -> bool:
    return any(symbol.name in names for symbol in expr.free_symbols)


def _ordered(
    shared: Sequence[tuple[Symbol, Expr]], bindings: Sequence[tuple[Symbol, Expr]]
) -> list[tuple[Symbol, Expr]]:
    """Return both lists of assignments merged: every symbol is assigned before it is used, but not long before."""
    pending = dict([*shared, *bindings])
    ordered: list[tuple[Symbol, Expr]] = []

    def assign(symbol: Symbol) -> None:
        if symbol in pending:
            expr = pending.pop(symbol)
            for part in sorted(expr.free_symbols, key=lambda part: part.name):
                assign(part)
            ordered.append((symbol, expr))

    for symbol, _ in (*bindings, *shared):
        assign(symbol)
    return ordered


class _Hoist:
    """Moves the scalar part of sums and products into assignments of their own, computed in double precision."""

    def __init__(self, array_names: set[str]) -> None:
        self.array_names = array_names
        self.known: dict[Expr, Symbol] = {}

    def split(self, expr: Expr, body: list[str], scalar: Printer) -> Expr:
        """Return `expr` with its scalar subexpressions replaced by symbols assigned in `body`."""
        if not expr.args:
            return expr
        if expr.is_number:
            return expr
        if not _depends(expr, self.array_names):
            return self._assign(expr, body, scalar)
        if isinstance(expr, (Add, Mul)):
            scalars = [part for part in expr.args if not _depends(part, self.array_names)]
            arrays = [self.split(part, body, scalar) for part in expr.args if _depends(part, self.array_names)]
            head = expr.func(*scalars)
            if scalars and not (head.is_number or head.is_Symbol):
                head = self._assign(head, body, scalar)
            return expr.func(head, *arrays, evaluate=False) if scalars else expr.func(*arrays, evaluate=False)
        if expr.is_Pow:
            return expr.func(self.split(expr.base, body, scalar), expr.exp, evaluate=False)
        return expr.func(*(self.split(part, body, scalar) for part in expr.args), evaluate=False)

    def _assign(self, expr: Expr, body: list[str], scalar: Printer) -> Symbol:
        if expr not in self.known:
            self.known[expr] = Symbol(f"c{len(self.known)}")
            body.append(f"c{len(self.known) - 1} = {scalar.doprint(expr)}")
        return self.known[expr]


def scalar_source(expr: Expr, backend: Backend) -> str:
    """Return the source text of an expression of scalars (the network's parameters and d)."""
    return Printer(backend, scalar=True).doprint(expr)
