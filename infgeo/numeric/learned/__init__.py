"""Geometry after learning, to order 1/n in the width."""
