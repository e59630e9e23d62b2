"""Gaussian expectations by numerical integration, and geometries made of them."""
