"""Conformal thresholds: the definition, by brute force, and the guarantee, on data."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import OneClassSVM

from skdeepad import AutoencoderDetector, PCADetector, ThresholdedDetector
from skdeepad.thresholds import Conformal, benjamini_hochberg, conformal_p_values
from tests.conftest import make

ALPHAS = ["0.01", "0.05", "0.07", "0.1", "0.15", "0.29", "1/3", "0.5", "0.9"]


class Spy(PCADetector):
    """Remembers the rows that it was trained on."""

    def _fit(self, X, task):
        self.seen_ = X
        super()._fit(X, task)


class SpySVM(OneClassSVM):
    """The same, for the detector inside another."""

    def fit(self, X, y=None):
        self.seen_ = X
        return super().fit(X)


def where(rows, X):
    """Numbers of the rows in X, in which each is there once."""
    places = [np.flatnonzero((X == row).all(axis=1)) for row in rows]
    assert all(len(place) == 1 for place in places)
    return np.concatenate(places)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_row_is_flagged_where_its_p_value_is_at_most_alpha(alpha):
    exact = Fraction(alpha)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(np.ceil(1 / exact) - 1, 150))
        # Few values, so that many scores are equal.
        calibration = rng.integers(0, rng.integers(2, 40), size=max(n, 1)).astype(float)
        new = np.unique(np.r_[calibration, calibration + 0.5, -1.0, 99.0])
        p_values = [
            Fraction(1 + int((calibration <= score).sum()), 1 + len(calibration))
            for score in new
        ]
        offset = Conformal(alpha=float(exact)).find_offset(calibration)
        assert (new < offset).tolist() == [p <= exact for p in p_values]
        np.testing.assert_allclose(
            conformal_p_values(calibration, new), np.array(p_values, float), rtol=1e-15
        )


@pytest.mark.parametrize("alpha", ALPHAS)
def test_as_many_rows_as_the_smallest_p_value_needs(alpha):
    exact = Fraction(alpha)
    needed = next(n for n in range(1, 200) if Fraction(1, n + 1) <= exact)
    assert np.isfinite(Conformal(alpha=float(exact)).find_offset(np.arange(needed)))
    if needed > 1:
        message = rf"alpha=0\.\d+ needs {needed} held-out .* got {needed - 1}\."
        with pytest.raises(ValueError, match=message):
            Conformal(alpha=float(exact)).find_offset(np.arange(needed - 1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_smallest_alpha_of_low_precision(dtype):
    """It is refused where it is less than that of so many rows, by however little."""
    for n in range(10, 200):
        conformal = Conformal(alpha=dtype(1 / (n + 1)))
        if Fraction(float(conformal.alpha)) < Fraction(1, n + 1):
            with pytest.raises(ValueError, match=f"needs {n + 1} held-out"):
                conformal.find_offset(np.arange(n))
        else:
            assert conformal.find_offset(np.arange(n)) == 0.0


def test_nineteen_rows_at_five_per_cent():
    scores = np.arange(19.0)
    assert Conformal(alpha=0.05).find_offset(scores) == 0.0
    with pytest.raises(
        ValueError, match="needs 19 held-out normal rows or more, got 1"
    ):
        Conformal(alpha=0.05).find_offset(scores[1:])
    # 0.29 * 100 is 28.999999999999996.
    assert Conformal(alpha=0.29).find_offset(np.arange(99.0)) == 28.0
    # Anomalies don't count and don't matter.
    y = np.r_[np.ones(18), -1]
    with pytest.raises(ValueError, match="got 18"):
        Conformal(alpha=0.05).find_offset(scores, y)
    offset = Conformal().find_offset(np.r_[scores, -99.0], np.r_[np.ones(19), -1])
    assert offset == 0.0


def test_too_few_held_out_rows_are_refused_before_training(problem):
    X, _ = problem

    class Untrainable(PCADetector):
        def _fit(self, X, task):
            raise AssertionError

    for n_rows, n_held_out in ((90, 18), (40, 8)):
        with pytest.raises(ValueError, match=f"got {n_held_out}"):
            Untrainable(threshold="conformal").fit(X[:n_rows])
    detector = PCADetector(threshold="conformal").fit(X[:95])
    assert len(detector.calibration_scores_) == 19
    with pytest.raises(ValueError, match="got 18"):
        detector.fit_threshold(X[:18])


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_held_out_rows_are_not_trained_on(labelled, wrapped, problem):
    X, y = problem
    threshold = Conformal(calibration_size=0.25, random_state=0)
    if wrapped:
        detector = ThresholdedDetector(SpySVM(), threshold=threshold)
    else:
        detector = Spy(threshold=threshold)
    detector.fit(X, y if labelled else None)
    seen = where((detector.estimator_ if wrapped else detector).seen_, X)
    normal = np.flatnonzero(y == 1) if labelled else np.arange(len(X))
    assert np.isin(seen, normal).all()
    held_out = np.setdiff1d(normal, seen)
    assert len(held_out) == len(normal) - len(np.unique(seen)) == len(normal) // 4
    np.testing.assert_array_equal(
        detector.calibration_scores_, np.sort(detector.score_samples(X[held_out]))
    )
    rank = int(0.05 * (len(held_out) + 1))
    assert detector.offset_ == detector.calibration_scores_[rank - 1]


def test_the_rest_is_all_that_a_network_learns(problem):
    X, _ = problem
    threshold = Conformal(random_state=3)
    detector = make(AutoencoderDetector, threshold=threshold).fit(X)
    rest, held_out = train_test_split(X, test_size=0.2, random_state=3)
    alone = make(AutoencoderDetector).fit(rest)
    np.testing.assert_array_equal(detector.score_samples(X), alone.score_samples(X))
    np.testing.assert_array_equal(
        detector.calibration_scores_, np.sort(alone.score_samples(held_out))
    )


def test_random_state_of_the_strategy_comes_before_the_detectors(problem):
    X, _ = problem

    def seen(own, detectors):
        threshold = Conformal(random_state=own)
        detector = Spy(threshold=threshold, random_state=detectors).fit(X)
        return np.sort(where(detector.seen_, X)).tolist()

    assert seen(None, 0) == seen(None, 0) == seen(0, None) == seen(0, 5)
    assert seen(None, 0) != seen(None, 1) != seen(0, 1)
    assert seen(None, None) != seen(None, None)
    state = np.random.RandomState(0)
    assert seen(state, None) == seen(0, None)
    assert seen(state, None) != seen(0, None)  # a generator moves on


def test_calibration_scores_come_and_go_with_the_threshold(problem):
    X, _ = problem
    detector = PCADetector(random_state=0).fit(X[:100])
    assert not hasattr(detector, "calibration_scores_")
    assert not hasattr(detector, "p_values")
    detector.fit_threshold(X[100:], threshold="conformal")
    scores = detector.score_samples(X[100:])
    # All rows that are given: none is held out again.
    np.testing.assert_array_equal(detector.calibration_scores_, np.sort(scores))
    np.testing.assert_array_equal(
        detector.p_values(X), conformal_p_values(scores, detector.score_samples(X))
    )
    detector.fit_threshold(X[100:], threshold="max_train")
    assert not hasattr(detector, "calibration_scores_")
    assert not hasattr(detector, "predict_fdr")

    detector.set_params(threshold="conformal").fit(X)
    assert detector.calibration_scores_.shape == (40,)
    detector.set_params(threshold="auto").fit(X)
    assert not hasattr(detector, "calibration_scores_")


@pytest.mark.parametrize("method", ["p_values", "predict_fdr"])
def test_p_values_need_a_conformal_threshold(method, problem):
    X, _ = problem
    for detector in (PCADetector(), ThresholdedDetector(OneClassSVM())):
        with pytest.raises(AttributeError, match=f"no attribute '{method}'") as error:
            getattr(detector.fit(X), method)
        assert "fit with threshold='conformal', or call" in str(error.value.__cause__)


def test_anomalies_have_small_p_values(problem):
    X, y = problem
    threshold = Conformal(calibration_size=0.5, random_state=0)
    detector = PCADetector(n_components=2, threshold=threshold).fit(X[:140])
    p_values = detector.p_values(X[140:])
    assert p_values[y[140:] == -1].mean() < 0.1 < p_values[y[140:] == 1].mean()
    np.testing.assert_array_equal(
        detector.predict(X[140:]) == -1, p_values <= threshold.alpha
    )


def test_p_values_of_normal_rows_are_uniform():
    rng = np.random.default_rng(0)
    draws = rng.gamma(1.5, size=(4000, 10))
    p_values = [conformal_p_values(row[1:], row[:1])[0] for row in draws]
    counts = np.bincount(np.rint(np.multiply(p_values, 10)).astype(int), minlength=11)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:]).pvalue > 0.001
    # Equal scores make them larger, never smaller.
    ties = rng.integers(0, 3, size=(4000, 10))
    p_values = np.array([conformal_p_values(row[1:], row[:1])[0] for row in ties])
    for alpha in (0.1, 0.3, 0.5):
        assert (p_values <= alpha).mean() < alpha + 3 * np.sqrt(alpha / 4000)


def step_up(p_values, fdr):
    """Benjamini and Hochberg (1995): the largest k with p_(k) <= k / m * fdr."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    n_flagged = 0
    for k, i in enumerate(order, start=1):
        if p_values[i] <= fdr * k / len(p_values):
            n_flagged = k
    flagged = [False] * len(p_values)
    for i in order[:n_flagged]:
        flagged[i] = True
    return flagged


def test_benjamini_hochberg_is_the_step_up_procedure():
    """In exact fractions: conformal p-values often lie on the line itself."""
    some = set()
    for seed in range(400):
        rng = np.random.default_rng(seed)
        n_calibration, n_rows = int(rng.integers(5, 60)), int(rng.integers(1, 30))
        ranks = rng.integers(1, n_calibration + 2, size=(2, n_rows)).min(axis=0)
        exact = [Fraction(int(rank), n_calibration + 1) for rank in ranks]
        for fdr in ("0.05", "0.1", "0.2", "0.3"):
            flagged = benjamini_hochberg(np.array(exact, float), float(fdr)).tolist()
            assert flagged == step_up(exact, Fraction(fdr))
            some.add(any(flagged) and not all(flagged))
    assert some == {False, True}


def test_benjamini_hochberg_of_continuous_p_values():
    rng = np.random.default_rng(0)
    p_values = np.r_[rng.random(80), 0.001 * rng.random(20)]
    flagged = benjamini_hochberg(p_values, 0.1)
    assert flagged.dtype == bool
    assert flagged.tolist() == step_up(p_values, 0.1)
    assert not benjamini_hochberg([0.5, 0.6], 0.1).any()
    assert benjamini_hochberg([0.01, 0.02], 0.1).all()


@pytest.mark.parametrize("fdr", [0, 1, -0.1, 1.5])
def test_share_of_false_discoveries_must_be_a_share(fdr, problem):
    X, _ = problem
    detector = PCADetector(threshold="conformal", random_state=0).fit(X)
    with pytest.raises(ValueError, match=r"fdr must be in \(0, 1\)"):
        detector.predict_fdr(X, fdr=fdr)


def test_predict_fdr_is_benjamini_hochberg_of_the_p_values(problem):
    X, _ = problem
    threshold = Conformal(calibration_size=0.5, random_state=0)
    detector = PCADetector(n_components=2, threshold=threshold).fit(X[:140])
    rows = X[140:]  # 40 normal ones and 20 anomalies
    shares = []
    for fdr in (0.03, 0.1, 0.3):
        labels = detector.predict_fdr(rows, fdr=fdr)
        assert set(labels) <= {-1, 1}
        expected = step_up(detector.p_values(rows), fdr)
        np.testing.assert_array_equal(labels == -1, expected)
        shares.append(np.mean(expected))
    assert 0 < shares[1] < shares[2] < 1
    np.testing.assert_array_equal(
        detector.predict_fdr(rows), detector.predict_fdr(rows, fdr=0.1)
    )


# The guarantee, on real data: rows drawn again and again from the digits.

N_DRAWS = 200


def mean_and_error(values):
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


@pytest.fixture(scope="module")
def digits():
    X, digit = load_digits(return_X_y=True)
    # Every other row and column of pixels: quick, and still digits.
    return X.reshape(-1, 8, 8)[:, ::2, ::2].reshape(len(X), 16), digit


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_false_alarm_rate_of_new_normal_rows(alpha, digits):
    """All digits are normal: 200 rows to fit with, the other 1597 are new."""
    X, _ = digits
    rates, of_training_rows = [], []
    for seed in range(N_DRAWS):
        train, test = train_test_split(X, train_size=200, random_state=seed)
        threshold = Conformal(alpha=alpha, calibration_size=0.5, random_state=seed)
        detector = PCADetector(threshold=threshold).fit(train)
        rates.append((detector.predict(test) == -1).mean())
        detector = PCADetector(contamination=alpha).fit(train[:100])
        of_training_rows.append((detector.predict(test) == -1).mean())
    mean, error = mean_and_error(rates)
    assert mean <= alpha + 3 * error
    assert mean >= alpha - 1 / 101 - 3 * error
    # A threshold on rows that were trained on has no such rate.
    mean, error = mean_and_error(of_training_rows)
    assert mean > alpha + 3 * error


@pytest.mark.parametrize("fdr", [0.1, 0.3])
def test_share_of_false_discoveries(fdr, digits):
    """Zeros and sixes are normal, all other digits anomalies, 40 in each test."""
    X, digit = digits
    is_normal = np.isin(digit, (0, 6))
    normal, anomalies = X[is_normal], X[~is_normal]
    false_shares, found = [], []
    for seed in range(N_DRAWS):
        train, test = train_test_split(normal, train_size=240, random_state=seed)
        rng = np.random.default_rng(seed)
        rows = np.r_[test, rng.choice(anomalies, 40, replace=False)]
        threshold = Conformal(calibration_size=0.5, random_state=seed)
        detector = PCADetector(threshold=threshold).fit(train)
        flagged = detector.predict_fdr(rows, fdr=fdr) == -1
        false_shares.append(flagged[: len(test)].sum() / max(1, flagged.sum()))
        found.append(flagged[len(test) :].mean())
    mean, error = mean_and_error(false_shares)
    assert mean <= fdr + 3 * error
    # The procedure has the normal rows' share of fdr, were p-values not discrete.
    assert mean >= 0.7 * fdr * len(test) / len(rows) - 3 * error
    assert np.mean(found) > 0.5


def test_a_score_that_is_not_a_number_has_no_p_value():
    with pytest.raises(ValueError, match="NaN"):
        conformal_p_values([1.0, 2.0], [np.nan])


def test_an_alpha_of_almost_one():
    assert Conformal(alpha=1 - 1e-12).find_offset(np.arange(5.0)) == 4.0


def test_bad_p_values_and_scores_are_refused():
    with pytest.raises(ValueError, match="got 2 dimensions"):
        benjamini_hochberg([[0.01, 0.5]], fdr=0.1)
    for wrong in (np.nan, 1.1, -0.1):
        with pytest.raises(ValueError, match=r"p_values must be numbers in \[0, 1\]"):
            benjamini_hochberg([0.5, wrong], fdr=0.1)
    with pytest.raises(ValueError, match="one number per row"):
        conformal_p_values([0.0, 1.0], [[1.0]])
    with pytest.raises(ValueError, match="calibration_scores is empty"):
        conformal_p_values([], [1.0])


@pytest.mark.parametrize("k", [49, 98, 103, 107, 196])
def test_as_many_rows_as_are_needed_are_enough(k):
    """1 / (1 / k) may be more than k by a last bit."""
    assert Conformal(alpha=1 / k).find_offset(np.arange(k - 1.0)) == 0


@pytest.mark.parametrize("fdr", ["0.1", None])
def test_a_share_must_be_a_number(fdr):
    with pytest.raises(ValueError, match=r"fdr must be in \(0, 1\)"):
        benjamini_hochberg([0.01], fdr=fdr)


def test_one_p_value_is_no_vector():
    with pytest.raises(ValueError, match="got 0 dimensions"):
        benjamini_hochberg(0.01, fdr=0.1)
