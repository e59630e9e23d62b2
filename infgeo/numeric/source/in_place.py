"""From SymPy expressions to NumPy and torch functions that work in place on one block of a Gram matrix.

Within a block p depends on the row and q on the column, so a part that has one of them alone is a *thin* array and
costs nothing. Everything else is a sequence of array operations that write into a few buffers: no memory is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from sympy import Add, Expr, Mul, Pow, Rational, Symbol

from infgeo.conventions import Delta, c, p, q
from infgeo.numeric.source.printing import Backend, Printer
from infgeo.symbolic.algebra.graph import cse

_PREFIXES = {"numpy": "np", "torch": "torch"}
# Functions of one argument that take `out`; others are printed as they are and take new memory.
_UNARY = (
    "exp",
    "log",
    "sin",
    "cos",
    "sinh",
    "cosh",
    "tanh",
    "atan",
    "asin",
    "acos",
    "Abs",
    "sign",
    "expm1",
    "log1p",
    "erf",
)


def block_source(
    name: str, outputs: Sequence[Expr], own: Sequence[Symbol], backend: Backend, doc: str
) -> tuple[str, int]:
    """Return the source of `def name(p, q, c, Delta, b0, b1, ..., *own)`, and the number of buffers it takes.

    Arguments:
        outputs: expressions of p (N, 1), q (1, M), c and Delta (N, M), which may be written over, and `own`.
        own: the activation's parameters.
        backend: that of NumPy or torch.
        doc: one line, the docstring.
    """
    writer = _Writer(outputs, backend)
    for symbol, expr in writer.shared:
        writer.bind(symbol, expr)
    texts = [writer.result(expr) for expr in writer.results]
    buffers = [f"b{i}" for i in range(writer.count)]
    arguments = ", ".join(["p", "q", "c", "Delta", *buffers, *(symbol.name for symbol in own)])
    lines = [f"def {name}({arguments}):", f'    """{doc}"""', *(f"    {line}" for line in writer.lines)]
    return "\n".join([*lines, f"    return {', '.join(texts)}"]), writer.count


class _Writer:
    """Writes the operations of some expressions, and keeps account of the buffers.

    A *handle* is a string: the name of a buffer, or of one of the arguments c and Delta.
    """

    def __init__(self, outputs: Sequence[Expr], backend: Backend) -> None:
        self.backend, self.prefix = backend, _PREFIXES[backend.name]
        self.arrays, self.scalars = Printer(backend, scalar=False), Printer(backend, scalar=True)
        symbols = (Symbol(f"t{i}") for i in range(10**6))
        self.shared, self.results = cse(outputs, symbols)
        self.lines: list[str] = []
        self.free: list[str] = []
        self.count = 0
        # Symbols that stand for full arrays -> their handles; all others are thin or scalars.
        self.handles: dict[Symbol, str] = {c: "c", Delta: "Delta"}
        self.symbols: dict[str, Symbol] = {"c": c, "Delta": Delta}  # as long as their values are needed
        self.pins: Counter[str] = Counter()  # how many operations being written hold a handle
        self.dependence: dict[Symbol, frozenset[str]] = {
            c: frozenset("pq"),
            Delta: frozenset("pq"),
            p: frozenset("p"),
            q: frozenset("q"),
        }
        self.uses: Counter[Symbol] = Counter(
            leaf for expr in (*(e for _, e in self.shared), *self.results) for leaf in _leaves(expr)
        )

    def bind(self, symbol: Symbol, expr: Expr) -> None:
        """Write an assignment to a shared subexpression."""
        self.dependence[symbol] = self.where(expr)
        if self.full(expr):
            self.handles[symbol] = self.owned(expr)
            self.symbols[self.handles[symbol]] = symbol
        else:
            self.lines.append(f"{symbol.name} = {self.thin(expr)}")

    def result(self, expr: Expr) -> str:
        """Write an output; return its text, an array of the block's shape."""
        if self.full(expr):
            return self.owned(expr)
        # A thin or constant result is spread over a buffer.
        out = self.take()
        self.lines.append(f"{out}[:] = {self.thin(expr)}")
        return out

    def where(self, expr: Expr) -> frozenset[str]:
        """Return which of p and q, rows and columns, an expression depends on."""
        return frozenset().union(*(self.dependence.get(symbol, frozenset()) for symbol in expr.free_symbols))

    def full(self, expr: Expr) -> bool:
        """Whether an expression is an array of the block's shape."""
        return self.where(expr) == frozenset("pq")

    def thin(self, expr: Expr) -> str:
        """Return the text of an expression that is thin or a scalar."""
        return (self.arrays if self.where(expr) else self.scalars).doprint(expr)

    def take(self) -> str:
        """Return a free buffer."""
        if self.free:
            return self.free.pop()
        self.count += 1
        return f"b{self.count - 1}"

    def borrow(self, handle: str) -> tuple[str, bool]:
        """Return a handle as an operand that must not be written over while other operations need it."""
        self.pins[handle] += 1
        return handle, False

    def release(self, handle: str) -> bool:
        """Give back a borrowed handle; return whether nobody needs it any more."""
        self.pins[handle] -= 1
        symbol = self.symbols.get(handle)
        if symbol is None or self.pins[handle] or self.uses[symbol]:
            return False
        del self.symbols[handle]
        return True

    def use(self, symbol: Symbol) -> tuple[str, bool]:
        """Return a full symbol as an operand."""
        self.uses[symbol] -= 1
        return self.borrow(self.handles[symbol])

    def owned(self, expr: Expr) -> str:
        """Write a full expression; return a buffer that holds it alone."""
        handle, mine = self.write(expr)
        if mine or self.release(handle):
            return handle
        out = self.take()
        self.lines.append(f"{out}[:] = {handle}")
        return out

    def operation(self, name: str, operands: Sequence[tuple[str, bool]]) -> tuple[str, bool]:
        """Write one operation into the buffer of an operand that is no longer needed, or a free one.

        An operand is a text and whether it is a buffer of its own: others are thin, or borrowed.
        """
        ours = [handle for handle, mine in operands if mine or self.release(handle)]
        out = ours[0] if ours else self.take()
        self.free += [handle for handle in dict.fromkeys(ours) if handle != out]
        arguments = ", ".join(handle for handle, _ in operands)
        function = name if "." in name else f"{self.prefix}.{name}"
        self.lines.append(f"{function}({arguments}, out={out})")
        return out, True

    def write(self, expr: Expr) -> tuple[str, bool]:
        """Write a full expression; return its handle and whether it may be written over."""
        if expr.is_Symbol:
            return self.use(expr)
        if isinstance(expr, Add):
            return self.add(expr)
        if isinstance(expr, Mul):
            return self.multiply(expr)
        if isinstance(expr, Pow) and self.full(expr.base) and expr.exp.is_Rational:
            return self.power(expr.base, expr.exp)
        name = type(expr).__name__
        if name in _UNARY:
            return self.operation(self.backend.functions[name], [self.write(expr.args[0])])
        if name == "atan2" and all(self.where(part) for part in expr.args):
            operands = [self.write(part) if self.full(part) else (self.thin(part), False) for part in expr.args]
            return self.operation("arctan2", operands)
        return self.as_printed(expr)

    def as_printed(self, expr: Expr) -> tuple[str, bool]:
        """Write an expression of another kind as it is; it takes new memory."""
        names = {symbol: Symbol(self.handles[symbol]) for symbol in expr.free_symbols if symbol in self.handles}
        out = self.take()
        self.lines.append(f"{out}[:] = {self.arrays.doprint(expr.xreplace(names))}")
        for leaf in _leaves(expr):
            if leaf in self.handles:
                handle, _ = self.use(leaf)
                self.free += [handle] * self.release(handle)
        return out, True

    def add(self, expr: Expr) -> tuple[str, bool]:
        """Write a sum: full terms first, then those of rows (with the constants) and of columns."""
        full = sorted((t for t in expr.args if self.full(t)), key=lambda t: (t.could_extract_minus_sign(), str(t)))
        rows, columns = self.thin_parts(expr, Add)
        if not full:
            return self.operation("add", [(rows, False), (columns, False)])
        total = self.write(full[0])
        for term in full[1:]:
            negative = term.could_extract_minus_sign()
            part = self.write(-term if negative else term)
            total = self.operation("subtract" if negative else "add", [total, part])
        for text in filter(None, (rows, columns)):
            total = self.operation("add", [total, (text, False)])
        return total

    def multiply(self, expr: Expr) -> tuple[str, bool]:
        """Write a product: full factors first, then quotients, then factors of rows and of columns."""
        numerator: list[Expr] = []
        denominator: list[Expr] = []
        for factor in expr.args:
            if self.full(factor):
                base, exponent = factor.as_base_exp()
                divides = exponent.is_Rational and exponent.is_negative
                (denominator if divides else numerator).append(Pow(base, -exponent) if divides else factor)
        rows, columns = self.thin_parts(expr, Mul)
        if not numerator and not denominator:
            return self.operation("multiply", [(rows, False), (columns, False)])
        if numerator:
            product = self.write(numerator[0])
        else:
            product = self.operation("reciprocal", [self.write(denominator.pop(0))])
        for factor in numerator[1:]:
            product = self.operation("multiply", [product, self.write(factor)])
        for factor in denominator:
            product = self.operation("divide", [product, self.write(factor)])
        for text in filter(None, (rows, columns)):
            product = self.operation("multiply", [product, (text, False)])
        return product

    def thin_parts(self, expr: Expr, kind: type[Expr]) -> tuple[str, str]:
        """Return the texts of the parts of a sum or product that depend on rows, or nothing, and on columns."""
        thin = [part for part in expr.args if not self.full(part)]
        columns = [part for part in thin if self.where(part) == frozenset("q")]
        rows = [part for part in thin if self.where(part) != frozenset("q")]
        return self.thin(kind(*rows)) if rows else "", self.thin(kind(*columns)) if columns else ""

    def power(self, base: Expr, exponent: Rational) -> tuple[str, bool]:
        """Write a power by products and square roots where the exponent is a half or a whole number."""
        if exponent.is_negative:
            return self.operation("reciprocal", [self.power(base, -exponent)])
        if exponent.q > 2:
            return self.operation(
                "pow" if self.prefix == "torch" else "power", [self.write(base), (repr(float(exponent)), False)]
            )
        handle, mine = self.write(base)
        if exponent == Rational(1, 2):
            return self.operation("sqrt", [(handle, mine)])
        root = None
        if exponent.q == 2:
            root = self.operation("sqrt", [(handle, False) if mine else self.borrow(handle)])
        whole = self.whole_power(handle, mine, int(exponent))
        return whole if root is None else self.operation("multiply", [root, whole])

    def whole_power(self, handle: str, mine: bool, exponent: int) -> tuple[str, bool]:
        """Write a power by repeated squaring."""
        if exponent == 1:
            return handle, mine
        if exponent % 2 == 0:
            half = self.whole_power(handle, mine, exponent // 2)
            return self.operation("square", [half])
        less = self.whole_power(*((handle, False) if mine else self.borrow(handle)), exponent - 1)
        return self.operation("multiply", [less, (handle, mine)])


def _leaves(expr: Expr) -> Iterator[Symbol]:
    """Yield the symbols of an expression as often as they occur."""
    if expr.is_Symbol:
        yield expr
    for part in expr.args:
        yield from _leaves(part)
