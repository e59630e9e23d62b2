"""Gram matrices and distances of all pairs of points."""
