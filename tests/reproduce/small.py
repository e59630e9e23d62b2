"""Settings that train in a moment: the same path as the figures take."""

from dataclasses import replace

from infgeo.reproduce.settings import DEEP, FIG2, SETTINGS, ImageRows, Panels, Planar
from infgeo.training import Recipe

RECIPE = Recipe(learning_rate=0.1, momentum=0.9, batch_size=50, epochs=3)
SINUSOID = Planar("sinusoid", (2, 16, 2), "erf", RECIPE, (0, 1, 3), 1.0, 12)
PLANAR = Panels((SINUSOID,))
LAYERS = Panels((replace(DEEP.rows[0], activation="erf", recipe=RECIPE, shown=(0, 3), points=12),))
PERCEPTRON = replace(
    FIG2["small"], widths=(80,), recipe=replace(FIG2["small"].recipe, epochs=2), shown=(0, 2), line_points=16,
    plane_points=8, lines=((1, 6), (7, 6)),
)  # fmt: skip
_BRIEF = Recipe(learning_rate=0.05, momentum=0.9, batch_size=100, epochs=1, drop_last=True)
ENCODERS = ImageRows(
    tuple(
        replace(
            row, widths=(4, 6), recipe=_BRIEF, shown=(0, 1), line_points=9, plane_points=5, lines=((1, 6),),
            embedding=8, train_images=100,
        )
        for row in SETTINGS["ssl", "small"].rows
    )
)  # fmt: skip
