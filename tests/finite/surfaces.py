"""Surfaces whose geometry is known, as feature maps of coordinates."""

from __future__ import annotations

from collections.abc import Callable

import torch

Map = Callable[[torch.Tensor], torch.Tensor]

# Orthogonal coordinates hide wrong signs of the quadratic Christoffel terms; this mixes them.
SHEAR = torch.tensor([[1.0, 0.6, -0.3], [0.2, 0.9, 0.5], [-0.4, 0.1, 1.1]], dtype=torch.float64)


def sheared(features: Map, d: int) -> Map:
    return lambda u: features(u @ SHEAR[:d, :d].T)


def sphere(radius: float) -> Map:
    """S^d of this radius in nested polar angles."""

    def embed(u: torch.Tensor) -> torch.Tensor:
        out, sines = [], torch.ones_like(u[..., 0])
        for a in u.unbind(-1):
            out.append(sines * a.cos())
            sines = sines * a.sin()
        return radius * torch.stack([*out, sines], -1)

    return embed


def torus(u: torch.Tensor) -> torch.Tensor:
    a, b = u.unbind(-1)
    ring = 2.0 + 0.7 * a.cos()
    return torch.stack((ring * b.cos(), ring * b.sin(), 0.7 * a.sin()), -1)


def paraboloid(u: torch.Tensor) -> torch.Tensor:
    a, b = u.unbind(-1)
    return torch.stack((a, b, 0.75 * (a * a + b * b)), -1)


def hyperbolic(u: torch.Tensor) -> torch.Tensor:
    """H^d, d <= 3, as dt² + e^{2t} dθ²: circles of radius e^t, and a height with h'² = 1 − (d−1) e^{2t}."""
    t, angles = u[..., 0], u[..., 1:]
    radius = t.exp()
    slope = (1 - angles.shape[-1] * radius**2).sqrt()
    circles = torch.cat((angles.cos(), angles.sin()), -1) * radius[..., None]
    return torch.cat((circles, (slope - slope.atanh())[..., None]), -1)
