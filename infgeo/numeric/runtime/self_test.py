"""The self-test of an emitted file: reference values at 50 digits, and what must hold between its functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from infgeo.numeric.runtime.errors import DoesNotExist


def self_test(
    functions: Mapping[str, Callable], values: Any, inputs: Any, reference: Any, formats: Any, certificates: Any
) -> int:
    """Check functions, print a line for each check and a verdict; return the exit status.

    Args:
        functions: those of the file, by name.
        values: the parameters, as decimals.
        inputs: the points, as decimals.
        reference: for each function a bound in units in the last place (ulp) of sizes, values and sizes.
        formats: name, bits and what makes points of numbers.
        certificates: what was measured of each function and format.
    """
    for name, measured in certificates.items():
        for dtype, entry in measured.items():
            error, bound, (low, high) = entry["largest_relative_error"], entry["bound"], entry["lengths"]
            print(f"{dtype}  {name:33} certified |x| {low:.0e} to {high:.0e}: error {error:.3g}, bound {bound:g}")
    parameters = {name: float(value) for name, value in values.items()}
    passed = count = 0
    for name, bits, array in formats:
        X = array([[float(x) for x in row] for row in inputs])
        calls = {key: lambda *args, f=f, X=X: f(X, *args, **parameters) for key, f in functions.items()}
        for title, compute, bound in checks(calls, reference, len(inputs), bits):
            try:
                error = compute()
            except Exception as problem:
                print(f"{title}: {type(problem).__name__}: {problem}")
                error = math.inf
            count += 1
            passed += error <= bound
            verdict = "passed" if error <= bound else "FAILED"
            print(f"{name}  {title:48} {error:12.3g} of {bound:5} ulp  {verdict}")
    defaults = [f.__kwdefaults__ or {} for f in functions.values()]
    count += 1
    if all(part.get(name, 1) == 1 for part in defaults for name in ("sigma_w", "sigma_b")):
        passed += 1
    else:
        print("scales are 1 where they are not given: FAILED")
    print(f"{'passed' if passed == count > 0 else 'FAILED'}: {passed} of {count} checks")
    return 0 if passed == count > 0 else 1


def checks(calls: Mapping[str, Callable], reference: Any, n: int, bits: int) -> Iterator[tuple[str, Callable, float]]:
    """Yield title, what computes the error, and its bound, in units in the last place of numbers of so many `bits`."""
    bounds, sizes = {}, {}
    for name, bound, exact, size in reference:
        if exact is None:
            yield f"{name} does not exist, and says so", lambda name=name: raised(calls[name]), 0
            continue
        bounds[name], sizes[name] = bound, size
        compute = lambda name=name, exact=exact, size=size: in_ulp(calls[name](), exact, size, bits)  # noqa: E731
        yield f"{name} against mpmath", compute, bound
    for name in bounds.keys() & {"kernel", "ntk"}:

        def transposed(name: str = name) -> float:
            values = numbers(calls[name]())
            return 0 if values == [values[j * n + i] for i in range(n) for j in range(n)] else math.inf

        def on_diagonal(name: str = name) -> float:
            return in_ulp(numbers(calls[name]())[:: n + 1], calls[f"{name}_diag"](), sizes[name][:: n + 1], bits)

        def together(name: str = name) -> float:
            return in_ulp(calls["kernel_and_ntk"]()[name == "ntk"], calls[name](), sizes[name], bits)

        if "ntk" in bounds:
            yield f"{name} is that of kernel_and_ntk", together, 4
        yield f"{name} is symmetric", transposed, 0
        yield f"the diagonal of {name} is {name}_diag", on_diagonal, 4
    if bounds.keys() >= {"kernel", "kernel_distance"}:

        def squares() -> float:
            k, apart = numbers(calls["kernel"]()), numbers(calls["kernel_distance"]())
            sums = [k[i * (n + 1)] + k[j * (n + 1)] for i in range(n) for j in range(n)]
            differences = [total - 2 * value for total, value in zip(sums, k, strict=True)]
            return in_ulp([distance**2 for distance in apart], differences, sums, bits)

        yield "kernel_distance^2 = k(x,x) + k(y,y) - 2 k(x,y)", squares, 4 * bounds["kernel"]


def raised(function: Callable) -> float:
    """Return 0 if a function says that its value does not exist."""
    try:
        function()
    except DoesNotExist:
        return 0
    return math.inf


def numbers(values: Any) -> list:
    """Return the numbers of an array, or of nested lists, in full as decimals."""
    from decimal import Decimal

    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (list, tuple)):
        return [number for value in values for number in numbers(value)]
    return [Decimal(values if isinstance(values, (float, str)) else str(values))]


def in_ulp(values: Any, exact: Any, sizes: Sequence[Any], bits: int) -> float:
    """Return the largest |value - exact| in units in the last place of the sizes; infinite for what is no number."""
    pairs = list(zip(numbers(values), numbers(exact), sizes, strict=True))
    distances = [abs(float(value - truth)) * 2.0 ** (bits - math.frexp(size)[1]) for value, truth, size in pairs]
    return max(math.inf if math.isnan(distance) else distance for distance in distances)
