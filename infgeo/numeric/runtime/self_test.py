"""The self-test of an emitted file: reference values at 50 digits, and what must hold between its functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # In an emitted file these stand above.
    from infgeo.numeric.runtime.common import DoesNotExist
    from infgeo.numeric.runtime.for_numpy import _SAME, _formats, _mixed_derivative, _ready

    # In an emitted file these are the reference.
    CERTIFICATE: dict[str, Any] = {}
    _VALUES: dict[str, str] = {}
    _INPUTS: list[list[str]] = []
    _REFERENCE: list[tuple[str, int, list[str] | None, list[float]]] = []


def _self_test() -> int:
    """Check the functions of this file, print a line for each check and a verdict; return the exit status."""
    for name, formats in CERTIFICATE.items():
        for dtype, entry in formats.items():
            error, bound, (low, high) = entry["largest_relative_error"], entry["bound"], entry["lengths"]
            print(f"{dtype}  {name:33} certified |x| {low:.0e} to {high:.0e}: error {error:.3g}, bound {bound:g}")
    passed = count = 0
    for name, bits, array, many in _formats():
        for title, error, bound in _checks(bits, array, many):
            count += 1
            holds = error <= bound
            passed += holds
            verdict = "passed" if holds else "FAILED"
            print(f"{name}  {title:48} {error:12.3g} of {bound:5} ulp  {verdict}")
    print(f"{'passed' if passed == count > 0 else 'FAILED'}: {passed} of {count} checks")
    return 0 if passed == count > 0 else 1


def _checks(bits: int, array: Callable, many: int) -> Iterator[tuple[str, float, float]]:
    """Yield title, error and bound of each check, in units in the last place of numbers of so many `bits`."""
    parameters = {name: float(value) for name, value in _VALUES.items()}
    rows = [[float(x) for x in row] for row in _INPUTS]
    X, n = array(rows), len(rows)
    bounds = {name: bound for name, bound, values, _ in _REFERENCE if values is not None}
    sizes = {name: size for name, _, _, size in _REFERENCE}

    def error(title: str, compute: Callable) -> float:
        try:
            return compute()
        except Exception as problem:
            print(f"{title}: {type(problem).__name__}: {problem}")
            return math.inf

    for name, bound, values, size in _REFERENCE:
        function = _ready(globals()[name])
        if values is None:
            title = f"{name} does not exist, and says so"
            yield title, error(title, lambda function=function: _raises(function, X, parameters)), 0
        else:
            compute = lambda function=function, values=values, size=size: _distance_in_ulp(  # noqa: E731
                _numbers(function(X, **parameters)), _numbers(values), size, bits
            )
            yield f"{name} against 50 digits", error(name, compute), bound
    for name in ("kernel", "ntk"):
        if name not in bounds:
            continue
        function, diagonal = _ready(globals()[name]), _ready(globals()[f"{name}_diag"])

        def transposed(function: Callable = function) -> float:
            values = _numbers(function(X, **parameters))
            return _unequal(values, [values[j * n + i] for i in range(n) for j in range(n)])

        def on_diagonal(function: Callable = function, diagonal: Callable = diagonal, name: str = name) -> float:
            values, exact = _numbers(function(X, **parameters))[:: n + 1], _numbers(diagonal(X, **parameters))
            return _distance_in_ulp(values, exact, sizes[name][:: n + 1], bits)

        yield f"{name} is symmetric", error(name, transposed), 0
        yield f"the diagonal of {name} is {name}_diag", error(name, on_diagonal), _SAME
        if many:
            # As many points as are computed in blocks, against some of them at a time.
            grid = [[x * (1 - k / (2 * many)) for x in rows[k % n]] for k in range(many)]

            def norms_of(grid: list, diagonal: Callable = diagonal) -> list[float]:
                norms = [float(x) ** 0.5 for x in _numbers(diagonal(array(grid), **parameters))]
                return [a * b for a in norms for b in norms]

            def in_blocks(function: Callable = function, grid: list = grid) -> float:
                values = _numbers(function(array(grid), **parameters))
                apart = [x for row in grid for x in _numbers(function(array([row]), array(grid), **parameters))]
                return _distance_in_ulp(values, apart, norms_of(grid), bits)

            yield f"{name} of many points is that of few", error(name, in_blocks), 2 * bounds[name]

            def both(function: Callable = function, name: str = name, grid: list = grid) -> float:
                pair = _ready(globals()["kernel_and_ntk"])(array(grid), **parameters)
                alone, norms = function(array(grid), **parameters), norms_of(grid)
                return _distance_in_ulp(_numbers(pair[name == "ntk"]), _numbers(alone), norms, bits)

            if "ntk" in bounds:
                yield f"{name} is that of kernel_and_ntk", error(name, both), 2 * bounds[name]
    if "kernel" in bounds and "kernel_distance" in bounds:

        def squares() -> float:
            k, apart = (_numbers(_ready(globals()[name])(X, **parameters)) for name in ("kernel", "kernel_distance"))
            pairs = [(i, j) for i in range(n) for j in range(n)]
            differences = [k[i * (n + 1)] + k[j * (n + 1)] - 2 * k[i * n + j] for i, j in pairs]
            size = [float(k[i * (n + 1)] + k[j * (n + 1)]) for i, j in pairs]
            return _distance_in_ulp([distance**2 for distance in apart], differences, size, bits)

        yield "kernel_distance^2 = k(x,x) + k(y,y) - 2 k(x,y)", error("kernel_distance", squares), 4 * bounds["kernel"]
    if "metric" in bounds and "kernel" in bounds and _mixed_derivative and bits == 53:

        def derivatives() -> float:
            entry = lambda x, y: globals()["kernel"](x[None], y[None], **parameters)[0, 0]  # noqa: E731
            g = _numbers(globals()["metric"](X[0], **parameters))
            size = [max(sizes["metric"][: len(g)])] * len(g)
            return _distance_in_ulp(_numbers(_mixed_derivative(entry, X[0])), g, size, bits)

        yield "metric = d/dx d/dy kernel at y = x", error("metric", derivatives), 1024
    named = [globals()[name] for name in ("kernel_and_ntk", "kernel_diag", "ntk_diag", *sizes) if name in globals()]
    scales = [function.__kwdefaults__ or {} for function in named]
    ones = all(defaults.get(name, 1) == 1 for defaults in scales for name in ("sigma_w", "sigma_b"))
    yield "scales are 1 where they are not given", 0 if ones else math.inf, 0


def _raises(function: Callable, X: Any, parameters: dict[str, float]) -> float:
    try:
        function(X, **parameters)
    except DoesNotExist:
        return 0
    return math.inf


def _numbers(values: Any) -> list:
    """Return the numbers of an array, or of nested lists, in full as decimals."""
    from decimal import Decimal

    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (list, tuple)):
        return [number for value in values for number in _numbers(value)]
    return [Decimal(values if isinstance(values, (float, str)) else str(values))]


def _distance_in_ulp(values: list, exact: list, sizes: list[float], bits: int) -> float:
    """Return the largest |value - exact| in units in the last place of the sizes; infinite for what is no number."""
    if len(values) != len(exact):
        return math.inf
    distances = [
        abs(float(value - truth)) * 2.0 ** (bits - math.frexp(size)[1])
        for value, truth, size in zip(values, exact, sizes, strict=True)
    ]
    return max(math.inf if math.isnan(distance) else distance for distance in distances)


def _unequal(values: list, others: list) -> float:
    return 0 if values == others else math.inf
