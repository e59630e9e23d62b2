"""Which functions of |x| doubles are enough for, and what double-double numbers make of the others."""

import mpmath
import numpy as np
import pytest

import infgeo
from infgeo.errors import InvalidInput
from infgeo.numeric.source.precision import (
    DOUBLE,
    DOUBLE_DOUBLE,
    EXACT,
    MEASURED,
    precision_of_parts,
    precision_of_ricci,
    ricci_program,
)

# Without bias 1 - exp(-2 v) cancels at small v; after relu erf saturates while the features grow.
PRECISE = ["cos", ["relu", "erf"]]


@pytest.mark.parametrize(
    ("names", "parts", "ricci"),
    [
        ("erf", DOUBLE, DOUBLE),
        ("relu", DOUBLE, DOUBLE),
        ("exp", DOUBLE, DOUBLE),
        (["erf", "erf"], DOUBLE, DOUBLE),
        (["gaussian", "gaussian"], DOUBLE, DOUBLE_DOUBLE),
        ("cos", DOUBLE_DOUBLE, DOUBLE_DOUBLE),
        (["relu", "erf"], DOUBLE_DOUBLE, DOUBLE_DOUBLE),
    ],
)
def test_double_double_numbers_are_for_what_needs_them(names, parts, ricci):
    mlp = infgeo.MLP(names)
    for found, bits in ((precision_of_parts(mlp), parts), (precision_of_ricci(mlp), ricci)):
        assert found.bits == bits
        assert found.error <= MEASURED
        assert found.lowest < 1e-6 and found.highest > 1e6


def test_the_ricci_scalar_of_one_layer_at_dimension_two():
    """Written out it is a polynomial in d and s, of which the leading terms cancel at d = 2."""
    mlp = infgeo.MLP("cube")
    assert precision_of_ricci(mlp).bits == DOUBLE
    assert ricci_program(mlp).outputs["R"] != mlp.metric_program.outputs["R"]


def test_what_adds_up_is_not_measured():
    assert precision_of_ricci(infgeo.MLP("erf")) == EXACT


def test_the_ricci_scalar_of_erf_is_what_is_read():
    source = infgeo.emit(infgeo.MLP("erf"), certificate="none")
    lines = source[source.index("def _ricci_scalar") :].partition("\n\n")[0].splitlines()
    assert len(lines) <= 8


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("names", PRECISE, ids=str)
def test_digits_where_doubles_lose_them(names, backend):
    values = {"weight_std": 1.0, "bias_std": 0.0}
    geo, exact = (infgeo.MLP(names).numeric(backend=name, **values) for name in (backend, "mpmath"))
    points = np.geomspace(1.1e-3, 2e3, 7)[:, None] * np.array([[0.6, 0.8, 0.1]])
    argument = points
    if backend == "torch":
        torch = pytest.importorskip("torch")
        argument = torch.as_tensor(points)
    if backend == "jax":
        pytest.importorskip("jax").config.update("jax_enable_x64", True)
    for quantity in ("ricci_scalar", "log_volume_element"):
        with mpmath.workdps(60):
            truth = np.array([float(getattr(exact, quantity)(list(map(mpmath.mpf, row)))) for row in points])
        np.testing.assert_allclose(np.asarray(getattr(geo, quantity)(argument)), truth, rtol=1e-12)


def test_compiled_by_jax_as_well():
    """Its compiler makes one rounding of a product and a sum, which double-double numbers must be kept from."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    geo = infgeo.MLP(["relu", "erf"]).numeric(backend="jax", weight_std=1.0, bias_std=0.0)
    points = np.geomspace(1e-3, 1e6, 7)[:, None] * np.array([[0.6, 0.8, 0.1]])
    np.testing.assert_allclose(jax.jit(geo.ricci_scalar)(points), geo.ricci_scalar(points), rtol=1e-14)


def test_derivatives_of_what_is_computed_in_double_double_numbers():
    torch = pytest.importorskip("torch")
    geo = infgeo.MLP("cos").numeric(backend="torch", weight_std=1.0, bias_std=0.0)
    points = torch.tensor([[0.6, 0.8, 0.1], [0.1, -0.3, 0.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(geo.ricci_scalar, points)
    assert torch.autograd.gradcheck(geo.metric, points)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"])
def test_one_clear_error_where_digits_are_lost(backend):
    """R of two layers of erf in doubles at variances beyond 1e9; of cos in double-double numbers at |x| = 1e-12."""
    if backend == "jax":
        pytest.importorskip("jax").config.update("jax_enable_x64", True)
    for names, length in ((["erf", "erf"], 1e8), ("cos", 1e-12)):
        point = np.array([[length, 0.0, 0.0]])
        if backend == "torch":
            point = pytest.importorskip("torch").as_tensor(point)
        geo = infgeo.MLP(names).numeric(backend=backend, weight_std=1.0, bias_std=0.0)
        with pytest.raises(InvalidInput, match="does not keep the digits"):
            geo.ricci_scalar(point)
