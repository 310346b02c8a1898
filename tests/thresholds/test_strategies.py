"""Threshold strategies on scores where the answer is known."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from skdeepad import AutoencoderDetector
from skdeepad.thresholds import Fixed, MaxTrain, Quantile, ROCOptimal, make_threshold
from tests.conftest import make

SCORES = np.array([-9.0, -4.0, -3.0, -2.0, -1.0])
LABELS = np.array([-1, 1, -1, 1, 1])


def test_max_train_flags_the_most_extreme_row():
    offset = MaxTrain().find_offset(SCORES)
    assert (SCORES < offset).tolist() == [True, False, False, False, False]
    offset = MaxTrain().find_offset(SCORES, LABELS)
    assert (SCORES < offset).tolist() == [True, True, False, False, False]


def test_max_train_of_constant_scores_flags_nothing():
    assert MaxTrain().find_offset(np.full(4, -2.0)) == -2.0


def test_quantile_is_isolation_forests():
    X = np.random.default_rng(0).normal(size=(200, 2))
    forest = IsolationForest(contamination=0.1, random_state=0).fit(X)
    offset = Quantile(0.1).find_offset(forest.score_samples(X))
    assert offset == pytest.approx(forest.offset_)
    assert Quantile(0.5).find_offset(SCORES, LABELS) == -2.0
    with pytest.raises(ValueError, match=r"in the range \(0.0, 0.5\]"):
        Quantile(0.6).find_offset(SCORES)


@pytest.mark.parametrize("seed", range(20))
def test_roc_is_the_best_of_all_cuts(seed):
    """Brute force over every cut; ties and few rows included."""
    rng = np.random.default_rng(seed)
    y = np.r_[1, -1, rng.choice([1, -1], size=rng.integers(1, 12))]
    scores = rng.integers(0, 8, size=len(y)) + 2.0 * (y == 1)

    def product(offset):
        flagged = scores < offset
        return flagged[y == -1].mean() * (~flagged[y == 1]).mean()

    cuts = np.r_[scores, scores + 0.5, scores - 0.5]
    best = max(product(cut) for cut in cuts)
    if best == 0:
        with pytest.warns(UserWarning, match="No threshold separates"):
            offset = ROCOptimal().find_offset(scores, y)
        assert not (scores < offset).any()
    else:
        offset = ROCOptimal().find_offset(scores, y)
        assert product(offset) == pytest.approx(best)
        fewest = min((scores < cut).sum() for cut in cuts if product(cut) == best)
        assert (scores < offset).sum() == fewest


def test_roc_of_neighbouring_numbers_still_separates():
    scores = np.array([1.0, np.nextafter(1.0, 2)])
    offset = ROCOptimal().find_offset(scores, np.array([-1, 1]))
    assert (scores < offset).tolist() == [True, False]


def test_roc_of_constant_scores_warns_and_flags_nothing():
    with pytest.warns(UserWarning, match="No threshold separates"):
        assert ROCOptimal().find_offset(np.zeros(4), np.array([1, 1, -1, -1])) == 0


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "needs labels"),
        ([1, 1, 1, 1, 1], r"no row is -1 \(anomaly\)"),
        ([-1, -1, -1, -1, -1], r"no row is \+1 \(normal\)"),
        ([0, 0, 1, 0, 1], r"got values \[0, 1\]"),
        (np.array(["a", "b", "a", "a", "b"], dtype=object), r"\['a', 'b'\]"),
    ],
)
def test_roc_refuses_labels_it_can_not_use(y, message):
    with pytest.raises(ValueError, match=message):
        ROCOptimal().find_offset(SCORES, y)


@pytest.mark.parametrize("strategy", [MaxTrain(), Quantile(), ROCOptimal()])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_must_be_finite(strategy, bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        strategy.find_offset(np.r_[SCORES, bad], np.r_[LABELS, 1])


@pytest.mark.parametrize("strategy", [MaxTrain(), Quantile()])
def test_no_normal_row(strategy):
    with pytest.raises(ValueError, match="No row is labelled"):
        strategy.find_offset(SCORES, -np.ones(5))


@pytest.mark.parametrize(
    ("threshold", "contamination", "expected"),
    [
        ("auto", "auto", MaxTrain),
        ("auto", 0.2, Quantile),
        ("max_train", "auto", MaxTrain),
        ("quantile", "auto", Quantile),
        ("quantile", 0.2, Quantile),
        ("roc", "auto", ROCOptimal),
        (0.5, "auto", Fixed),
        (np.float32(2), "auto", Fixed),
        (3, "auto", Fixed),
    ],
)
def test_short_names(threshold, contamination, expected):
    strategy = make_threshold(threshold, contamination)
    assert type(strategy) is expected
    if expected is Quantile:
        assert strategy.contamination == (0.1 if contamination == "auto" else 0.2)


@pytest.mark.parametrize("threshold", ["max_train", "roc", 0.5, MaxTrain()])
def test_contamination_beside_another_strategy_is_an_error(threshold):
    with pytest.raises(ValueError, match="has no effect"):
        make_threshold(threshold, 0.1)


@pytest.mark.parametrize("threshold", ["best", object(), None, np.nan, True])
def test_unknown_thresholds(threshold):
    with pytest.raises(ValueError, match=r"not known|neither a name|in the range"):
        make_threshold(threshold)


def test_any_object_with_find_offset(problem):
    X, _ = problem

    class Median:
        def find_offset(self, scores, y=None):
            return float(np.median(scores))

    detector = make(AutoencoderDetector, threshold=Median()).fit(X)
    assert (detector.predict(X) == -1).mean() == 0.5
    detector.fit_threshold(X, threshold=MaxTrain())
    assert (detector.predict(X) == -1).sum() == 1


def test_fixed_is_the_largest_normal_anomaly_score(problem):
    X, _ = problem
    detector = make(AutoencoderDetector, threshold=0.8).fit(X)
    scores = -detector.score_samples(X)
    np.testing.assert_array_equal(detector.predict(X) == -1, scores > 0.8)
