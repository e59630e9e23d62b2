"""Gaussian expectations in closed form."""
