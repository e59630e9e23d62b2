"""Gram matrices that are not formed: linear operators of SciPy and GPyTorch, and arrays of Dask."""
