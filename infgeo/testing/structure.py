"""Requirements on values: finite, symmetric, positive semidefinite, one diagonal, distances that fit."""

from functools import cached_property

import numpy as np

from infgeo.errors import InvalidInput
from infgeo.testing.kernel_points import Points
from infgeo.testing.outcome import Measured, NotApplicable, required
from infgeo.testing.subject import Subject

# In units of rounding of sqrt(k(x, x) k(y, y)). Kernels of infgeo are within 8 for each layer; products and sums of
# kernels, and other authors' kernels, lose some more.
VALUES = 256.0
DIAGONAL = 16.0


def squares(gram: np.ndarray) -> np.ndarray:
    """Return the size of |Phi(x)|^2 at each point, (N, N) -> (N,): what rounding is measured by.

    That is k(x, x) of a kernel, where |k(x, y)|^2 <= k(x, x) k(y, y). In a function that is none, k(x, x) may be the
    difference of large numbers, or negative: then max over y of k(x, y)^2 / max |k| is the larger one.
    """
    sizes = np.maximum(np.abs(gram), np.abs(gram.T))
    rows = sizes.max(axis=1)
    return np.maximum(np.diagonal(sizes), np.square(rows / np.sqrt(max(rows.max(), np.finfo(float).tiny))))


class Structure:
    """The requirements on the values of one subject at some points; the Gram matrices are computed once."""

    def __init__(self, subject: Subject, points: Points) -> None:
        self.subject, self.points = subject, points
        self.slack = VALUES * subject.epsilon

    @cached_property
    def gram(self) -> np.ndarray:
        """The Gram matrix k(X)."""
        return self.subject.gram(self.points.all, None)

    @cached_property
    def cross(self) -> np.ndarray:
        """The matrix k(X, Y) for a Y that is a copy of X."""
        return self.subject.gram(self.points.all, self.points.all.copy())

    @cached_property
    def squares(self) -> np.ndarray:
        """The values k(x, x), or more where k is no kernel; the least positive number where it vanishes."""
        return np.maximum(squares(self.gram), np.finfo(float).tiny)

    @cached_property
    def norm(self) -> np.ndarray:
        """The bound sqrt(k(x, x) k(y, y)), of |k(x, y)|; more where k is no kernel."""
        root = np.sqrt(self.squares)
        return np.outer(root, root)

    @required
    def finite(self) -> Measured:
        """Both k(X) and k(X, Y) are matrices (N, M) of finite real numbers."""
        count = len(self.points.all)
        for name, matrix in (("k(X)", self.gram), ("k(X, Y)", self.cross)):
            if matrix.shape != (count, count):
                return np.inf, 0.0, f"{name} of {count} points has shape {matrix.shape}"
            bad = ~np.isfinite(matrix)
            if bad.any():
                i, j = np.argwhere(bad)[0]
                same = "coincident points" if (self.points.all[i] == self.points.all[j]).all() else "points"
                note = f"{name}[{i}, {j}] = {matrix[i, j]} for {same} {_text(self.points.all[i])}"
                return float(bad.sum()), 0.0, note
        return 0.0, 0.0, ""

    @required
    def symmetry(self) -> Measured:
        """Symmetric values: |k(x, y) - k(y, x)| <= bound * sqrt(k(x, x) k(y, y))."""
        half = len(self.points.all) // 2
        X, Y = self.points.all[:half], self.points.all[half:]
        there, back = self.subject.gram(X, Y), self.subject.gram(Y, X)
        extra = float(np.abs((there - back.T) / self.norm[:half, half:]).max())
        return self._worst([(part - part.T) / self.norm for part in (self.gram, self.cross)], extra)

    @required
    def positive_semidefinite(self) -> Measured:
        """The Gram matrix with unit diagonal has no eigenvalue below -bound."""
        diagonal = np.diagonal(self.gram)  # a unit diagonal makes short points count as much as long ones
        if (diagonal < 0).any():
            i = int(np.argmin(diagonal))
            return np.inf, self.slack, f"k(x, x) = {diagonal[i]:.3g} at x = {_text(self.points.all[i])}"
        zero = diagonal == 0
        if (self.gram[zero] != 0).any():
            return np.inf, self.slack, "k(x, x) = 0 and k(x, y) is not 0"
        if zero.all():
            raise NotApplicable("k(x, x) is 0 at all points")
        root = np.sqrt(diagonal[~zero])
        unit = self.gram[np.ix_(~zero, ~zero)] / root / root[:, None]
        least = float(np.linalg.eigvalsh((unit + unit.T) / 2)[0])
        return max(-least, 0.0), self.slack, f"{len(unit)} points"

    @required
    def diagonal(self) -> Measured:
        """The diagonals of k(X) and k(X, X) and the kernel's own diagonal agree, relatively to bound."""
        reference, note = np.diagonal(self.gram), ""
        others = {"k(X, X)": np.diagonal(self.cross)}
        if self.subject.diagonal is None:
            note = self.subject.reasons["diagonal"]
        else:
            others["its own diagonal"] = self.subject.diagonal(self.points.all)
        worst, bound = 0.0, 0.0 if self.subject.same_bits else DIAGONAL * self.subject.epsilon
        for name, values in others.items():
            if np.shape(values) != np.shape(reference):
                return np.inf, bound, f"{name} has shape {np.shape(values)}"
            error = np.abs(values - reference) / self.squares
            i = int(np.argmax(error))
            if not error[i] <= worst:
                worst, note = float(error[i]), f"diag k(X) and {name} at x = {_text(self.points.all[i])}"
        return worst, bound, note

    @required
    def evaluation(self) -> Measured:
        """A value does not depend, but for rounding, on what else is evaluated with it, nor on whether Y is X."""
        X = self.points.all
        backwards = self.subject.gram(X[::-1].copy(), None)[::-1, ::-1]
        alone = [(0, len(X) - 1), (len(X) - 1, 1), (2, 2)]
        single = [self.subject.gram(X[i : i + 1], X[j : j + 1])[0, 0] for i, j in alone]
        extra = max(abs(value - self.gram[i, j]) / self.norm[i, j] for value, (i, j) in zip(single, alone, strict=True))
        return self._worst([(self.gram - other) / self.norm for other in (self.cross, backwards)], float(extra))

    @required
    def continuity(self) -> Measured:
        """The square |Phi(x) - Phi(y)|^2 = k(x, x) + k(y, y) - 2 k(x, y) goes to 0 as y goes to x.

        Shrinking the step 1e8 times leaves at most the fraction bound of it.
        """
        worst, note = 0.0, ""
        general = self.points.general  # the first of all points
        for x, square in list(zip(general, self.squares, strict=False))[-1 if self.subject.slow else -3 :]:
            step = np.roll(x, 1) if len(x) > 1 else x
            near, far = (abs(self.subject.squared_distance(x, x + size * step)) for size in (1e-12, 1e-4))
            floor = 4 * self.slack * square
            ratio = max(near - floor, 0.0) / max(far, np.finfo(float).tiny)
            if not ratio <= worst:
                worst, note = ratio, f"at x = {_text(x)}"
        return worst, 0.5, note

    @required
    def distance(self) -> Measured:
        """Distances of features, squared, are those of the kernel to bound * (k(x, x) + k(y, y)), 0 at coincidence."""
        if self.subject.distance is None:
            raise NotApplicable(self.subject.reasons["distance"])
        try:
            measured = np.square(self.subject.distance(self.points.all, self.points.all.copy()))
        except InvalidInput as reason:  # it says which distances it does not know
            raise NotApplicable(str(reason)) from None
        diagonal = np.diagonal(self.gram)
        total, size = (np.add.outer(part, part) for part in (diagonal, self.squares))
        same = (self.points.all[:, None] == self.points.all[None, :]).all(axis=-1)
        if (measured[same] != 0).any():
            return np.inf, self.slack, f"the distance of a point from itself is {np.sqrt(measured[same].max()):.3g}"
        return self._worst([(measured - (total - 2 * self.gram)) / size])

    def _worst(self, errors: list[np.ndarray], extra: float = 0.0) -> Measured:
        """Return the largest size of the entries, and between which points it is."""
        sizes = np.max(np.abs(errors), axis=0)
        worst = float(sizes.max())
        i, j = np.unravel_index(int(np.argmax(sizes)), sizes.shape)
        note = f"between x = {_text(self.points.all[i])} and y = {_text(self.points.all[j])}" if worst else ""
        if not extra <= worst:
            return extra, self.slack, "for points evaluated on their own"
        return worst, self.slack, note


def _text(x: np.ndarray) -> str:
    shown = ", ".join(f"{value:.4g}" for value in x[:4])
    return f"({shown}{', ...' if len(x) > 4 else ''})"
