"""A conformance kit: does a kernel, or an activation, keep what kernels of wide networks promise?

`check_kernel(k)` takes a kernel of infgeo, of its adapters or of your own, `check_activation(a)` what `infgeo.MLP`
takes. Either measures what is required, says what it measured and what the bound is, names what does not apply and why,
and raises `infgeo.errors.ConformanceError` where a requirement is missed.
"""

from infgeo.testing.checks import check_activation, check_kernel
from infgeo.testing.outcome import Check, ConformanceReport

__all__ = ["Check", "ConformanceReport", "check_activation", "check_kernel"]
