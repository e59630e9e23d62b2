"""The last stage of a validation: the report, with its table, its JSON document and its picture."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sympy import latex

from infgeo import __version__
from infgeo.display import Displayed
from infgeo.errors import MissingExtra
from infgeo.finite.sampled_network import NetworkSpecification
from infgeo.report_text import json_safe, strict_json
from infgeo.symbolic.networks.network import MLP
from infgeo.validation.comparison import LOG_NORMAL, power_of, usable
from infgeo.validation.design import Design
from infgeo.validation.findings import Findings
from infgeo.validation.judge import Judgement
from infgeo.validation.picture import draw
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
        try:
            from pandas import DataFrame
        except ImportError:
            raise MissingExtra("to_frame", "frames") from None
        return DataFrame([{**json_safe(row), "passed": row.passed} for row in self.rows])

    def _facts(self) -> dict[str, Any]:
        checks = {"checks": len(self.rows) + len(self.trends), "failures": len(self.failures)}
        named = {name: self.configuration.get(name) for name in ("network", "input_dim")}
        return {"passed": self.passed, **named, "points": len(self.points), "widths": self.widths_done, **checks}

    def __str__(self) -> str:
        return self.table()


def reported(design: Design, simulated: Simulated, judgement: Judgement) -> ValidationReport:
    """Return the report of a run: its verdict, and everything that it can be repeated from."""
    return ValidationReport(
        configuration=_configuration(design),
        points=tuple(tuple(float(v) for v in point) for point in design.points),
        rows=judgement.rows,
        trends=judgement.trends,
        measurements=judgement.measurements,
        curve=design.theory.curve,
        level=design.level,
        adjusted_p=judgement.adjusted_p,
        widths_done=tuple(sorted(simulated.pooled)),
        partial=simulated.partial,
        notes=(*design.notes, *_notes(design, simulated)),
        power=power_of(judgement.rows),
    )


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


def _configuration(design: Design) -> dict[str, Any]:
    simulation = design.simulation
    return configuration_of(design.mlp, design.specification, design.points.shape[1]) | {
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
