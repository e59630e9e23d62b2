import matplotlib
import numpy as np
import pytest

from infgeo import figure_style as style


def lightness(colours):
    """CIE L* of sRGB colours (N, 3)."""
    rgb = np.asarray(colours, dtype=float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126729, 0.7151522, 0.0721750]
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


def test_the_diverging_map_is_symmetric_in_grey():
    values = lightness(style.diverging()(np.linspace(0, 1, 201))[:, :3])
    assert np.abs(values - values[::-1]).max() < 1.5
    assert (np.diff(values[:100]) > 0).all() and values[0] < 30 < 95 < values[100]


@pytest.mark.parametrize("name", [style.SEQUENTIAL, "cividis"])
def test_the_sequential_maps_rise_in_grey(name):
    values = lightness(matplotlib.colormaps[name](np.linspace(0, 1, 101))[:, :3])
    assert (np.diff(values) > 0).all()


def test_lines_differ_in_marker_and_dash():
    assert len({marker for _, marker, _ in style.LINES}) == len({str(dash) for _, _, dash in style.LINES}) == 6


def test_type_is_legible():
    assert min(v for k, v in style.RC.items() if k.endswith("size") and k != "lines.markersize") >= 6


def test_limits_leave_out_what_is_not_finite_and_widen_a_constant():
    assert style.limits([np.array([1.0, -np.inf, np.nan, 3.0])], cut=0) == (1, 3)
    assert style.limits([np.full(4, 2.0)]) == (1.5, 2.5)
    assert style.limits([np.array([np.nan])]) == (0, 1)


def test_drawing_leaves_no_trace_and_is_the_same_each_time():
    before = dict(matplotlib.rcParams)

    def draw():
        with style.house_style():
            figure = style.new_figure(2, 2)
            axes = figure.subplots()
            axis = np.linspace(0, 1, 5)
            style.field(axes, axis, axis, np.eye(5), None)
            style.boundary(axes, [np.array([[0, 0], [1, 1]])])
        return style.rendered(figure)

    first, second = draw(), draw()
    assert first == second and set(first) == {"png", "pdf"}
    assert dict(matplotlib.rcParams) == before


def test_mean_and_interval():
    mean, error = style.mean_and_interval(np.array([[1.0], [2.0], [4.0]]))
    assert mean == pytest.approx(7 / 3) and error == pytest.approx(4.302653 * np.sqrt(7 / 3) / np.sqrt(3), rel=1e-6)
