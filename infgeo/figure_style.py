"""How pictures look: column widths and type of a journal, colours that survive colour blindness and grey print.

Volumes take viridis, whose lightness rises steadily. Quantities with a sign take blue, white and
orange, of equal lightness at equal distance from 0, so that grey print shows the size (contours show the sign).
"""

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from infgeo.errors import MissingExtra

SINGLE_COLUMN, DOUBLE_COLUMN = 3.35, 6.9  # inches: 85 and 175 mm
SEQUENTIAL = "viridis"
# Lightness (CIE L*) 28, 45, 62, 80, 97, 80, 62, 45, 28; hues 275 and 55 degrees.
DIVERGING = ("#014478", "#0a6dba", "#5098ee", "#aac7fe", "#f7f7f7", "#feb68f", "#d6804e", "#a45525", "#702e01")
# By Okabe and Ito; each comes with a marker and a dash of its own, so that grey print tells them apart.
LINES = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#000000", "v", (0, (5, 1, 1, 1))),
    ("#E69F00", "P", (0, (1, 1))),
)
# Of classes, by Paul Tol ("muted"); names stand beside them.
CLASSES = ("#332288", "#CC6677", "#DDCC77", "#117733", "#E07B00", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499")
RC: dict[Any, Any] = {
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "mathtext.fontset": "cm",
    "pdf.fonttype": 42,  # TrueType: text stays text
    "image.interpolation": "nearest",
    "svg.hashsalt": "infgeo",  # the same bytes for the same figure
}
PNG_DPI = 200
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def require_matplotlib(what: str = "drawing a figure") -> None:
    """Raise MissingExtra now where matplotlib is absent: before a long computation, not after it."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise MissingExtra(what, "plot") from None


def diverging() -> Any:
    """Return the colour map for quantities with a sign."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("infgeo_diverging", DIVERGING)


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure, in inches, that no global state knows of. Call it within `house_style`."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that a notebook shows."""

        def _repr_png_(self) -> bytes:
            return rendered(self, ["png"])["png"]

    return ShownFigure(figsize=(width, height), layout="constrained")


def house_style() -> Any:
    """Return a context in which matplotlib draws in this style; its settings are as before afterwards."""
    import matplotlib

    return matplotlib.rc_context(RC)


_NO_DATES: dict[str, Any] = {"png": None, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def rendered(figure: Any, endings: Iterable[str] = ("png", "pdf")) -> dict[str, bytes]:
    """Return the figure as "png", "pdf" or "svg", the same bytes for the same figure (no dates)."""
    pictures = {}
    with house_style(), _quiet("fontTools"):
        figure.draw_without_rendering()  # square maps with scales of colours have their places at the second drawing
        for ending in endings:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending, dpi=PNG_DPI, metadata=_NO_DATES[ending])
            pictures[ending] = buffer.getvalue()
    return pictures


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence a library's remarks: fontTools dislikes the dates of matplotlib's own fonts."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def limits(values: Iterable[np.ndarray], cut: float = 0.5) -> tuple[float, float]:
    """Return one range of colours for all panels: percentiles `cut` and 100 − `cut` of what is finite.

    A range that is empty or a point is widened, so that a constant is drawn as one.
    """
    flat = np.concatenate([np.asarray(v, dtype=float).ravel() for v in values])
    flat = flat[np.isfinite(flat)]
    if not len(flat):
        return 0.0, 1.0
    low, high = (float(p) for p in np.percentile(flat, (cut, 100 - cut)))
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        return low - 0.5, low + 0.5
    return low, high


def field(axes: Any, x: np.ndarray, y: np.ndarray, values: np.ndarray, norm: Any, colours: Any = SEQUENTIAL) -> Any:
    """Draw `values` (len(y), len(x)) as colours on square axes; what is not finite is grey."""
    axes.set_facecolor("0.8")
    image = axes.pcolormesh(
        x, y, np.ma.masked_invalid(values), norm=norm, cmap=colours, shading="nearest", rasterized=True
    )
    axes.set_aspect("equal")
    return image


def boundary(axes: Any, lines: Sequence[np.ndarray]) -> None:
    """Draw polylines (k, 2) in white on black: seen on dark and on bright ground, in colour and in grey."""
    for line in lines:
        axes.plot(line[:, 0], line[:, 1], "-", color="black", linewidth=1.8, zorder=3)
        axes.plot(line[:, 0], line[:, 1], "-", color="white", linewidth=0.9, zorder=4)


def letter(axes: Any, text: str) -> None:
    """Put the letter of a panel above its upper left corner."""
    axes.set_title(text, loc="left", fontweight="bold")


def shared_colourbar(figure: Any, image: Any, panels: Sequence[Any], label: str) -> Any:
    """Draw one scale beside `panels`, with the quantity and its logarithm named."""
    bar = figure.colorbar(image, ax=list(panels), label=label, pad=0.015, aspect=25)
    bar.outline.set_linewidth(0.5)
    return bar


def points(axes: Any, inputs: np.ndarray, labels: np.ndarray, most: int = 100) -> None:
    """Draw some labelled points (N, 2) of the data: open circles and filled squares."""
    for label, marker, face in ((0, "o", "none"), (1, "s", "black")):
        chosen = inputs[:most][labels[:most] == label]
        axes.plot(chosen[:, 0], chosen[:, 1], marker, color="black", markerfacecolor=face, markersize=1.8,
                  markeredgewidth=0.5, linestyle="none", zorder=5)  # fmt: skip


def mean_and_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and half width of the 95 % interval (Student's t) over the first axis; of one seed width 0."""
    from scipy.special import stdtrit

    mean = values.mean(axis=0)
    n = len(values)
    if n < 2:
        return mean, np.zeros_like(mean)
    return mean, stdtrit(n - 1, 0.975) * values.std(axis=0, ddof=1) / np.sqrt(n)
