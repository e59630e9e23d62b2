import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sympy

import infgeo
from infgeo.cli import main
from infgeo.cli.derive import TITLES
from infgeo.cli.parser import QUANTITIES
from infgeo.cli.points_file import read_points

ROOT = Path(infgeo.__file__).parents[1]
VALIDATE = ["validate", "erf", "--input-dim", "2", "--widths", "64,128,256", "--samples", "16", "--jobs", "1"]


def infgeo_process(*arguments, **options):
    command = [sys.executable, "-m", "infgeo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **options)


# derive


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


def test_cold_derive_is_quick_and_loads_no_array_library():
    code = (
        "import sys; from infgeo.cli import main; status = main(sys.argv[1:]);"
        "print([m for m in ('torch', 'numpy', 'scipy', 'matplotlib', 'sklearn', 'rich') if m in sys.modules], status)"
    )
    start = time.perf_counter()
    arguments = ["derive", "erf", "--quantity", "ricci_scalar"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert time.perf_counter() - start < 3
    assert done.stdout.splitlines()[-1] == "[] 0"


# emit and activations


def test_emit_writes_a_module_that_runs_without_infgeo(tmp_path):
    path = tmp_path / "erf_geometry.py"
    assert main(["emit", "erf", "--backend", "numpy", "-o", str(path)]) == 0
    code = (
        "import sys, numpy, erf_geometry; R = erf_geometry.ricci_scalar(numpy.array([1.0, 0.0]), sigma_b=0.5);"
        "print(float(R), 'infgeo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    value, loaded = done.stdout.split()
    expected = -math.pi * 4 / (2 * 1.5 * math.sqrt(3.5))
    assert float(value) == pytest.approx(expected, rel=1e-14) and loaded == "False"


def test_emit_prints_to_stdout(capsys):
    assert main(["emit", "relu", "--backend", "mpmath", "--depth", "2"]) == 0
    out = capsys.readouterr().out
    assert out == infgeo.emit(infgeo.MLP("relu", depth=2), "mpmath")


@pytest.mark.parametrize("command", [["derive", "--depth", "2"], ["emit"], ["emit", "--backend", "torch"]])
def test_an_activation_may_be_an_expression(command, capsys):
    outputs = []
    for activation in ("erf(z/sqrt(2))", "erf"):
        assert main([*command, activation]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_an_expression_may_have_parameters(tmp_path, capsys):
    assert main(["derive", "a*z*exp(-z**2/2)", "--quantity", "metric"]) == 0
    assert "a real" in capsys.readouterr().out
    arguments = ["validate", "erf(a*z)", *VALIDATE[2:], "--json", str(tmp_path / "r.json")]
    assert main([*arguments, "--parameter", "a=0.5"]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["configuration"]["parameters"] == {"a": 0.5}


@pytest.mark.parametrize("command", ["derive", "emit", "validate", "activations"])
def test_the_help_speaks_of_expressions(command, capsys):
    assert main([command, "--help"]) == 0
    assert "expression of z" in " ".join(capsys.readouterr().out.split())


def test_activations_lists_the_catalogue(capsys):
    assert main(["activations"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in infgeo.activations.available())


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"infgeo {infgeo.__version__}\n"


# validate


def test_validate_prints_the_table_and_writes_json_and_picture(tmp_path, capsys):
    json_path, plot_path = tmp_path / "r.json", tmp_path / "r.png"
    assert main([*VALIDATE, "--json", str(json_path), "--plot", str(plot_path)]) == 0
    captured = capsys.readouterr()
    assert "PASSED" in captured.out and "48 of 48" in captured.err
    document = json.loads(json_path.read_text())
    assert document["passed"] is True and document["configuration"]["widths"] == [64, 128, 256]
    assert plot_path.read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in tmp_path.iterdir()} == {"r.json", "r.png"}


def test_validate_takes_points_from_files(tmp_path, capsys):
    points = np.array([[1.0, 2.0], [0.0, 0.5]])
    np.save(tmp_path / "p.npy", points)
    (tmp_path / "p.csv").write_text("1,2\n0,0.5\n")
    tables = []
    for name in ("p.npy", "p.csv"):
        arguments = [a for a in VALIDATE if a not in ("--input-dim", "2")]
        assert main([*arguments, "--points", str(tmp_path / name), "--all-rows"]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] and "2 points" in tables[0]


def test_validate_takes_parameters_of_the_activation(tmp_path, capsys):
    arguments = ["validate", "leaky_relu", *VALIDATE[2:], "--json", str(tmp_path / "r.json")]
    assert main([*arguments, "--parameter", "alpha=0.1"]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["configuration"]["parameters"] == {"alpha": 0.1}


def test_validate_takes_layers_and_quantities(tmp_path, capsys):
    arguments = ["validate", "erf", "relu", *VALIDATE[2:], "--quantities", "kernel,metric_radial"]
    assert main([*arguments, "--json", str(tmp_path / "r.json")]) == 0
    assert "Dense(Max(0, z)" in capsys.readouterr().out
    document = json.loads((tmp_path / "r.json").read_text())
    assert {row["quantity"] for row in document["rows"]} == {"kernel", "metric_radial"}
    assert main([*VALIDATE, "--quantities", "torsion"]) == 2
    assert main([*arguments, "--depth", "2"]) == 2


def test_validate_against_another_network_fails(capsys):
    assert main([*VALIDATE, "--samples", "64"]) == 0
    assert "would have been seen at 5 standard errors" in capsys.readouterr().out
    assert main([*VALIDATE, "--samples", "64", "--against", "gelu"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_budgets_reach_validate(monkeypatch):
    seen = []

    def validate(*arguments, **named):
        seen.append(named["budget"])
        raise infgeo.errors.InvalidInput("enough")

    monkeypatch.setattr(infgeo.validation, "validate", validate)
    for flags in ([], ["--quick"], ["--thorough"], ["--quick", "--thorough"]):
        assert main([*VALIDATE, *flags]) == 2
    assert seen == ["default", "quick", "thorough"]


def test_validate_with_worker_processes_gives_the_same_report(tmp_path, capsys):
    assert main([*VALIDATE, "--json", str(tmp_path / "1.json")]) == 0
    assert main([*VALIDATE[:-1], "2", "--json", str(tmp_path / "2.json")]) == 0
    one, two = (json.loads((tmp_path / name).read_text()) for name in ("1.json", "2.json"))
    assert [r["z"] for r in one["rows"]] == pytest.approx([r["z"] for r in two["rows"]], rel=1e-6)


def test_a_failed_check_is_status_1(monkeypatch, capsys):
    from infgeo.validation import comparison

    original = comparison.series_of

    def shifted(theory, *rest):
        theory.values["ricci_scalar"] = theory.values["ricci_scalar"] + 30
        return original(theory, *rest)

    monkeypatch.setattr(comparison, "series_of", shifted)
    assert main(VALIDATE) == 1
    assert "FAILED" in capsys.readouterr().out


def test_an_interrupted_run_is_partial_and_status_1(monkeypatch, tmp_path, capsys):
    import infgeo.validation  # noqa: F401

    module = sys.modules["infgeo.validation.simulate"]
    original = module.run_width

    def run_width(run, width, *rest):
        if width == 256:
            raise KeyboardInterrupt
        return original(run, width, *rest)

    monkeypatch.setattr(module, "run_width", run_width)
    assert main([*VALIDATE, "--json", str(tmp_path / "r.json"), "--plot", str(tmp_path / "r.png")]) == 1
    assert "PARTIAL" in capsys.readouterr().out
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["partial"] and document["widths_done"] == [64, 128] and len(document["rows"]) > 0


# bad input: status 2, one line on stderr, nothing on stdout


def npy(header):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def files(tmp_path):
    np.save(tmp_path / "integers.npy", np.ones((2, 2), dtype=int))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(tmp_path / "empty.npy", np.empty((0, 2)))
    np.save(tmp_path / "flat.npy", np.ones(2))
    np.save(tmp_path / "three.npy", np.ones((2, 3)))
    np.save(tmp_path / "complex.npy", np.ones((2, 2), dtype=complex))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "nothing.npy").write_bytes(b"")
    np.savez(tmp_path / "archive.npz", np.ones((2, 2)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "huge.npy").write_bytes(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000, 2)}"))
    (tmp_path / "unclosed.npy").write_bytes(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)"))
    (tmp_path / "words.npy").write_bytes(npy("{'descr': '<f8' 'fortran_order' = False"))
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    (tmp_path / "words.csv").write_text("one,two\n")
    (tmp_path / "nothing.csv").write_text("")
    (tmp_path / "inf.csv").write_text("1,inf\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "points.txt").write_text("1,2\n")
    return tmp_path


FILES = ["integers.npy", "objects.npy", "nan.npy", "empty.npy", "flat.npy", "three.npy", "complex.npy", "broken.npy"]
FILES += ["nothing.npy", "ragged.csv", "words.csv", "nothing.csv", "inf.csv", "bytes.csv", "points.txt", "missing.npy"]
FILES += ["missing.csv", "archive.npy", "huge.npy", "unclosed.npy", "words.npy"]


@pytest.mark.parametrize("name", FILES)
def test_bad_points_files(name, tmp_path, capsys):
    path = files(tmp_path) / name
    assert main([*VALIDATE, "--points", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert name in captured.err or name == "three.npy"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["derive", "erff"], "did you mean 'erf'"),
        (["derive", "__import__('os').system('true')"], "is not allowed; an expression has the variable z"),
        (["derive", "erf(z"], "never closed"),
        (["derive", "z^2"], "write **"),
        (["derive", "9**9**9"], "exponent"),
        (["derive", "erf(t)"], "does not contain the variable z"),
        (["derive", "-z"], "goes in parentheses"),
        (["emit", "z.func"], "'.' is not allowed"),
        (["emit", "2*\udcff"], "\\udcff"),
        (["validate", "lambda z: z", *VALIDATE[2:]], "':' is not allowed"),
        (["validate", "erf(a*z)", *VALIDATE[2:]], "a"),
        (["derive", "erf", "--depth", "0"], "'0' is not an integer >= 1"),
        (["derive", "erf", "--depth", "100000000"], "larger than 100"),
        (["emit", "erf", "--depth", "101"], "larger than 100"),
        ([*VALIDATE, "--depth", "101"], "larger than 100"),
        (["derive", "erf", "relu", "--depth", "2"], "--depth 2 with 2 activations"),
        (["derive", "erf", "--weight-std", "0"], "--weight-std = 0 must be"),
        (["derive", "erf", "--weight-std", "z"], "--weight-std z contains z"),
        (["derive", "erf", "--bias-std", "1e400"], "--bias-std '1e400'"),
        (["derive", "erf", "--bias-std", "os.system(1)"], "--bias-std 'os.system(1)'"),
        (["derive", "erf", "--parameter", "beta=1"], "does not contain beta"),
        (["derive", "erf", "--parameter", "d=0"], "d = 0.0 must be > 0"),
        (["derive", "relu", "--of", "ntk", "--quantity", "metric"], "cusp"),
        (["derive", "tanh"], "outside the class"),
        (["derive", "swish"], "did you mean 'silu'"),
        (["emit", "erf(x)"], "does not contain the variable z"),
        (["validate", "leaky_relu", *VALIDATE[2:]], "--parameter alpha=VALUE"),
        (["derive", "erf", "--depth", "1.5"], "'1.5' is not an integer >= 1"),
        (["derive", "erf", "--quantity", "torsion"], "torsion"),
        (["derive"], "ACTIVATION"),
        ([], "required"),
        (["emit", "erf", "--backend", "cupy"], "jax"),
        (["emit", "erf", "-o", "/nowhere/at/all.py"], "cannot write"),
        (["validate", "erf"], "--input-dim"),
        ([*VALIDATE, "--weight-std", "0"], "0"),
        ([*VALIDATE, "--weight-std", "-1"], "-1"),
        ([*VALIDATE, "--weight-std", "nan"], "nan"),
        ([*VALIDATE, "--bias-std", "-0.5"], "-0.5"),
        ([*VALIDATE, "--bias-std", "inf"], "inf"),
        ([*VALIDATE, "--input-dim", "65"], "width 64 < input dimension 65"),
        ([*VALIDATE, "--input-dim", "0"], "'0' is not an integer >= 1"),
        ([*VALIDATE, "--samples", "2"], "samples is 2"),
        ([*VALIDATE, "--seed", "-1"], "'-1' is not an integer >= 0"),
        ([*VALIDATE, "--parameter", "alpha"], "'alpha' is not of the form NAME=VALUE"),
        ([*VALIDATE, "--parameter", "=1"], "'=1' is not of the form NAME=VALUE"),
        ([*VALIDATE, "--parameter", "alpha=x"], "'x' is not a finite number"),
        ([*VALIDATE, "--parameter", "alpha=nan"], "'nan' is not a finite number"),
        ([*VALIDATE, "--parameter", "alpha=0.1"], "alpha"),
        (["validate", "leaky_relu", *VALIDATE[2:]], "alpha"),
        (["validate", "leaky_relu", *VALIDATE[2:], *["--parameter", "alpha=0.1"] * 2], "given twice"),
        (["validate", "leaky_relu", *VALIDATE[2:], "--parameter", "alpha=0.1", "--parameter", "beta=2"], "beta"),
        ([*VALIDATE, "--seed", "x"], "'x' is not an integer >= 0"),
        ([*VALIDATE, "--widths", "64,x"], "'x' is not an integer"),
        ([*VALIDATE, "--json", "/nowhere/r.json"], "cannot write"),
        ([*VALIDATE, "--plot", "/nowhere/r.png"], "cannot write"),
        ([*VALIDATE, "--plot", "r.bmp"], ".png, .pdf, .svg"),
        ([*VALIDATE, "--json", "."], "it is a directory"),
    ],
)
def test_bad_arguments(arguments, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and words in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["derive"], ["validate"]])
def test_the_help_names_every_exit_status(arguments, capsys):
    assert main([*arguments, "--help"]) == 0
    statuses = capsys.readouterr().out.partition("exit status:")[2]
    assert all(f"{status} " in statuses for status in (0, 1, 2, 130))


def test_an_interrupted_derivation_is_status_130(monkeypatch, capsys):
    from infgeo.cli import commands

    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "derive", interrupt)
    assert main(["derive", "erf"]) == 130
    assert capsys.readouterr().err == "infgeo: interrupted\n"


def test_output_paths_are_checked_before_the_simulation(monkeypatch, capsys):
    import infgeo.validation

    monkeypatch.setattr(infgeo.validation, "validate", lambda *a, **k: pytest.fail("too late"))
    assert main([*VALIDATE, "--json", "/nowhere/r.json"]) == 2


def test_as_a_process_bad_input_has_no_traceback():
    done = infgeo_process("derive", "rellu")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "did you mean 'relu'" in done.stderr


def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "infgeo", "derive", "erf"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60)
    os.close(write)
    assert done.returncode == 0 and done.stderr == ""


def test_csv_integers_are_numbers_and_one_row_is_one_point(tmp_path):
    (tmp_path / "p.csv").write_text("1, 2, 3\n")
    assert read_points(str(tmp_path / "p.csv")).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_control_c_leaves_a_partial_report_and_no_traceback(jobs, tmp_path):
    """Ctrl-C reaches the whole process group, workers too."""
    command = [
        sys.executable,
        "-m",
        "infgeo",
        "validate",
        "erf",
        "--input-dim",
        "2",
        "--jobs",
        jobs,
        "--samples",
        "200",
    ]
    command += ["--widths", "64,128,256,200000", "--json", str(tmp_path / "r.json")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        # Background jobs of a shell ignore the signal, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stderr:
        if int(line.split()[1]) > 400:  # of 800: two widths are done
            break
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in err and "PARTIAL" in out
    assert json.loads((tmp_path / "r.json").read_text())["widths_done"][:2] == [64, 128]


@pytest.mark.skipif(os.name != "posix", reason="redirections of a POSIX shell")
@pytest.mark.parametrize(
    ("redirection", "words"), [(">/dev/full", "No space left"), (">&-", "standard output is closed")]
)
def test_an_output_that_cannot_be_written_is_one_line(redirection, words):
    if redirection == ">/dev/full" and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    command = ["sh", "-c", f'"$0" -m infgeo derive erf --quantity kernel {redirection}', sys.executable]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


def test_scales_beyond_the_range_of_floats_are_bad_input(capsys):
    assert main([*VALIDATE, "--weight-std", "1e200"]) == 2
    error = capsys.readouterr().err
    assert "sigma_w = 1e+200 must be at most 1e+38" in error and error.count("\n") == 1


def test_one_file_for_two_outputs_is_bad_input(tmp_path, capsys):
    same = str(tmp_path / "same.png")
    assert main([*VALIDATE, "--json", same, "--plot", same]) == 2
    assert "both name" in capsys.readouterr().err and not os.path.exists(same)


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


@pytest.mark.parametrize(
    "command", [["derive", "tanh"], ["emit", "tanh"], ["validate", "tanh", "--input-dim", "2"], ["emit", "exp(z**4)"]]
)
def test_errors_speak_of_options(command, capsys):
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "(...)" not in captured.err and "=..." not in captured.err and "numeric(" not in captured.err
