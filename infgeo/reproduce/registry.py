"""The figures, as data: what each shows, where it comes from, and what it costs. Settings stand in `settings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infgeo.arguments import shown
from infgeo.errors import InvalidInput

SCALES = ("small", "paper")
PAPER = "arXiv 2301.11375v4"


@dataclass(frozen=True)
class Figure:
    """One figure: `module` has measure, claims, notes and picture, which take the settings of a scale.

    `cost` is measured at "small" and estimated at "paper". `seeded` is False where nothing is random.
    """

    name: str
    title: str
    shows: str
    source: str
    module: str
    cost: Mapping[str, str]
    seeded: bool = True


FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            "fig1",
            "The sinusoid, one hidden layer",
            "log volume element of [2, 250, 2] (sigmoid) over training on points split by y = 3/5 sin(7x - 1)",
            f"{PAPER}, figure 1; small and paper are the same run",
            "infgeo.reproduce.planar_figures",
            {"small": "4 min on 2 busy cores", "paper": "the same"},
        ),
        Figure(
            "xor",
            "XOR, 4 points and 400 noisy ones",
            "log volume element of [2, 250, 2] (sigmoid) over training on XOR",
            f"{PAPER}, appendix on experiments; small and paper are the same run",
            "infgeo.reproduce.planar_figures",
            {"small": "1 min on 2 busy cores", "paper": "the same"},
        ),
        Figure(
            "deep",
            "The sinusoid, three hidden layers",
            "log volume element of each layer of [2, 8, 8, 8, 2] (sigmoid) over training on the sinusoid",
            f"{PAPER}, appendix on experiments; small and paper are the same run",
            "infgeo.reproduce.planar_figures",
            {"small": "6 min on 2 busy cores", "paper": "the same"},
        ),
        Figure(
            "fig2",
            "Digits, one hidden layer",
            "log volume element on lines and planes through digits over training, [d, 2000, 10] (sigmoid)",
            f"{PAPER}, figure 2; small has scikit-learn's digits (d = 64) in place of MNIST (d = 784)",
            "infgeo.reproduce.image_figures",
            {"small": "2 min on 2 busy cores", "paper": "estimated some minutes a seed on a GPU; --data with MNIST"},
        ),
        Figure(
            "fig3",
            "Lines through images, residual network",
            "log volume element on lines between images over training, ResNet with GELU",
            f"{PAPER}, figure 3 (lines: inferred); small has digits and a ResNet of 32 features in place of CIFAR-10"
            " and ResNet-34",
            "infgeo.reproduce.image_figures",
            {"small": "1.5 min on 2 busy cores", "paper": "estimated 2 h a seed on a GPU; --data with CIFAR-10"},
        ),
        Figure(
            "fig4",
            "Planes through images, residual network",
            "log volume element on planes through three images over training, ResNet with GELU, with predictions",
            f"{PAPER}, figure 4 (planes: inferred); small has digits and a ResNet of 32 features in place of CIFAR-10"
            " and ResNet-34",
            "infgeo.reproduce.image_figures",
            {"small": "3 min on 2 busy cores", "paper": "estimated 6 h a seed on a GPU; --data with CIFAR-10"},
        ),
        Figure(
            "ssl",
            "Self-supervised encoders",
            "log volume element of Barlow Twins and SimCLR encoders on lines and planes, boundary of a readout",
            f"{PAPER}, section on self-supervised learning; small has digits and a ResNet of 32 features",
            "infgeo.reproduce.image_figures",
            {"small": "4 min on 2 busy cores", "paper": "estimated a day a seed on a GPU; --data with CIFAR-10"},
        ),
        Figure(
            "figD1",
            "Three units at the cube roots of unity",
            "volume element and Ricci scalar of erf networks of three hidden units, bias 0 and 1; exact, untrained",
            f"{PAPER}, figure D.1 (the printed R is 3 times the true one)",
            "infgeo.reproduce.cube_roots",
            {"small": "9 s, most of it imports", "paper": "20 s"},
            seeded=False,
        ),
    )
}


def figure_called(name: str) -> Figure:
    """Return a figure by name. Raises InvalidInput that lists the names."""
    if not isinstance(name, str) or name not in FIGURES:
        raise InvalidInput(f"there is no figure {shown(name)}; the figures are {', '.join(FIGURES)}")
    return FIGURES[name]


def listing() -> str:
    """Return what each figure shows, its source and its cost."""
    lines = []
    for figure in FIGURES.values():
        lines += [
            f"{figure.name}: {figure.title}",
            f"    shows   {figure.shows}",
            f"    source  {figure.source}",
            *(f"    {scale:<7} {figure.cost[scale]}" for scale in SCALES),
        ]
    return "\n".join(lines)
