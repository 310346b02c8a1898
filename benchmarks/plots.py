"""The pictures of the benchmarks."""

import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

INK, ACCENT = "#22313f", "#c0392b"
# From the best of a data set (blue) to 0.15 below it (sand): ink reads on all of it.
LOSS = LinearSegmentedColormap.from_list("loss", ["#9cc9e3", "#f7f7f5", "#f0c98b"])


def plot_ranks(auroc, *, highlight, path):
    """Mean rank of each method, over the rank it has on each data set.

    Parameters
    ----------
    auroc : DataFrame
        A row a data set, a column a method.
    highlight : sequence of str
        Methods to draw in colour.
    path : path-like
        Picture to write.
    """
    ranks = auroc.rank(axis=1, ascending=False)
    order = ranks.mean().sort_values(ascending=False).index
    figure, ax = plt.subplots(figsize=(7.2, 0.46 * len(order) + 1.1))
    spread = np.linspace(-0.22, 0.22, len(ranks))
    for place, method in enumerate(order):
        colour = ACCENT if method in highlight else INK
        mean = ranks[method].mean()
        ax.scatter(
            ranks[method], place + spread, s=16, color=colour, alpha=0.3, linewidth=0
        )
        ax.scatter(mean, place, s=90, color=colour, zorder=3)
        ax.annotate(
            f"{mean:.1f}",
            (len(order) + 0.45, place),
            va="center",
            ha="left",
            color=colour,
            annotation_clip=False,
        )
    ax.set_yticks(range(len(order)), order)
    for label in ax.get_yticklabels():
        label.set_color(ACCENT if label.get_text() in highlight else INK)
    ax.set_xlim(0.6, len(order) + 0.4)
    ax.set_xticks(range(1, len(order) + 1))
    ax.set_xlabel(
        "rank by AUROC, 1 is best; small dots: data sets, large: their mean; "
        "red: skdeepad's deep detectors",
        color=INK,
        fontsize=9,
    )
    _clean(ax)
    ax.grid(axis="x", color="#e5e9ed", linewidth=0.8)
    ax.set_axisbelow(True)
    _save(figure, path)


def plot_heatmap(auroc, *, highlight, path):
    """AUROC of each method on each data set, shaded by what is lost to the best.

    Parameters are those of :func:`plot_ranks`.
    """
    order = auroc.mean().sort_values(ascending=False).index
    table = auroc[order]
    table = table.loc[table.mean(axis=1).sort_values(ascending=False).index]
    values = table.to_numpy()
    figure, ax = plt.subplots(figsize=(0.92 * len(order) + 1.9, 0.3 * len(table) + 1.6))
    best = values.max(axis=1, keepdims=True)
    ax.imshow(best - values, cmap=LOSS, vmin=0, vmax=0.15, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        bold = round(value, 3) == round(best[i, 0], 3)
        ax.text(
            j,
            i,
            f"{value:.3f}",
            ha="center",
            va="center",
            fontsize=8.5,
            color=INK,
            fontweight="bold" if bold else "normal",
        )
    breaks = r" (?=[A(])|(?<=[A-Za-z])(?=Detector|Outlier|Factor|Forest|SVM)"
    names = [re.sub(breaks, "\n", name) for name in order]
    ax.xaxis.tick_top()
    ax.set_xticks(range(len(order)), names, fontsize=9)
    for label, name in zip(ax.get_xticklabels(), order, strict=True):
        label.set_color(ACCENT if name in highlight else INK)
    means = table.mean()
    ax.set_yticks(range(len(table)), table.index, fontsize=9, color=INK)
    for j, name in enumerate(order):
        ax.text(
            j,
            len(table) - 0.15,
            f"{means[name]:.3f}",
            ha="center",
            va="center",
            fontsize=9,
            color=ACCENT if name in highlight else INK,
        )
    ax.text(-0.62, len(table) - 0.15, "mean", ha="right", va="center", fontsize=9)
    ax.set_title("AUROC; blue: a data set's best, sand: 0.15 or more below it", pad=14)
    _clean(ax)
    _save(figure, path)


def _clean(ax):
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _save(figure, path):
    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
    plt.close(figure)
