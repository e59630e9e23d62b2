"""Closed forms as text, LaTeX or Python source."""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Symbol, cse, latex, pycode
from sympy.utilities.iterables import numbered_symbols

from infgeo import conventions as conv
from infgeo.cli.parser import QUANTITIES
from infgeo.symbolic.metric import RadialTensor
from infgeo.symbolic.network import MLP
from infgeo.symbolic.program import Program
from infgeo.symbolic.simplify import power_product

TITLES = {
    "kernel": "NNGP kernel",
    "ntk": "neural tangent kernel",
    "metric": "metric g = A I + B x x^T",
    "volume_element": "volume element sqrt(det g)",
    "ricci_scalar": "Ricci scalar (positive on spheres)",
    "ricci_tensor": "Ricci tensor Ric = A I + B x x^T",
    "sectional_curvature": "sectional curvatures of planes with (K_rad) and across (K_tan) the radial direction",
}
LATEX = {
    "kernel": r"k(x, y)",
    "ntk": r"\Theta(x, y)",
    "volume_element": r"\sqrt{\det g}",
    "ricci_scalar": "R",
    "K_rad": r"K_\mathrm{rad}",
    "K_tan": r"K_\mathrm{tan}",
}


def derivation(mlp: MLP, quantity: str, form: str, explicit: bool = False) -> str:
    """Return one quantity, or "all", in a form "text", "latex" or "python".

    At depth >= 2 a formula is a program, named values after the word where; `explicit` substitutes them into one
    expression. The Python form is a function of floats that needs the standard library's math alone.
    """
    write = {"text": _text, "latex": _latex, "python": _python}[form]
    names = QUANTITIES if quantity == "all" else (quantity,)
    parts = []
    for name in names:
        program = program_for(mlp, name, explicit)
        parts.append(write(name, program, titled=quantity == "all"))
    if form == "python":
        return "import math\n\n\n" + "\n\n\n".join(parts)
    if form == "text" and quantity == "all":
        parts.insert(0, str(mlp))
    return "\n\n".join(parts)


def program_for(mlp: MLP, name: str, explicit: bool) -> Program:
    """Return one quantity as a program: without bindings for one layer, or when `explicit`."""
    if name in ("kernel", "ntk"):
        expr = getattr(mlp, name).expr
        if mlp.depth == 1 or explicit:
            return Program((), {name: expr})
        bindings, (result,) = cse([expr], symbols=numbered_symbols("t_", start=1), order="none")
        return Program(tuple(bindings), {name: result})
    metric = mlp.metric
    if mlp.depth == 1 or explicit:
        value = metric if name == "metric" else getattr(metric, name)
        return Program((), _outputs(name, value))
    if name == "metric":
        return metric.program.select(["A", "B"])
    if name == "ricci_scalar":
        program = metric.program.select(["R"])
        return Program(program.bindings, {name: program.outputs["R"]})
    if name == "sectional_curvature":
        return metric.program.select(["K_rad", "K_tan"])
    if name == "volume_element":
        program = metric.program.select(["A", "h"])
        A, h = program.outputs["A"], program.outputs["h"]
        root = power_product((A, conv.d / 2)) if A == h else power_product((A, (conv.d - 1) / 2), (h, conv.d**0 / 2))
        return Program(program.bindings, {name: root})
    program = metric.program.select(["K_rad", "K_tan", "A", "h"])
    K_rad, K_tan, A, h = (program.outputs[key] for key in ("K_rad", "K_tan", "A", "h"))
    eigenvalues = {"Ric_radial": (conv.d - 1) * K_rad * h, "Ric_tangential": (K_rad + (conv.d - 2) * K_tan) * A}
    return Program(program.bindings, eigenvalues).select(list(eigenvalues))


def _outputs(name: str, value: Expr | RadialTensor | tuple[Expr, Expr]) -> dict[str, Expr]:
    if isinstance(value, RadialTensor):
        return {"A": value.A, "B": value.B}
    if isinstance(value, tuple):
        return dict(zip(("K_rad", "K_tan"), value, strict=True))
    return {name: value}


def _text(name: str, program: Program, titled: bool) -> str:
    from infgeo.symbolic.metric import assumptions_of

    free = set(program.inputs)
    body = str(program)
    return f"{TITLES[name]}\n{body}\n  ({assumptions_of(free)})"


def _latex(name: str, program: Program, titled: bool) -> str:
    rows = [f"{LATEX.get(key, key)} &= {latex(expr)}" for key, expr in program.outputs.items()]
    rows += [f"{latex(symbol)} &= {latex(expr)}" for symbol, expr in program.bindings]
    if len(rows) == 1:
        return rows[0].replace("&= ", "= ")
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _python(name: str, program: Program, titled: bool) -> str:
    code: Callable[[Expr], str] = pycode
    lines = [f"def {name}({', '.join(map(str, _arguments(program)))}):", f'    """{TITLES[name]}."""']
    lines += [f"    {symbol} = {code(expr)}" for symbol, expr in program.bindings]
    values = [code(expr) for expr in program.outputs.values()]
    lines.append(f"    return {', '.join(values)}" + (f"  # {', '.join(program.outputs)}" if len(values) > 1 else ""))
    return "\n".join(lines)


def _arguments(program: Program) -> list[Symbol]:
    order = [conv.s, conv.s_x, conv.s_y, conv.xy, conv.d, conv.sigma_w, conv.sigma_b]
    free = set(program.inputs)
    return [symbol for symbol in order if symbol in free] + sorted(free - set(order), key=str)
