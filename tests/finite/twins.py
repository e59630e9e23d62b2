"""Slow, independent twins: brute-force Christoffel symbols, moments by quadrature; and a stand-in for the network."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
import torch

from infgeo import conventions

Z = sp.Symbol("z", real=True)
ERF = sp.erf(Z / sp.sqrt(2))
GELU = Z * (1 + ERF) / 2
SILU = Z / (1 + sp.exp(-Z))
RELU = sp.Max(0, Z)


@dataclass(frozen=True)
class StandInActivation:
    expr: Any
    symbol: Any = Z


@dataclass(frozen=True)
class StandIn:
    """What `infgeo.finite` reads of an infgeo.MLP, and nothing else."""

    activation: StandInActivation
    depth: int = 1
    weight_std: Any = field(default=conventions.sigma_w)
    bias_std: Any = field(default=conventions.sigma_b)


def network(expr: Any = ERF, depth: int = 1, **scales: Any) -> StandIn:
    return StandIn(StandInActivation(sp.sympify(expr)), depth, **scales)


def points(count: int, dim: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, dim, generator=generator, dtype=torch.float64)


def christoffel_ricci(features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """R = g^ij (∂_k Γ^k_ij − ∂_j Γ^k_ik + Γ^k_kl Γ^l_ij − Γ^k_jl Γ^l_ik) at x (d,), all derivatives by autograd."""
    jac = torch.func.jacrev

    def metric(point: torch.Tensor) -> torch.Tensor:
        j = jac(features)(point)
        return j.mT @ j

    def christoffel(point: torch.Tensor) -> torch.Tensor:  # [k, i, j]
        derivative = jac(metric)(point)  # [i, j, l] = ∂_l g_ij
        first = (derivative + derivative.transpose(1, 2) - derivative.permute(2, 0, 1)) / 2
        # first[a, i, j] = (∂_j g_ai + ∂_i g_aj − ∂_a g_ij)/2
        return torch.einsum("ka,aij->kij", torch.linalg.inv(metric(point)), first)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        gamma, derivative = christoffel(x), jac(christoffel)(x)  # derivative[k, i, j, l] = ∂_l Γ^k_ij
    ricci = (
        torch.einsum("kijk->ij", derivative)
        - torch.einsum("kikj->ij", derivative)
        + torch.einsum("kkl,lij->ij", gamma, gamma)
        - torch.einsum("kjl,lik->ij", gamma, gamma)
    )
    return torch.einsum("ij,ij->", torch.linalg.inv(metric(x)), ricci)


def infinite_eigenvalues(expr: Any, r: float, weight_std: float, bias_std: float) -> tuple[float, float]:
    """(tangential, radial) eigenvalues of E[φ'(z)² w wᵀ] for one layer, by 1-D Gauss–Hermite quadrature.

    Given z, the component of w along x has mean σ_w² r z/q and variance σ_w² σ_b²/q, with q = Var z.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    weights = weights / math.sqrt(2 * math.pi)
    q = bias_std**2 + (weight_std * r) ** 2
    z = math.sqrt(q) * nodes
    slope = np.array([float(sp.diff(expr, Z).subs(Z, v)) for v in z])
    along = (weight_std**2 * r * z / q) ** 2 + (weight_std * bias_std) ** 2 / q
    return weight_std**2 * float(weights @ slope**2), float(weights @ (slope**2 * along))
