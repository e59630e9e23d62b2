"""How the units of the first layer are drawn: independent, in mirrored pairs, in orthogonal blocks, or by Sobol nets.

Every sampler gives each unit the same distribution, N(0, I) in the k = d + 1 coordinates of (w/σ_w, b/σ_b), or k = d
without bias: means over units keep their expectation. They differ in how units depend on one another. A *block* has a
seed of its own and is independent of all others.
"""

from collections.abc import Iterator

import numpy
import torch
from scipy import special

from infgeo.arguments import one_of
from infgeo.errors import InvalidInput

SAMPLERS = ("iid", "antithetic", "orthogonal", "sobol")
_SOBOL_BITS = 30  # of torch's generator
_SOBOL_CHUNK = 2**14
_MOST_ROTATED = 256  # coordinates: more are not turned to the principal axes of the inputs


def block_units(sampler: str, input_dim: int) -> int:
    """Return the number of units in a block: about 8 MB of coordinates, and a whole net of up to 2²⁰ for Sobol."""
    if sampler == "sobol":
        return 2**20
    return 2 ** max(8, min(16, 20 - int(input_dim).bit_length()))


def check_sampler(sampler: str, input_dim: int) -> None:
    """Raise InvalidInput for an unknown sampler, or one that does not reach this dimension."""
    one_of(sampler, "sampler", SAMPLERS)
    if sampler == "sobol" and input_dim + 1 > torch.quasirandom.SobolEngine.MAXDIM:
        most = torch.quasirandom.SobolEngine.MAXDIM - 1
        raise InvalidInput(f"sampler is 'sobol', which has at most {most} input dimensions, not {input_dim}; use 'iid'")


def generator(seed: int) -> numpy.random.Generator:
    """Return the random numbers that belong to a seed: PCG64 (DXSM)."""
    return numpy.random.Generator(numpy.random.PCG64DXSM(seed))


def normals(source: numpy.random.Generator, *shape: int) -> torch.Tensor:
    """Draw independent N(0, 1) numbers, float64."""
    return torch.from_numpy(source.standard_normal(shape))


def principal_axes(x: torch.Tensor, weight_std: float | torch.Tensor, bias_std: float) -> torch.Tensor | None:
    """Return the directions (k, k), as rows, in which the preactivations at x (N, d) vary most, the first one first.

    z(x) = (σ_w x, σ_b)·(w/σ_w, b/σ_b) varies along few directions of the units' space if the points are few or nearly
    parallel, and the first coordinates of a Sobol sequence are its best.
    """
    if x.shape[1] > _MOST_ROTATED:
        return None
    rows = torch.cat([x * weight_std, x.new_full((x.shape[0], int(bias_std > 0)), bias_std)], dim=1)
    rows = rows / rows.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(0.5)  # 0 stays 0
    return torch.linalg.svd(rows, full_matrices=True)[2]


def first_layer(
    sampler: str,
    seed: int,
    units: int,
    input_dim: int,
    has_bias: bool,
    dtype: torch.dtype,
    axes: torch.Tensor | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the units of one block in order, as (w/σ_w (u, d), b/σ_b (u,)) with the u adding up to `units`.

    `axes` are orthonormal directions (k, k) for the coordinates of "sobol", by default those of w and b.

    In float32, "iid" draws in float32 (torch's generator: values up to 5.8), the others in float64, rounded. Without
    bias the second array is 0, but for "iid", whose numbers for b do not depend on σ_b.
    """
    if sampler == "iid":
        if dtype == torch.float32:
            fast = torch.Generator().manual_seed(seed)
            shapes = (units, input_dim), (units,)
            w, b = (torch.randn(shape, generator=fast, dtype=dtype, device="cpu") for shape in shapes)
            yield w, b
            return
        source = generator(seed)
        yield normals(source, units, input_dim), normals(source, units)
        return
    k = input_dim + int(has_bias)
    parts: Iterator[torch.Tensor]
    if sampler == "sobol":
        parts = (z if axes is None else z @ axes for z in _sobol(seed, units, k))
    else:
        whole = {"antithetic": _antithetic, "orthogonal": _orthogonal}[sampler]
        parts = iter((whole(generator(seed), units, k),))
    for part in parts:
        part = part.to(dtype)
        bias = part[:, input_dim].contiguous() if has_bias else part.new_zeros(part.shape[0])
        yield part[:, :input_dim].contiguous(), bias


def _antithetic(source: numpy.random.Generator, units: int, k: int) -> torch.Tensor:
    """Return pairs: the opposite direction, and the radius of the complementary quantile.

    The opposite sign alone would repeat every even statistic, such as the metric of an odd activation. With
    p = P(χ²_k ≤ r²), which is uniform and independent of the direction, the mirror has the radius of 1 − p.
    """
    half = (units + 1) // 2
    z = source.standard_normal((half, k))
    squared = numpy.square(z).sum(axis=1)
    mirrored = 2 * special.gammainccinv(k / 2, special.gammainc(k / 2, squared / 2))
    with numpy.errstate(invalid="ignore", divide="ignore"):
        scale = numpy.where(squared > 0, -numpy.sqrt(mirrored / squared), 0.0)
    return torch.from_numpy(numpy.stack([z, z * scale[:, None]], axis=1).reshape(2 * half, k)[:units])


def _orthogonal(source: numpy.random.Generator, units: int, k: int) -> torch.Tensor:
    """Return groups of k units in orthogonal directions (a Haar matrix), with independent χ_k radii."""
    groups = -(-units // k)
    q, r = torch.linalg.qr(normals(source, groups, k, k))
    q *= torch.diagonal(r, dim1=1, dim2=2).sign()[:, None, :]  # else the distribution of Q is not invariant
    radii = torch.from_numpy(numpy.sqrt(source.chisquare(k, (groups, k))))
    return (q * radii[:, :, None]).reshape(groups * k, k)[:units]


def _sobol(seed: int, units: int, k: int) -> Iterator[torch.Tensor]:
    """Yield the normal quantiles of a Sobol sequence, scrambled by a random linear matrix and digital shift."""
    engine = torch.quasirandom.SobolEngine(k, scramble=True, seed=seed)
    for start in range(0, units, _SOBOL_CHUNK):
        # the middles of cells of 2⁻³⁰ are never 0 or 1, and |z| ≤ 6.2
        uniform = engine.draw(min(_SOBOL_CHUNK, units - start), dtype=torch.float64)
        yield torch.special.ndtri(uniform + 0.5**_SOBOL_BITS / 2)
