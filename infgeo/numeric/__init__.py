"""Numeric functions emitted from the closed forms, their backends, and the oracles they are held against."""
