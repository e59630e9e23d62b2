"""The gate before every route: the shape and precision of a feature map, and whether points can be taken together."""

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from infgeo.errors import InvalidInput
from infgeo.finite.evaluation import modules_behind
from infgeo.finite.feature_map import FeatureMap, Flat, Source
from infgeo.finite.point_blocks import is_out_of_memory
from infgeo.finite.stack import Stack, is_piecewise_linear

MOST_TOGETHER = 2**23  # numbers in the largest array of a forward pass that looks for coupling
_ALONE = 6  # points whose features together are compared with those that they have alone


class _Made(TorchDispatchMode):
    """Note the size of the largest tensor that is made, and the lowest precision on the way from a point.

    A view is not made. What is computed from integers and truth values is exact, or constant between jumps.
    """

    def __init__(self, point: torch.Tensor) -> None:
        super().__init__()
        self.numbers, self.lowest, self.where = 0, point.dtype, ""
        self._on_the_way = [point]  # kept, so that no other tensor takes their memory
        self._storages = {point.untyped_storage()._cdata}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = func(*args, **kwargs)
        follows = not given.isdisjoint(self._storages)
        for value in (t for t in tree_leaves(out) if isinstance(t, torch.Tensor)):
            storage = value.untyped_storage()._cdata
            if storage not in given:
                self.numbers = max(self.numbers, value.numel())
            if follows and value.is_floating_point() and storage not in self._storages:
                self._on_the_way.append(value)
                self._storages.add(storage)
                if value.dtype.itemsize < self.lowest.itemsize:
                    self.lowest, self.where = value.dtype, str(func)
        return out


def examine(feature_map: FeatureMap, x: torch.Tensor, stack: Stack | None = None) -> Source:
    """Return how `feature_map` is measured at the points x (N, d), or raise InvalidInput with what is wrong with it.

    A `stack` that the structure of the features shows is what they are only where it gives the same values: hooks,
    modes and changed classes may say otherwise.
    """
    probe = x[:1] if x.shape[0] else x.new_zeros(1, x.shape[1])
    if stack is not None and gives_the_same(stack, feature_map, torch.cat([probe, x[-1:]])):
        flat = is_piecewise_linear(feature_map.features, feature_map.layer)
        return Source(feature_map, stack, stack.width, stack.width, flat)
    feature_map, width = _callable_on(feature_map, probe)
    made = _refuse_random(feature_map, probe)
    if feature_map.batched and not feature_map.one_by_one:
        other = x[1:2] if x.shape[0] > 1 and not torch.equal(x[0], x[1]) else _beside(probe)
        _refuse_coupled(feature_map, torch.cat([probe, other]), x[: max(2, MOST_TOGETHER // max(1, made.numbers))])
    flat = stack is None and is_piecewise_linear(feature_map.features, feature_map.layer)
    if made.lowest == probe.dtype:
        return Source(feature_map, None, width, made.numbers, flat)
    note = (
        f"features compute in {made.lowest} on the way from points in {probe.dtype} ({made.where}): rank, log volume "
        f"and curvature have the precision of {made.lowest}"
    )
    return Source(replace(feature_map, precision=made.lowest), None, width, made.numbers, flat, note)


def gives_the_same(stack: Stack, feature_map: FeatureMap, points: torch.Tensor) -> bool:
    """Return whether the features have the values of the stack; that they raise, the general route says."""
    try:
        with torch.no_grad(), torch._C.DisableTorchFunction():  # a mode of the caller acts on the features only
            expected = stack(points)
        with torch.no_grad(), feature_map.ready() as f:  # a stack calls modules, too: not while a layer is listened to
            given = f(points)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return False
    if (given.shape, given.dtype) != (expected.shape, expected.dtype):
        return False
    tolerance = 1e4 * torch.finfo(given.dtype).eps * _size(expected)
    return torch.allclose(given, expected, rtol=0.0, atol=tolerance, equal_nan=True)


def _tried(feature_map: FeatureMap, points: torch.Tensor) -> tuple[Any, Exception | None]:
    """Return what the map returns, or what it raises: whatever a callable raises that is written for other points."""
    try:
        return feature_map.first_output(points), None
    except InvalidInput:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None, error


def _callable_on(feature_map: FeatureMap, probe: torch.Tensor) -> tuple[FeatureMap, int]:
    """Return the map as it can be called, in batches or on single points, and its number of features."""
    out, error = _tried(feature_map, probe)
    if isinstance(out, torch.Tensor) and out.ndim > 1 and out.shape[0] == 1:
        return feature_map, _features_of(out, feature_map, batch=True)
    single = replace(feature_map, batched=False, one_by_one=False)  # perhaps it takes a batch for something else
    alone, other = _tried(single, probe)
    if other is None or error is None:
        return _mapped(single, probe), _features_of(out if other else alone, single, batch=False)
    said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    if _tried(feature_map, torch.cat([probe, _beside(probe)]))[1] is None:
        raise InvalidInput(f"features work on several points and not on one ({said}): {_COUPLED}") from error
    raise InvalidInput(
        f"features failed on a batch of shape (B, {', '.join(map(str, feature_map.input_shape))}), and on one point of "
        f"shape {feature_map.input_shape} ({said}); {_remedy(feature_map, probe)}"
    ) from error


def _remedy(feature_map: FeatureMap, probe: torch.Tensor) -> str:
    """Return what may help where features fail on points: their dtype, or their shape where it is a guess."""
    dtypes = {p.dtype for m in modules_behind(feature_map.features) for p in m.parameters() if p.is_floating_point()}
    if feature_map.dtype is None and len(dtypes) == 1 and dtypes != {probe.dtype}:
        return f"the points are {probe.dtype} and the weights behind features {dtypes.pop()}: pass points in that dtype"
    if feature_map.dtype is None and len(dtypes) > 1:
        return (
            f"the weights are {' and '.join(sorted(map(str, dtypes)))}: bring the module to one dtype, module.double()"
        )
    if feature_map.shape_given:
        return f"they must take points of the shape that was given, {feature_map.input_shape}, in {probe.dtype}"
    return "where a point has several axes, as images have, pass input_shape=(channels, height, width)"


def _mapped(single: FeatureMap, probe: torch.Tensor) -> FeatureMap:
    """Return a map of single points as it can be called on several: by vmap, or in a loop if it branches on values."""
    try:
        with torch.no_grad(), single.ready() as f:
            f(probe)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return replace(single, one_by_one=True)
    return single


def _beside(point: torch.Tensor) -> torch.Tensor:
    return point * (1 + 2**-10) + 2**-10


def _features_of(out: Any, feature_map: FeatureMap, batch: bool) -> int:
    right = isinstance(out, torch.Tensor) and out.dtype.is_floating_point and out.ndim >= (2 if batch else 1)
    if not right or out.numel() == 0:
        got = f"{tuple(out.shape)} {out.dtype}" if isinstance(out, torch.Tensor) else type(out).__name__
        d = ", ".join(map(str, feature_map.input_shape)) + ("," if len(feature_map.input_shape) == 1 else "")
        what = "features(x)" if feature_map.layer is None else f"layer {feature_map.layer!r}"
        raise InvalidInput(
            f"{what} for one point x of shape ({d}) is {got}; it must be a real tensor (n,), and in general (..., n) "
            "for points (..., *input_shape); name a layer, or wrap the module in a function that returns the tensor"
        )
    if out.dtype not in (torch.float32, torch.float64):
        raise InvalidInput(f"features(x) is {out.dtype}; return float32 or float64, and leave autocast")
    return int(out.numel())


def _refuse_random(feature_map: FeatureMap, probe: torch.Tensor) -> _Made:
    """Raise InvalidInput when calls differ, change the weights or are too coarse; return what one call makes."""
    tensors = [t for module in modules_behind(feature_map.features) for t in (*module.parameters(), *module.buffers())]
    before = [0 if t.is_inference() else t._version for t in tensors]
    with torch.no_grad(), feature_map.ready() as f:
        with _Made(probe) as made:
            first = f(probe)
        others = [f(probe) for _ in range(3)]
    if [0 if t.is_inference() else t._version for t in tensors] != before:
        raise InvalidInput(
            "features changes its own parameters or buffers when it is called; call features.eval() first, or pass the "
            "module itself instead of a method of it"
        )
    # atomic additions of an accelerator may differ by roundings
    epsilon = torch.finfo(first.dtype).eps
    close = {"rtol": epsilon**0.5, "atol": 1e3 * epsilon * _size(first), "equal_nan": True}
    if not all(torch.allclose(first, other, **close) for other in others):
        raise InvalidInput(
            "features(x) is random: calls at the same point differ; call features.eval() first, or pass freeze=True "
            "where that is an argument, or fix the random numbers"
        )
    if made.lowest.itemsize < torch.float32.itemsize:
        raise InvalidInput(
            f"features computes in {made.lowest} ({made.where}); its second derivatives would be noise: compute in "
            "float32 or float64, and leave autocast"
        )
    return made


_COUPLED = (
    "features of one point depend on the other points of the batch (as by normalisation over the batch), so that they "
    "are no function of the point; call features.eval() first or pass freeze=True, give batch norms their running "
    "statistics, and normalise over features only; where a whole batch sets the steps of a solver, pass batched=False, "
    "which calls features on one point at a time (log_volume and the like in a loss have neither argument)"
)


def _refuse_coupled(feature_map: FeatureMap, pair: torch.Tensor, many: torch.Tensor) -> None:
    try:
        with feature_map.ready() as f:
            with torch.no_grad():
                coupled = _differs_alone(f, pair) or (len(many) > 2 and _differs_alone(f, many))
            coupled = coupled or _gradient_across(f, pair)
    except Exception as error:
        if is_out_of_memory(error):  # one point fits and two do not: points are then taken one by one
            return
        raise InvalidInput(
            f"features work on a batch of one point and fail on a batch of two ({type(error).__name__}: {error}); they "
            "must take (B, *input_shape)"
        ) from error
    if coupled:
        raise InvalidInput(_COUPLED)


def _size(values: torch.Tensor) -> float:
    return float(torch.nan_to_num(values, 0.0, 0.0, 0.0).abs().max())


def _differs_alone(f: Flat, points: torch.Tensor) -> bool:
    """Return whether some of the points, the first and the last among them, have other features alone."""
    together = f(points)
    if together.shape[0] != points.shape[0]:
        return True
    some = sorted({(len(points) - 1) * k // (_ALONE - 1) for k in range(_ALONE)})
    alone = [f(points[i : i + 1]) for i in some]
    if any(one.shape != (1, together.shape[1]) for one in alone):
        return True
    values = torch.cat(alone)
    tolerance = _size(values) * float(torch.finfo(values.dtype).eps) ** 0.5
    return not torch.allclose(together[some], values, rtol=0.0, atol=tolerance, equal_nan=True)


def _gradient_across(f: Flat, pair: torch.Tensor) -> bool:
    """Return whether autograd sees the features of one point depend on the other point."""
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        points = pair.detach().clone().requires_grad_()
        out = f(points)
        if not out.requires_grad:
            return False
        weights = torch.cos(torch.arange(out.shape[1], dtype=out.dtype, device=out.device))
        try:
            across = [
                torch.autograd.grad((out[i] * weights).sum(), points, retain_graph=True)[0][1 - i] for i in (0, 1)
            ]
        except (RuntimeError, NotImplementedError) as error:
            if is_out_of_memory(error):
                raise
            return False  # an operation without a backward rule; the values have been compared
    # NaN is 0 times an infinite derivative: it says nothing
    return any(bool(torch.nan_to_num(gradient, 0.0).any()) for gradient in across)
