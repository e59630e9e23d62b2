"""What computes: the functions of a network from its formulas, for NumPy, torch, jax and mpmath.

`mlp.numeric()` imports these modules; `infgeo.emit` writes those that a file needs into it, by following their imports.
"""
