"""Bands over seeds: what is drawn, and what is left out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from muonlab.report.bands import band
from muonlab.report.style import ArmStyle
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
