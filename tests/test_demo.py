import json

import numpy as np
import pytest

from docs import demo
from infgeo.cli.parser import build

SMALL = ("--widths", "64,128,256", "--samples", "24")
WIDE = ("--widths", "256,512,1024", "--samples", "24")


@pytest.fixture
def small(monkeypatch):
    def steps(out, samples):
        yield ["derive", "erf", "--depth", "2", "--quantity", "ricci_scalar"]
        yield ["validate", "erf", "--input-dim", "2", *SMALL, *demo._files(out, "erf_d2")]
        yield ["validate", "relu", "--points", str(out / "digits-few.npy"), *WIDE, *demo._files(out, "relu_digits")]

    monkeypatch.setattr(demo, "steps", steps)


def test_the_digits_are_real_images_scaled_to_one():
    images = demo.digits()
    assert images.shape == (demo.IMAGES, 64) and images.dtype == np.float64
    assert images.min() == 0 and images.max() == 1
    norms = np.linalg.norm(images, axis=1)
    assert 0.5 < 0.25 * norms.min() and 0.25 * norms.max() < 1.5  # sigma_w = 1/4


def test_what_is_validated(tmp_path):
    planned = [step for step in demo.steps(tmp_path, None) if step[0] == "validate"]
    reports = [step[step.index("--json") + 1] for step in planned]
    names = [f"{activation}_{on}" for activation in ("erf", "relu") for on in ("d2", "d3", "digits")]
    assert reports == [str(tmp_path / f"{name}.json") for name in (*names, "erf_digits_ricci")]
    build().parse_args(planned[2])
    compared = {
        name for step in planned if "--quantities" in step for name in step[step.index("--quantities") + 1].split(",")
    }
    assert "ricci_scalar" in compared and "kernel" in compared


def test_the_demonstration_prints_and_writes(small, tmp_path, capsys):
    out = tmp_path / "out"
    assert demo.main(["--out", str(out), "--jobs", "1"]) == 0
    text = capsys.readouterr().out
    for words in ("$ infgeo derive erf --depth 2", "Ricci scalar (positive on spheres)", "PASSED in"):
        assert words in text
    reports = {f"{name}.{ending}" for name in ("erf_d2", "relu_digits") for ending in ("json", "png")}
    assert {p.name for p in out.iterdir()} == reports | {"digits.npy", "digits-few.npy"}
    documents = [json.loads((out / f"{name}.json").read_text()) for name in ("erf_d2", "relu_digits")]
    assert documents[0]["passed"] and documents[1]["configuration"]["input_dim"] == 64


def test_a_failed_check_is_status_1(small, tmp_path, capsys, monkeypatch):
    from infgeo.validation import comparison

    original = comparison.series_of

    def shifted(theory, *rest):
        theory.values["kernel"] = theory.values["kernel"] * 1.5
        return original(theory, *rest)

    monkeypatch.setattr(comparison, "series_of", shifted)
    assert demo.main(["--out", str(tmp_path), "--jobs", "1"]) == 1
    assert json.loads((tmp_path / "erf_d2.json").read_text())["passed"] is False
    assert "FAILED" in capsys.readouterr().out


def test_an_interrupt_writes_what_is_done_and_is_status_1(small, tmp_path, monkeypatch, capsys):
    import sys

    module = sys.modules["infgeo.validation.simulate"]
    original = module.run_width

    def run_width(run, width, *rest):
        if width == 256:
            raise KeyboardInterrupt
        return original(run, width, *rest)

    monkeypatch.setattr(module, "run_width", run_width)
    assert demo.main(["--out", str(tmp_path), "--jobs", "1"]) == 1
    assert "PARTIAL" in capsys.readouterr().out
    assert {p.stem for p in tmp_path.glob("*.json")} == {"erf_d2"}


@pytest.mark.parametrize("arguments", [["--out", "/dev/null/out"], ["--samples", "x"], ["--nonsense"]])
def test_bad_arguments(arguments, capsys):
    assert demo.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
