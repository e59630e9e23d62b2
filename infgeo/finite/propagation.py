"""J and H of a feature map: by matrix products through a sampled network, by torch.func for any other callable."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from infgeo.errors import InvalidInput
from infgeo.finite.linear_algebra import pair_gather, pair_indices
from infgeo.finite.local import LocalGeometry, concatenate, gauss_equation
from infgeo.finite.network import SampledNetwork


def deep_geometry(network: SampledNetwork, x: torch.Tensor, ricci: bool, memory_budget: int) -> LocalGeometry:
    """Return the geometry of a sampled network of any depth at x (N, d), by the Gauss equation."""
    n, d = network.width, network.input_dim
    is_flat = network.activation.piecewise_linear
    second = ricci and d > 1 and not is_flat
    channels = 1 + d + (d * (d + 1) // 2 + 2 * d * d if second else d)
    parts = []
    for block in x.split(max(1, memory_budget // (3 * 8 * n * channels))):
        jacobian, hessian = propagate(network, block, second)
        parts.append(gauss_equation(jacobian, hessian, ricci, is_flat))
    return concatenate(parts)


def propagate(network: SampledNetwork, x: torch.Tensor, second: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return J (P, n, d) and, if `second`, H (P, n, d, d) at x (P, d).

    The value, ∂_a and ∂_a ∂_b travel through a layer as rows of one matrix product; the activation acts by
    ∂_a φ(z) = φ' ∂_a z and ∂_a ∂_b φ(z) = φ' ∂_a ∂_b z + φ'' ∂_a z ∂_b z.
    """
    n, d = network.width, network.input_dim
    order = 2 if second else 1
    i, j = (index.to(x.device) for index in pair_indices(d))
    weights = [w.detach() for w in network.weights]
    biases = [b.detach() for b in network.biases]
    z = torch.addmm(biases[0], x, weights[0].T)
    dz = weights[0].T[:, None, :].expand(d, x.shape[0], n)  # (d, P, n)
    ddz: torch.Tensor | None = None  # of the first layer: 0
    for layer in range(network.depth):
        value, *slopes = network.activation.jet(z, order)
        if second:
            curved = (dz[i] * dz[j]).mul_(slopes[1])
            ddz = curved if ddz is None else curved.addcmul_(ddz, slopes[0])
        dz = dz * slopes[0]
        # (z, dz, ddz) now hold the layer's output; its product with the next weights is the next preactivation
        if layer + 1 < network.depth:
            state = torch.cat([value[None], dz, *([] if ddz is None else [ddz])])
            state = (state.reshape(-1, n) @ weights[layer + 1].T).reshape(state.shape)
            z, dz, ddz = state[0] + biases[layer + 1], state[1 : d + 1], state[d + 1 :] if second else None
    scale = 1.0 / math.sqrt(n)
    jacobian = dz.permute(1, 2, 0) * scale
    if ddz is None:
        return jacobian, None
    hessian = (ddz * scale).permute(1, 2, 0)[:, :, pair_gather(d).to(x.device)]
    return jacobian, hessian


def general_geometry(
    features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, ricci: bool, memory_budget: int
) -> LocalGeometry:
    """Return the geometry of any feature map at x (N, d) by automatic differentiation and the Gauss equation."""
    n, d = feature_count(features, x), x.shape[1]
    second = ricci and d > 1 and n >= d
    per_point = 8 * n * (3 * d * d + 6 * d + 8 if second else 6 * d + 8)
    parts = []
    for block in x.split(max(1, memory_budget // (2 * per_point))):
        jacobian, hessian = differentiate(features, block, second)
        parts.append(gauss_equation(jacobian, hessian, ricci))
    return concatenate(parts)


def feature_count(features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> int:
    """Return n by one call on the first point; raises InvalidInput when the result is not a real feature vector."""
    probe = x[:1] if x.shape[0] else x.new_zeros(1, x.shape[1])
    with torch.no_grad():
        out = features(probe[0])
    if not isinstance(out, torch.Tensor) or out.ndim != 1 or not out.dtype.is_floating_point:
        got = f"{tuple(out.shape)} {out.dtype}" if isinstance(out, torch.Tensor) else type(out).__name__
        raise InvalidInput(
            f"features(x) for one point x of shape ({x.shape[1]},) is {got}; it must be a real tensor (n,), and in "
            "general (..., n) for x (..., d)"
        )
    return int(out.shape[0])


@lru_cache(maxsize=1)
def _load_forward_mode() -> None:
    """Let torch load its forward-mode rules: the first use warns about torch's own use of torch.jit.script."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=DeprecationWarning)
        torch.func.jacfwd(torch.sin)(torch.zeros(()))


def differentiate(
    features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, second: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return J (P, n, d) and, if `second`, H (P, n, d, d) of any callable at x (P, d)."""
    _load_forward_mode()
    try:
        return _differentiate(features, x, second, torch.func.jacfwd)
    except (NotImplementedError, RuntimeError, AssertionError) as error:
        # Perhaps an operation without a forward-mode rule, for which torch has no one exception; reverse mode needs
        # none, but a pass per feature. When it fails too, the features are at fault: show what they said first.
        try:
            return _differentiate(features, x, second, torch.func.jacrev)
        except Exception:
            raise error from None


def _differentiate(
    features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, second: bool, mode: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    first = mode(features)

    def twice(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = first(point)
        return value, value

    with torch.no_grad():
        if not second:
            return torch.func.vmap(first)(x).detach(), None
        hessian, jacobian = torch.func.vmap(mode(twice, has_aux=True))(x)
    return jacobian.detach(), hessian.detach()
