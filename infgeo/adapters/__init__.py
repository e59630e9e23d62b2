"""Kernels of infinitely wide networks in other libraries: `infgeo.adapters.sklearn` and `infgeo.adapters.gpytorch`."""
