"""Gradients of Gram matrices with respect to the scales, in blocks: what fitting them to data takes most often.

Forward through the layers, with a dot for the derivative by a scale. Let alpha = p./(2 p), beta = q./(2 q) and
e = c. - c (alpha + beta). Of a kernel k(p, q, c, Delta), Delta = p q - c^2, with d_ for its partial derivatives,

    k. = k' e + S_p alpha + S_q beta,   S_p = 2 p d_p k + c d_c k + 2 Delta d_Delta k,   k' = E[phi'(u) phi'(v)].

For nearly parallel preactivations e vanishes where k' loses digits, and S_p is k times the degree where phi is
homogeneous. So only tangent kernels of activations with a kink, and kernels of those with a jump, lose digits there: as
many as the angle is small, half of them at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from sympy import Expr, Symbol, expand_mul

from infgeo.conventions import Delta, c, p, q
from infgeo.conventions import variance as v
from infgeo.errors import InvalidInput
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.coordinates import are_several
from infgeo.numeric.runtime.nodes import over_nodes
from infgeo.numeric.source.formulas import own_parameters
from infgeo.numeric.source.law_of_nodes import dual_of_nodes, summed_source
from infgeo.numeric.source.methods import method_of, methods_of
from infgeo.numeric.source.mixture import NODES, mixture_of
from infgeo.numeric.source.module import first_scale
from infgeo.numeric.source.names import in_code, public_name
from infgeo.numeric.source.printing import NUMPY, function_source, scalar_source
from infgeo.symbolic.algebra.bivariate_normal import BivariateNormal
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.expectations.dual import dual
from infgeo.symbolic.floats.exponentials import paired
from infgeo.symbolic.networks.layers import Residual, RMSNorm

if TYPE_CHECKING:
    from infgeo.symbolic.activations.activation import Activation
    from infgeo.symbolic.networks.network import MLP

_RATES = ("dweight", "dbias", "depsilon")  # of a layer, by the scales
_SIDE = 64  # points on a side of a block, so that its many arrays stay in the cache


def has_scale_gradient(mlp: MLP) -> bool:
    """Return whether `scale_gradient` takes a network: none by quadrature, nor with kinks away from 0.

    Their kernels are normal probabilities of two variables, which torch differentiates.
    """
    methods = methods_of(mlp)
    laws = [dual(activation) for activation, method in methods.items() if method == "closed_form"]
    tails = (part.has(BivariateNormal) for law in laws for part in (law.kernel, law.derivative_kernel) if part)
    return "quadrature" not in methods.values() and not any(tails)


def scale_gradient(
    mlp: MLP, X: np.ndarray, Y: np.ndarray | None, values: Mapping[str, Any], names: Sequence[str], tangent: bool
) -> np.ndarray:
    """Return the derivatives of the kernel, or the tangent kernel, by the scales `names`, (len(names), N, M).

    Arguments:
        mlp: a network in closed form, or of mixtures.
        X: points (N, d), checked, in double precision.
        Y: points (M, d), or None for X.
        values: those of all parameters by name; of the first layer's weight_std several, one for each coordinate.
        names: of parameters that scales depend on, sigma_w and sigma_b, not of the activations' own; by one with
            several values there are several derivatives.
        tangent: whether it is the tangent kernel, which must exist.
    """
    mlp = in_code(mlp)
    several, each, place = first_scale(mlp) or "", np.empty(0), 0
    if are_several(values.get(several)):
        scales = np.asarray(values[several], float)
        X, Y, values = X * scales, None if Y is None else Y * scales, {**values, several: 1.0}
        if several in names:
            each, place = scales, names.index(several)
            names = [name for name in names if name != several]
    module = _module(mlp, tuple(names), tangent)
    own = [float(values[public_name(symbol.name)]) for symbol in own_parameters(mlp)]
    layers = module["_layers"](X.shape[1], *(float(values[public_name(symbol.name)]) for symbol in mlp.parameters))
    for layer in layers:  # not by scales of coordinates
        rates = {name: rate for name, rate in vars(layer).items() if name in _RATES}
        vars(layer).update({name: np.insert(rate, [place] * len(each), 0.0) for name, rate in rates.items()})
    task = SimpleNamespace(module=module, layers=layers, own=own, tangent=tangent, count=len(names) + len(each))
    task.each, task.place = each, slice(place, place + len(each))
    result = np.empty((task.count, len(X), len(X if Y is None else Y)))
    with np.errstate(all="ignore"):  # Where k' is infinite, e is 0.
        rows = _side(task, X)
        columns = rows if Y is None else _side(task, Y)
        _check_range(rows.thin + columns.thin)
        for i in range(0, result.shape[1], _SIDE):
            for j in range(i if Y is None else 0, result.shape[2], _SIDE):
                block = _block(task, rows, columns, slice(i, i + _SIDE), slice(j, j + _SIDE))
                if Y is None and i == j:  # The two values of a pair differ by rounding: take the same for both.
                    block = np.maximum(block, block.transpose(0, 2, 1))
                result[:, i : i + _SIDE, j : j + _SIDE] = block
                if Y is None:
                    result[:, j : j + _SIDE, i : i + _SIDE] = block.transpose(0, 2, 1)
    if Y is None:
        index = np.arange(len(X))
        result[:, index, index] = rows.diagonal
    for i in range(0, len(X), _SIDE):
        same = (X[i : i + _SIDE, None] == (X if Y is None else Y)[None]).all(-1)
        first, second = np.nonzero(same)
        result[:, first + i, second] = rows.diagonal[:, first + i]
    return result


def _side(task: SimpleNamespace, Z: np.ndarray) -> SimpleNamespace:
    """Return the points, what each layer needs of single ones, and the derivatives of the diagonal, (T, N)."""
    f, df = np.square(Z).sum(axis=1), _of_product(task, Z, Z)
    D, dD = np.zeros(()), np.zeros(())
    thin = []
    for layer in task.layers:
        if layer.law is None:
            F, dF = f + layer.epsilon, df + layer.depsilon[:, None]
            thin.append(SimpleNamespace(root=np.sqrt(F), rate=_quotient(dF, 2 * F)))
            df = layer.unit * _quotient(df - _quotient(f, F) * dF, F)
            D, dD = _quotient(D, F), _quotient(dD - _quotient(D, F) * dF, F)
            f = layer.unit * _quotient(f, F)
            continue
        variance = layer.bias + layer.weight * f
        change = layer.dbias[:, None] + layer.dweight[:, None] * f + layer.weight * df
        thin.append(SimpleNamespace(v=variance, rate=_quotient(change, 2 * variance)))
        m, m_slope, *m0 = task.module[f"_moments{layer.law}"](variance, *task.own)
        learned, dlearned = np.zeros(()), np.zeros(())
        if task.tangent:
            inner = variance + layer.weight * D
            learned = m0[0] * inner
            dlearned = m0[1] * change * inner + m0[0] * (change + layer.dweight[:, None] * D + layer.weight * dD)
        k, dk = m, m_slope * change
        if layer.skip is None:
            f, df, D, dD = k, dk, learned, dlearned
        else:
            D, dD = layer.skip * D + layer.branch * (k + learned), layer.skip * dD + layer.branch * (dk + dlearned)
            f, df = layer.skip * f + layer.branch * k, layer.skip * df + layer.branch * dk
    return SimpleNamespace(points=Z, thin=thin, diagonal=df + dD if task.tangent else df)


def _of_product(task: SimpleNamespace, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the derivatives of x.y by the scales in x and y of its coordinates, 0 by other scales, (T, ...)."""
    rates = np.zeros((task.count, *np.broadcast_shapes(x.shape, y.shape)[:-1]))
    if len(task.each):
        rates[task.place] = np.moveaxis(2 * (x * y) / task.each, -1, 0)
    return rates


def _check_range(thin: Sequence[SimpleNamespace]) -> None:
    """Raise InvalidInput where products of four variances leave double precision."""
    limits = np.finfo(float)
    for part in thin:
        v = part.v if hasattr(part, "v") else np.square(part.root)
        lost = ~((v >= limits.tiny**0.25) & (v <= limits.max**0.25) | (v == 0))
        if lost.any():
            raise InvalidInput(
                f"derivatives by the scales at a variance of {float(v[lost][0]):.3g} leave double precision: rescale"
                " the points, weight_std or bias_std"
            )


def _block(
    task: SimpleNamespace, left: SimpleNamespace, right: SimpleNamespace, rows: slice, columns: slice
) -> np.ndarray:
    """Return the derivatives of one block, (T, n, m)."""
    k = left.points[rows] @ right.points[columns].T
    dk = _of_product(task, left.points[rows, None], right.points[columns])
    D, dD = np.zeros(()), np.zeros(())
    for layer, x, y in zip(task.layers, left.thin, right.thin, strict=True):
        rates = x.rate[:, rows, None], y.rate[:, None, columns]
        if layer.law is None:
            root = x.root[rows, None] * y.root[None, columns]
            dk = layer.unit * _quotient(dk - k * (rates[0] + rates[1]), root)
            D, dD = _quotient(D, root), _quotient(dD - D * (rates[0] + rates[1]), root)
            k = layer.unit * _quotient(k, root)
            continue
        P, Q = x.v[rows, None], y.v[None, columns]
        cov = layer.weight * k + layer.bias
        change = layer.dweight[:, None, None] * k + layer.dbias[:, None, None] + layer.weight * dk
        determinant = np.maximum(P * Q - cov * cov, 0)
        value, slope, *partial = task.module[f"_slopes{layer.law}"](P, Q, cov, determinant, *task.own)
        turn = change - cov * (rates[0] + rates[1])
        parallel = determinant == 0

        def total(by_c: Any, by_p: Any, by_q: Any, turn: Any = turn, rates: Any = rates, none: Any = parallel) -> Any:
            moved = by_c * turn
            moved[:, none] = 0
            return moved + by_p * rates[0] + by_q * rates[1]

        old, dold = k, dk
        k, dk = value, total(slope, *partial[:2])
        learned, dlearned = np.zeros(()), np.zeros(())
        if task.tangent:
            inner = cov + layer.weight * D
            dinner = change + layer.dweight[:, None, None] * D + layer.weight * dD
            learned, dlearned = slope * inner, total(*partial[2:]) * inner + slope * dinner
        if layer.skip is None:
            D, dD = learned, dlearned
        else:
            D, dD = layer.skip * D + layer.branch * (k + learned), layer.skip * dD + layer.branch * (dk + dlearned)
            k, dk = layer.skip * old + layer.branch * k, layer.skip * dold + layer.branch * dk
    return dk + dD if task.tangent else dk


def _quotient(a: Any, b: Any) -> Any:
    """Return a/b, and 0 where b is 0."""
    zero = b == 0
    return np.where(zero, 0, a / np.where(zero, 1, b))


@lru_cache(maxsize=64)
def _module(mlp: MLP, names: tuple[str, ...], tangent: bool) -> dict[str, Any]:
    """Return the functions of a network: of each law its slopes and moments, and the layers."""
    laws = {activation: str(i) for i, activation in enumerate(dict.fromkeys(x.activation for x in mlp.with_weights))}
    own = own_parameters(mlp)
    sections = []
    for activation, law in laws.items():
        sections += _law_sources(activation, law, own, tangent)
    namespace: dict[str, Any] = {"math": math, "np": np, "SimpleNamespace": SimpleNamespace, "_xp": NumpyArrays()}
    namespace |= {"over_nodes": over_nodes, "_NODES": NODES}
    exec(compile("\n\n\n".join([*sections, _layers_source(mlp, names, laws)]), "<scale gradient>", "exec"), namespace)
    return namespace


def _law_sources(activation: Activation, law: str, own: tuple[Symbol, ...], tangent: bool) -> list[str]:
    """Return `_slopes`, k, k', S_p, S_q and for tangent kernels those of k', and `_moments`, m, m' and m0, m0'."""
    mixture = mixture_of(activation) if method_of(activation) == "mixture" else None
    found: Any = dual_of_nodes(mixture) if mixture else dual(activation)
    degree = None if mixture else activation.homogeneity
    outputs = {"k": found.kernel, "slope": found.derivative_kernel, **_partials("k", found.kernel, degree)}
    moments = {"m": found.m, "m_slope": found.m_prime}
    if tangent:
        degree = None if degree is None else degree - 1
        slope = found.derivative_kernel
        outputs |= {"by_c": _turning(slope), **_partials("slope", slope, degree)}
        moments |= {"m0": found.m0, "m0_slope": found.m0.diff(v)}
    sections = []
    for name, exprs, arguments in ((f"_slopes{law}", outputs, [p, q, c, Delta]), (f"_moments{law}", moments, [v])):
        program = Program((), {key: paired(expr) for key, expr in exprs.items()})
        sections.append(
            summed_source(name, arguments, program, own, NUMPY, arguments == [v])
            if mixture
            else function_source(name, program, arguments, own, NUMPY, "")
        )
    return sections


def _turning(kernel: Expr) -> Expr:
    """Return the derivative by c, of which Delta depends."""
    return kernel.diff(c) - 2 * c * kernel.diff(Delta)


def _partials(name: str, kernel: Expr, degree: Expr | None) -> dict[str, Expr]:
    """Return S_p and S_q, which are the kernel times its degree where phi is homogeneous."""
    if degree is not None:
        return {f"{name}_{x}": degree * kernel for x in (p, q)}
    shared = c * kernel.diff(c) + expand_mul(2 * Delta * kernel.diff(Delta))
    return {f"{name}_{x}": 2 * x * kernel.diff(x) + shared for x in (p, q)}


def _layers_source(mlp: MLP, names: tuple[str, ...], laws: Mapping[Activation, str]) -> str:
    """Return the source of `_layers`, from d and the parameters: variances and factors, and their derivatives."""
    lines = []
    for layer in mlp.layers:
        if isinstance(layer, RMSNorm):
            law, values, constants = "None", {"epsilon": layer.width * layer.epsilon}, {"unit": layer.width}
        else:
            law = repr(laws[layer.activation])
            values = dict(zip(("weight", "bias"), layer.variances, strict=True))
            residual = isinstance(layer, Residual)
            constants = {x: getattr(layer, x) ** 2 if residual else None for x in ("skip", "branch")}
        fields = [f"law={law}"]
        for name, expr in (values | constants).items():
            fields.append(f"{name}={None if expr is None else scalar_source(expr, NUMPY)}")
        for name, expr in values.items():
            rates = (expr.diff(symbol) for symbol in (_symbol(mlp, key) for key in names))
            fields.append(f"d{name}=np.array([{', '.join(scalar_source(rate, NUMPY) for rate in rates)}], float)")
        lines.append(f"        SimpleNamespace({', '.join(fields)}),")
    arguments = ", ".join(["d", *(symbol.name for symbol in mlp.parameters)])
    return "\n".join([f"def _layers({arguments}):", "    return [", *lines, "    ]"])


def _symbol(mlp: MLP, name: str) -> Symbol:
    return next(symbol for symbol in mlp.parameters if symbol.name == name)
