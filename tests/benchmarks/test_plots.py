"""What the pictures show; how they look is for eyes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from benchmarks import plots

AUROC = pd.DataFrame(
    {
        "OneClassSVM": [0.7, 0.6, 0.9],
        "DASVDD": [0.9, 0.8, 0.95],
        "PCA": [0.8, 0.9, 0.5],
    },
    index=["6_cardio", "45_wine", "38_thyroid"],
)


@pytest.fixture
def figures(monkeypatch):
    """Figures that would have been written."""
    kept = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: kept.append(figure))
    yield kept
    plt.close("all")


def texts(labels):
    return [label.get_text() for label in labels]


def test_ranks_go_from_the_best_mean_on_top(figures):
    plots.plot_ranks(AUROC, highlight=["DASVDD"], path=None)
    (ax,) = figures[0].axes
    assert texts(ax.get_yticklabels()) == ["OneClassSVM", "PCA", "DASVDD"]
    colours = [to_hex(label.get_color()) for label in ax.get_yticklabels()]
    assert colours == [plots.INK, plots.INK, plots.ACCENT]
    assert texts(ax.texts) == ["2.7", "2.0", "1.3"]
    large = [c.get_offsets()[0, 0] for c in ax.collections if len(c.get_offsets()) == 1]
    np.testing.assert_allclose(large, [8 / 3, 2, 4 / 3])


def test_heat_map_shows_each_number_and_marks_the_best(figures):
    plots.plot_heatmap(AUROC, highlight=["DASVDD"], path=None)
    (ax,) = figures[0].axes
    assert texts(ax.get_xticklabels()) == ["DASVDD", "PCA", "OneClass\nSVM"]
    assert texts(ax.get_yticklabels()) == ["6_cardio", "38_thyroid", "45_wine"]
    bold = [t.get_text() for t in ax.texts if t.get_fontweight() == "bold"]
    assert bold == ["0.900", "0.950", "0.900"]
    assert {"0.883", "0.733"} <= set(texts(ax.texts))  # the means
    (image,) = ax.images
    lost = image.get_array()
    np.testing.assert_allclose(lost[2], [0.1, 0.0, 0.3])


def test_costs_are_in_order_with_marks_between_few_decades(figures):
    costs = {"skdeepad": (30.0, [30.0, 35.0]), "PyOD": (900.0, [900.0])}
    plots.plot_costs(costs, xlabel="seconds", highlight="skdeepad", path=None)
    (ax,) = figures[0].axes
    assert texts(ax.get_yticklabels()) == ["skdeepad", "PyOD"]
    assert texts(ax.texts) == ["30", "900"]
    assert {"50", "100", "200", "500"} <= set(texts(ax.get_xticklabels()))


def test_scale_has_a_panel_for_each_size_and_measure(figures):
    table = pd.DataFrame({"skdeepad": [1.0, 10.0], "PyOD": [9.0, np.nan]}, [1e3, 1e7])
    curves = {(s, m): table for m in ("fit", "score") for s in ("rows", "features")}
    plots.plot_scale(curves, highlight="skdeepad", path=None)
    axes = figures[0].axes
    assert len(axes) == 4
    for ax in axes:
        own, other = ax.lines[:2]
        assert to_hex(own.get_color()) == plots.ACCENT
        np.testing.assert_array_equal(own.get_ydata(), [1.0, 10.0])
        np.testing.assert_array_equal(other.get_xdata(), [1e3])
        slopes = {
            round(np.diff(np.log10(line.get_ydata()))[0])
            / round(np.diff(np.log10(line.get_xdata()))[0])
            for line in ax.lines[2:]
        }
        assert slopes == {1.0}
