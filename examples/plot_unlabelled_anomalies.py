"""
Anomalies among the training rows
=================================

Somebody has collected threes, and twenty sevens have slipped in: nobody knows which
they are. An autoencoder learns to give the sevens back like the threes. One that trains
on the four fifths of each batch that look most normal does not, and finds them.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score

from skdeepad import AutoencoderDetector
from skdeepad.datasets import load_digits

# %%
# The labels are for the comparison alone: the detectors do not see them.

threes, sevens = (load_digits(digit) for digit in (3, 7))
X_threes, X_sevens = (d.data[d.target == 1] for d in (threes, sevens))
rng = np.random.default_rng(0)
X = np.r_[X_threes, rng.permutation(X_sevens)[:20]]
is_seven = np.arange(len(X)) >= len(X_threes)

# %%
# ``contamination`` is a guess of the sevens' share. The default threshold, the largest
# training error, would flag one row at the most.

detectors = {
    fraction: AutoencoderDetector(
        support_fraction=fraction,
        contamination=0.1,
        standardize=False,
        random_state=0,
    ).fit(X)
    for fraction in (1.0, 0.8)
}
for fraction, detector in detectors.items():
    auroc = roc_auc_score(~is_seven, detector.score_samples(X))
    print(f"support_fraction={fraction}: AUROC {auroc:.3f}")

# %%
# The scores of all rows, the cut, and the rows with the largest scores.

INK, NORMAL, ANOMALY = "#22313f", "#3a7ca5", "#d1603d"
N_SHOWN = 10
fig = plt.figure(figsize=(9, 6), layout="constrained")
scores = {f: -detector.score_samples(X) for f, detector in detectors.items()}
every_score = np.concatenate(list(scores.values()))
bins = np.geomspace(every_score.min(), every_score.max(), 40)
for part, (fraction, detector) in zip(
    fig.subfigures(2, hspace=0.06), detectors.items(), strict=True
):
    flagged = is_seven[detector.predict(X) == -1]
    found = f"{len(flagged)} rows are flagged, {flagged.sum()} of them sevens"
    title = f"support_fraction={fraction}: {found}"
    part.suptitle(title, x=0.01, ha="left", color=INK, weight="bold")
    top, below = part.subfigures(2, height_ratios=(3, 1))
    ax = top.subplots()
    both = [scores[fraction][~is_seven], scores[fraction][is_seven]]
    ax.hist(both, bins, color=[NORMAL, ANOMALY], stacked=True)
    ax.axvline(-detector.offset_, color=INK, linewidth=1)
    ax.text(-detector.offset_, 22, " flagged", color=INK, va="top")
    ax.set(xscale="log", ylim=(0, 22), xlim=bins[[0, -1]], ylabel="rows")
    ax.set_xticks([0.005, 0.01, 0.02, 0.05], ["0.005", "0.01", "0.02", "0.05"])
    ax.minorticks_off()
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    if fraction == 1.0:
        ax.text(bins[0], 22, "threes", color=NORMAL, va="top")
        ax.text(bins[0], 19, "sevens", color=ANOMALY, va="top")
    else:
        ax.set_xlabel("anomaly score (log scale)")
    worst = np.argsort(-scores[fraction])[:N_SHOWN]
    for row, image in zip(worst, below.subplots(1, N_SHOWN), strict=True):
        image.imshow(X[row].reshape(8, 8), cmap="Greys")
        image.set(xticks=[], yticks=[])
        image.spines[:].set(color=ANOMALY if is_seven[row] else NORMAL, linewidth=2)
plt.show()
