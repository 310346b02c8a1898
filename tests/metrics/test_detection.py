"""Detection metrics against brute force."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skdeepad import metrics
from skdeepad.metrics import (
    average_precision,
    partial_roc_auc,
    precision_at_n,
    recall_at_fpr,
)

METRICS = [getattr(metrics, name) for name in metrics.__all__]
SEEDS = pytest.mark.parametrize("seed", range(20))


def draw(seed, n_more):
    """A few rows with many ties."""
    rng = np.random.default_rng(seed)
    y = np.r_[1, -1, rng.choice([1, -1], size=n_more)]
    return y, rng.integers(0, 4, size=len(y)) + 1.0 * (y == 1)


def roc_points(y, scores):
    """FPR and TPR of every cut, the strictest first."""
    cuts = [-np.inf, *np.unique(scores)]
    fpr = [np.mean(scores[y == 1] <= cut) for cut in cuts]
    tpr = [np.mean(scores[y == -1] <= cut) for cut in cuts]
    return np.array(fpr), np.array(tpr)


@SEEDS
def test_average_precision_sums_over_cuts(seed):
    y, scores = draw(seed, 10)
    expected, recall_before = 0, 0
    for cut in np.unique(scores):
        flagged = scores <= cut
        recall = np.mean(flagged[y == -1])
        expected += (recall - recall_before) * np.mean(y[flagged] == -1)
        recall_before = recall
    assert average_precision(y, scores) == pytest.approx(expected)


@SEEDS
def test_precision_at_n_is_the_mean_over_all_orders_of_ties(seed):
    y, scores = draw(seed, 4)
    # Every order of rows, sorted stably: every way to break the ties.
    orders = np.array(list(permutations(range(len(y)))))
    ranked = np.take_along_axis(orders, np.argsort(scores[orders], kind="stable"), 1)
    for n in [*range(1, len(y) + 1), None]:
        first = ranked[:, : np.sum(y == -1) if n is None else n]
        expected = np.mean(y[first] == -1)
        assert precision_at_n(y, scores, n) == pytest.approx(expected)


@SEEDS
@pytest.mark.parametrize("max_fpr", [0, 0.1, 0.25, 0.5, 1])
def test_recall_at_fpr_is_the_best_of_all_cuts(seed, max_fpr):
    y, scores = draw(seed, 12)
    fpr, tpr = roc_points(y, scores)
    best = max(t for f, t in zip(fpr, tpr, strict=True) if f <= max_fpr)
    assert recall_at_fpr(y, scores, max_fpr) == best


def test_recall_at_fpr_leaves_room_for_rounding():
    y, scores = [1] * 10 + [-1], [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1]
    assert recall_at_fpr(y, scores, max_fpr=0.1) == 1
    assert 1 - 0.9 < 0.1
    assert recall_at_fpr(y, scores, max_fpr=1 - 0.9) == 1
    assert recall_at_fpr(y, scores, max_fpr=0.0999) == 0


def test_recall_at_fpr_takes_a_point_on_a_straight_line():
    y, scores = np.tile([1, -1], 20), np.repeat(np.arange(20.0), 2)
    assert recall_at_fpr(y, scores) == 0.05
    assert recall_at_fpr(y, scores, max_fpr=0.15) == 0.15


@SEEDS
@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_partial_roc_auc_is_mcclishs_area(seed, max_fpr):
    y, scores = draw(seed, 12)
    fpr, tpr = roc_points(y, scores)
    area = 0
    for i in range(len(fpr) - 1):
        end = min(fpr[i + 1], max_fpr)
        if end > fpr[i]:
            slope = (tpr[i + 1] - tpr[i]) / (fpr[i + 1] - fpr[i])
            width = end - fpr[i]
            area += width * (tpr[i] + slope * width / 2)
    chance = max_fpr**2 / 2
    expected = (1 + (area - chance) / (max_fpr - chance)) / 2
    assert partial_roc_auc(y, scores, max_fpr) == pytest.approx(expected)
    if max_fpr == 1:
        assert partial_roc_auc(y, scores, 1) == pytest.approx(roc_auc_score(y, scores))


@pytest.mark.parametrize("metric", METRICS)
def test_ends_of_the_scale(metric):
    y = np.r_[np.ones(30), -np.ones(10)]
    assert metric(y, y) == 1
    assert metric(y, -y) < 0.5
    share = {average_precision: 0.25, precision_at_n: 0.25, recall_at_fpr: 0}
    assert metric(y, np.zeros(40)) == pytest.approx(share.get(metric, 0.5))


@pytest.mark.parametrize("metric", METRICS)
def test_order_and_type_of_rows_do_not_matter(metric):
    y, scores = draw(0, 30)
    expected = metric(y, scores)
    order = np.random.default_rng(0).permutation(len(y))
    assert metric(y[order], scores[order]) == pytest.approx(expected)
    assert metric(y.tolist(), scores.astype(np.float32)) == pytest.approx(expected)
    assert metric(y.astype(float)[:, None], scores) == pytest.approx(expected)
    assert type(expected) is float


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("y", "scores", "message"),
    [
        (None, [1, 2, 3], "needs labels: pass y with"),
        ([0, 1, 1], [1, 2, 3], r"Labels must be \+1 .* np.where"),
        ([1, 1, 1], [1, 2, 3], r"needs both classes.* no row is -1 \(anomaly\)"),
        ([-1, -1, -1], [1, 2, 3], r"needs both classes.* no row is \+1 \(normal\)"),
        ([1, 1, -1], [1, 2, np.nan], "NaN or infinity"),
        ([1, 1, -1], [1, -np.inf, 3], "NaN or infinity"),
        ([1, 1, -1], [1, 2], r"got 3 labels and scores of shape \(2,\)"),
        ([1, 1, -1], [[1], [2], [3]], r"one number per row, .* got \(3, 1\)"),
    ],
)
def test_bad_labels_and_scores(metric, y, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(y, scores)


@pytest.mark.parametrize(
    ("metric", "params", "message"),
    [
        (precision_at_n, {"n": 0}, r"'n' parameter .* int in the range \[1, inf\)"),
        (precision_at_n, {"n": 1.5}, "'n' parameter"),
        (precision_at_n, {"n": 4}, "needs n=4 rows or more, got 3: lower n"),
        (recall_at_fpr, {"max_fpr": -0.1}, r"\[0(\.0)?, 1(\.0)?\]"),
        (recall_at_fpr, {"max_fpr": 1.1}, "'max_fpr' parameter"),
        (recall_at_fpr, {"max_fpr": np.nan}, "'max_fpr' parameter"),
        (partial_roc_auc, {"max_fpr": 0}, r"\(0(\.0)?, 1(\.0)?\]"),
        (partial_roc_auc, {"max_fpr": None}, "'max_fpr' parameter"),
    ],
)
def test_bad_parameters(metric, params, message):
    with pytest.raises(ValueError, match=message):
        metric([1, 1, -1], [1, 2, 3], **params)
