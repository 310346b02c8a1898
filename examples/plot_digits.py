"""
Which digits are no eights?
===========================

Three deep detectors learn the digit 8 and meet all other digits. The pictures show the
most normal and the most anomalous test digits, and what each network makes of them:
DASVDD and the VAE little more than one blurred 8, whatever comes in; the autoencoder
copies a part of what it sees.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skdeepad import DASVDD, AutoencoderDetector, VAEDetector
from skdeepad.datasets import load_digits

# %%
# Train on half of the eights; test on the others and on all other digits.

X, y = load_digits(8, return_X_y=True)
train, held_out = train_test_split(X[y == 1], test_size=0.5, random_state=0)
X_test = np.r_[held_out, X[y == -1]]
y_test = np.r_[np.ones(len(held_out)), -np.ones((y == -1).sum())]

detectors = [AutoencoderDetector(), VAEDetector(), DASVDD()]
fig = plt.figure(figsize=(8, 7.5), layout="constrained")
for detector, part in zip(detectors, fig.subfigures(3), strict=True):
    detector.set_params(random_state=0).fit(train)
    scores = detector.score_samples(X_test)
    auroc = roc_auc_score(y_test, scores)
    print(f"{type(detector).__name__}: AUROC {auroc:.3f}")
    # The four most normal digits, then the four most anomalous ones.
    order = scores.argsort()
    shown = X_test[np.r_[order[:-5:-1], order[3::-1]]]
    halves = part.subfigures(1, 2)
    for half, digits, title in zip(
        halves,
        (shown[:4], shown[4:]),
        ("most normal", "most anomalous"),
        strict=True,
    ):
        rows = half.subplots(2, 4, subplot_kw={"xticks": [], "yticks": []})
        images = digits, detector.reconstruct(digits)
        for axes, row in zip(rows, images, strict=True):
            for ax, image in zip(axes, row, strict=True):
                ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        rows[0, 0].set_ylabel("input")
        rows[1, 0].set_ylabel("output")
        half.suptitle(title, fontsize="medium")
    part.suptitle(f"{type(detector).__name__}, AUROC {auroc:.3f}")
plt.show()
