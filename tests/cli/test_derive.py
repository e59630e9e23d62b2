"""The command derive."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy

import infgeo
from infgeo.cli import main
from infgeo.cli.derive import TITLES
from infgeo.cli.parser import QUANTITIES

ROOT = Path(infgeo.__file__).parents[1]


def test_derive_prints_the_ricci_scalar_of_erf_on_one_line(capsys):
    assert main(["derive", "erf", "--quantity", "ricci_scalar"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Ricci scalar (positive on spheres)"
    names = {"d": sympy.Symbol("d", integer=True, positive=True)}
    printed = sympy.sympify(lines[1].removeprefix("ricci_scalar = "), locals=names)
    expected = infgeo.MLP("erf").metric.ricci_scalar
    assert sympy.simplify(printed - sympy.sympify(str(expected), locals=names)) == 0


@pytest.mark.parametrize("name", ["erf", "relu", "identity"])
@pytest.mark.parametrize("form", ["text", "latex", "python"])
@pytest.mark.parametrize("depth", ["1", "2"])
def test_derive_all(name, form, depth, capsys):
    assert main(["derive", name, "--depth", depth, "--format", form]) == 0
    out = capsys.readouterr().out
    if form == "text":
        assert "NNGP kernel" in out and "sectional curvatures" in out and "positive on spheres" in out
    if form == "python":
        compile(out, "derived", "exec")


@pytest.mark.parametrize("name", ["erf", "relu"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("explicit", [False, True])
def test_derived_python_gives_the_numbers_of_the_package(name, depth, explicit, capsys):
    flags = ["--explicit"] if explicit else []
    namespace = {}
    for quantity in ("kernel", "ntk", "metric", "volume_element", "ricci_scalar"):
        assert main(["derive", name, "--depth", str(depth), "--quantity", quantity, "--format", "python", *flags]) == 0
        exec(capsys.readouterr().out, namespace)
    x, y = np.array([[0.3, -1.2, 0.5]]), np.array([[1.0, 0.2, -0.7]])
    values = dict(
        d=3, s=float((x**2).sum()), s_x=float((x**2).sum()), s_y=float((y**2).sum()), xy=float((x * y).sum()),
        sigma_w=1.3, sigma_b=0.4,
    )  # fmt: skip
    geometry = infgeo.MLP(name, depth=depth).numeric(weight_std=1.3, bias_std=0.4)

    def call(quantity):
        function = namespace[quantity]
        return function(**{k: values[k] for k in function.__code__.co_varnames[: function.__code__.co_argcount]})

    assert call("kernel") == pytest.approx(float(geometry.kernel(x, y)[0, 0]), rel=1e-12)
    assert call("ntk") == pytest.approx(float(geometry.ntk(x, y)[0, 0]), rel=1e-12)
    assert call("volume_element") == pytest.approx(float(geometry.volume_element(x)[0]), rel=1e-12)
    assert call("ricci_scalar") == pytest.approx(float(geometry.ricci_scalar(x)[0]), rel=1e-10)
    A, B = call("metric")
    assert A * np.eye(3) + B * np.outer(x, x) == pytest.approx(geometry.metric(x)[0], rel=1e-12)


def test_the_ricci_tensor_of_two_layers_traces_to_the_scalar(capsys):
    namespace = {}
    for quantity in ("ricci_tensor", "ricci_scalar", "metric"):
        assert main(["derive", "erf", "--depth", "2", "--quantity", quantity, "--format", "python"]) == 0
        exec(capsys.readouterr().out, namespace)
    at = dict(s=1.7, sigma_w=1.3, sigma_b=0.4)
    A, B = namespace["metric"](**at)
    radial, tangential = namespace["ricci_tensor"](d=4, **at)
    assert radial / (A + 1.7 * B) + 3 * tangential / A == pytest.approx(namespace["ricci_scalar"](d=4, **at), rel=1e-12)


def test_two_layers_are_printed_with_named_values_unless_explicit(capsys):
    main(["derive", "erf", "--depth", "2", "--quantity", "ricci_scalar"])
    assert "  where " in capsys.readouterr().out
    main(["derive", "erf", "--depth", "2", "--quantity", "metric", "--explicit"])
    assert "  where " not in capsys.readouterr().out


@pytest.mark.parametrize("form", ["text", "latex", "python"])
def test_a_jump_has_a_kernel_and_no_metric(form, capsys):
    assert main(["derive", "step", "--format", form]) == 0
    out = capsys.readouterr().out
    note = out.splitlines()[-1]
    assert note.startswith({"text": "note: ", "latex": "% ", "python": "# "}[form]) and "has a jump" in note
    assert "without metric, volume_element, ricci_scalar, ricci_tensor, sectional_curvature" in note
    assert "asin" in out or "arcsin" in out or r"\operatorname{asin}" in out
    assert main(["derive", "step", "--quantity", "metric", "--format", form]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "has a jump" in captured.err


def test_without_any_closed_form_deriving_everything_is_an_error(capsys):
    assert main(["derive", "silu"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1


def test_latex_says_what_each_block_is_and_what_its_symbols_are(capsys):
    assert main(["derive", "erf", "--format", "latex"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"% {TITLES[name]}" for name in QUANTITIES]
    assert "s_x = |x|^2, s_y = |y|^2, xy = x.y" in blocks[0].splitlines()[1]
    assert blocks[4].splitlines()[2].startswith("R = ")


@pytest.mark.parametrize("form", ["text", "latex", "python"])
def test_the_heading_of_the_ricci_tensor_names_what_is_printed(form, capsys):
    for depth, shown in (("1", ("A", "B")), ("2", ("Ric_radial", "Ric_tangential"))):
        main(["derive", "erf", "--depth", depth, "--quantity", "ricci_tensor", "--format", form])
        out = capsys.readouterr().out
        assert ("eigenvalues, Ric_radial" in out) == (depth == "2")
        if form == "text":
            assert [line.split(" = ")[0] for line in out.splitlines()[1:3]] == list(shown)


@pytest.mark.parametrize("form", ["text", "latex"])
def test_long_formulas_of_one_layer_have_named_values_unless_explicit(form, capsys):
    arguments = ["derive", "gelu", "--quantity", "ricci_scalar", "--format", form]
    assert main(arguments) == 0
    named = capsys.readouterr().out
    assert main([*arguments, "--explicit"]) == 0
    explicit = capsys.readouterr().out
    assert max(map(len, named.splitlines())) < 700 and len(named) < len(explicit)
    assert ("where" in named) == (form == "text") and "where" not in explicit


def test_named_and_explicit_formulas_of_one_layer_are_the_same_function(capsys):
    at = dict(s=1.7, sigma_w=1.3, sigma_b=0.4, d=3, s_x=1.7, s_y=0.9, xy=0.6)
    for quantity in ("kernel", "metric", "ricci_scalar"):
        values = []
        for flags in ([], ["--explicit"]):
            namespace = {}
            assert main(["derive", "gelu", "--quantity", quantity, "--format", "python", *flags]) == 0
            exec(capsys.readouterr().out, namespace)
            function = namespace[quantity]
            names = function.__code__.co_varnames[: function.__code__.co_argcount]
            values.append(np.ravel(function(**{name: at[name] for name in names})))
        assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_cold_derive_loads_no_array_library():
    """How long it takes: benchmarks/cold_start.py."""
    code = (
        "import sys; from infgeo.cli import main; status = main(sys.argv[1:]);"
        "print([m for m in ('torch', 'numpy', 'scipy', 'matplotlib', 'sklearn', 'rich') if m in sys.modules], status)"
    )
    arguments = ["derive", "erf", "--quantity", "ricci_scalar"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_derive_takes_scales_layers_and_parameters(capsys):
    arguments = ["--weight-std", "sqrt(2)/3", "--bias-std", "0.5", "--parameter", "alpha=0.25", "--quantity", "metric"]
    assert main(["derive", "erf", "leaky_relu", *arguments, "--explicit"]) == 0
    third = sympy.sqrt(2) / 3
    mlp = infgeo.MLP(["erf", "leaky_relu"], weight_std=third, bias_std=0.5).at(alpha=0.25)
    printed = capsys.readouterr().out
    assert f"A = {mlp.metric.A}\n" in printed and f"B = {mlp.metric.B}\n" in printed
    assert main(["derive", "a+b*z+c*z**2", "--bias-std", "p", "--quantity", "kernel"]) == 0
    assert "p**2" in capsys.readouterr().out


def test_derive_prints_the_metric_of_the_tangent_kernel(capsys):
    fixed = ["--weight-std", "1", "--bias-std", "0"]
    assert main(["derive", "erf", *fixed, "--of", "ntk", "--quantity", "ricci_scalar", "--parameter", "d=2"]) == 0
    R = infgeo.MLP("erf", weight_std=1, bias_std=0).ntk.metric.at(d=2).ricci_scalar
    printed = capsys.readouterr().out
    assert f"ricci_scalar = {R}\n" in printed and "that of the neural tangent kernel" in printed
