"""Figure D.1: volume element and Ricci scalar of erf networks of three hidden units, exactly.

The units have weights w_j = (cos 2πj/3, sin 2πj/3) and all the same bias b: Φ_j(x) = erf((w_j·x + b)/√2)/√3. Nothing
is trained. Everything is evaluated by the Gauss equation in float64, through `infgeo.finite.pullback`, and held against
the closed forms of these networks: with p_j = φ′(z_j)²/3 and P = p_1 p_2 + p_2 p_3 + p_3 p_1,

    √det g = √(3P)/2,    R = (3/2) (4b² − |x|²) p_1 p_2 p_3 / P².

So R is positive within |x| < 2b, negative beyond, and with b = 0 nowhere positive. (φ″ = −z φ′ for erf; in two
dimensions R = −Σ_jk z_j z_k p_j p_k (w_j × w_k)² w_jᵀg⁻¹w_k / det g for one hidden layer, where j ≠ k alone contribute,
w_jᵀg⁻¹w_k = −(3/4) p_l / det g with l the third unit, and Σ_{j<k} z_j z_k = 3b² − (3/4)|x|².)

R is positive on spheres. An implementation that swaps the signs of the two quadratic terms of the Riemann tensor, as
the one behind the printed figure does, has exactly 3 times this R for networks of one hidden layer (derivation 05).

Source: arXiv 2301.11375, figure D.1. The three units, the cube roots and the biases 0 and 1 are those of the paper; the
region that is shown is chosen here.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from infgeo import figure_style as style
from infgeo.finite import Pullback, pullback
from infgeo.reproduce.claims import Claim, exact
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import CubeRoots

TURN = 2 * np.pi / 3


class Erf(nn.Module):
    """The paper's erf activation, erf(z/√2)."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return erf(z/√2)."""
        return torch.erf(z * 2**-0.5)


def network(bias: float) -> nn.Sequential:
    """Return the feature map x (..., 2) -> (..., 3), in float64."""
    angles = TURN * torch.arange(3, dtype=torch.float64)
    first = nn.Linear(2, 3, dtype=torch.float64)
    scale = nn.Linear(3, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():
        first.weight.copy_(torch.stack((angles.cos(), angles.sin()), -1))
        first.bias.fill_(bias)
        scale.weight.copy_(torch.eye(3, dtype=torch.float64) / 3**0.5)
    return nn.Sequential(first, Erf(), scale).eval()


def geometry(bias: float, points: np.ndarray) -> Pullback:
    """Return the geometry at `points` (..., 2)."""
    return pullback(network(bias), torch.as_tensor(points, dtype=torch.float64))


def closed_form(bias: float, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return √det g and R at `points` (..., 2) by the formulas above."""
    angles = TURN * np.arange(3)
    z = points @ np.stack((np.cos(angles), np.sin(angles))) + bias
    p = 2 / (3 * np.pi) * np.exp(-(z**2))
    pairs = (p * np.roll(p, 1, axis=-1)).sum(-1)
    square = (points**2).sum(-1)
    return np.sqrt(3 * pairs) / 2, 1.5 * (4 * bias**2 - square) * p.prod(-1) / pairs**2


def measure(settings: CubeRoots, seed: int, place: Any = None) -> SeedResult:
    """Evaluate log₁₀√det g and R on the grid, and how far they are from the symmetry of a third of a turn."""
    start = time.perf_counter()
    axis = np.linspace(-settings.half_width, settings.half_width, settings.points)
    grid = np.stack(np.meshgrid(axis, axis), -1)
    turn = np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
    log_volume, ricci, statistics = [], [], {}
    for bias in settings.biases:
        here, turned = geometry(bias, grid), geometry(bias, grid @ turn.T)
        volume, curvature = here.log_volume_element.numpy(), here.ricci_scalar.numpy()
        log_volume.append(volume / np.log(10))
        ricci.append(curvature)
        exact_volume, exact_ricci = closed_form(bias, grid)
        largest = np.unravel_index(volume.argmax(), volume.shape)
        statistics[f"bias {bias:g}"] = {
            "asymmetry_log_volume": float(np.abs(turned.log_volume_element.numpy() - volume).max()),
            "asymmetry_ricci": float((np.abs(turned.ricci_scalar.numpy() - curvature) / (1 + np.abs(curvature))).max()),
            "error_log_volume": float(np.abs(volume - np.log(exact_volume)).max()),
            "error_ricci": float((np.abs(curvature - exact_ricci) / (1 + np.abs(exact_ricci))).max()),
            "volume_at_0": float(closed_form(bias, np.zeros(2))[0]),
            "ricci_at_0": float(closed_form(bias, np.zeros(2))[1]),
            "largest_volume": float(np.exp(volume.max())),
            "radius_of_largest_volume": float(np.hypot(*grid[largest])),
            "ricci_range": [float(curvature.min()), float(curvature.max())],
            "share_of_positive_ricci": float((curvature > 0).mean()),
        }
    arrays = {"axis": axis, "biases": np.array(settings.biases), "log10_volume": np.stack(log_volume)}
    arrays["ricci_scalar"] = np.stack(ricci)
    return SeedResult(seed, arrays, statistics, time.perf_counter() - start)


def claims(settings: CubeRoots, results: Sequence[SeedResult]) -> list[Claim]:
    """Return what is measured on the figure: its symmetry, its closed form, and where R is positive."""
    made = []
    for bias, values in zip(settings.biases, results[0].statistics.values(), strict=True):
        symmetry = max(values["asymmetry_log_volume"], values["asymmetry_ricci"])
        error = max(values["error_log_volume"], values["error_ricci"])
        b = f"b = {bias:g}"
        made += [
            exact(
                f"{b}, symmetry", f"{b}: change of log √det g and R under a third of a turn", symmetry, symmetry < 1e-9
            ),
            exact(
                f"{b}, closed form", f"{b}: distance of the measured geometry from its closed form", error, error < 1e-9
            ),
            exact(f"{b}, R at 0", f"{b}: R at the origin", values["ricci_at_0"]),
            exact(f"{b}, R > 0", f"{b}: share of the region shown where R > 0", values["share_of_positive_ricci"]),
        ]
    return made


def notes(settings: CubeRoots) -> list[str]:
    """Return what a reader must know beside the numbers."""
    return [
        "R is positive on spheres. The printed figure has 3 times this R: the implementation behind it swaps the signs "
        "of the two quadratic terms of the Riemann tensor (derivation 05)."
    ]


def picture(settings: CubeRoots, results: Sequence[SeedResult], made: Sequence[Claim]) -> Any:
    """Draw volume element (left) and R (right) for each bias, one below the other, on one scale a quantity."""
    from matplotlib.colors import Normalize, SymLogNorm

    arrays = results[0].arrays
    axis, volume, ricci = arrays["axis"], arrays["log10_volume"], arrays["ricci_scalar"]
    reach = float(np.percentile(np.abs(ricci), 99.5)) or 1.0
    columns = (
        (volume, Normalize(*style.limits([volume])), style.SEQUENTIAL, r"$\log_{10}\sqrt{\det g}$"),
        (ricci, SymLogNorm(1.0, vmin=-reach, vmax=reach, base=10), style.diverging(), "$R$ (printed: $3R$)"),
    )
    with style.house_style():
        figure = style.new_figure(1.35 * style.SINGLE_COLUMN, 1.75 * len(settings.biases) + 0.3)
        panels = figure.subplots(len(settings.biases), 2, sharex=True, sharey=True, squeeze=False)
        for column, (values, norm, colours, label) in enumerate(columns):
            for row, bias in enumerate(settings.biases):
                axes = panels[row, column]
                image = style.field(axes, axis, axis, values[row], norm, colours)
                axes.set_title(f"$b = {bias:g}$")
                if bias and column:
                    turn = np.linspace(0, 2 * np.pi, 200)
                    axes.plot(2 * bias * np.cos(turn), 2 * bias * np.sin(turn), "k--", linewidth=0.7)
                if not column:
                    axes.set_ylabel("$x_2$")
            axes.set_xlabel("$x_1$")
            bar = style.shared_colourbar(figure, image, panels[:, column], label)
            style.letter(panels[0, column], "ab"[column])
        ticks = [t for t in (-10, -1, 0, 1, 10) if abs(t) <= reach]
        bar.set_ticks(ticks, labels=[f"{t:g}".replace("-", "−") for t in ticks], minor=False)
        bar.minorticks_off()
    return figure
