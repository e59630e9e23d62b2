"""Every array library implements one interface, and the same functions of it agree with mpmath."""

import inspect

import mpmath
import numpy as np
import pytest

from infgeo.numeric.runtime.arrays.of_mpmath import MpmathArrays
from infgeo.numeric.runtime.arrays.of_numpy import NumpyArrays
from infgeo.numeric.runtime.arrays.of_torch import TorchArrays
from infgeo.numeric.runtime.arrays.protocol import Arrays
from infgeo.numeric.runtime.errors import InputError

LIBRARIES = {"numpy": NumpyArrays, "torch": TorchArrays, "mpmath": MpmathArrays}
try:
    import jax

    from infgeo.numeric.runtime.arrays.of_jax import JaxArrays

    LIBRARIES["jax"] = JaxArrays
except ImportError:
    pass
METHODS = [name for name, _ in inspect.getmembers(Arrays, inspect.isfunction) if not name.startswith("_")]


@pytest.fixture(params=list(LIBRARIES))
def xp(request):
    if request.param == "jax":
        with jax.enable_x64(True):
            yield LIBRARIES["jax"]()
    else:
        yield LIBRARIES[request.param]()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("library", list(LIBRARIES))
def test_methods_have_the_arguments_of_the_protocol(library, name):
    method = getattr(LIBRARIES[library], name)
    try:
        found = list(inspect.signature(method).parameters.values())
    except ValueError:  # a function of the library itself
        return
    asked = list(inspect.signature(getattr(Arrays, name)).parameters.values())
    if found and found[0].name != "self":
        asked = asked[1:]
    assert [part.name for part in found][: len(asked)] == [part.name for part in asked] or len(found) == len(asked)


def numbers(xp, values):
    """Return an array of numbers; of mpmath, which has none, each number by itself."""
    return [xp.points([value])[0] for value in values] if xp.lib is None else [xp.points(values)]


def flat(parts):
    return [float(x) for part in parts for x in np.asarray(part, float).reshape(-1)]


def test_guarded_functions_of_numbers(xp):
    values = [-2.0, -1e-9, 0.0, 1e-9, 3.0]
    positive = [0.0, 1e-9, 4.0]
    assert flat(xp.positive(x) for x in numbers(xp, values)) == [0, 0, 0, 1e-9, 3]
    assert flat(xp.where_nonnegative(x, 1 + 0 * x, 0 * x) for x in numbers(xp, values)) == [0, 0, 1, 1, 1]
    assert flat(xp.ratio(1 + 0 * x, x) for x in numbers(xp, values))[2] == 0
    assert flat(xp.sqrt(x) for x in numbers(xp, positive)) == pytest.approx([0, 1e-9**0.5, 2], rel=1e-15)
    assert flat(xp.log(x) for x in numbers(xp, positive[1:])) == pytest.approx(np.log(positive[1:]), rel=1e-15)
    assert flat(xp.constant(x, 2.5) for x in numbers(xp, positive)) == [2.5] * 3


def test_pairs_keep_the_digits_of_nearly_parallel_points(xp):
    x, y = [0.6, 0.8, -0.1], [1.2, 1.6 + 1e-9, -0.2]
    with mpmath.workdps(40):
        h = xp.pairs_of(xp.points(x), xp.points(y))
        exact = MpmathArrays().pairs_of(*MpmathArrays().points([x, y]))
        for name in ("p", "q", "c", "omega", "delta", "Delta"):
            assert float(getattr(h, name)) == pytest.approx(float(getattr(exact, name)), rel=1e-14), name


def test_metrics_of_points(xp):
    x, A, shear = [3.0, 4.0], 2.0, 0.5
    numbers_of = [xp.points([part])[0] for part in (A, shear, 1 + shear, A * shear / 25)]
    if xp.lib is not None:
        numbers_of = [part[None] for part in numbers_of]
    g = xp.metric_matrix(xp.points(x) if xp.lib is None else xp.points([x]), *numbers_of)
    expected = A * np.eye(2) + A * shear / 25 * np.outer(x, x)
    assert np.array(g.tolist(), float).reshape(2, 2) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("bad", [[["a", "b"]], [[1.0], [2.0, 3.0]], 3.0, [[float("nan"), 1.0]]], ids=str)
def test_what_is_no_point_is_refused(xp, bad):
    with pytest.raises(InputError, match="X"):
        xp.points(bad, "X", rows=True)


@pytest.mark.parametrize("bad", ["two", True, [1.0, 2.0], None], ids=str)
def test_what_is_no_number_is_refused(xp, bad):
    with pytest.raises(InputError, match="scale"):
        xp.scalar("scale", bad)


# Arguments of which only one is an array: a kernel's program writes numbers there.
PRIMITIVES = {
    "atan2": ([0.7, 2], [0, 1], mpmath.atan2),
    "where_nonnegative": ([0.7, 1, 2], [0], lambda x, yes, no: yes),
    "ratio": ([0.7, 2], [1], lambda a, b: a / b),
    "scaled_erfc": ([0.75, 0.5, 0.5], [1], lambda a, x, rest: mpmath.exp(a) * mpmath.erfc(x)),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_functions_of_an_array_and_numbers(xp, name):
    values, arrays, exact = PRIMITIVES[name]
    function = getattr(xp, name, None) or getattr(xp.lib or mpmath, "arctan2" if xp.lib else name)
    for place in arrays:
        for part in numbers(xp, [values[place]]):
            found = function(*(part if i == place else value for i, value in enumerate(values)))
            assert flat([found]) == pytest.approx([float(exact(*values))], rel=1e-15)
            assert "float32" not in str(getattr(found, "dtype", ""))
