"""Metrics and their curvature."""
