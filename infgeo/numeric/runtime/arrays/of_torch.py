"""torch: every result is differentiable with respect to points and parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from infgeo.numeric.runtime.arrays.differentiable import DifferentiableArrays
from infgeo.numeric.runtime.arrays.library import taken
from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.records import Array, Pairs

PARALLEL = 2.0**-2  # pairs with sin^2 of the angle below this are computed from the difference of the points
CHUNK = 2**22  # numbers held at a time for such differences


def transformed(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is inside a transform of torch.func, where its values may not be looked at."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def where_it_is(value: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return a tensor where it is, and a number on the CPU: numbers of the default device go with its points alone."""
    return torch.as_tensor(value, dtype=dtype, device=value.device if isinstance(value, torch.Tensor) else "cpu")


class TorchArrays(DifferentiableArrays):
    """torch, see `protocol.Arrays`."""

    lib, name, kind = torch, "torch", torch.Tensor

    def points(self, X: Array, name: str = "X", rows: bool = False) -> torch.Tensor:
        """Return `X` as a tensor of float32 or float64 points (..., d); with `rows`, (N, d)."""
        if hasattr(X, "mask") and hasattr(X, "filled"):
            raise InputError(
                f"{name} is a masked array, masks are not kept: pass {name}.filled(...) or the rows in use"
            )
        if getattr(getattr(X, "flags", None), "writeable", True) is False:
            X = X.copy()  # torch warns of arrays that it could not write to
        kind = None if hasattr(X, "dtype") else torch.float64
        try:
            tensor = X if isinstance(X, torch.Tensor) else torch.as_tensor(X, dtype=kind)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InputError(
                f"{name} cannot be made a tensor ({error}): pass rows of floats of equal length"
            ) from error
        if tensor.device.type == "meta":
            raise InputError(f"{name} is on the device meta, which holds no values: pass a tensor of values")
        if tensor.layout != torch.strided:
            raise InputError(f"{name} has layout {tensor.layout}: pass a dense tensor, for example {name}.to_dense()")
        if tensor.dtype not in (torch.float32, torch.float64):
            raise InputError(f"{name} has dtype {tensor.dtype}: pass float64 or float32, for example {name}.double()")
        self.shaped(tensor, name, rows)
        known = self.known(tensor)
        if known is not None and not bool(torch.isfinite(known).all()):
            where = tuple(torch.nonzero(~torch.isfinite(known))[0].tolist())
            raise InputError(
                f"{name}{list(where)} = {known[where].item()}: every coordinate must be finite; drop or mend that point"
            )
        return tensor

    def scalar(self, name: str, value: Any) -> torch.Tensor:
        """Return the value of a parameter: without dimension it promotes no float32 points, and it keeps its graph."""
        try:
            kind = str(getattr(value, "dtype", ""))
            proper = not (isinstance(value, (str, bytes, bool)) or "bool" in kind or "complex" in kind)
            scalar = where_it_is(value if proper else None, torch.float64)
            if scalar.device.type == "meta":
                raise TypeError("the device meta holds no values")
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InputError(f"{name} = {value!r} must be a number or a tensor without dimensions") from error
        if scalar.ndim:
            raise InputError(
                f"{name} has shape {tuple(scalar.shape)}, it must be a number or a tensor without dimensions"
            )
        return scalar

    def in_parts(self, function: Callable, arrays: Sequence[Array], numbers: int) -> tuple:
        """Return what `function` makes of arrays of one shape, a part at a time, computed again for derivatives."""
        graph = torch.is_grad_enabled() and any(x.requires_grad and not transformed(x) for x in arrays)
        again = partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)
        return super().in_parts(again, arrays, 64 * numbers) if graph else super().in_parts(function, arrays, numbers)

    def in_order(self, arrays: Sequence[Array]) -> list[torch.Tensor]:
        """Return arrays whose elements increase from one to the next."""
        return list(torch.stack(list(arrays), -1).sort().values.unbind(-1))

    def known(self, x: Array) -> torch.Tensor | None:
        """Return values, out of the transforms of torch.func, or None where they may not be looked at."""
        if torch.compiler.is_compiling():
            return None
        x, level = x.detach(), torch._C._functorch
        while transformed(x):
            batch = level.maybe_get_bdim(x)
            x = level.get_unwrapped(x)
            x = x if batch < 0 else x.movedim(batch, 0)
        return x

    def where_nonnegative(self, x: Array, yes: Any, no: Any) -> Any:
        """Return `yes` where x >= 0, else `no`; torch would make single precision of two numbers."""
        numbers = not isinstance(yes, torch.Tensor) and not isinstance(no, torch.Tensor)
        return torch.where(x >= 0, torch.tensor(yes, dtype=x.dtype, device=x.device) if numbers else yes, no)

    def all(self, condition: Any) -> bool:
        """Return whether a condition holds everywhere, as far as that is known."""
        known = self.known(where_it_is(condition))
        return known is None or bool(torch.all(known))

    def largest(self, v: Array) -> float:
        """Return the largest value, for a message."""
        known = self.known(v)
        return float("nan") if known is None else float(torch.max(known))

    def double(self, X: Array) -> torch.Tensor:
        """Return a tensor in double precision."""
        return X.double()

    def cast(self, result: Array, like: torch.Tensor) -> torch.Tensor:
        """Return a result in the format of a tensor, beside it."""
        return result.to(like)

    def constant(self, like: Array, value: Any) -> torch.Tensor:
        """Return a tensor of one value, in the graph: the gradient of a constant is zero and not an error."""
        return 0 * torch.clamp(like, max=1) + value

    def atan2(self, y: Array, x: Array) -> torch.Tensor:
        """Return the angle of (x, y), with a finite derivative where both vanish."""
        y, x = (a if isinstance(a, torch.Tensor) else torch.full_like(b, a) for a, b in ((y, x), (x, y)))
        y, x = torch.broadcast_tensors(y, x)
        return torch.atan2(y, torch.where((x == 0) & (y == 0), torch.ones_like(x), x))

    def erfc(self, x: torch.Tensor) -> torch.Tensor:
        """Return 1 - erf(x)."""
        return torch.special.erfc(x)

    def erfcx(self, x: torch.Tensor) -> torch.Tensor:
        """Return e^(x^2) erfc(x)."""
        return torch.special.erfcx(x)

    def gamma(self, x: torch.Tensor) -> torch.Tensor:
        """Return the Gamma function of a positive number."""
        return torch.exp(torch.lgamma(x))

    def fixed(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor as a constant."""
        return x.detach()

    def identity(self, X: torch.Tensor) -> torch.Tensor:
        """Return the matrix I of the points' dimension."""
        return torch.eye(X.shape[-1], dtype=X.dtype, device=X.device)

    def at_points(self, function: Callable, X: torch.Tensor) -> torch.Tensor:
        """Return the function of points. One point is a row of one: numbers would be promoted to double precision."""
        return function(X) if X.ndim > 1 else function(X[None])[0]

    def pairs(self, X: torch.Tensor, Y: torch.Tensor) -> Pairs:
        """Return the pairs of all rows of X (N, d) and Y (M, d)."""
        sx, sy, xy = self.sum_squares(X)[:, None], self.sum_squares(Y)[None, :], X @ Y.T
        if X.shape[0] * Y.shape[0] * X.shape[1] <= CHUNK:
            delta, omega, Delta = self.close_pairs(X[:, None, :], Y[None, :, :])
        else:
            delta, omega, Delta = sx + sy - 2 * xy, sx - sy, sx * sy - xy * xy
            rows, columns = torch.nonzero((PARALLEL * (sx * sy) >= Delta).detach(), as_tuple=True)
            step = max(1, CHUNK // X.shape[1])
            for start in range(0, len(rows), step):
                index = rows[start : start + step], columns[start : start + step]
                close = self.close_pairs(X[index[0]], Y[index[1]])
                delta, omega, Delta = (
                    full.index_put(index, part) for full, part in zip((delta, omega, Delta), close, strict=True)
                )
        return self.with_coincident(Pairs(sx, sy, xy, omega, delta, Delta))

    def pairs_of(self, x: torch.Tensor, y: torch.Tensor) -> Pairs:
        """Return the pairs of points (..., d), one by one."""
        return self.with_coincident(super().pairs_of(x, y))

    def refined(
        self, function: Callable, sign: Array, pairs: Pairs, scalars: Sequence[Any], values: tuple
    ) -> tuple[Any, ...]:
        """Return function(p, q, c, omega, delta, Delta) of the pairs where `sign` > 0, and `values` of the others.

        With the derivatives of `values`; all pairs are computed where their values may not be looked at.
        """
        where, numbers = (sign > 0).detach(), [value.detach() for value in scalars]
        everywhere = transformed(where) or torch.compiler.is_compiling()
        if not everywhere and not bool(where.any()):
            return values
        parts = [
            part.detach() + (0 * sign.detach() if everywhere else 0)
            for part in taken(pairs, ... if everywhere else where)
        ]
        results = []
        for value, found in zip(values, function(*parts, *numbers), strict=True):
            new = found if everywhere else (value + 0 * sign).detach().clone().index_put((where,), found)
            results.append(torch.where(where & torch.isfinite(new), new + (value - value.detach()), value))
        return tuple(results)

    def row(self, values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
        """Return numbers as a tensor of the format of another, beside it."""
        return torch.tensor(values, dtype=like.dtype, device=like.device)

    def power_of_two(self, n: torch.Tensor) -> torch.Tensor:
        """Return 2^n."""
        return ((torch.clamp(n, -1023, 1024).to(torch.int64) + 1023) << 52).view(torch.float64)

    def differentiates(self, X: Array, Y: Array, layers: Sequence[Any], scalars: tuple) -> bool:
        """Return whether somebody may want derivatives, or an array is no plain tensor."""
        numbers = [value for layer in layers for value in vars(layer).values()]
        tensors = [value for value in (X, Y, *scalars, *numbers) if isinstance(value, torch.Tensor)]
        return torch.compiler.is_compiling() or any(
            type(tensor) not in (torch.Tensor, torch.nn.Parameter)
            or transformed(tensor)
            or (tensor.requires_grad and torch.is_grad_enabled())
            or torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None
            for tensor in tensors
        )

    def detached(self, X: Array, Y: Array, layers: Sequence[Any], scalars: tuple) -> tuple:
        """Return points, layers and parameters without their graph."""

        def plain(value: Any) -> Any:
            return value.detach() if isinstance(value, torch.Tensor) else value

        layers = [replace(layer, **{name: plain(value) for name, value in vars(layer).items()}) for layer in layers]
        return plain(X), plain(Y), layers, tuple(map(plain, scalars))

    def on_host(self, X: torch.Tensor) -> bool:
        """Return whether compiled code can read a tensor."""
        return X.device.type == "cpu"

    def empty(self, shape: tuple, like: torch.Tensor) -> torch.Tensor:
        """Return a tensor to write to."""
        return torch.empty(shape, dtype=like.dtype, device=like.device)

    def formats(self) -> list[tuple[str, int, Callable]]:
        """Return the formats of the self-test: name, bits, and what makes points of numbers."""
        kinds = (("float64", torch.float64, 53), ("float32", torch.float32, 24))
        return [(name, bits, lambda rows, kind=kind: torch.tensor(rows, dtype=kind)) for name, kind, bits in kinds]
