"""Closed forms as text, LaTeX, Python source or JSON."""

import json
from collections.abc import Callable

from sympy import Expr, Integer, Symbol, cse, latex, pycode, true
from sympy.utilities.iterables import numbered_symbols

from infgeo import conventions as conv
from infgeo.cli.parser import QUANTITIES
from infgeo.errors import MetricDoesNotExist, NoClosedForm
from infgeo.symbolic.algebra.conditions import in_words
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.algebra.simplify import power_product
from infgeo.symbolic.geometry.metric import RadialMetric, RadialTensor, assumptions_of
from infgeo.symbolic.networks.network import MLP

TITLES = {
    "kernel": "NNGP kernel",
    "ntk": "neural tangent kernel",
    "metric": "metric g = A I + B x x^T",
    "volume_element": "volume element sqrt(det g)",
    "ricci_scalar": "Ricci scalar (positive on spheres)",
    "ricci_tensor": "Ricci tensor Ric = A I + B x x^T",
    "sectional_curvature": "sectional curvatures of planes with (K_rad) and across (K_tan) the radial direction",
}
# At two layers and more the eigenvalues are far shorter than A and B.
EIGENVALUES = "Ricci tensor Ric = A I + B x x^T by its eigenvalues, Ric_radial = A + s B and Ric_tangential = A"
COMMENT = {"text": "note: ", "latex": "% ", "python": "# "}
LONG = 600  # characters: formulas beyond are printed with named values
LATEX = {
    "kernel": r"k(x, y)",
    "ntk": r"\Theta(x, y)",
    "volume_element": r"\sqrt{\det g}",
    "ricci_scalar": "R",
    "K_rad": r"K_\mathrm{rad}",
    "K_tan": r"K_\mathrm{tan}",
    "Ric_radial": r"\mathrm{Ric}_\mathrm{radial}",
    "Ric_tangential": r"\mathrm{Ric}_\mathrm{tangential}",
}


def derivation(mlp: MLP, quantity: str, form: str, explicit: bool = False, tangent: bool = False) -> str:
    """Return one quantity, or "all", in a form "text", "latex", "python" or "json".

    At depth >= 2, and where it would be long, a formula is a program, named values after the word where; `explicit`
    substitutes them into one expression. The metric is that of the tangent kernel if `tangent`. The Python form is a
    function of floats that needs the standard library's math alone. Of "all", what does not exist is left out with a
    note; if nothing does, the first error is raised.
    """
    write = {"text": _text, "latex": _latex, "python": _python, "json": _json}[form]
    parts: dict[str, str] = {}
    missing: dict[str, tuple[Exception, list[str]]] = {}
    for name in QUANTITIES if quantity == "all" else (quantity,):
        try:
            parts[name] = write(name, program_for(mlp, name, explicit, tangent))
        except (MetricDoesNotExist, NoClosedForm) as error:
            missing.setdefault(" ".join(str(error).split()), (error, []))[1].append(name)
    if not parts:
        raise next(iter(missing.values()))[0]
    notes = _remarks(mlp, list(parts), tangent)
    notes += [f"without {', '.join(names)}: {text}" for text, (_, names) in missing.items()]
    if form == "json":
        quantities = {name: json.loads(part) for name, part in parts.items()}
        return json.dumps({"network": str(mlp), **quantities, "notes": notes}, indent=1)
    head = [str(mlp)] if quantity == "all" and form == "text" else []
    said = [*head, *parts.values(), *(COMMENT[form] + note for note in notes)]
    if form == "python":
        return "import math\n\n\n" + "\n\n\n".join(said)
    return "\n\n".join(said)


def _remarks(mlp: MLP, quantities: list[str], tangent: bool) -> list[str]:
    """Return of which kernel the metric is, and where the quantities are finite and regular, if not everywhere."""
    if set(quantities) <= {"kernel", "ntk"}:
        return [] if mlp.domain == true else [f"finite where {in_words(mlp.domain)}, s = |x|^2 and |y|^2"]
    of_kernel = ["the metric is that of the neural tangent kernel"] if tangent else []
    return of_kernel + _metric(mlp, tangent).remarks.splitlines()


def program_for(mlp: MLP, name: str, explicit: bool, tangent: bool = False) -> Program:
    """Return one quantity as a program: without bindings when `explicit`, or for one layer, unless that is long."""
    if explicit or mlp.depth == 1:
        program = _explicit(mlp, name, tangent)
        if explicit or len(str(program)) <= LONG:
            return program
    program = _named(mlp, name, tangent)
    return program if max(len(str(expr)) for expr in program.outputs.values()) <= LONG else _shared(program)


def _shared(program: Program) -> Program:
    """Name what occurs more than once in the outputs."""
    names = numbered_symbols("t_", cls=conv.Internal, start=1)
    bindings, outputs = cse(list(program.outputs.values()), symbols=names, order="none")
    return Program((*program.bindings, *bindings), dict(zip(program.outputs, outputs, strict=True)))


def _metric(mlp: MLP, tangent: bool) -> RadialMetric:
    return mlp.ntk.metric if tangent else mlp.metric


def _explicit(mlp: MLP, name: str, tangent: bool) -> Program:
    if name in ("kernel", "ntk"):
        return Program((), {name: getattr(mlp, name).expr})
    metric = _metric(mlp, tangent)
    value = metric if name == "metric" else getattr(metric, name)
    if isinstance(value, RadialTensor):
        return Program((), {"A": value.A, "B": value.B})
    if isinstance(value, tuple):
        return Program((), dict(zip(("K_rad", "K_tan"), value, strict=True)))
    return Program((), {name: value})


def _named(mlp: MLP, name: str, tangent: bool) -> Program:
    if name in ("kernel", "ntk"):
        return _shared(_explicit(mlp, name, tangent)) if mlp.depth == 1 else getattr(mlp, f"{name}_program")
    whole, d = (mlp.ntk.metric.program if tangent else mlp.metric_program), mlp.dimension
    if name == "metric":
        return whole.select(["A", "B"])
    if name == "ricci_scalar":
        program = whole.select(["R"])
        return Program(program.bindings, {name: program.outputs["R"]})
    if name == "sectional_curvature":
        return whole.select(["K_rad", "K_tan"])
    if name == "volume_element":
        program = whole.select(["A", "h"])
        A, h = program.outputs["A"], program.outputs["h"]
        root = power_product((A, d / 2)) if A == h else power_product((A, (d - 1) / 2), (h, Integer(1) / 2))
        return Program(program.bindings, {name: root})
    program = whole.select(["K_rad", "K_tan", "A", "h"])
    K_rad, K_tan, A, h = (program.outputs[key] for key in ("K_rad", "K_tan", "A", "h"))
    eigenvalues = {"Ric_radial": (d - 1) * K_rad * h, "Ric_tangential": (K_rad + (d - 2) * K_tan) * A}
    return Program(program.bindings, eigenvalues).select(list(eigenvalues))


def _title(name: str, program: Program) -> str:
    return EIGENVALUES if "Ric_radial" in program.outputs else TITLES[name]


def _text(name: str, program: Program) -> str:
    return f"{_title(name, program)}\n{program}\n  ({assumptions_of(set(program.inputs))})"


def _latex(name: str, program: Program) -> str:
    head = f"% {_title(name, program)}\n% {assumptions_of(set(program.inputs))}\n"
    rows = [f"{LATEX.get(key, key)} &= {latex(expr)}" for key, expr in program.outputs.items()]
    rows += [f"{latex(symbol)} &= {latex(expr)}" for symbol, expr in program.bindings]
    if len(rows) == 1:
        return head + rows[0].replace("&= ", "= ", 1)
    return head + "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _python(name: str, program: Program) -> str:
    code: Callable[[Expr], str] = pycode
    lines = [f"def {name}({', '.join(map(str, _arguments(program)))}):", f'    """{_title(name, program)}."""']
    lines += [f"    {symbol} = {code(expr)}" for symbol, expr in program.bindings]
    values = [code(expr) for expr in program.outputs.values()]
    lines.append(f"    return {', '.join(values)}" + (f"  # {', '.join(program.outputs)}" if len(values) > 1 else ""))
    return "\n".join(lines)


def _json(name: str, program: Program) -> str:
    """Return formulas and named values as SymPy writes them, and as LaTeX."""
    parts = {"outputs": program.outputs, "where": {str(symbol): expr for symbol, expr in program.bindings}}
    written = {
        part: {key: {"formula": str(expr), "latex": latex(expr)} for key, expr in found.items()}
        for part, found in parts.items()
    }
    return json.dumps({"title": _title(name, program), **written})


def _arguments(program: Program) -> list[Symbol]:
    order = [conv.s, conv.s_x, conv.s_y, conv.xy, conv.d, conv.sigma_w, conv.sigma_b]
    free = set(program.inputs)
    return [symbol for symbol in order if symbol in free] + sorted(free - set(order), key=str)
