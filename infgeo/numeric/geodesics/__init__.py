"""Geodesics and distances of rotation-invariant metrics, by one quadrature and one root."""
