import json

import numpy as np
import pytest

from infgeo import demo

SMALL = {"widths": (64, 128, 256), "samples": 24, "seed": 0}


@pytest.fixture
def small(monkeypatch):
    images = demo.digits(2)
    planned = [
        demo.Run("erf, small", "erf_d2", "erf", 2, SMALL),
        demo.Run("relu at digits", "relu_digits", "relu", 64, SMALL | {"points": images, "widths": (256, 512, 1024)}),
    ]
    monkeypatch.setattr(demo, "runs", lambda seed, samples: iter(planned))


def test_the_digits_are_real_images_scaled_to_one():
    images = demo.digits()
    assert images.shape == (demo.IMAGES, 64) and images.dtype == np.float64
    assert images.min() == 0 and images.max() == 1
    norms = np.linalg.norm(images, axis=1)
    assert 0.5 < demo.IMAGE_WEIGHT_STD * norms.min() and demo.IMAGE_WEIGHT_STD * norms.max() < 1.5


def test_what_is_validated():
    planned = list(demo.runs(0, None))
    assert {(run.activation, run.input_dim) for run in planned} == {(a, d) for a in ("erf", "relu") for d in (2, 3, 64)}
    assert len({run.name for run in planned}) == len(planned)
    compared = {name for run in planned if run.name.startswith("erf_digits") for name in run.arguments["quantities"]}
    assert "ricci_scalar" in compared and "kernel" in compared


def test_the_demonstration_prints_and_writes(small, tmp_path, capsys):
    out = tmp_path / "out"
    assert demo.main(["--out", str(out), "--jobs", "1"]) == 0
    text = capsys.readouterr().out
    for words in ("erf: closed forms", "relu: closed forms", "two hidden layers", "ricci_scalar = 0", "PASSED in"):
        assert words in text
    assert {p.name for p in out.iterdir()} == {"erf_d2.png", "relu_digits.png", "validation.json"}
    document = json.loads((out / "validation.json").read_text())
    assert document["erf_d2"]["passed"] and document["relu_digits"]["configuration"]["input_dim"] == 64


def test_a_failed_check_is_status_1(small, tmp_path, capsys, monkeypatch):
    from infgeo.validation import comparison

    original = comparison.series_of

    def shifted(theory, *rest):
        theory.values["kernel"] = theory.values["kernel"] * 1.5
        return original(theory, *rest)

    monkeypatch.setattr(comparison, "series_of", shifted)
    assert demo.main(["--out", str(tmp_path), "--jobs", "1"]) == 1
    assert json.loads((tmp_path / "validation.json").read_text())["erf_d2"]["passed"] is False
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
    assert list(json.loads((tmp_path / "validation.json").read_text())) == ["erf_d2"]


@pytest.mark.parametrize("arguments", [["--out", "/dev/null/out"], ["--samples", "x"], ["--nonsense"]])
def test_bad_arguments(arguments, capsys):
    assert demo.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
