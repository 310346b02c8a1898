"""Detectors with their defaults: how long a fit takes, and what it is worth.

Protocol, that of ``benchmarks.tabular``: of each set a random half of the normal rows
trains, the rest and all anomalies test; rows are standardised by a ``StandardScaler``
for all subjects. The sets are the first ten by ADBench's numbers that have at most
10,000 rows, among the 29 that the package's other results are about: a rule that looks
at no result. Six of them chose the package's defaults, so that AUROCs are compared on
the other four, too. Round r splits by, and gives the detectors, the random state r.
Only the fit is timed.
"""

from functools import partial

import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from benchmarks.defaults import CHOSEN_ON
from benchmarks.speed.measurements import costs_by, ratio
from benchmarks.speed.subjects import is_available, quiet, timed_fit
from benchmarks.tabular import split
from skdeepad import AutoencoderDetector, VAEDetector
from skdeepad.datasets import fetch_adbench

ROUNDS = 3
DATA = ["2_annthyroid", "4_breastw", "6_cardio", "14_glass", "15_Hepatitis"]
DATA += ["17_InternetAds", "18_Ionosphere", "20_letter", "21_Lymphography", "24_mnist"]
MAX_ROWS = 5000


def make_pyod(name, random_state):
    """PyOD's AutoEncoder or VAE with its defaults."""
    if name == "VAE":
        from pyod.models.vae import VAE as Detector
    else:
        from pyod.models.auto_encoder import AutoEncoder as Detector
    return Detector(random_state=random_state, verbose=0)


SUBJECTS = {
    "skdeepad AutoencoderDetector": lambda s: AutoencoderDetector(random_state=s),
    "PyOD AutoEncoder": partial(make_pyod, "AutoEncoder"),
    "skdeepad VAEDetector": lambda s: VAEDetector(random_state=s),
    "PyOD VAE": partial(make_pyod, "VAE"),
}
PAIRS = [
    ("skdeepad AutoencoderDetector", "PyOD AutoEncoder"),
    ("skdeepad VAEDetector", "PyOD VAE"),
]


def run(measurements, options):
    """Measure the subjects asked for."""
    loaders = {name: partial(fetch_adbench, name) for name in DATA}
    subjects = [name for name in SUBJECTS if is_available(name, options.subjects)]
    max_rows = min(MAX_ROWS, options.max_rows or MAX_ROWS)
    measure(measurements, loaders, options.rounds or ROUNDS, subjects, max_rows)


def measure(measurements, loaders, rounds, subjects, max_rows=MAX_ROWS):
    """Seconds of fits, and AUROC."""
    for number in range(rounds):
        for data, load in loaders.items():
            X, y = load(return_X_y=True)
            train, test, labels = split(X, y, number, max_rows)
            scaler = StandardScaler().fit(train)
            rows = scaler.transform(train), scaler.transform(test), labels
            for name in subjects:
                measurements.take(
                    ["fit seconds", "AUROC"],
                    partial(_fit_and_judge, name, number, *rows),
                    data=data,
                    subject=name,
                    rows=len(train),
                    features=train.shape[1],
                    members=1,
                    round=number,
                )


def _fit_and_judge(name, random_state, train, test, labels):
    detector, seconds = timed_fit(partial(SUBJECTS[name], random_state), train)
    with quiet():
        scores = detector.decision_function(test)
    # Ours are higher for normal rows, PyOD's for anomalies.
    anomalies = labels == -1 if name.startswith("PyOD") else labels == 1
    return seconds, roc_auc_score(anomalies, scores)


def compare(table, ours, theirs):
    """A row a data set: seconds, how many times quicker, and AUROC of two subjects."""
    costs, auroc = (
        costs_by(table[table["measure"] == measure], ["data", "subject"])
        for measure in ("fit seconds", "AUROC")
    )
    rows = {}
    for data in table["data"].unique():
        a, b = costs[data, ours], costs[data, theirs]
        best, median = ratio(b, a)
        rows[data] = {"seconds": a.best, "theirs": b.best, "x best": best}
        rows[data] |= {"x median": median}
        rows[data] |= {"AUROC": auroc[data, ours].by_round.mean()}
        rows[data] |= {"their AUROC": auroc[data, theirs].by_round.mean()}
    return pd.DataFrame(rows).T


def report(table):
    """Print a table a pair of detectors, the median factor and the mean AUROC."""
    for pair in PAIRS:
        if not set(pair) <= set(table["subject"]):
            continue
        sets = compare(table, *pair)
        print(f"\n{pair[0]} against {pair[1]}\n{sets.round(3).to_string()}")
        best, median = sets["x best"].median(), sets["x median"].median()
        print(f"median factor: best {best:.2f}, median {median:.2f}   goal >= 3")
        chosen = sets.index.isin(CHOSEN_ON)
        for which, part in (
            ("not chosen by", sets[~chosen]),
            ("chosen by", sets[chosen]),
        ):
            ours, theirs = part["AUROC"].mean(), part["their AUROC"].mean()
            print(
                f"mean AUROC of {len(part)} sets the defaults were {which}: "
                f"{ours:.4f}, theirs {theirs:.4f}   goal: not lower"
            )
