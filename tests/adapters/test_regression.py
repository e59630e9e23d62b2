"""The worked example of benchmarks/regression.py on part of its data."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "regression.py"


def test_the_worked_example_runs_and_says_what_it_says():
    spec = importlib.util.spec_from_file_location("regression", PATH)
    example = importlib.util.module_from_spec(spec)
    sys.modules["regression"] = example  # dataclasses look their module up
    spec.loader.exec_module(example)
    results = example.fits(120, {name: example.KERNELS[name] for name in ("RBF", "erf, 1 layer")})
    assert [fit.name for fit in results] == ["RBF", "erf, 1 layer"]
    for fit in results:
        assert np.isfinite([fit.likelihood, fit.error, fit.log_density]).all()
        assert fit.likelihood > fit.likelihood_at_start
        assert fit.error < 1  # better than the mean
