"""The last stage of a validation: its checks, and the report, with its table, its JSON document and its picture."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from sympy import latex

from infgeo import __version__
from infgeo.arguments import optional_import
from infgeo.display import Displayed
from infgeo.finite.sampled_network import NetworkSpecification
from infgeo.report_text import json_safe, strict_json
from infgeo.symbolic.networks.network import MLP
from infgeo.validation import comparison
from infgeo.validation.comparison import LOG_NORMAL, usable
from infgeo.validation.design import Design
from infgeo.validation.findings import Comparison, Findings, Trend
from infgeo.validation.picture import draw
from infgeo.validation.predicted import error_trend, measurements_of, metric_trends, slope_trend
from infgeo.validation.simulate import Simulated
from infgeo.validation.table import table


@dataclass(frozen=True, repr=False)
class ValidationReport(Displayed, Findings):
    """What `infgeo.validate` returns; `Findings` describes the fields."""

    def table(self, every_row: bool = False) -> str:
        """Return the report as text: the worst comparison of each quantity, or every row."""
        return table(self, every_row)

    def to_json(self) -> str:
        """Return the report as a strict JSON document (RFC 8259: no NaN; what is not finite is a string)."""
        return strict_json({"passed": self.passed, "failures": len(self.failures), **json_safe(self)})

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw theory and estimates against radius, errors against width; write it to `path` (.png, .pdf, .svg).

        Returns the matplotlib Figure, which a notebook shows. Raises MissingExtra without matplotlib
        (`pip install 'infgeo[plot]'`), InvalidInput for another ending.
        """
        return draw(self, path)

    def to_frame(self) -> Any:
        """Return the comparisons as a pandas DataFrame, a row each, the fields of `Comparison` as columns and `passed`.

        Raises MissingExtra without pandas (`pip install 'infgeo[frames]'`).
        """
        with optional_import("to_frame", "frames"):
            from pandas import DataFrame
        return DataFrame([json_safe(row) for row in self.rows])

    def _facts(self) -> dict[str, Any]:
        checks = {"checks": len(self.rows) + len(self.trends), "failures": len(self.failures)}
        named = {name: self.configuration.get(name) for name in ("network", "input_dim")}
        return {"passed": self.passed, **named, "points": len(self.points), "widths": self.widths_done, **checks}

    def __str__(self) -> str:
        return self.table()


def reported(design: Design, simulated: Simulated) -> ValidationReport:
    """Return the report of a run: its verdict, and everything that it can be repeated from."""
    simulation, d = design.simulation, design.points.shape[1]
    series = comparison.series_of(design.theory, simulated.pooled, d, design.layers)
    configuration = configuration_of(design.mlp, design.specification, d) | {
        "against": None if design.against is None else str(design.against),
        "parameters": simulation.scales["parameters"],
        "widths": design.widths,
        "samples": simulation.samples,
        "budget": design.budget,
        "units_of_nets": design.net_units,
        "seed": simulation.seed,
        "sampler": "iid",
        "default_points": design.default_points,
        "verdict": f"Holm's procedure over all checks with a p-value, family-wise level {design.level:g}; Student's t",
    }
    return judged(
        *_checks(design, simulated, series),
        design.level,
        design.points,
        configuration=configuration,
        measurements=measurements_of(series, design.predicted),
        curve=design.theory.curve,
        widths_done=tuple(sorted(simulated.pooled)),
        partial=simulated.partial,
        notes=(*design.notes, *_notes(design, simulated)),
    )


def judged(
    rows: Sequence[Comparison], trends: Sequence[Trend], level: float, points: np.ndarray, **others: Any
) -> ValidationReport:
    """Return the report of checks that are judged together, with its other fields."""
    rows, trends, adjusted_p = comparison.verdict(rows, trends, level)
    inputs, power = tuple(map(tuple, points.tolist())), comparison.power_of(rows)
    return ValidationReport(
        points=inputs, rows=rows, trends=trends, level=level, adjusted_p=adjusted_p, power=power, **others
    )


def _checks(
    design: Design, simulated: Simulated, series: Sequence[comparison.WidthSeries]
) -> tuple[list[Comparison], list[Trend]]:
    """Compare what was simulated with the theory."""
    theory, pooled, predicted = design.theory, simulated.pooled, design.predicted
    nets = simulated.nets
    rows_of_nets = [] if nets is None else comparison.compare_nets(nets, theory, design.radii)
    rows: list[Comparison] = []
    trends: list[Trend] = []
    if pooled and predicted and theory.metric is not None:
        trends += metric_trends(theory.metric, pooled, predicted)
    for quantity in theory.values:
        unbiased = design.layers == 1 and quantity in comparison.UNBIASED_AT_ONE_LAYER
        own = [one for one in series if one.quantity == quantity]
        for one in own:
            more_rows, more_trends = comparison.compare(one, design.radii[one.point], unbiased)
            rows += more_rows
            trends += more_trends
            if predicted and not unbiased and (slope := slope_trend(one, predicted)) is not None:
                trends.append(slope)
        rows += [row for row in rows_of_nets if row.quantity == quantity]
        if not any(one.is_random for one in own):
            continue
        candidates = [comparison.spread_trend(quantity, pooled, design.layers)]
        if predicted:
            candidates.append(error_trend(quantity, pooled, predicted))
        if not unbiased and len(own[0].widths) >= 3:
            candidates.append(comparison.bias_trend(own))
        trends += [trend for trend in candidates if trend is not None]
    return rows, trends


def _notes(design: Design, simulated: Simulated) -> list[str]:
    """Return what an interrupt, too skewed means and short ladders have left out."""
    notes, pooled = [], simulated.pooled
    if simulated.partial:
        notes.append(f"interrupted: {len(pooled)} of {len(design.widths)} widths done")
    for quantity in sorted(set(design.theory.values) & set(LOG_NORMAL)):
        if dropped := sorted(set(pooled) - set(usable(quantity, pooled))):
            at = ", ".join(map(str, dropped))
            count = design.simulation.samples
            notes.append(f"{quantity} is left out at n = {at}: too skewed for a mean over {count} networks")
    if design.theory.has_metric and len(pooled) < 3:
        notes.append(
            "fewer than three widths: nothing is extrapolated, only what is unbiased at every width is compared"
        )
    if design.theory.has_metric and len(pooled) == 3:
        notes.append("three widths: extrapolated with the term b/n alone; a fourth width allows for c/n^2")
    return notes


def configuration_of(mlp: MLP, specification: NetworkSpecification, input_dim: int) -> dict[str, Any]:
    """Return what a report says of a network, and the versions of what it was made with."""
    equal_layers = specification.has_equal_layers
    return {
        "network": str(mlp),
        "activation": str(mlp.activation.expr) if equal_layers else "",
        "activation_latex": latex(mlp.activation.expr) if equal_layers else "",
        "depth": mlp.depth,
        "input_dim": input_dim,
        "weight_std": specification.coordinate_scales or specification.weight_std,
        "bias_std": specification.bias_std,
        "input_scale": getattr(mlp, "input_scale", None),
        "versions": {"infgeo": __version__, "python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "scipy", "sympy", "torch")},
    }
