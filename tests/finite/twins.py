"""Slow, independent twins: brute-force Christoffel symbols, moments by quadrature; and a stand-in for the network."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sympy as sp
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from infgeo import conventions
from infgeo.finite.feature_map import FeatureMap
from infgeo.finite.gauss_equation import LocalGeometry
from infgeo.finite.preflight import examine
from infgeo.finite.routes import measured

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


@dataclass(frozen=True)
class Textbook:
    """Tensors at a point (d,) by their textbook definitions from g = JᵀJ, all derivatives by autograd."""

    metric: torch.Tensor
    christoffel: torch.Tensor  # [k, i, j] = Γ^k_ij
    riemann: torch.Tensor  # [l, i, j, k] = R_lijk, all indices lowered, R(u, v, v, u) > 0 on spheres
    ricci_tensor: torch.Tensor
    ricci_scalar: torch.Tensor

    def sectional_curvature(self, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        g = self.metric
        area = (u @ g @ u) * (v @ g @ v) - (u @ g @ v) ** 2
        return torch.einsum("lijk,l,i,j,k->", self.riemann, u, v, u, v) / area


def textbook(features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Textbook:
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
        g, gamma, derivative = metric(x), christoffel(x), jac(christoffel)(x)  # derivative[k, i, j, l] = ∂_l Γ^k_ij
    # R^m_ijk = ∂_j Γ^m_ki − ∂_k Γ^m_ji + Γ^m_jl Γ^l_ki − Γ^m_kl Γ^l_ji
    raised = (
        torch.einsum("mkij->mijk", derivative)
        - torch.einsum("mjik->mijk", derivative)
        + torch.einsum("mjl,lki->mijk", gamma, gamma)
        - torch.einsum("mkl,lji->mijk", gamma, gamma)
    )
    ricci = torch.einsum("jijk->ik", raised)
    scalar = torch.einsum("ij,ij->", torch.linalg.inv(g), ricci)
    values = (g, gamma, torch.einsum("lm,mijk->lijk", g, raised), ricci, scalar)
    return Textbook(*(value.detach() for value in values))


def christoffel_ricci(features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """R = g^ij (∂_k Γ^k_ij − ∂_j Γ^k_ik + Γ^k_kl Γ^l_ij − Γ^k_jl Γ^l_ik) at x (d,), all derivatives by autograd."""
    return textbook(features, x).ricci_scalar


def double_backward(features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """J (n, d) and H (n, d, d) at one point x (d,) by plain autograd, for features that take batches (1, d)."""

    def one(point: torch.Tensor) -> torch.Tensor:
        return features(point[None])[0].flatten()

    def jacobian(point: torch.Tensor) -> torch.Tensor:
        return torch.autograd.functional.jacobian(one, point, create_graph=True)

    with sdpa_kernel(SDPBackend.MATH):
        return jacobian(x).detach(), torch.autograd.functional.jacobian(jacobian, x).detach()


def extrinsic_ricci(j: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """R of J (n, d) and H (n, d, d) by the Gauss equation as it is written, with g⁻¹."""
    inverse = torch.linalg.inv(j.mT @ j)
    form = torch.einsum("ab,bij->aij", torch.eye(len(j), dtype=j.dtype) - j @ inverse @ j.mT, h)
    trace = torch.einsum("ij,aij->a", inverse, form)
    return trace @ trace - torch.einsum("aij,akl,ik,jl->", form, form, inverse, inverse)


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


def general_geometry(features: Any, x: torch.Tensor, ricci: bool, memory_budget: int) -> LocalGeometry:
    """The geometry of any feature map at x (N, d) by automatic differentiation and the Gauss equation."""
    source = replace(examine(FeatureMap(features, (x.shape[1],)), x), flat=False)
    return measured(source, x, ricci, memory_budget)


def with_pivot(d: int, ratio: float) -> torch.Tensor:
    """A matrix (d, d, 1) of unit diagonal whose last pivot is `ratio` of its diagonal entry, all others 1."""
    g = torch.eye(d, dtype=torch.float64)
    g[0, -1] = g[-1, 0] = math.sqrt(1 - ratio)
    return g[:, :, None]
