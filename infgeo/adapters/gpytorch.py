"""`InfiniteWidthKernel`: the kernel of an infinitely wide network as a kernel of GPyTorch."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from types import NoneType
from typing import Any

from infgeo.adapters.kernel_network import KINDS, SYMBOLS, gradient_by_scales, network
from infgeo.arguments import flag, instance, positive_integer
from infgeo.errors import InvalidInput, MissingExtra

try:
    import gpytorch
except ImportError as error:
    raise MissingExtra("infgeo.adapters.gpytorch", "gpytorch") from error
import torch
from gpytorch.constraints import Interval, Positive
from gpytorch.priors import Prior
from torch.autograd import forward_ad

from infgeo.numeric.runtime.arrays.of_torch import transformed

_BLOCK = 48  # pairs of points whose kernel is computed at a time


def _scale_property(name: str, text: str) -> Any:
    """Return the property of a scale: the transformed raw parameter, which may be set to a number or a tensor."""

    def value(kernel: Any) -> torch.Tensor:
        return getattr(kernel, f"raw_{name}_constraint").transform(getattr(kernel, f"raw_{name}"))

    return property(value, lambda kernel, number: kernel._set_scale(name, number), doc=text)


class InfiniteWidthKernel(gpytorch.kernels.Kernel):
    """The kernel of a network of infinite width: k(x, y) = E[phi(u) phi(v)] at the last hidden layer, or its NTK.

    Args:
        activation: what `infgeo.MLP` takes: a name, text in z, a SymPy expression, or a list with one for each layer.
        depth: number of hidden layers.
        kind: "nngp" or "ntk".
        weight_std, bias_std: starting values of sigma_w and sigma_b of all layers, > 0 (inside the constraints); None
            for the `initial_value` of the constraint, or 1. With ard_num_dims weight_std may be several numbers.
        weight_std_constraint, bias_std_constraint: GPyTorch constraints; Positive() by default.
        weight_std_prior, bias_std_prior: GPyTorch priors.
        parameters: values of the activation's own parameters, which are not trained.
        matrix_free: whether k(x1, x2) is a linear operator that is never formed (see `NumericGeometry.operator`), for
            many points; there are no batches of it.
        batch_shape, active_dims: as for every GPyTorch kernel.
        ard_num_dims: d, for a weight_std of each coordinate in the first layer (see `infgeo.MLP.numeric`), of shape
            (*batch_shape, 1, d); other layers then have 1.

    Inputs are (..., N, d); kernels and their derivatives with respect to points and scales are those of the torch
    backend of `infgeo.MLP.numeric`. Batches are computed one after the other. Scales are parameters of torch's default
    dtype, or of a float64 tensor's: `double()` gives them no digits that they did not have; set them afterwards.

    Example:
        >>> import torch
        >>> from infgeo.adapters.gpytorch import InfiniteWidthKernel
        >>> kernel = InfiniteWidthKernel("relu", depth=2)
        >>> kernel(torch.ones(3, 2)).to_dense().shape
        torch.Size([3, 3])
    """

    has_lengthscale = False
    is_stationary = False

    def __init__(
        self,
        activation: Any = "erf",
        depth: int = 1,
        kind: str = "nngp",
        weight_std: float | Sequence[float] | None = None,
        bias_std: float | None = None,
        weight_std_constraint: Interval | None = None,
        bias_std_constraint: Interval | None = None,
        weight_std_prior: Prior | None = None,
        bias_std_prior: Prior | None = None,
        parameters: Mapping[str, float] | None = None,
        matrix_free: bool = False,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("ard_num_dims") is not None:
            positive_integer(kwargs["ard_num_dims"], "ard_num_dims")
        for name in set(kwargs) - {"ard_num_dims", "batch_shape", "active_dims"}:  # which GPyTorch would drop
            raise InvalidInput(
                f"{name} = {kwargs[name]!r} is no argument of this kernel: see help(InfiniteWidthKernel)"
            )
        super().__init__(**kwargs)
        self.mlp = network(activation, depth, kind, parameters)
        self.kind, self.own = kind, dict[str, Any](parameters or {})
        self.matrix_free = flag(matrix_free, "matrix_free")
        constraints = {"weight_std": weight_std_constraint, "bias_std": bias_std_constraint}
        priors = {"weight_std": weight_std_prior, "bias_std": bias_std_prior}
        values = {"weight_std": weight_std, "bias_std": bias_std}
        for name in SYMBOLS:
            instance(constraints[name], f"{name}_constraint", (Interval, NoneType), "a constraint of GPyTorch, or None")
            instance(priors[name], f"{name}_prior", (Prior, NoneType), "a prior of GPyTorch, or None")
            dtype = torch.float64 if getattr(values[name], "dtype", None) == torch.float64 else None
            count = self.ard_num_dims or 1 if name == "weight_std" else 1
            raw = torch.nn.Parameter(torch.zeros(*self.batch_shape, 1, count, dtype=dtype))
            self.register_parameter(f"raw_{name}", raw)
            constraint = constraints[name] or Positive()
            self.register_constraint(f"raw_{name}", constraint)
            raw_start = constraint.initial_value
            initial = 1.0 if raw_start is None else constraint.transform(raw_start)
            self._set_scale(name, initial if values[name] is None else values[name])
            prior = priors[name]
            if prior is not None:
                self.register_prior(f"{name}_prior", prior, partial(_get, name), partial(_set, name))  # which pickle

    weight_std = _scale_property("weight_std", "The standard deviation of the weights, (*batch_shape, 1, 1 or d).")
    bias_std = _scale_property("bias_std", "The standard deviation of the biases, (*batch_shape, 1, 1).")

    def _set_scale(self, name: str, value: Any) -> None:
        raw, constraint = getattr(self, f"raw_{name}"), getattr(self, f"raw_{name}_constraint")
        try:
            # A Python float would become a float32 first.
            dtype = None if isinstance(value, torch.Tensor) else raw.dtype
            tensor = torch.as_tensor(None if isinstance(value, bool) else value, dtype=dtype).to(raw)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidInput(f"{name} = {value!r} must be a number or a tensor") from error
        if tensor.numel() not in (1, raw.shape[-1], raw.numel()):
            raise InvalidInput(f"{name} has shape {tuple(tensor.shape)}: pass a number, or shape {tuple(raw.shape)}")
        if not bool(((tensor > 0) & tensor.isfinite() & constraint.check(tensor)).all()):
            raise InvalidInput(f"{name} = {value} must be finite, > 0 and fulfil its constraint {constraint}")
        self.initialize(**{f"raw_{name}": constraint.inverse_transform(tensor)})

    @torch.compiler.disable  # formulas come from SymPy, which is nothing to trace
    def forward(
        self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, last_dim_is_batch: bool = False, **params: Any
    ) -> Any:
        """Return k(x1, x2), (..., N, d), (..., M, d) -> (..., N, M), or with `diag` the values k(x1_i, x2_i)."""
        if x1.dtype != x2.dtype or x1.device != x2.device:
            raise InvalidInput(
                f"x1 is {x1.dtype} on {x1.device} and x2 {x2.dtype} on {x2.device}: give both one dtype and one device"
            )
        if any(x.layout != torch.strided for x in (x1, x2)):
            raise InvalidInput(f"the points have layout {x1.layout} and {x2.layout}: pass dense tensors, x.to_dense()")
        same = x1 is x2 or (_constant(x1) and _constant(x2) and torch.equal(x1, x2))
        if last_dim_is_batch and self.ard_num_dims:
            raise InvalidInput("last_dim_is_batch is for one weight_std: leave ard_num_dims out")
        if last_dim_is_batch:
            x1, x2 = (x.transpose(-1, -2).unsqueeze(-1) for x in (x1, x2))
        scales = [getattr(self, name) for name in SYMBOLS]
        if last_dim_is_batch:
            scales = [scale.unsqueeze(-3) for scale in scales]
        shapes = [part.shape[:-2] for part in (x1, x2, *scales)]
        try:
            batch = torch.broadcast_shapes(*shapes)
        except RuntimeError as error:
            raise InvalidInput(
                f"batches of points {tuple(shapes[0])} and {tuple(shapes[1])} and batch_shape {tuple(self.batch_shape)}"
                " do not go together: make them equal, or leave one out"
            ) from error
        count = math.prod(batch)
        one, two = (x.expand(*batch, *x.shape[-2:]).reshape(count, *x.shape[-2:]) for x in (x1, x2))
        scales = [scale.expand(*batch, *scale.shape[-2:]).reshape(count, -1) for scale in scales]
        scales = [scale if self.ard_num_dims and i == 0 else scale[:, 0] for i, scale in enumerate(scales)]
        if self.matrix_free and not diag:
            if batch:
                raise InvalidInput(f"matrix_free is for single matrices, this is a batch {tuple(batch)}: leave it out")
            geometry = self._geometry(*(scale[0] for scale in scales))
            return geometry.operator(one[0], None if same else two[0], which=KINDS[self.kind])
        function = self._diagonal if diag else self._gram
        parts = [function(a, None if same else b, *rest) for a, b, *rest in zip(one, two, *scales, strict=True)]
        shape = (x1.shape[-2],) if diag else (x1.shape[-2], x2.shape[-2])
        return torch.stack(parts).reshape(*batch, *shape) if parts else x1.new_empty(*batch, *shape)

    def _geometry(self, weight_std: torch.Tensor, bias_std: torch.Tensor) -> Any:
        return self.mlp.numeric(weight_std, bias_std, backend="torch", parameters=self.own)

    def _gram(self, x1: torch.Tensor, x2: torch.Tensor | None, *scales: torch.Tensor) -> torch.Tensor:
        trained = torch.is_grad_enabled() and any(scale.requires_grad for scale in scales)
        points = [x1] if x2 is None else [x1, x2]
        if trained and all(_constant(x) for x in points) and all(_plain(x) for x in (*points, *scales)):
            return _OfScales.apply(*scales, x1, x2, self)
        return self._differentiable_gram(x1, x2, *scales)

    def _differentiable_gram(self, x1: torch.Tensor, x2: torch.Tensor | None, *scales: torch.Tensor) -> torch.Tensor:
        return getattr(self._geometry(*scales), KINDS[self.kind])(x1, x2)

    def _diagonal(self, x1: torch.Tensor, x2: torch.Tensor | None, *scales: torch.Tensor) -> torch.Tensor:
        geometry = self._geometry(*scales)
        if x2 is None:
            return getattr(geometry, f"{KINDS[self.kind]}_diag")(x1)
        if len(x1) != len(x2):
            raise InvalidInput(f"diag = True with {len(x1)} and {len(x2)} points: pass as many of one as of the other")
        function = getattr(geometry, KINDS[self.kind])
        # A call costs as much as some thousand values: diagonals of square blocks.
        parts = [function(a, b).diagonal() for a, b in zip(x1.split(_BLOCK), x2.split(_BLOCK), strict=True)]
        return torch.cat(parts)


class _OfScales(torch.autograd.Function):
    """The Gram matrix of constant points: in blocks, and so are its derivatives by the scales."""

    @staticmethod
    def forward(
        ctx: Any,
        weight_std: torch.Tensor,
        bias_std: torch.Tensor,
        x1: torch.Tensor,
        x2: torch.Tensor | None,
        kernel: InfiniteWidthKernel,
    ) -> torch.Tensor:
        ctx.save_for_backward(weight_std, bias_std, x1, *(() if x2 is None else (x2,)))
        ctx.kernel = kernel
        return kernel._differentiable_gram(x1, x2, weight_std.detach(), bias_std.detach())

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *scales, x1, x2 = ctx.saved_tensors if len(ctx.saved_tensors) == 4 else (*ctx.saved_tensors, None)
        kernel, wanted = ctx.kernel, ctx.needs_input_grad[:2]
        needed = [i for i in range(2) if wanted[i]]
        if torch.is_grad_enabled():  # derivatives of derivatives are asked for
            value = kernel._differentiable_gram(x1, x2, *scales)
            found = torch.autograd.grad(value, [scales[i] for i in needed], slope, create_graph=True)
        else:
            values = {s: scale.tolist() for s, scale in zip(SYMBOLS.values(), scales, strict=True)} | kernel.own
            X, Y = x1.double().contiguous().numpy(), None if x2 is None else x2.double().contiguous().numpy()
            names = [list(SYMBOLS.values())[i] for i in needed]
            parts = gradient_by_scales(kernel.mlp, X, Y, values, names, kernel.kind)
            sums = (torch.from_numpy(parts) * slope).sum((1, 2)).split([scales[i].numel() for i in needed])
            found = tuple(part.reshape(scales[i].shape).to(scales[i]) for i, part in zip(needed, sums, strict=True))
        gradients = dict(zip(needed, found, strict=True))
        return gradients.get(0), gradients.get(1), None, None, None


def _plain(x: torch.Tensor) -> bool:
    """Whether a tensor is one of values, in the processor's memory, and inside no transformation."""
    known = type(x) in (torch.Tensor, torch.nn.Parameter) and x.device.type == "cpu"
    untouched = known and not transformed(x) and not torch.compiler.is_compiling()
    return untouched and forward_ad.unpack_dual(x).tangent is None


def _constant(x: torch.Tensor) -> bool:
    """Whether nothing is differentiated through x; equal values of two variables are not one variable."""
    return not x.requires_grad and forward_ad.unpack_dual(x).tangent is None


def _get(name: str, kernel: InfiniteWidthKernel) -> torch.Tensor:
    return getattr(kernel, name)


def _set(name: str, kernel: InfiniteWidthKernel, value: Any) -> None:
    setattr(kernel, name, value)
