"""The commands emit, activations and validate."""

import json
import math
import os
import subprocess
import sys

import pytest

import infgeo
from infgeo.cli import main

VALIDATE = ["validate", "erf", "--input-dim", "2", "--widths", "64,128,256", "--samples", "16", "--jobs", "1"]


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


def test_validate_prints_the_table_and_writes_json_and_picture(tmp_path, capsys):
    json_path, plot_path = tmp_path / "r.json", tmp_path / "r.png"
    assert main([*VALIDATE, "--json", str(json_path), "--plot", str(plot_path)]) == 0
    captured = capsys.readouterr()
    assert "PASSED" in captured.out and "48 of 48" in captured.err
    document = json.loads(json_path.read_text())
    assert document["passed"] is True and document["configuration"]["widths"] == [64, 128, 256]
    assert plot_path.read_bytes().startswith(b"\x89PNG")
    assert {p.name for p in tmp_path.iterdir()} == {"r.json", "r.png"}


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


def test_output_paths_are_checked_before_the_simulation(monkeypatch, capsys):
    import infgeo.validation

    monkeypatch.setattr(infgeo.validation, "validate", lambda *a, **k: pytest.fail("too late"))
    assert main([*VALIDATE, "--json", "/nowhere/r.json"]) == 2


def test_scales_beyond_the_range_of_floats_are_bad_input(capsys):
    assert main([*VALIDATE, "--weight-std", "1e200"]) == 2
    error = capsys.readouterr().err
    assert "sigma_w = 1e+200 must be at most 1e+38" in error and error.count("\n") == 1


def test_one_file_for_two_outputs_is_bad_input(tmp_path, capsys):
    same = str(tmp_path / "same.png")
    assert main([*VALIDATE, "--json", same, "--plot", same]) == 2
    assert "both name" in capsys.readouterr().err and not os.path.exists(same)


def test_explore_writes_the_page_and_opens_it(monkeypatch, tmp_path, capsys):
    import webbrowser

    from infgeo.explorer import page

    opened = []
    monkeypatch.setattr(page, "page", lambda: "<html>φ</html>")
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or len(opened) == 1)
    path = tmp_path / "explorer.html"
    assert main(["explore", "--out", str(path), "--no-browser"]) == 0
    assert path.read_text(encoding="utf-8") == "<html>φ</html>" and opened == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["explore"]) == 0
    written = capsys.readouterr().out.split()[-1]
    assert opened[0] == f"file://{written}" and written.endswith("explorer.html") and os.path.exists(written)
    assert main(["explore", "--out", str(path)]) == 0
    assert f"found no browser; open {path}" in capsys.readouterr().err
    assert main(["explore", "--out", "/nowhere/explorer.html"]) == 2
