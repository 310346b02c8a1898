"""
First steps
===========

Train DASVDD on normal rows, choose a threshold in two ways, look at what went on in
training and at which features make a row an anomaly.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skdeepad import DASVDD

# %%
# Breast tumours: benign ones are normal (+1), malignant ones anomalies (-1). Half of
# the rows are for training: the detector takes the normal ones of them. Of the others
# some are to choose a threshold by, and the rest to see what it does.

tumours = load_breast_cancer()
X, y = tumours.data, np.where(tumours.target == 1, 1, -1)
X_train, X_other, y_train, y_other = train_test_split(
    X, y, test_size=0.5, stratify=y, random_state=1
)
X_held, X_test, y_held, y_test = train_test_split(
    X_other, y_other, test_size=0.75, stratify=y_other, random_state=1
)
detector = DASVDD(random_state=0).fit(X_train, y_train)
print(f"AUROC {roc_auc_score(y_test, detector.score_samples(X_test)):.3f}")

# %%
# The default threshold is the largest training error: few false alarms, many misses.
# A few labelled anomalies (here 26) tell where most of them are found, for some more
# false alarms, without training again. The rows to choose by were not trained on:
# scores of those that were are too good.


def rates(name):
    flagged = detector.predict(X_test) == -1
    found, false = flagged[y_test == -1].mean(), flagged[y_test == 1].mean()
    print(f"{name}: {found:.0%} of the anomalies found, {false:.0%} false alarms")


rates("largest training error")
detector.fit_threshold(X_held, y_held, threshold="roc")
rates("ROC-optimal")

# %%
# The loss and its parts, the scores, and the features behind the worst row.

fig, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for name in ("loss", "reconstruction", "distance"):
    left.plot(detector.history_[name], label=name)
left.set(title="Training", xlabel="epoch", yscale="log")
left.legend(frameon=False)

scores = -detector.score_samples(X_test)
bins = np.geomspace(scores.min(), scores.max(), 30)
for label, name in ((1, "benign"), (-1, "malignant")):
    middle.hist(scores[y_test == label], bins, alpha=0.7, label=name)
middle.axvline(-detector.offset_, color="k", linewidth=1, label="ROC-optimal cut")
middle.set(title="Test rows", xscale="log", xlabel="anomaly score", ylabel="tumours")
middle.yaxis.set_major_locator(plt.MaxNLocator(integer=True))
middle.legend(frameon=False)

errors = detector.feature_errors(X_test[[scores.argmax()]])[0]
top = errors.argsort()[-6:]
right.barh([tumours.feature_names[i] for i in top], errors[top], color="C3")
right.set(title="What makes the worst row", xlabel="part of the score")
plt.show()
