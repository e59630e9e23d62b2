"""Kernels as expressions, and the metrics they induce."""
