"""Closed forms: activation, Gaussian expectation, kernel, metric, curvature. SymPy only, no array library."""
