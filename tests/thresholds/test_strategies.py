"""Threshold strategies on scores where the answer is known."""

from fractions import Fraction

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skdeepad import AutoencoderDetector, PCADetector
from skdeepad.thresholds import (
    MAD,
    Conformal,
    Fixed,
    MaxTrain,
    ParetoTail,
    Quantile,
    ROCOptimal,
    make_threshold,
)
from tests.conftest import make

STRATEGIES = [
    MaxTrain(),
    Quantile(0.2),
    ROCOptimal("f_beta", beta=2.0),
    Fixed(0.5),
    Conformal(alpha=0.2, calibration_size=0.3, random_state=1),
    MAD(2.5),
    ParetoTail(alpha=0.01, tail_fraction=0.2),
]
every = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)

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


CRITERIA = {
    "tpr_tnr": (ROCOptimal(), lambda tp, fp, p, n: Fraction(tp * (n - fp), p * n)),
    "youden": (
        ROCOptimal("youden"),
        lambda tp, fp, p, n: Fraction(tp, p) + Fraction(n - fp, n) - 1,
    ),
    "f1": (
        ROCOptimal("f_beta"),
        lambda tp, fp, p, n: Fraction(2 * tp, 2 * tp + fp + p - tp),
    ),
    "f2": (
        ROCOptimal("f_beta", beta=2),
        lambda tp, fp, p, n: Fraction(5 * tp, 5 * tp + fp + 4 * (p - tp)),
    ),
    "f_half": (
        ROCOptimal("f_beta", beta=0.5),
        lambda tp, fp, p, n: Fraction(5 * tp, 5 * tp + 4 * fp + p - tp),
    ),
}


@pytest.mark.filterwarnings("ignore:No threshold separates")
@pytest.mark.parametrize("name", CRITERIA)
def test_criteria_are_best_of_all_cuts(name):
    """Brute force in exact fractions; of equal cuts, the one that flags fewest."""
    strategy, value = CRITERIA[name]
    for seed in range(150):
        rng = np.random.default_rng(seed)
        y = np.r_[1, -1, rng.choice([1, 1, -1], size=rng.integers(1, 30))]
        scores = rng.integers(0, 10, size=len(y)) + rng.integers(0, 4) * (y == 1.0)
        n_anomalies, n_normal = int((y == -1).sum()), int((y == 1).sum())

        def worth(offset, y=y, scores=scores, totals=(n_anomalies, n_normal)):
            found = int((scores[y == -1] < offset).sum())
            alarms = int((scores[y == 1] < offset).sum())
            return value(found, alarms, *totals)

        cuts = np.r_[-0.5, np.unique(scores) + 0.5]
        values = [worth(cut) for cut in cuts]
        best = cuts[values.index(max(values))]
        offset = strategy.find_offset(scores, y)
        np.testing.assert_array_equal(scores < offset, scores < best)


@pytest.mark.parametrize("n", [2, 29, 49, 98, 103])
def test_equal_cuts_are_equal_to_the_last_bit(n):
    """Anomalies and normal rows by turns: J is 1 / n after each anomaly."""
    scores, y = np.arange(2.0 * n), np.tile([-1, 1], n)
    assert ROCOptimal("youden").find_offset(scores, y) == 0.5


def test_beta_weighs_recall():
    rng = np.random.default_rng(0)
    y = np.r_[np.ones(400), -np.ones(40)]
    scores = np.r_[rng.normal(size=400), rng.normal(-1.5, size=40)]
    recalls = []
    for beta in (0.3, 1, 3):
        flagged = scores < ROCOptimal("f_beta", beta=beta).find_offset(scores, y)
        recalls.append(flagged[y == -1].mean())
    assert recalls[0] < recalls[1] < recalls[2]


def test_criteria_choose_different_cuts():
    """20 anomalies, 20 normal rows: (TPR, TNR) is (0.5, 1) or (0.7, 0.75)."""
    scores = np.repeat([0.0, 1.0, 2.0], [10, 9, 21])
    y = np.repeat([-1, -1, 1, -1, 1], [10, 4, 5, 6, 15])
    assert ROCOptimal("youden").find_offset(scores, y) == 0.5  # 0.5 over 0.45
    assert ROCOptimal().find_offset(scores, y) == 1.5  # 0.525 over 0.5


def test_f_measure_may_flag_all_rows():
    """The one anomaly is the most normal row: F1 is best where all are flagged."""
    scores, y = np.array([1.0, 2.0, 3.0]), np.array([1, 1, -1])
    offset = ROCOptimal("f_beta").find_offset(scores, y)
    assert (scores < offset).all()
    assert offset == np.nextafter(3.0, 4.0)


def test_roc_cut_is_halfway_between_its_neighbours():
    for criterion in ("tpr_tnr", "youden", "f_beta"):
        strategy = ROCOptimal(criterion)
        assert strategy.find_offset([-5.0, -4.0, -2.0, -1.0], [-1, -1, 1, 1]) == -3.0


def test_roc_cut_of_huge_scores_is_halfway():
    offset = ROCOptimal().find_offset(
        [0.9e308, 1.0e308, 1.6e308, 1.7e308], [-1, -1, 1, 1]
    )
    assert offset == pytest.approx(1.3e308)


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


@every
@pytest.mark.parametrize("scores", [SCORES[:, None], 1.0])
def test_scores_must_be_a_vector(strategy, scores):
    if isinstance(strategy, Fixed):
        pytest.skip("looks at no score")
    with pytest.raises(ValueError, match="one number per row"):
        strategy.find_offset(scores, LABELS)


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
        ("youden", "auto", ROCOptimal),
        ("f1", "auto", ROCOptimal),
        ("conformal", "auto", Conformal),
        ("mad", "auto", MAD),
        ("pareto", "auto", ParetoTail),
    ],
)
def test_short_names(threshold, contamination, expected):
    strategy = make_threshold(threshold, contamination)
    assert type(strategy) is expected
    if expected is Quantile:
        assert strategy.contamination == (0.1 if contamination == "auto" else 0.2)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("roc", "tpr_tnr"), ("youden", "youden"), ("f1", "f_beta")],
)
def test_names_of_criteria(name, expected):
    strategy = make_threshold(name)
    assert (strategy.criterion, strategy.beta) == (expected, 1.0)


@pytest.mark.parametrize(
    "threshold", ["max_train", "roc", "conformal", "mad", "f1", 0.5, MaxTrain(), MAD()]
)
def test_contamination_beside_another_strategy_is_an_error(threshold):
    with pytest.raises(ValueError, match="has no effect"):
        make_threshold(threshold, 0.1)


@pytest.mark.parametrize("threshold", ["best", object(), None, np.nan, True])
def test_unknown_thresholds(threshold):
    with pytest.raises(ValueError, match=r"not known|neither a name|no anomaly score"):
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


@every
def test_strategies_show_copy_and_give_their_parameters(strategy):
    shown = repr(strategy)
    rebuilt = eval(shown, globals())
    assert rebuilt.get_params() == strategy.get_params()
    copy = clone(strategy)
    assert copy is not strategy
    assert repr(copy) == shown
    for name, value in strategy.get_params().items():
        assert getattr(strategy, name) == value
        # Stored as it is, and refused when it is used.
        changed = clone(strategy).set_params(**{name: "stored"})
        assert getattr(changed, name) == "stored"
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            changed.find_offset(SCORES, LABELS)


def test_repr_shows_what_is_not_the_default():
    assert repr(MAD()) == "MAD()"
    assert repr(ROCOptimal("youden")) == "ROCOptimal(criterion='youden')"
    assert repr(Conformal(alpha=0.1)) == "Conformal(alpha=0.1)"


@every
def test_find_offset_gives_a_float_and_leaves_its_input_alone(strategy):
    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=300), rng.choice([1, 1, -1], size=300)
    before = scores.copy(), y.copy()
    offset = strategy.find_offset(scores, y)
    assert type(offset) is float
    assert np.isfinite(offset)
    assert strategy.find_offset(scores.tolist(), y.tolist()) == offset
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(y, before[1])


@every
def test_single_precision_parameters_are_the_numbers_they_hold(strategy):
    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=3000), rng.choice([1, 1, -1], size=3000)
    single, double = clone(strategy), clone(strategy)
    for name, value in strategy.get_params().items():
        if isinstance(value, float):
            single.set_params(**{name: np.float32(value)})
            double.set_params(**{name: float(np.float32(value))})
    assert single.find_offset(scores, y) == double.find_offset(scores, y)


def test_the_square_of_a_beta_of_half_precision_does_not_overflow():
    y = np.array([-1, -1, 1, 1, -1])
    offsets = [
        ROCOptimal("f_beta", beta=beta).find_offset(SCORES, y)
        for beta in (300.0, np.float16(300))
    ]
    assert offsets[0] == offsets[1]


@pytest.mark.parametrize(
    "threshold",
    [
        Quantile(0.0),
        ROCOptimal("gain"),
        ROCOptimal("f_beta", beta=0),
        Conformal(alpha=0.0),
        Conformal(alpha=1.0),
        Conformal(calibration_size=1.0),
        Conformal(calibration_size=5),
        Conformal(random_state="a"),
        MAD(0.0),
        MAD("3"),
        ParetoTail(alpha=0.0),
        ParetoTail(tail_fraction=1.0),
        ParetoTail(alpha=0.1, tail_fraction=0.1),
        Fixed("0.5"),
        Fixed(np.inf),
    ],
    ids=repr,
)
def test_parameters_out_of_range_are_refused_before_training(threshold, problem):
    class Untrainable(PCADetector):
        def _fit(self, X, task):
            raise AssertionError

    X, y = problem
    with pytest.raises(ValueError, match=r"parameter of|must be below tail_fraction"):
        Untrainable(threshold=threshold).fit(X, y)


def test_nested_parameters_are_set_and_searched(problem):
    X, y = problem
    detector = PCADetector(threshold=Conformal(random_state=0))
    assert detector.get_params()["threshold__alpha"] == 0.05
    detector.set_params(threshold__alpha=0.2, threshold__calibration_size=0.5)
    assert detector.threshold.alpha == 0.2
    assert clone(detector).threshold.calibration_size == 0.5

    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    grid = {"threshold__alpha": [0.03, 0.1, 0.3, 0.6]}
    search = GridSearchCV(detector, grid, scoring="balanced_accuracy", cv=folds)
    search.fit(X, y)
    by_hand = []
    for alpha in grid["threshold__alpha"]:
        each = []
        for train, test in folds.split(X, y):
            strategy = Conformal(alpha=alpha, calibration_size=0.5, random_state=0)
            fitted = PCADetector(threshold=strategy).fit(X[train], y[train])
            right = fitted.predict(X[test]) == y[test]
            each.append(np.mean([right[y[test] == label].mean() for label in (1, -1)]))
        by_hand.append(np.mean(each))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], by_hand)
    assert len(set(by_hand)) > 1
    assert search.best_params_["threshold__alpha"] in grid["threshold__alpha"]
    # The detector that was handed over is as it was.
    assert detector.threshold.alpha == 0.2


def test_strategies_themselves_are_searched(problem):
    X, y = problem
    grid = {"threshold": ["max_train", "quantile", "roc", MAD(5.0), 1e9]}
    search = GridSearchCV(PCADetector(), grid, scoring="balanced_accuracy", cv=3)
    order = np.random.default_rng(0).permutation(len(X))
    search.fit(X[order], y[order])
    means = search.cv_results_["mean_test_score"]
    assert means[-1] == pytest.approx(0.5)  # flags nothing
    assert search.best_params_["threshold"] != 1e9
    assert max(means) > 0.7


@pytest.mark.parametrize("value", [np.uint8(5), np.int8(-128), np.float32(0.5)])
def test_a_fixed_threshold_of_any_kind_of_number(value):
    offset = Fixed(value).find_offset(np.zeros(1))
    assert type(offset) is float
    assert offset == -float(value)


def test_more_labels_than_scores_are_refused():
    with pytest.raises(ValueError, match="Got 3 scores and 4 labels"):
        make_threshold("mad").find_offset(np.arange(3.0), [1, 1, 1, 1])
