"""The page: its parts put together into one file that loads nothing."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from infgeo import __version__
from infgeo.explorer.functions import functions
from infgeo.explorer.mathematics import DEEP, expectations, kernel, mathml, one_layer, tex, written
from infgeo.explorer.shown import SHOWN, Shown

_FILES = ("page.html", "style.css", "geometry.js", "charts.js", "explorer.js")
_OF_Z = '<mo stretchy="false">(</mo><mi>z</mi><mo stretchy="false">)</mo>'


def _data(shown: Shown) -> dict[str, Any]:
    """Return what the page shows of an activation besides numbers."""
    return {
        "label": shown.label or shown.text,
        "phi": {
            "mathml": [f"<math><mi>φ</mi>{_OF_Z}<mo>=</mo>{mathml(shown.expr)}</math>"],
            "latex": [rf"\phi(z) &= {tex(shown.expr)}"],
        },
        "python": shown.python,
        "no_metric": shown.no_metric,
        "mixture": shown.mixture.bounds.replace("phi", "φ").replace("<=", "≤") if shown.is_mixture else "",
        "one_layer": written(one_layer(shown)),
        "expectations": written(expectations(shown)),
        "kernel": written(kernel(shown)),
    }


@cache
def page() -> str:
    """Return the explorer as HTML: style, scripts and formulas are in it, and it loads nothing.

    It is derived anew, which takes some seconds.
    """
    data = {shown.text: _data(shown) for shown in SHOWN}
    deep = {title: written(rows) for title, rows in DEEP.items()}
    constants = f"const ACTIVATIONS = {json.dumps(data)};\nconst DEEP = {json.dumps(deep)};".replace("</", "<\\/")
    parts = {name: (files("infgeo.explorer") / name).read_text(encoding="utf-8") for name in _FILES}
    return (
        parts["page.html"]
        .replace("/* style */", parts["style.css"])
        .replace("/* geometry */", f"{parts['geometry.js']}\n{functions(SHOWN)}")
        .replace("/* explorer */", f"{constants}\n{parts['charts.js']}\n{parts['explorer.js']}")
        .replace("{version}", __version__)
    )
