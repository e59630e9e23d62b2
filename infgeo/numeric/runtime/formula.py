"""The geometry of a user's formulas, of which nothing else is known than what they give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infgeo.numeric.runtime.errors import InputError
from infgeo.numeric.runtime.geometry import Geometry
from infgeo.numeric.runtime.records import Array


class OfFormula(Geometry):
    """A `Geometry` whose kernel may be no number at some points."""

    def _gram(self, X: Array, Y: Array, wanted: str, options: tuple, parameters: Mapping[str, Any]) -> tuple:
        results = super()._gram(X, Y, wanted, options, parameters)
        for part in results:
            known = self.xp.known(part)
            if known is not None and not self.xp.all(known == 1 * known):  # of mpmath, too
                raise InputError(
                    "the formula of this kernel is no number at some of the pairs of points: it divides by 0, or takes"
                    " a root where rounding leaves less than 0; write it in another form, or leave such points out"
                )
        return results
