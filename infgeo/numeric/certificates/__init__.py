"""How accurate emitted functions are, measured against mpmath."""
