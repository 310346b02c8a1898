"""
Nine thresholds of one detector
===============================

Digits with a loop (0, 6, 8, 9) are normal, all others anomalies. One detector is
trained once; nine strategies then turn its scores into labels, each from the same 200
normal rows and 30 labelled anomalies. What they promise is held against new rows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skdeepad import AutoencoderDetector
from skdeepad.datasets import load_digits
from skdeepad.thresholds import Conformal, ParetoTail, Quantile

# %%
# Normal rows are divided in three: to train on, to choose thresholds with, to test on.
# Scores of rows that were trained on would be too good to choose by.

X = load_digits().data
y = np.max([load_digits(digit).target for digit in (0, 6, 8, 9)], axis=0)
train, rest = train_test_split(X[y == 1], train_size=300, random_state=0)
normal, new_normal = train_test_split(rest, train_size=200, random_state=0)
few, new_anomalies = train_test_split(X[y == -1], train_size=30, random_state=0)


def together(normal, anomalies):
    labels = np.repeat([1, -1], [len(normal), len(anomalies)])
    return np.r_[normal, anomalies], labels


X_choose, y_choose = together(normal, few)
X_new, y_new = together(new_normal, new_anomalies)

detector = AutoencoderDetector(standardize=False, random_state=0).fit(train)
scores = -detector.score_samples(X_new)
print(f"AUROC {roc_auc_score(y_new, -scores):.3f}, whatever the threshold\n")

# %%
# Strategies by name, as objects with parameters, or a number. "roc", "youden" and "f1"
# look at the labelled anomalies, the others at normal rows alone.

strategies = {
    "max_train: the largest score": "max_train",
    "quantile: 5 % of the rows": Quantile(0.05),
    "conformal: at most 5 % on average": Conformal(alpha=0.05),
    "pareto: 1 %, by the shape of the tail": ParetoTail(alpha=0.01),
    "mad: 3 robust deviations": "mad",
    "roc: best TPR x TNR": "roc",
    "youden: best TPR + TNR": "youden",
    "f1: best F-measure": "f1",
    "a number: 0.02": 0.02,
}
cuts, alarms, found = {}, {}, {}
for name, threshold in strategies.items():
    detector.fit_threshold(X_choose, y_choose, threshold=threshold)
    flagged = detector.predict(X_new) == -1
    cuts[name] = -detector.offset_
    alarms[name] = flagged[y_new == 1].mean()
    found[name] = flagged[y_new == -1].mean()

names = sorted(cuts, key=cuts.get)
print(f"{'strategy':<39}{'cut':>6}{'false alarms':>15}{'found':>8}")
for name in reversed(names):
    print(f"{name:<39}{cuts[name]:6.3f}{alarms[name]:15.1%}{found[name]:8.0%}")

# %%
# The scores of new rows, where each strategy cuts them, and what comes of it.

INK, PALE, NORMAL, ANOMALY = "#22313f", "#e5e9ed", "#3a7ca5", "#d1603d"
fig, axes = plt.subplot_mosaic(
    [["scores", "."], ["cuts", "rates"]],
    figsize=(10.5, 6),
    height_ratios=(2, 3),
    width_ratios=(3, 2),
    layout="constrained",
)
top, cut_axes, rate_axes = axes["scores"], axes["cuts"], axes["rates"]
cut_axes.sharex(top)
rate_axes.sharey(cut_axes)
left, right = scores.min(), scores.max()
bins = np.geomspace(left, right, 36)
for label, colour, text, side in (
    (1, NORMAL, f"{len(new_normal)} normal digits", "left"),
    (-1, ANOMALY, f"{len(new_anomalies)} anomalies", "right"),
):
    part = scores[y_new == label]
    # Not counts: there are five times as many anomalies as normal digits.
    share = np.full(len(part), 1 / len(part))
    top.hist(part, bins, weights=share, color=colour, alpha=0.6)
    top.set_title(text, color=colour, loc=side, size="medium")
top.set(xscale="log", xlim=(left, right), ylabel="share of each class")
top.yaxis.set_major_locator(plt.MultipleLocator(0.05))
top.yaxis.set_major_formatter("{x:.0%}")

for place, name in enumerate(names):
    cut = cuts[name]
    cut_axes.plot([left, cut], [place, place], color=NORMAL, linewidth=3, alpha=0.6)
    cut_axes.plot([cut, right], [place, place], color=ANOMALY, linewidth=3, alpha=0.6)
    cut_axes.plot(cut, place, "o", color=INK, zorder=3)
    # From each dot up through the scores.
    cut_axes.vlines(cut, place, len(names), color=INK, linewidth=0.6, alpha=0.4)
    top.axvline(cut, color=INK, linewidth=0.6, alpha=0.4)
    for rate, colour in ((alarms[name], NORMAL), (found[name], ANOMALY)):
        text = f"{rate:.1%}" if colour == NORMAL else f"{rate:.0%}"
        rate_axes.plot(rate, place, "o", color=colour)
        # One above the other, where the dots are near each other.
        height = place + (0.28 if colour == NORMAL else 0)
        rate_axes.text(rate + 0.03, height, text, va="center", color=colour)
cut_axes.set_yticks(range(len(names)), names)
cut_axes.set(ylim=(-0.6, len(names)), xlabel="anomaly score (log scale)")
cut_axes.set_xticks([0.005, 0.01, 0.02, 0.05], ["0.005", "0.01", "0.02", "0.05"])
cut_axes.minorticks_off()
top.tick_params(labelbottom=False)

rate_axes.text(0, len(names) + 0.1, "false alarms", color=NORMAL)
rate_axes.text(1, len(names) + 0.1, "anomalies found", color=ANOMALY, ha="right")
rate_axes.set(xlim=(-0.03, 1.1), xlabel="flagged share of each class")
rate_axes.xaxis.set_major_formatter("{x:.0%}")
rate_axes.tick_params(labelleft=False)
rate_axes.grid(axis="x", color=PALE)
rate_axes.set_axisbelow(True)
for ax in axes.values():
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
plt.show()
