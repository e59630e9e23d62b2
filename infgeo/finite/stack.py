"""Fully connected stacks: linear maps and elementwise activations in turn, recognised by the types of their modules.

Only exact types count, without hooks, parametrizations or a forward of their own: for these the stored weights say all
about the function. Everything else takes the general route.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import sympy
import torch
from torch import nn

from infgeo.finite.plain import PlainOperations
from infgeo.finite.sampled_network import SampledNetwork, Sized, are_piecewise_linear
from infgeo.finite.torch_activation import ElementwiseActivation, TorchActivation, torch_activation

# Elementwise, and linear between kinks.
_PIECEWISE_LINEAR = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Hardshrink, nn.Softshrink,
    nn.Threshold, nn.Hardsigmoid, nn.Dropout,
)  # fmt: skip
_SMOOTH = (
    nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.ELU, nn.SELU, nn.CELU,
    nn.Hardswish, nn.Tanhshrink,
)  # fmt: skip
# Linear or piecewise linear in eval mode, but not elementwise: compositions of them are flat off their kinks.
_PIECEWISE_LINEAR_LAYERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d,
    nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Unflatten, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.ZeroPad2d, nn.PixelShuffle,
)  # fmt: skip
CACHE_BYTES = 2**18  # of units × points in one elementwise pass: in the cache, and large enough to hide a call
# Derivatives by formula cost a third of torch's.
_Z = sympy.Symbol("z", real=True)
_CLOSED: dict[type[nn.Module], Any] = {nn.Sigmoid: 1 / (1 + sympy.exp(-_Z)), nn.Tanh: sympy.tanh(_Z)}
_ORDINARY = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_FOR_ALL = [getattr(nn.modules.module, "_global" + name) for name in _ORDINARY]  # hooks on all modules


@dataclass(frozen=True)
class ModuleActivation:
    """Elementwise torch modules, one after the other, as an activation; its derivatives are torch's."""

    modules: tuple[nn.Module, ...]

    @property
    def piecewise_linear(self) -> bool:
        """Whether φ'' = 0 away from kinks."""
        return all(_linear_between_kinks(m) for m in self.modules)

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Return φ(z)."""
        for module in self.modules:
            z = module(z.clone() if getattr(module, "inplace", False) else z)
        return z

    def jet(self, z: torch.Tensor, order: int = 2) -> tuple[torch.Tensor, ...]:
        """Return φ(z), φ'(z) and, for order 2, φ''(z)."""
        if not self.modules:
            return (z, torch.ones_like(z), torch.zeros_like(z))[: order + 1]
        second = order == 2 and not self.piecewise_linear
        with torch.inference_mode(False), torch.enable_grad(), PlainOperations():
            u = z.detach()
            u = (u.clone() if u.is_inference() else u).requires_grad_()
            value = self(u)
            ones = torch.ones_like(value)  # elementwise: the gradient of the sum holds each derivative
            (slope,) = torch.autograd.grad(value, u, ones, create_graph=second)
            curvature = torch.autograd.grad(slope, u, ones)[0] if second else torch.zeros_like(slope)
        return (value.detach(), slope.detach(), curvature)[: order + 1]

    def products(self, z: torch.Tensor, order: int = 2, valued: bool = False) -> tuple[tuple[float, torch.Tensor], ...]:
        """Return the products of `TorchActivation.products`."""
        value, slope, *second = self.jet(z, order)
        found = ((1.0, value), (1.0, slope.square()), *((1.0, slope * s) for s in second))
        return found if valued else found[1:]


# An activation φ as a stack uses it: called, with its derivatives (`jet`) and their `products`.
Elementwise = TorchActivation | ElementwiseActivation | ModuleActivation


@dataclass(frozen=True)
class Stack(Sized):
    """The map Φ(x) = scale · φ_L(W_L φ_{L−1}(… φ_1(W_1 x + b_1) …) + b_L)."""

    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]
    activations: tuple[Elementwise, ...]
    scale: float

    def readout_after(self, features: "Stack") -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return weight (C, n) and bias (C,) where this stack is `features` and a linear map after it, else None."""
        n = features.depth
        if self.depth != n + 1 or features.scale != 1.0 or self.scale != 1.0:
            return None
        last = self.activations[-1]
        linear = isinstance(last, ModuleActivation) and not last.modules
        same = self.activations[:n] == features.activations and all(
            a is b or (a.data_ptr() == b.data_ptr() and a.shape == b.shape)
            for a, b in zip((*self.weights[:n], *self.biases[:n]), (*features.weights, *features.biases), strict=True)
        )
        return (self.weights[-1], self.biases[-1]) if linear and same else None

    @property
    def piecewise_linear(self) -> bool:
        """Whether Φ is linear between kinks."""
        return all(activation.piecewise_linear for activation in self.activations)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return Φ(x) (P, n) at x (P, d); in blocks of points that stay in the cache."""
        widest = max(len(weight) for weight in self.weights)
        values = []
        for h in x.split(max(1, CACHE_BYTES // (widest * x.element_size()))):
            for weight, bias, activation in zip(self.weights, self.biases, self.activations, strict=True):
                h = activation(torch.addmm(bias, h, weight.T))
            values.append(h)
        value = torch.cat(values)
        return value if self.scale == 1.0 else value * self.scale

    def sliced(self, origin: torch.Tensor, directions: torch.Tensor) -> "Stack":
        """Return the stack of t (P, k) that Φ(origin + Σ t_a direction_a) is; origin (d,) and directions (k, d)."""
        first, bias = self.weights[0], self.biases[0]
        return replace(
            self,
            weights=(first @ directions.T, *self.weights[1:]),
            biases=(torch.addmv(bias, first, origin), *self.biases[1:]),
        )


def _ordinary(module: nn.Module) -> bool:
    """Return whether a call of the module is its class's forward and nothing else."""
    return "forward" not in vars(module) and not any(getattr(module, name) for name in _ORDINARY) and not any(_FOR_ALL)


def _leaves(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module | None]]:
    """Yield the modules of nested nn.Sequential in order, by name; None where a hook or another container is."""
    if not _ordinary(module) or (module.training and isinstance(module, nn.RReLU)):
        yield name, None  # a random module is called in eval mode by the general route alone
    elif type(module) is nn.Sequential:
        for key, child in module._modules.items():  # named_children leaves out what comes again
            assert child is not None
            yield from _leaves(child, f"{name}.{key}" if name else key)
    else:
        yield name, None if any(True for _ in module.children()) else module


def _up_to(module: nn.Module, layer: str | None) -> list[nn.Module] | None:
    """Return the modules of nested nn.Sequential in order up to the one named `layer`, or None as `_leaves` does."""
    parts: list[nn.Module] = []
    inside = layer is None
    for name, leaf in _leaves(module):
        here = layer is None or f"{name}.".startswith(f"{layer}.")
        if inside and not here:
            break
        if leaf is None:
            return None
        parts.append(leaf)
        inside = here
    if layer is not None and inside:
        wanted = module.get_submodule(layer)
        inside = sum(m is wanted for _, m in module.named_modules(remove_duplicate=False)) == 1
    return parts if inside else None


def _flattens(module: nn.Module) -> bool:
    return type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1)


def _elementwise(module: nn.Module) -> bool:
    if type(module) is nn.PReLU:
        return module.num_parameters == 1
    return type(module) in (*_PIECEWISE_LINEAR, *_SMOOTH, ElementwiseActivation)


def _linear_between_kinks(module: nn.Module) -> bool:
    if type(module) is ElementwiseActivation:
        return module.piecewise_linear
    return type(module) in _PIECEWISE_LINEAR


def _as_activation(modules: list[nn.Module]) -> Elementwise:
    if len(modules) == 1:
        if type(modules[0]) is ElementwiseActivation:
            return modules[0]  # it knows its derivatives
        if type(modules[0]) in _CLOSED:
            return torch_activation(_CLOSED[type(modules[0])], _Z)
    return ModuleActivation(tuple(modules))


def as_stack(features: Any, axes: int = 1, layer: str | None = None, dtype: torch.dtype | None = None) -> Stack | None:
    """Return the stack that `features`, or the layer of this name, is on points with this number of axes, or None.

    Modules are taken as they are in eval mode, with weights in the `dtype` if there is one. Points of several axes must
    be flattened first. A layer of an nn.Sequential is the nn.Sequential up to it.
    """
    stack = _structure(features, axes, layer)
    if stack is not None and dtype is not None and stack.weights[0].dtype != dtype:
        weights, biases = (tuple(part.to(dtype) for part in parts) for parts in (stack.weights, stack.biases))
        stack = replace(stack, weights=weights, biases=biases)
    if stack is None:
        return None
    others = [m for a in stack.activations if isinstance(a, ModuleActivation) for m in a.modules]
    tensors = (*stack.weights, *stack.biases, *(p for m in others for p in m.parameters()))
    return stack if len({(t.dtype, t.device) for t in tensors}) == 1 else None


def _structure(features: Any, axes: int, layer: str | None) -> Stack | None:
    if isinstance(features, Stack):
        return features
    if type(features) is SampledNetwork and layer is None:
        if not all(layer.kind == "dense" for layer in features.layers) or not _ordinary(features) or features._buffers:
            return None
        weights, biases = (tuple(p.detach() for p in ps) for ps in (features.weights, features.biases))
        activations = tuple(layer.function for layer in features.layers)
        return Stack(weights, biases, activations, 1.0 / math.sqrt(features.width))
    modules = _up_to(features, layer) if isinstance(features, nn.Module) else None
    if modules and _flattens(modules[0]):
        modules, axes = modules[1:], 1
    if axes > 1 or not modules or type(modules[0]) is not nn.Linear:
        return None
    groups: list[tuple[nn.Linear, list[nn.Module]]] = []
    for module in modules:
        if type(module) is nn.Linear:
            groups.append((module, []))
        elif _elementwise(module):
            if type(module) not in (nn.Identity, nn.Dropout):
                groups[-1][1].append(module)
        elif not _flattens(module):
            return None
    linears = [linear for linear, _ in groups]
    if any(a.out_features != b.in_features for a, b in pairwise(linears)):
        return None  # the general route calls it, and torch says what is wrong
    weights = tuple(m.weight.detach() for m in linears)
    biases = tuple(m.weight.new_zeros(m.out_features) if m.bias is None else m.bias.detach() for m in linears)
    return Stack(weights, biases, tuple(_as_activation(a) for _, a in groups), 1.0)


def is_piecewise_linear(features: Any, layer: str | None = None) -> bool:
    """Return whether the structure of `features`, up to a layer if one is named, says that it is linear off kinks."""
    if type(features) is SampledNetwork and layer is None and _ordinary(features):
        return are_piecewise_linear(features.layers)
    modules = _up_to(features, layer) if isinstance(features, nn.Module) else None
    return bool(modules) and all(_linear_between_kinks(m) or type(m) in _PIECEWISE_LINEAR_LAYERS for m in modules or ())
