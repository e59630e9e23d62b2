"""A module that is linear in its parameters: the first-order expansion of another one about where it stands."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from infgeo.finite.by_parameters import Weights, gradients, trained, way_to_gradients
from infgeo.finite.differentiate import load_forward_mode
from infgeo.finite.evaluation import kept, refuse_training_mode, refuse_unusable_weights, with_tensors
from infgeo.finite.plain import PlainOperations


class Linearized(nn.Module):
    """x -> f(x; θ) + J(x) δ with J = ∂f/∂θ: `base` holds θ and buffers, which stay, and `delta` the δ that is trained.

    δ is 0 at first, an array for each parameter of the base in `names`, those that required a gradient. The tangent
    kernel is that of the base at every δ. The base stays in eval mode. Build it with `linearize`.
    """

    def __init__(self, base: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.base, self.names = base, names
        self.delta = nn.ParameterList(torch.zeros_like(value) for value in self._start().values())

    def train(self, mode: bool = True) -> "Linearized":
        """Set the mode, but for the base."""
        super().train(mode)
        self.base.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return f(x; θ) + J(x) δ, as the base returns f(x; θ)."""
        with self._ready():
            delta = dict(zip(self.names, self.delta, strict=True))
            value, slope = torch.func.jvp(lambda w: self._base(w, x), (self._start(),), (delta,))[:2]
        return value + slope

    def tangent_features(self, x: torch.Tensor) -> torch.Tensor:
        """Return J(x), (B, *input_shape) -> (B, C P): features for `pullback`, whose metric is `ntk_metric`."""

        def flat(w: Weights, points: torch.Tensor) -> torch.Tensor:
            return self._base(w, points.reshape(-1, *x.shape[1:])).flatten(1)

        points, start = x.flatten(1), self._start()
        with self._ready():
            with torch.no_grad():
                value = self._base({}, x[:1]).flatten(1)
            inside = torch._C._functorch.peek_interpreter_stack() is not None
            way = gradients if inside else way_to_gradients(flat, start, points)
            rows = way(flat, start, points, value.new_ones(value.shape[1]).diag())
        return torch.cat([rows[name].reshape(*rows[name].shape[:2], -1) for name in self.names], 2).flatten(1)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        with sdpa_kernel(SDPBackend.MATH), PlainOperations():
            yield

    def _start(self) -> Weights:
        return {name: p for name, p in self.base.named_parameters() if name in self.names}

    def _base(self, w: Weights, x: torch.Tensor) -> torch.Tensor:
        buffers = {name: b.clone() for name, b in self.base.named_buffers()}  # which a call might change
        with kept(self.base.modules()):
            return with_tensors(self.base)(x, {**buffers, **w})


def linearize(module: nn.Module, *, freeze: bool = False) -> Linearized:
    """Return a module linear in its parameters, f(x; θ) + J(x) δ: the expansion of `module` about its weights θ.

    Gradient descent makes of it kernel regression with the `ntk` of `module`, and nearly so of a wide network itself.

    Args:
        module: in eval mode where that matters. It is copied: later changes of it do not count. Its parameters that
            require a gradient give `delta`, the parameters of the result.
        freeze: expand it as it is in eval mode although it is in training mode.

    Returns:
        A torch module x -> (B, ...), of the shapes and dtype of `module`, whose trained parameters are δ alone;
        `tangent_features` gives J.

    Raises InvalidInput for what is no module, training mode that matters, weights that are not finite, and without
    parameters that require a gradient.

    Source: Lee et al. 2019, "Wide neural networks of any depth evolve as linear models under gradient descent".

    >>> import torch
    >>> from infgeo.finite import pullback
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.Tanh()).double()
    >>> with torch.no_grad():
    ...     _ = model[0].weight.fill_(0.5)
    >>> linear, x = linearize(model), torch.ones(1, 1, dtype=torch.float64)
    >>> with torch.no_grad():
    ...     _ = linear.delta[0].fill_(0.1)  # tanh(0.5) + 0.1 (1 - tanh(0.5)²)
    >>> [f"{value:.6f}" for value in linear(x)[0].tolist()]
    ['0.540762', '0.540762']
    """
    names = trained(module)
    refuse_training_mode(module, freeze)
    refuse_unusable_weights(module)
    load_forward_mode()
    # what a module has computed and keeps, as weights of old weight norms, belongs to a graph: torch does not copy it
    made = tree_leaves([list(vars(part).values()) for part in module.modules()])
    memo = {id(t): t.detach().clone() for t in made if isinstance(t, torch.Tensor) and not t.is_leaf}
    return Linearized(copy.deepcopy(module, memo).requires_grad_(False).eval(), names)
