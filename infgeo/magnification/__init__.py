"""How training shapes the geometry, in numbers: symmetry about the origin and magnification near decision boundaries.

Takes NumPy arrays, of whatever made them, and returns frozen values. `symmetry` is the share of the variance of the log
volume that |x| explains, `agreement` the distance to the law of infinite width, `decision_boundary` the level set where
the predicted class changes, `magnification` what the volume has to do with the distance to it and with the predictive
entropy, `law` the agreement of training with the shift that `infgeo.learned` predicts; `by_layer` repeats a measurement
for each layer, and `over_seeds` sums up independent networks. `compare` holds the metrics of two networks against each
other, `kernel_angle` their kernels.
"""

from infgeo.magnification.association import Association, Magnification, magnification
from infgeo.magnification.boundary import DecisionBoundary, decision_boundary
from infgeo.magnification.comparison import Comparison, compare, kernel_angle
from infgeo.magnification.law import Law, law
from infgeo.magnification.seed_summary import SeedSummary, SummaryRow, by_layer, change, over_seeds, sign_flip_p
from infgeo.magnification.symmetry import Agreement, Symmetry, agreement, symmetry

__all__ = [
    "Agreement",
    "Association",
    "Comparison",
    "DecisionBoundary",
    "Law",
    "Magnification",
    "SeedSummary",
    "SummaryRow",
    "Symmetry",
    "agreement",
    "by_layer",
    "change",
    "compare",
    "decision_boundary",
    "kernel_angle",
    "law",
    "magnification",
    "over_seeds",
    "sign_flip_p",
    "symmetry",
]
