"""The figures, as data: what each shows, where it comes from, and what it costs. Settings stand in `settings`."""

from collections.abc import Mapping
from dataclasses import dataclass

from infgeo.arguments import shown
from infgeo.errors import InvalidInput

SCALES = ("small", "paper")
PAPER = "arXiv 2301.11375v4"


@dataclass(frozen=True)
class Figure:
    """One figure: `module` has measure, claims, notes and picture, which take the settings of a scale.

    `caption` says what the paper prints, or that it has no such figure. `cost` is measured at "small" and estimated at
    "paper". `seeds` are how many are taken by default; 0 where nothing is random.
    """

    name: str
    title: str
    shows: str
    caption: str
    module: str
    cost: Mapping[str, str]
    seeds: int = 5

    @property
    def source(self) -> str:
        """Where it comes from, in one line."""
        return f"{PAPER}, {self.caption}"


_PLANAR, _IMAGES = "infgeo.reproduce.planar_figures", "infgeo.reproduce.image_figures"
_BRIEF = "small has a fifth of the sinusoid's epochs"
_SAME = "small and paper are the same run"
_PATCHES = "small has patches of two photographs and a ResNet of 32 features in place of CIFAR-10 and ResNet-34"
_FIGURES = (
    Figure("fig1", "The sinusoid, one hidden layer",
           "log volume element of [2, 250, 2] (sigmoid) over training on points split by y = 3/5 sin(7x - 1)",
           f"figure 1; {_SAME}", _PLANAR, {"small": "13 min on 2 cores", "paper": "the same"}, 20),
    Figure("fig2", "Digits, one hidden layer",
           "log volume element on the line from a 7 to a 6, and with predictions on the plane of a 7, a 6 and a 1, "
           "over training, [d, 2000, 10] (sigmoid)",
           "figure 2; small has scikit-learn's digits (d = 64) in place of MNIST (d = 784)", _IMAGES,
           {"small": "2 min on 2 cores", "paper": "--data with MNIST; --rehearse says how long"}),
    Figure("fig3", "Line and plane through images, residual network",
           "log volume element of a GELU ResNet on the line from a horse to a frog, and with predictions on the plane "
           "of the same horse and frog and a car, over training; at small scale pagoda, trees and flower",
           f"figure 3; {_PATCHES}", _IMAGES,
           {"small": "1 min on 2 cores", "paper": "--data with CIFAR-10; --rehearse says how long"}),
    Figure("fig4", "One line across the stages of a residual network",
           "log volume element of the pooled features of each stage of a GELU ResNet on the line from a car to a dog, "
           "at the start and at the end of training; at small scale flower and pagoda",
           f"figure 4; {_PATCHES}", _IMAGES,
           {"small": "1 min on 2 cores", "paper": "--data with CIFAR-10; --rehearse says how long"}),
    Figure("figD1", "Three units at the cube roots of unity",
           "volume element and Ricci scalar of erf networks of three hidden units, bias 0 and 1; exact, untrained",
           "figure D.1 (the printed R is 3 times the true one)", "infgeo.reproduce.cube_roots",
           {"small": "seconds", "paper": "20 s"}, 0),
    Figure("xor", "XOR, 4 points and 400 noisy ones",
           "log volume element of [2, 250, 2] (sigmoid) over training on XOR",
           f"appendix on experiments; {_SAME}", _PLANAR, {"small": "4 min on 2 cores", "paper": "the same"}, 20),
    Figure("deep", "The sinusoid, three hidden layers",
           "log volume element of each layer of [2, 8, 8, 8, 2] (sigmoid) over training on the sinusoid",
           f"appendix on experiments; {_SAME}", _PLANAR, {"small": "3 min on 2 cores", "paper": "the same"}),
    Figure("widths", "Few hidden units",
           "log volume element over training with 5 and 20 units on the sinusoid, and 10 and 100 on noisy XOR",
           f"appendix on experiments; {_BRIEF}", _PLANAR, {"small": "4 min on 2 cores", "paper": "10 min on 2 cores"}),
    Figure("curvature", "The Ricci scalar over training",
           "R of [2, 250, 2] (sigmoid) over training on the sinusoid and on noisy XOR",
           f"appendix on curvature, where R is 3 times the true one; {_BRIEF}", _PLANAR,
           {"small": "1 min on 2 cores", "paper": "5 min on 2 cores"}),
    Figure("planes", "Planes through images, residual network",
           "log volume element of a GELU ResNet on planes through three images over training",
           f"no numbered figure: the appendix has such planes; {_PATCHES}", _IMAGES,
           {"small": "1 min on 2 cores", "paper": "--data with CIFAR-10; --rehearse says how long"}),
    Figure("relu", "ReLU networks on lines",
           "log volume element on lines over training of a ReLU perceptron and of a ResNet with ReLU in its stem",
           f"appendix on experiments; {_PATCHES}, and digits in place of MNIST", _IMAGES,
           {"small": "1 min on 2 cores", "paper": "--data with both sets; --rehearse says how long"}),
    Figure("ssl", "Self-supervised encoders",
           "log volume element of Barlow Twins and SimCLR encoders on lines and planes, boundary of a readout",
           f"section on self-supervised learning; {_PATCHES}", _IMAGES,
           {"small": "3 min on 2 cores", "paper": "--data with CIFAR-10; --rehearse says how long"}),
    Figure("learned", "Learned geometry as a formula",
           "change of the log volume element of [2, n, 1] (erf) by learning: the law of order 1/n beside sampled "
           "posteriors and gradient descent, over widths, noise and sizes of the labels",
           "no figure: its title as a formula; small has four of seven widths, and fewer networks",
           "infgeo.reproduce.learned_figure", {"small": "10 min on 2 cores", "paper": "hours on 2 cores"}),
    Figure("penalty", "Volume as a penalty",
           "test accuracy and log volume element of [2, 50, 2] (sigmoid) on the sinusoid with flipped labels, over the "
           "strength of a penalty on the volume element where the network is uncertain",
           f"no figure; {_SAME}", "infgeo.reproduce.penalty_figure",
           {"small": "3 min on 2 cores", "paper": "the same"}),
)  # fmt: skip
FIGURES: Mapping[str, Figure] = {figure.name: figure for figure in _FIGURES}


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
