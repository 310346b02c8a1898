"""The pictures of the benchmarks."""

import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

INK, ACCENT, GRID = "#22313f", "#c0392b", "#e5e9ed"
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
    ax.tick_params(axis="x", labelcolor=INK)
    ax.set_xlabel(
        "rank by AUROC, 1 is best; small dots: data sets, large: their mean; "
        "red: skdeepad's deep detectors",
        color=INK,
        fontsize=9,
    )
    _clean(ax)
    ax.grid(axis="x", color=GRID, linewidth=0.8)
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
    breaks = r" (?=[A(])|(?<=[A-Za-z])(?=Detector|Outlier|Factor|Forest|SVM|Autor)"
    names = [re.sub(breaks, "\n", name) for name in order]
    # A word that is wider than a column.
    names = [name.replace("Autoregression", "Auto-\nregression") for name in names]
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
    ax.set_title(
        "AUROC; bold: a data set's best to three digits, sand: 0.15 or more below it; "
        "red: skdeepad's deep detectors",
        pad=14,
    )
    _clean(ax)
    _save(figure, path)


def plot_costs(costs, *, xlabel, highlight, path):
    """One number of each subject on a logarithmic axis, the largest on top.

    Parameters
    ----------
    costs : dict
        Maps a label to the number, and to those of the rounds.
    xlabel : str
    highlight : str
        Beginning of the labels to draw in colour.
    path : path-like
        Picture to write.
    """
    order = sorted(costs, key=lambda label: costs[label][0])
    figure, ax = plt.subplots(figsize=(7.2, 0.36 * len(order) + 1.1))
    for place, label in enumerate(order):
        best, rounds = costs[label]
        colour = ACCENT if label.startswith(highlight) else INK
        ax.scatter(
            rounds, [place] * len(rounds), s=16, color=colour, alpha=0.3, linewidth=0
        )
        ax.scatter(best, place, s=70, color=colour, zorder=3)
        ax.annotate(
            _three_digits(best),
            (1.14, place),
            xycoords=("axes fraction", "data"),
            va="center",
            ha="right",
            color=colour,
        )
    ax.set_yticks(range(len(order)), order)
    for tick in ax.get_yticklabels():
        tick.set_color(ACCENT if tick.get_text().startswith(highlight) else INK)
    ax.set_xscale("log")
    _plain_decades(ax.xaxis)
    ax.set_xlabel(xlabel, color=INK, fontsize=9)
    _clean(ax)
    _save(figure, path)


def _three_digits(number):
    """A number without an exponent, to three digits where it has a fraction."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _short(number):
    """A round number in few characters: 0.1, 10, 1k, 20k, 1M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{letter}"
    return f"{number:g}"


def _plain_decades(axis):
    """Mark a logarithmic axis by short numbers and faint lines."""
    decades = np.ptp(np.log10(axis.get_view_interval()))
    # Where few decades are shown, 2 and 5 are marked between them.
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_tick_params(labelcolor=INK)
    axis.grid(which="major", color=GRID, linewidth=0.8)
    axis.axes.set_axisbelow(True)


# Lines along which a cost is proportional to a size.
SLOPE = {"color": "#b9c2cb", "linestyle": (0, (1, 3)), "linewidth": 1, "zorder": 1}
# Against the ink and the accent, apart from each other for colour-blind eyes too.
COLOURS = ["#22313f", "#8a97a3", "#2c7fb8", "#d08b1d", "#5b9a68"]


def plot_scale(curves, *, highlight, path):
    """Seconds against several sizes, both axes logarithmic.

    Parameters
    ----------
    curves : dict
        Maps a pair, size and measure, to a DataFrame with a row a size and a column a
        subject. A panel each: sizes from left to right, measures from top to bottom.
    highlight : str
        The subject to draw in colour.
    path : path-like
        Picture to write.
    """
    sizes = list(dict.fromkeys(size for size, _ in curves))
    measures = list(dict.fromkeys(measure for _, measure in curves))
    subjects = list(dict.fromkeys(name for table in curves.values() for name in table))
    others = [name for name in subjects if name != highlight]
    colours = dict(zip(others, COLOURS, strict=False)) | {highlight: ACCENT}
    figure, axes = plt.subplots(
        len(measures),
        len(sizes),
        figsize=(3.6 * len(sizes), 3.2 * len(measures)),
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for (size, measure), table in curves.items():
        ax = axes[measures.index(measure), sizes.index(size)]
        ax.set(xscale="log", yscale="log")
        for name in table:
            curve = table[name].dropna()
            ours = name == highlight
            ax.plot(
                curve.index,
                curve,
                color=colours[name],
                linewidth=2.4 if ours else 1.5,
                marker="o",
                markersize=5 if ours else 3.5,
                zorder=4 if ours else 3,
                label=name,
            )
    for ax, size in zip(axes[-1], sizes, strict=True):
        ax.set_xlabel(size, color=INK)
    for ax, measure in zip(axes[:, 0], measures, strict=True):
        ax.set_ylabel(measure, color=INK)
    for ax in axes.flat:
        _plain_decades(ax.xaxis)
        _plain_decades(ax.yaxis)
        _clean(ax)
        _draw_slope(ax)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    handles.append(Line2D([], [], **SLOPE, label="slope 1"))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        frameon=False,
        labelcolor=INK,
    )
    _save(figure, path)


def _draw_slope(ax):
    """Dotted lines of slope one, a decade apart, all over the panel."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    # They start on the left edge, also so far below it that they fill the panel.
    first = np.floor(np.log10(bottom) - np.log10(right / left))
    for start in 10.0 ** np.arange(first, np.log10(top)):
        ax.plot(
            [left, right],
            [start, start * right / left],
            **SLOPE,
        )
    ax.set(xlim=(left, right), ylim=(bottom, top))


# Light to dark: how deep.
DEPTHS = {1: "#9cc9e3", 2: "#2c7fb8", 4: "#22313f"}


def _layers(depth):
    return f"{depth} layer{'s' * (depth > 1)}"


def plot_courses(panels, *, path):
    """AUROC against the number of epochs, a line for each shape of network.

    Parameters
    ----------
    panels : dict
        Maps a title to a DataFrame with columns ``epochs``, ``auroc``, and
        ``encoder_depth``, ``encoder_width``, ``decoder_depth``, ``decoder_width``.
        Lines are coloured by the decoder's depth, dashed by the encoder's, and the
        thicker the wider. What ends lowest is at the bottom of all panels.
    path : path-like
        Picture to write.
    """
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(3.6 * len(panels), 3.6),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    shape = ["encoder_depth", "encoder_width", "decoder_depth", "decoder_width"]
    dashes = {1: (0, (1, 1.5)), 2: (0, (4, 1.5)), 4: "solid"}
    for ax, (title, rows) in zip(axes.flat, panels.items(), strict=True):
        widths = sorted(set(rows.encoder_width))
        for (encoder, width, decoder, _), some in rows.groupby(shape):
            some = some.sort_values("epochs")
            ax.plot(
                some.epochs,
                some.auroc,
                color=DEPTHS[decoder],
                linestyle=dashes[encoder],
                linewidth=1.0 + widths.index(width),
            )
        ax.set_xscale("log")
        _plain_decades(ax.xaxis)
        ax.grid(axis="y", color=GRID, linewidth=0.8)
        ax.set_title(title, color=INK, fontsize=10)
        ax.set_xlabel("epochs", color=INK)
        _clean(ax)
    last = [rows.auroc[rows.epochs == rows.epochs.max()] for rows in panels.values()]
    axes[0, 0].set_ylim(bottom=min(auroc.min() for auroc in last) - 0.01)
    axes[0, 0].set_ylabel("AUROC", color=INK)
    handles = [
        Line2D([], [], color=colour, label=f"decoder of {_layers(depth)}")
        for depth, colour in DEPTHS.items()
    ]
    handles += [
        Line2D(
            [],
            [],
            color=COLOURS[1],
            linestyle=dash,
            label=f"encoder of {_layers(depth)}",
        )
        for depth, dash in dashes.items()
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=6,
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
    _save(figure, path)


def _clean(ax):
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _save(figure, path):
    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
    plt.close(figure)
