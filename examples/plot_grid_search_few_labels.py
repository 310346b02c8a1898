"""
A grid search with twenty labelled anomalies
============================================

Digits of straight strokes (1, 4, 7, 9) are normal, all others anomalies, of which only
twenty are known. They are too few to learn from, and enough to choose by: one grid
search compares two families of detectors, their parameters and the scaling. (Here the
kernel method wins, as it may on a small table: that is what such a search is for.)
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skdeepad import DASVDD, ThresholdedDetector
from skdeepad.datasets import load_digits
from skdeepad.model_selection import OneClassKFold

# %%
# Half of the normal rows and the twenty anomalies are known; the rest is for the test
# at the end.

X = load_digits().data
y = np.max([load_digits(digit).target for digit in (1, 4, 7, 9)], axis=0)
known, new = train_test_split(X[y == 1], train_size=0.5, random_state=0)
few, new_anomalies = train_test_split(X[y == -1], train_size=20, random_state=0)
X_known = np.r_[known, few]
y_known = np.repeat([1, -1], [len(known), len(few)])
X_new = np.r_[new, new_anomalies]
y_new = np.repeat([1, -1], [len(new), len(new_anomalies)])

# %%
# Each dict of the grid puts another detector into the pipeline's last step. Each fold
# trains on normal rows alone and tests on the others and all twenty anomalies. The
# search does not train its winner again: that would be on the anomalies, too.

pipeline = Pipeline([("scale", StandardScaler()), ("detect", OneClassSVM())])
scale = [StandardScaler(), "passthrough"]
quick = {"batch_size": 64, "learning_rate": 0.003, "max_epochs": 60}
dasvdd = DASVDD(hidden_layer_sizes=(128,), standardize=False, random_state=0, **quick)
grid = [
    {"scale": scale, "detect": [dasvdd], "detect__latent_dim": [16, 64]},
    {
        "scale": scale,
        "detect": [OneClassSVM()],
        "detect__gamma": [0.01, 0.1, 1.0, 10.0],
    },
]
folds = OneClassKFold(3, shuffle=True, random_state=0)
search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=folds, refit=False)
search.fit(X_known, y_known)


def describe(params):
    """Give a candidate's family, and all of it in words."""
    family = type(params["detect"]).__name__
    name = "latent_dim" if family == "DASVDD" else "gamma"
    scaled = "raw" if params["scale"] == "passthrough" else "scaled"
    return family, f"{family}, {name}={params[f'detect__{name}']:g}, {scaled}"


results = search.cv_results_
print(f"best: {describe(search.best_params_)[1]}, AUROC {search.best_score_:.3f}")

# %%
# The best of each family, trained on all known normal rows. Out-of-fold scores (``cv``)
# and the twenty anomalies choose its threshold: rows it was trained on look too good.

best = {}
order = results["mean_test_score"].argsort()
for i in order:
    best[describe(results["params"][i])[0]] = results["params"][i]
for family, params in best.items():
    candidate = clone(pipeline).set_params(**params)
    detector = ThresholdedDetector(candidate, threshold="roc", cv=folds)
    detector.fit(X_known, y_known)
    flagged = detector.predict(X_new) == -1
    auroc = roc_auc_score(y_new, detector.score_samples(X_new))
    print(
        f"{family:<12} AUROC {auroc:.3f} on new rows, "
        f"{flagged[y_new == -1].mean():.0%} of the anomalies found, "
        f"{flagged[y_new == 1].mean():.0%} false alarms"
    )

# %%
# All candidates: what the search took them for, and what they are on new rows. The
# folds have the twenty anomalies in common: their scores differ less than new ones do.

INK, PALE = "#22313f", "#e5e9ed"
COLOURS = {"DASVDD": "#d1603d", "OneClassSVM": "#3a7ca5"}
fig, ax = plt.subplots(figsize=(8.5, 5), layout="constrained")
for place, i in enumerate(order):
    params, mean = results["params"][i], results["mean_test_score"][i]
    colour = COLOURS[describe(params)[0]]
    fold_scores = [results[f"split{fold}_test_score"][i] for fold in range(3)]
    candidate = clone(pipeline).set_params(**params).fit(known)
    auroc = roc_auc_score(y_new, candidate.score_samples(X_new))
    span = min(fold_scores), max(fold_scores)
    ax.plot(span, [place] * 2, color=colour, linewidth=6, alpha=0.3)
    ax.plot(mean, place, "o", color=colour, markersize=8)
    ax.plot(auroc, place, "D", color=INK, markerfacecolor="none", markersize=7)
ax.set_yticks(range(len(order)), [describe(results["params"][i])[1] for i in order])
for label in ax.get_yticklabels():
    label.set_color(COLOURS[label.get_text().split(",")[0]])
# The same marks in grey, for the legend alone.
ax.plot([], [], "o", color="grey", markersize=8, label="search, mean of three folds")
ax.plot([], [], color="grey", linewidth=6, alpha=0.3, label="search, lowest to highest")
ax.plot([], [], "D", color=INK, markerfacecolor="none", markersize=7, label="new rows")
ax.legend(frameon=False, loc="lower right")
ax.set(xlim=(0.49, 1.0), xlabel="AUROC")
ax.grid(axis="x", color=PALE)
ax.set_axisbelow(True)
ax.spines[:].set_visible(False)
ax.tick_params(length=0)
plt.show()
