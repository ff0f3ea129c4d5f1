"""Bands over seeds: what is drawn, and what is left out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from muonlab.report.bands import arm_legend, band
from muonlab.report.style import ArmStyle, finish, fit_axes, use_style
from muonlab.statistics.intervals import mean_interval


def test_a_band_is_the_interval_at_each_place_and_leaves_out_values_without_one():
    x = pd.Series([1.0, 0.0, np.nan, 1.0, 0.0, 1.0])
    rows = pd.DataFrame({"value": [2.0, 5.0, 99.0, 4.0, 8.0, 9.0]})
    figure, axis = plt.subplots()
    band(axis, rows, ArmStyle(color="k", marker="o"), x, 0.05)
    (line,), (shade,) = axis.lines, axis.collections
    assert line.get_xdata().tolist() == [0, 1]
    assert line.get_ydata() == pytest.approx([6.5, 5.0])
    corners = shade.get_paths()[0].vertices[:, 1]
    wanted = [mean_interval(rows.value[x == place], 0.05) for place in (0.0, 1.0)]
    assert corners.min() == pytest.approx(min(i.low for i in wanted))
    assert corners.max() == pytest.approx(max(i.high for i in wanted))
    plt.close(figure)


def test_a_legend_and_a_note_stay_within_a_narrow_figure():
    use_style()
    figure, axis = plt.subplots(figsize=(6, 3))
    labels = [f"an arm whose name is rather long, number {n}" for n in range(6)]
    for label in labels:
        axis.plot([0, 1], [0, 1], label=label)
    arm_legend(figure, axis)
    finish(figure, "Title", ["a note that is far too long for one line of this figure " * 4])
    renderer = figure.canvas.get_renderer()
    (legend,) = figure.legends
    assert [entry.get_text() for entry in legend.get_texts()] == labels
    for drawn in (legend, *figure.texts):
        box = drawn.get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    plt.close(figure)


@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 3), (4, 2)])
def test_axes_are_fitted_as_the_layout_of_matplotlib_does(rows, columns):
    use_style()

    def places(fit):
        figure, axes = plt.subplots(rows, columns, figsize=(6, 7), squeeze=False)
        for n, axis in enumerate(axes.flat):
            axis.set_title("a title\n" * (n % 3 + 1))
            axis.set_ylabel(f"label {n}")
        fit(figure)
        plt.close(figure)
        return [axis.get_position().bounds for axis in axes.flat]

    wanted = places(lambda figure: figure.tight_layout(rect=(0, 0.1, 1, 0.93)))
    assert np.allclose(places(lambda figure: fit_axes(figure, below=0.1, above=0.07)), wanted)


def test_a_figure_that_is_too_low_for_its_notes_says_so():
    figure, _ = plt.subplots(figsize=(6, 3))
    with pytest.warns(UserWarning, match="too low for its title and notes"):
        fit_axes(figure, below=0.6, above=0.4)
    plt.close(figure)
