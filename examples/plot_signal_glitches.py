"""
Where does a signal go wrong?
=============================

``PixelCNNDetector`` reads a row without an ``image_shape`` as one line, and learns what
comes next from what came before. Each step's surprisal shows where a signal leaves what
is usual, also where every value by itself is a usual one.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from skdeepad import PixelCNNDetector

# %%
# Waves of any phase and of many periods; in the anomalies a few steps are lost.


def waves(n, rng, lost=0, n_steps=64):
    period = rng.uniform(12, 24, size=(n, 1))
    steps = np.arange(n_steps) + rng.uniform(0, 24, size=(n, 1))
    begins = rng.integers(16, n_steps - 16, size=(n, 1))
    steps += lost * (np.arange(n_steps) >= begins)
    noise = 0.05 * rng.normal(size=(n, n_steps))
    return np.sin(2 * np.pi * steps / period) + noise, begins


rng = np.random.default_rng(0)
X, _ = waves(400, rng)
normal, _ = waves(100, rng)
anomalies, begins = waves(100, rng, lost=5)
X_test, y_test = np.r_[normal, anomalies], np.repeat([1, -1], 100)

detector = PixelCNNDetector(n_levels=32, standardize=False, random_state=0).fit(X)
for fitted in (detector, IsolationForest(random_state=0).fit(X)):
    auroc = roc_auc_score(y_test, fitted.score_samples(X_test))
    print(f"{type(fitted).__name__}: AUROC {auroc:.3f}")

surprisals = detector.feature_errors(anomalies)
found = np.abs(surprisals.argmax(axis=1) - begins[:, 0]) <= 3
print(f"Largest surprisal within 3 steps of the loss: {found.sum()} of 100")

# %%
# Three anomalies, each above its surprisal step by step.

fig, axes = plt.subplots(2, 3, figsize=(9, 4), sharex=True, sharey="row")
for signal, surprisal, begin, (upper, lower) in zip(
    anomalies, surprisals, begins[:, 0], axes.T, strict=False
):
    upper.plot(signal, color="0.2")
    lower.bar(np.arange(len(surprisal)), surprisal, width=1, color="tab:red")
    for ax in (upper, lower):
        ax.axvline(begin, color="0.7", linestyle="--", zorder=0)
        ax.spines[["top", "right"]].set_visible(False)
axes[0, 0].set_ylabel("signal")
axes[1, 0].set_ylabel("surprisal (nats)")
axes[1, 1].set_xlabel("step; five are lost at the dashed line")
fig.tight_layout()
plt.show()
