"""What learning XOR does to the geometry of an erf network, to order 1/n: by its posterior, and by one gradient step.

The shift of log √det g is that of `infgeo.learned`, in closed form for the posterior and by quadrature for a step, and
is held against simulation: posteriors by importance sampling, and networks that make the step, over three widths.

In NTK parametrisation a step changes the geometry at order 1/n: this is why maps after the first epoch look as those
before it. In mean-field parametrisation labels act at order 1: training magnifies from its first step on.

Source: arXiv 2301.11375, its sections on Bayesian networks and on gradient descent early in training. Noise, rate and
scales are chosen here.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import infgeo
from infgeo import figure_style as style
from infgeo.reproduce import panels
from infgeo.reproduce.claims import Claim, exact
from infgeo.reproduce.record import SeedResult
from infgeo.reproduce.settings import Learned

INPUTS, LABELS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]), np.array([-1.0, 1.0, 1.0, -1.0])
# At the origin, and on the circle through the inputs: at one of them, and on the boundary.
POINTS = np.array([[0.0, 0.0], [1.0, 1.0], [2**0.5, 0.0]])
TITLES = {"posterior": "posterior", "ntk": "one step, NTK", "mean_field": "one step, mean field"}
WORDS = {"posterior": "n Δlog √det g", "ntk": "n Δlog √det g", "mean_field": "Δlog √det g"}


def measure(settings: Learned, seed: int, place: Any = None) -> SeedResult:
    """Evaluate n times the shift of log √det g on a grid, and compare it with simulation at three points."""
    start = time.perf_counter()
    axis = np.linspace(-settings.half_width, settings.half_width, settings.points)
    grid = np.stack(np.meshgrid(axis, axis), -1)
    network = infgeo.MLP("erf", weight_std=1, bias_std=1)
    step: dict[str, Any] = {"rule": "gradient_step", "learning_rate": settings.learning_rate}
    rules = {
        "posterior": {"noise_variance": settings.noise_variance},
        "ntk": step,
        "mean_field": step | {"parametrisation": "mean_field"},
    }
    shifts, statistics = [], {}
    for name, rule in rules.items():
        learned = infgeo.learned(network, INPUTS, LABELS, **rule)
        shifts.append(learned.volume_shift(grid))
        origin, at_input, on_boundary = (float(value) for value in learned.volume_shift(POINTS))
        report = infgeo.validate(learned, points=POINTS, widths=settings.widths, samples=settings.samples, seed=seed)
        statistics[name] = {
            "kind": learned.kind,
            "origin": origin,
            "boundary": on_boundary - at_input,
            "largest": float(np.abs(shifts[-1]).max()),
            "p": report.adjusted_p,
            "agrees": report.passed,
        }
    arrays = {"axis": axis, "shifts": np.stack(shifts)}
    return SeedResult(seed, arrays, statistics, time.perf_counter() - start)


def claims(settings: Learned, results: Sequence[SeedResult]) -> list[Claim]:
    """Return for each rule that formula and simulation agree, and whether it magnifies the boundary."""
    made = []
    for name, values in results[0].statistics.items():
        rule, words = TITLES[name], WORDS[name]
        claimed = None if name == "ntk" else values["boundary"] > 0
        made += [
            exact(
                f"{rule}, simulation", f"{rule}: least adjusted p of formula and simulation", values["p"],
                values["agrees"],
            ),
            exact(
                f"{rule}, boundary", f"{rule}: {words} on the boundary less that at an input of equal |x|",
                values["boundary"], claimed,
            ),
            exact(f"{rule}, largest", f"{rule}: largest {words} in the region shown, either sign", values["largest"]),
        ]  # fmt: skip
    return made


def notes(settings: Learned) -> list[str]:
    """Return what a reader must know beside the numbers."""
    return [
        "In NTK parametrisation a network of 250 units has 1/250 of what is shown after a step: maps of the first "
        "epoch look as those before it. That of a step in mean-field parametrisation, at n times the rate, does not "
        "fall with the width n. The boundary is that of the labels, the axes."
    ]


def picture(settings: Learned, results: Sequence[SeedResult], made: Sequence[Claim]) -> Any:
    """Draw the shifts, each on a scale of its own around 0, with inputs and boundary."""
    from matplotlib.colors import Normalize

    arrays = results[0].arrays
    axis = arrays["axis"]
    border = [np.array([[-1.0, 0], [1, 0]]) * axis[-1], np.array([[0.0, -1], [0, 1]]) * axis[-1]]
    with style.house_style():
        figure = style.new_figure(style.DOUBLE_COLUMN, 1.75)
        for index, (axes, values) in enumerate(zip(figure.subplots(1, 3), arrays["shifts"], strict=True)):
            reach, title = float(np.abs(values).max()), list(TITLES.values())[index]
            label = ("" if index == 2 else "$n$ ") + r"$\Delta\log\sqrt{\det g}$"
            norm = Normalize(-reach, reach)
            panels.maps(figure, [axes], (axis, axis), [values], [border], [title], label, norm, style.diverging())
            axes.set(xticks=[axis[0], axis[-1]], yticks=[axis[0], axis[-1]])
            style.points(axes, INPUTS, (LABELS > 0).astype(int))
            style.letter(axes, style.LETTERS[index])
    return figure
