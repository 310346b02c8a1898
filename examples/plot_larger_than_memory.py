"""
A table larger than memory
==========================

The readings of fifty machines lie in a Parquet file of fifty row groups, of which one
is held at a time: ``partial_fit`` trains on group after group, for a few passes over
the file, and new rows are scored in the same way. What comes of it is held against a
fit on all rows at once, and against one on the rows of a single group.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pyarrow.parquet import ParquetFile
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from skdeepad import AutoencoderDetector

# %%
# Each machine has twelve sensors, which follow its load and its speed in a way of its
# own. An anomaly is a row in which one sensor shows the reading of another row: each
# value is an ordinary one, and only the row as a whole is not.

ROWS, GROUPS, MACHINES = 1000, 50, 50
rng = np.random.default_rng(0)
slopes, levels = rng.normal(size=(MACHINES, 2, 12)), rng.normal(size=(MACHINES, 12))


def readings(n_rows):
    machine = rng.integers(MACHINES, size=n_rows)
    load_and_speed = rng.normal(size=(n_rows, 1, 2))
    values = (load_and_speed @ slopes[machine])[:, 0] + 2 * levels[machine]
    values += 0.1 * rng.normal(size=values.shape)
    return pd.DataFrame(values, columns=[f"sensor {i}" for i in range(1, 13)])


folder = tempfile.TemporaryDirectory()
train, new = Path(folder.name) / "train.parquet", Path(folder.name) / "new.parquet"
readings(GROUPS * ROWS).to_parquet(train, row_group_size=ROWS)

rows = readings(5 * ROWS)
values = rows.to_numpy(copy=True)
anomalies = rng.choice(len(rows), size=500, replace=False)
sensors = rng.integers(12, size=500)
values[anomalies, sensors] = values[rng.integers(len(rows), size=500), sensors]
rows[:] = values
rows["label"] = np.where(np.isin(np.arange(len(rows)), anomalies), -1, 1)
rows.to_parquet(new, row_group_size=ROWS)


def groups(path):
    """Read the row groups of a file one at a time."""
    with ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS):
            yield batch.to_pandas()


# %%
# Scores take eight bytes a row: those of all groups fit in memory where the rows don't.


def auroc(detector):
    labels, scores = [], []
    for group in groups(new):
        labels.append(group.pop("label"))
        scores.append(detector.score_samples(group))
    return roc_auc_score(np.concatenate(labels), np.concatenate(scores))


# %%
# Five passes over the file. The first group settles the scale of the features, so that
# groups should be alike: rows in the order of time are better shuffled beforehand.

PASSES = 5
LOOK_AT = {1, 2, 5, 10, 20, 30, 40} | {GROUPS * (n + 1) for n in range(PASSES)}
detector = AutoencoderDetector(
    latent_dim=8, batch_size=128, learning_rate=0.003, random_state=0
)
in_groups, seen, course = clone(detector), 0, {}
for _ in range(PASSES):
    for group in groups(train):
        in_groups.partial_fit(group)
        seen += 1
        if seen in LOOK_AT:
            course[seen / GROUPS] = auroc(in_groups)

at_once = clone(detector).set_params(max_epochs=PASSES)
at_once = auroc(at_once.fit(pd.read_parquet(train)))
one_group = clone(detector).set_params(max_epochs=PASSES * GROUPS)
one_group = auroc(one_group.fit(next(groups(train))))
for name, held, value in (
    ("group after group", ROWS, course[PASSES]),
    ("all rows at once", GROUPS * ROWS, at_once),
    ("one group, as many steps", ROWS, one_group),
):
    print(f"{name:<25} {held:>6,} rows in memory, AUROC {value:.3f}")

# %%
# Each pass over the file does what an epoch does in memory.

INK, ACCENT = "#22313f", "#d1603d"
fig, ax = plt.subplots(figsize=(8, 4.4), layout="constrained")
for value in (at_once, one_group):
    ax.axhline(value, color=INK, linewidth=1, linestyle=(0, (4, 3)))
ax.text(0, at_once + 0.004, f"all {GROUPS * ROWS:,} rows at once", color=INK)
text = f"one group of {ROWS:,} rows, as many steps"
ax.text(PASSES, one_group - 0.006, text, color=INK, ha="right", va="top")
ax.plot(list(course), list(course.values()), "o-", color=ACCENT, markersize=5)
ax.text(1.1, course[1], "partial_fit on group after group", color=ACCENT, va="top")
ax.set(xlabel="passes over the file", ylabel="AUROC on new rows", xlim=(-0.1, 5.1))
ax.spines[:].set_visible(False)
ax.tick_params(length=0)
plt.show()
folder.cleanup()
