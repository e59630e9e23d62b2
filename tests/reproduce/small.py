"""Settings that train in a moment: the same path as the figures take."""

from dataclasses import replace

from infgeo.reproduce.settings import DEEP, SETTINGS, Planar, Rows
from infgeo.training import Recipe

RECIPE = Recipe(learning_rate=0.1, momentum=0.9, batch_size=50, epochs=3)
SINUSOID = Planar("sinusoid", (2, 16, 2), RECIPE, (0, 1, 3), "erf", 1.0, 12, double=False)
PLANAR = Rows((SINUSOID,))
LAYERS = Rows((replace(DEEP.rows[0], activation="erf", recipe=RECIPE, shown=(0, 3), points=12),))
CURVED = Rows((replace(SINUSOID, field="ricci"),))
_DIGITS = SETTINGS["fig2", "small"].rows[0]
PERCEPTRON = replace(
    _DIGITS, widths=(80,), recipe=replace(_DIGITS.recipe, epochs=2), shown=(0, 1, 2), line_points=16, plane_points=8,
    lines=((7, 6), (7, 7), (1, 6)),
)  # fmt: skip
_BRIEF = Recipe(learning_rate=0.05, momentum=0.9, batch_size=100, epochs=1, drop_last=True)
_SMALL = {"widths": (4, 6), "recipe": _BRIEF, "shown": (0, 1), "line_points": 9,
          "plane_points": 5, "lines": ((2, 3),), "embedding": 8, "train_images": 100}  # fmt: skip
ENCODERS = Rows(tuple(replace(row, **_SMALL) for row in SETTINGS["ssl", "small"].rows))
STAGES = Rows((replace(SETTINGS["fig4", "small"].rows[0], **_SMALL | {"layers": ("pooled1", "pooled2")}),))
