"""How training shapes the geometry, in numbers: symmetry about the origin and magnification near decision boundaries.

Takes NumPy arrays, of whatever made them, and returns frozen values. `symmetry` is the share of the variance of the log
volume that |x| explains, `agreement` the distance to the law of infinite width, `decision_boundary` the level set where
the predicted class changes, `magnification` what the volume has to do with the distance to it and with the predictive
entropy, `law` the agreement of training with the shift that `infgeo.learned` predicts; `by_layer` repeats a measurement
for each layer, and `over_seeds` sums up independent networks.
"""

from infgeo.magnification.association import Association, Magnification, magnification
from infgeo.magnification.boundary import DecisionBoundary, decision_boundary
from infgeo.magnification.law import Law, law
from infgeo.magnification.seed_summary import SeedSummary, SummaryRow, by_layer, change, over_seeds, sign_flip_p
from infgeo.magnification.symmetry import Agreement, Symmetry, agreement, symmetry

__all__ = [
    "Agreement",
    "Association",
    "DecisionBoundary",
    "Law",
    "Magnification",
    "SeedSummary",
    "SummaryRow",
    "Symmetry",
    "agreement",
    "by_layer",
    "change",
    "decision_boundary",
    "law",
    "magnification",
    "over_seeds",
    "sign_flip_p",
    "symmetry",
]
