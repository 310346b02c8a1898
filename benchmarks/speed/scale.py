"""Cost of ``fit`` and of ``score_samples`` against rows, features and members.

Protocol: standard normal float32 rows, networks features-64-32-64-features, one epoch
with batches of 256; scikit-learn's detectors with their defaults. A detector scores the
rows that it was fitted to. One size varies at a time: rows from 1,000 to 10,000,000,
features from 10 to 1,000, members from 1 to 256; the others are 2,000, 10 and 1.
Members are networks that train together (ours) or one after the other (PyOD, DeepOD).

A subject ends where its fit and score would take more than ``--limit`` seconds (60) at
the next size, if their cost went on growing as between the last two sizes, and in
proportion to the size at least.
"""

from functools import partial

import numpy as np

from benchmarks.plots import plot_scale
from benchmarks.speed.measurements import slope
from benchmarks.speed.subjects import (
    CLASSICAL,
    DEEP,
    is_available,
    timed_fit,
    timed_scores,
)

ROUNDS = 1
BATCH_SIZE = 256
BASE = {"rows": 2000, "features": 10, "members": 1}
PANELS = {
    "rows": [n * 10**k for k in (3, 4, 5, 6) for n in (1, 3)] + [10**7],
    "features": [10, 30, 100, 300, 1000],
    "members": [1, 4, 16, 64, 256],
}
SUBJECTS = ["skdeepad", "PyOD", "DeepOD DeepSVDD", *CLASSICAL]
MEASURES = ["fit seconds", "score seconds"]
# Rows between which our cost should be proportional to them.
LINEAR = 10**5, 10**7


def run(measurements, options):
    """Measure the subjects asked for."""
    most = options.max_rows or max(PANELS["rows"])
    panels = PANELS | {"rows": [n for n in PANELS["rows"] if n <= most]}
    base = BASE | {"rows": min(BASE["rows"], most)}
    subjects = [name for name in SUBJECTS if is_available(name, options.subjects)]
    rounds = options.rounds or ROUNDS
    measure(measurements, rounds, subjects, panels, base, options.limit)


def measure(measurements, rounds, subjects, panels, base, limit):
    """Seconds of fits and of scores."""
    for number in range(rounds):
        for panel, sizes in panels.items():
            points = {name: [] for name in subjects}
            if panel == "members":
                points = {name: [] for name in subjects if name in DEEP}
            for size in sizes:
                for name, before in points.items():
                    if expected_seconds(before, size) > limit:
                        continue
                    at = base | {panel: size}
                    values = measurements.take(
                        MEASURES,
                        partial(_fit_and_score_seconds, name, **at),
                        data="normal",
                        subject=name,
                        variant=panel,
                        batch_size=BATCH_SIZE if name in DEEP else "",
                        epochs=1 if name in DEEP else "",
                        round=number,
                        **at,
                    )
                    before.append((size, sum(values)))


def _fit_and_score_seconds(name, rows, features, members):
    X = np.random.default_rng(0).standard_normal((rows, features), dtype=np.float32)
    make = CLASSICAL.get(name)
    if make is None:
        sizes = {"epochs": 1, "batch_size": BATCH_SIZE, "members": members}
        make = partial(DEEP[name], **sizes)
    detector, seconds = timed_fit(make, X)
    return seconds, timed_scores(detector, X)


def expected_seconds(points, size):
    """What a size will take, from pairs of sizes before it and what they took."""
    if not points:
        return 0.0
    exponent = 1.0
    if len(points) > 1:
        exponent = max(1.0, slope(*zip(*points[-2:], strict=True)))
    last, seconds = points[-1]
    return seconds * (size / last) ** exponent


def curves(table, panel, measure):
    """A row a size, a column a subject: the least seconds over the rounds."""
    rows = table[(table["variant"] == panel) & (table["measure"] == measure)]
    pivot = rows.pivot_table(
        index=panel, columns="subject", values="value", aggfunc="min"
    )
    return pivot[[name for name in SUBJECTS if name in pivot]]


def linear_slope(table, measure):
    """Slope of our curve against rows, or None where it is too short."""
    curve = curves(table, "rows", measure).get("skdeepad")
    if curve is None:
        return None
    curve = curve.loc[LINEAR[0] : LINEAR[1]].dropna()
    return slope(curve.index, curve) if len(curve) > 1 else None


def report(table):
    """Print seconds by size and our slopes."""
    for panel in PANELS:
        for measure in MEASURES:
            seconds = curves(table, panel, measure).map("{:.3g}".format)
            print(f"\n{measure}\n{seconds.replace('nan', '-').to_string()}")
    print()
    for measure in MEASURES:
        value = linear_slope(table, measure)
        text = "-" if value is None else f"{value:.2f}"
        print(f"slope of our {measure} from 1e5 to 1e7 rows: {text}   goal: about 1")


def draw(table, path):
    """Picture of the seconds by size."""
    panels = {(p, m): curves(table, p, m) for m in MEASURES for p in PANELS}
    plot_scale(panels, highlight="skdeepad", path=path)
