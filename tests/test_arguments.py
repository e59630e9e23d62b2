"""Every argument of every public function, given what it is not: one clear error of the package, or an answer.

Text among the wrong kinds would, evaluated as Python, leave its mark in CANARY: nothing that users pass is evaluated.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy
import torch

import infgeo
from infgeo import analysis, finite, kernels, layers, tracking, training

CODE = "__import__('builtins').CANARY.append(1)"
builtins.CANARY = []  # type: ignore[attr-defined]


class Shown:
    """What SymPy's conversion evaluates by its text."""

    def __str__(self) -> str:
        return CODE

    __repr__ = __str__


class AsArray:
    """What NumPy takes as an array of text."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array([CODE])


class AsExpression:
    """What SymPy takes for an expression of its own."""

    def _sympy_(self) -> str:
        return CODE


class Text(str):
    """Text of a class of its own."""


class Whole(int):
    """A number whose text is code."""

    def __str__(self) -> str:
        return CODE

    __repr__ = __str__


PLAIN: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "no such thing",
    "bytes": lambda: b"1",
    "object": object,
    "dict": dict,
    "list": list,
    "lists": lambda: [[], [1]],
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "1.5": lambda: 1.5,
    "True": lambda: True,
    "10^30": lambda: 10**30,
    "complex": lambda: 1 + 1j,
    "array": lambda: np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    "numbers": lambda: np.array([1, 2]),
    "tensor": lambda: torch.tensor([0.5, 1.5]),
    "generator": lambda: (x for x in (1, 2)),
    "function": lambda: lambda *a, **k: None,
    "class": lambda: int,
}
HOSTILE: dict[str, Callable[[], Any]] = {
    "code": lambda: CODE,
    "bytes of code": CODE.encode,
    "subclass of str": lambda: Text(CODE),
    "list of code": lambda: [CODE],
    "nested code": lambda: [[CODE, 0], [0, (CODE,)]],
    "tuple of code": lambda: (CODE,),
    "set of code": lambda: {CODE},
    "frozenset of code": lambda: frozenset({CODE}),
    "dict of code": lambda: {CODE: CODE},
    "generator of code": lambda: (x for x in (CODE,)),
    "array of code": lambda: np.array(CODE),
    "objects of code": lambda: np.array([[CODE, [CODE]], [0, 1]], dtype=object),
    "object array without axes": lambda: np.array(CODE, dtype=object),
    "str_ of NumPy": lambda: np.str_(CODE),
    "shown as code": Shown,
    "array of code by itself": AsArray,
    "expression by itself": AsExpression,
    "number shown as code": lambda: Whole(2),
    "list of what is shown as code": lambda: [[Shown()]],
    "expression that holds code": lambda: sympy.Expr.__new__(sympy.Expr, CODE),
}
WRONG = PLAIN | HOSTILE

Z = sympy.Symbol("z", real=True)
S, D = sympy.Symbol("s", nonnegative=True), 2
MLP = infgeo.MLP("erf", weight_std=1, bias_std=1)
OPEN = infgeo.MLP("erf")
KERNEL = infgeo.Kernel(infgeo.MLP("identity").kernel.expr)
PLANE = infgeo.Metric(sympy.diag(1, Z**2), (Z, sympy.Symbol("t")))
X = np.array([[0.5, 0.2], [1.0, -0.3], [0.1, 0.7]])
GEOMETRY = MLP.numeric()
FLAT = infgeo.RadialMetric.from_functions(sympy.Integer(1), sympy.Integer(0))
PULLBACK = finite.pullback(torch.nn.Linear(2, 3).double(), X)
PROBE = tracking.line([0.0, 0.0], [1.0, 1.0], points=3)
TASK = training.xor()
RECIPE = training.Recipe(epochs=1)
NET = torch.nn.Linear(2, 2)
VALUES = np.linspace(0.0, 1.0, 12)
GRID = np.stack(np.meshgrid(np.arange(4.0), np.arange(3.0), indexing="ij"), -1).reshape(-1, 2)


# A function, and arguments with which it answers soon; each of them is replaced by every wrong kind.
ENTRIES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "MLP": (infgeo.MLP, dict(activation="erf", depth=1, weight_std=1, bias_std=0, input_scale=None, variable=Z)),
    "MLP of an expression": (infgeo.MLP, dict(activation=Z**2, depth=1, variable=Z)),
    "MLP of layers": (
        lambda one, weight, bias: infgeo.MLP([one, "erf"], weight_std=[1, weight], bias_std=[bias, 0]),
        dict(one="erf", weight=1, bias=0),
    ),
    "MLP.numeric": (
        OPEN.numeric,
        dict(weight_std=1.0, bias_std=1.0, backend="numpy", method="closed_form", alpha=None),
    ),
    "MLP.numeric with a parameter": (infgeo.MLP("leaky_relu", weight_std=1, bias_std=1).numeric, dict(alpha=0.1)),
    "MLP.numeric of torch": (lambda **o: OPEN.numeric(backend="torch", **o), dict(weight_std=1.0)),
    "MLP.numeric of mpmath": (lambda **o: OPEN.numeric(backend="mpmath", **o), dict(weight_std=1.0)),
    "MLP.numeric by quadrature": (lambda **o: OPEN.numeric(method="quadrature", **o), dict(weight_std=1.0)),
    "Dense": (layers.Dense, dict(activation="erf", weight_std=1, bias_std=1)),
    "Residual": (layers.Residual, dict(activation="erf", weight_std=1, bias_std=1, skip=1, branch=1)),
    "RMSNorm": (layers.RMSNorm, dict(epsilon=0)),
    "as_activation": (layers.as_activation, dict(activation="erf", variable=None)),
    "get": (infgeo.activations.get, dict(name="erf")),
    "Kernel": (infgeo.Kernel, dict(expr=KERNEL.expr)),
    "Kernel.compose": (KERNEL.compose, dict(inner=KERNEL)),
    "Kernel +": (lambda other: KERNEL + other, dict(other=1)),
    "+ Kernel": (lambda other: other + KERNEL, dict(other=1)),
    "Kernel *": (lambda other: KERNEL * other, dict(other=1)),
    "* Kernel": (lambda other: other * KERNEL, dict(other=1)),
    "Kernel **": (lambda exponent: KERNEL**exponent, dict(exponent=2)),
    "rbf": (kernels.rbf, dict(length_scale=1)),
    "linear": (kernels.linear, dict(offset=1)),
    "polynomial": (kernels.polynomial, dict(degree=2, offset=1)),
    "exponential_dot_product": (kernels.exponential_dot_product, dict(length_scale=1)),
    "rational_quadratic": (kernels.rational_quadratic, dict(alpha=1, length_scale=1)),
    "matern": (kernels.matern, dict(nu=sympy.Rational(3, 2), length_scale=1)),
    "arc_cosine": (kernels.arc_cosine, dict(order=1)),
    "RadialMetric": (
        infgeo.RadialMetric,
        dict(A=FLAT.A, B=FLAT.B, program=FLAT.program, domain=sympy.true, at_origin=None),
    ),
    "RadialMetric.from_functions": (
        infgeo.RadialMetric.from_functions,
        dict(A=1 + S, B=sympy.Integer(0), domain=sympy.true, at_origin=None),
    ),
    "RadialMetric.matrix": (FLAT.matrix, dict(dimension=2)),
    "Metric": (infgeo.Metric, dict(matrix=[[1, 0], [0, Z**2]], coordinates=(Z, sympy.Symbol("t")), simplify=True)),
    "Metric of rows": (
        lambda one, other: infgeo.Metric([[one, 0], [0, 1]], (Z, other)),
        dict(one=1, other=sympy.Symbol("t")),
    ),
    "Metric.at": (PLANE.at, dict(values=dict.fromkeys(PLANE.coordinates, 1), digits=20)),
    "Metric.at a value": (lambda one: PLANE.at({Z: one, PLANE.coordinates[1]: 1}), dict(one=1)),
    "Metric.at a symbol": (lambda one: PLANE.at({one: 1, PLANE.coordinates[1]: 1}), dict(one=Z)),
    "Program.evaluate": (
        lambda one, name, digits: MLP.metric_program.evaluate(name, {S: one, infgeo.conventions.d: 2}, digits),
        dict(one=1, name="A", digits=20),
    ),
    "Program.explicit": (MLP.metric_program.explicit, dict(name="A")),
    "Program.select": (MLP.metric_program.select, dict(names=["A"])),
    "curvature_sign": (analysis.curvature_sign, dict(metric=FLAT, dimension=2)),
    "small_norm": (analysis.small_norm, dict(metric=FLAT, terms=2)),
    "large_norm": (analysis.large_norm, dict(mlp=MLP)),
    "fixed_points": (analysis.fixed_points, dict(mlp=infgeo.MLP("relu"))),
    "edge_of_chaos": (analysis.edge_of_chaos, dict(activation="relu")),
    "EdgeOfChaos.at": (analysis.edge_of_chaos("relu").at, dict(variance=1)),
    "finite_width": (infgeo.finite_width, dict(mlp=MLP)),
    "emit": (infgeo.emit, dict(mlp=MLP, backend="numpy", certificate="none")),
    **{
        f"numeric {name}": (
            getattr(GEOMETRY, name),
            dict(X=X, Y=X, **({"squared": False} if "dist" in name else {"out": None, "threads": 1})),
        )
        for name in ("kernel", "ntk", "kernel_and_ntk", "kernel_distance")
    },
    **{
        f"numeric {name}": (getattr(GEOMETRY, name), dict(X=X))
        for name in ("kernel_diag", "ntk_diag", "metric", "volume_element", "log_volume_element", "ricci_scalar")
    },
}
