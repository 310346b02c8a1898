"""ThresholdedDetector: any detector in, thresholds and probabilities out."""

import pickle
import re
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import isotonic_regression, minimize
from scipy.stats import median_abs_deviation, norm
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_score,
)
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdeepad import AutoencoderDetector, KDEDetector, PCADetector, ThresholdedDetector
from skdeepad.model_selection import (
    OneClassKFold,
    average_precision_scorer,
    label_free_scorer,
)
from skdeepad.thresholds import MAD, Conformal, ROCOptimal, make_threshold
from skdeepad.thresholds._make import STRATEGIES
from tests.conftest import Tasks

DETECTORS = {
    "OneClassSVM": OneClassSVM(),
    "IsolationForest": IsolationForest(n_estimators=10, random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(n_neighbors=5, novelty=True),
    "Pipeline": make_pipeline(StandardScaler(), OneClassSVM()),
}
every_detector = pytest.mark.parametrize("name", DETECTORS)


@pytest.mark.filterwarnings("ignore:y holds .* only and is ignored")
@parametrize_with_checks(
    [
        ThresholdedDetector(detector)
        for detector in (
            *DETECTORS.values(),
            AutoencoderDetector(max_epochs=5, random_state=0),
        )
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


class Counting(OneClassSVM):
    """Notes the rows and the thread of each fit."""

    fits = []

    def fit(self, X, y=None):
        self.fits.append((len(X), y, threading.get_ident()))
        return super().fit(X)


class Deciding(BaseEstimator):
    """A detector with ``decision_function`` alone."""

    def fit(self, X, y=None):
        self.center_ = np.mean(X, axis=0)
        return self

    def decision_function(self, X):
        return -np.abs(X - self.center_).sum(axis=1)


@pytest.fixture
def fits():
    Counting.fits.clear()
    return Counting.fits


# Thresholds of training rows.


@every_detector
@pytest.mark.parametrize("threshold", STRATEGIES)
def test_every_strategy_with_every_detector(name, threshold, problem):
    X, y = problem
    detector = ThresholdedDetector(DETECTORS[name], threshold=threshold).fit(X, y)
    scores = detector.score_samples(X)
    assert type(detector.offset_) is float
    assert np.isfinite(detector.offset_)
    np.testing.assert_array_equal(
        detector.predict(X), np.where(scores >= detector.offset_, 1, -1)
    )
    np.testing.assert_array_equal(
        detector.decision_function(X), scores - detector.offset_
    )
    if threshold == "conformal":  # which holds rows out: in test_conformal.py
        assert detector.p_values(X).shape == y.shape
        return
    # Trained on the normal rows, and scored as the detector itself does.
    alone = clone(DETECTORS[name]).fit(X[y == 1])
    np.testing.assert_allclose(scores, alone.score_samples(X), rtol=1e-7)
    expected = make_threshold(threshold).find_offset(scores, y)
    assert detector.offset_ == pytest.approx(expected, rel=1e-12)


@every_detector
def test_unlabelled_rows(name, problem):
    X, _ = problem
    detector = ThresholdedDetector(DETECTORS[name], contamination=0.05)
    labels = detector.fit_predict(X)
    assert (labels == -1).sum() == 10
    with pytest.raises(ValueError, match="needs labels"):
        detector.set_params(contamination="auto", threshold="roc").fit(X)


@pytest.mark.parametrize("wrap", [lambda d: d, make_pipeline])
def test_novelty_is_asked_for(wrap, problem):
    with pytest.raises(ValueError, match="with novelty=True only"):
        ThresholdedDetector(wrap(LocalOutlierFactor())).fit(problem[0])


def test_detectors_with_one_method_only(problem):
    X, y = problem
    deciding = ThresholdedDetector(Deciding(), threshold="roc").fit(X, y)
    np.testing.assert_allclose(
        deciding.score_samples(X), -np.abs(X - X[y == 1].mean(axis=0)).sum(axis=1)
    )
    scoring = ThresholdedDetector(GaussianMixture(random_state=0)).fit(X, y)
    expected = GaussianMixture(random_state=0).fit(X[y == 1]).score_samples(X)
    np.testing.assert_allclose(scoring.score_samples(X), expected, rtol=1e-7)


def test_the_estimator_sees_normal_rows_without_labels(fits, problem):
    X, y = problem
    original = Counting()
    detector = ThresholdedDetector(original).fit(X, y)
    assert [fit[:2] for fit in fits] == [(180, None)]
    assert not hasattr(original, "support_")
    assert detector.estimator_ is not original
    detector.fit_threshold(X, y, threshold="roc").fit_threshold(X[:50])
    assert len(fits) == 1
    assert detector.offset_ == np.nextafter(
        detector.score_samples(X[:50]).min(), np.inf
    )


# Thresholds of out-of-fold scores.


def out_of_fold(estimator, X, y, folds):
    """Mean score of each tested row, and its number."""
    found = {}
    for train, test in folds:
        rows = train if y is None else train[y[train] == 1]
        model = clone(estimator).fit(X[rows])
        for row, score in zip(test, model.score_samples(X[test]), strict=True):
            found.setdefault(row, []).append(score)
    rows = np.array(sorted(found))
    return np.array([np.mean(found[row]) for row in rows]), rows


CVS = {
    "int": (4, StratifiedKFold(4)),
    "splitter": (KFold(5, shuffle=True, random_state=0),) * 2,
    "split anomalies": (OneClassKFold(4, anomalies="split"),) * 2,
    "all anomalies": (OneClassKFold(4),) * 2,
    "repeated": (RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),) * 2,
}


@pytest.mark.parametrize("threshold", ["max_train", "roc", "f1", "conformal", "mad"])
@pytest.mark.parametrize("cv", CVS)
def test_offset_of_out_of_fold_scores(cv, threshold, problem):
    X, y = problem
    given, splitter = CVS[cv]
    estimator = DETECTORS["Pipeline"]
    detector = ThresholdedDetector(estimator, threshold=threshold, cv=given).fit(X, y)
    scores, rows = out_of_fold(estimator, X, y, splitter.split(X, y))
    expected = make_threshold(threshold).find_offset(scores, y[rows])
    assert detector.offset_ == pytest.approx(expected, rel=1e-6)
    # The detector in use learns from all normal rows.
    alone = clone(estimator).fit(X[y == 1])
    np.testing.assert_allclose(
        detector.score_samples(X), alone.score_samples(X), rtol=1e-7
    )


def test_out_of_fold_scores_without_labels(problem):
    X, _ = problem
    estimator = DETECTORS["Pipeline"]
    folds = list(KFold(3).split(X))
    scores, _ = out_of_fold(estimator, X, None, folds)
    for cv in (3, folds, iter(folds)):
        detector = ThresholdedDetector(estimator, threshold="mad", cv=cv).fit(X)
        assert detector.offset_ == pytest.approx(MAD().find_offset(scores), rel=1e-6)


def test_rows_tested_in_part_are_scored_in_part(problem):
    X, y = problem
    estimator = DETECTORS["Pipeline"]
    folds = [(np.arange(0, 150), np.arange(150, 190)), (np.arange(50), np.arange(199))]
    detector = ThresholdedDetector(estimator, threshold="f1", cv=folds).fit(X, y)
    scores, rows = out_of_fold(estimator, X, y, folds)
    assert len(rows) == 199
    expected = ROCOptimal("f_beta").find_offset(scores, y[rows])
    assert detector.offset_ == pytest.approx(expected, rel=1e-6)


def test_cv_shows_what_training_scores_hide():
    """A density that has learnt its rows by heart takes new ones for anomalies."""
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(100, 10)), rng.normal(size=(2000, 10))
    kde = KDEDetector(bandwidth=0.3)
    alarms = {}
    for cv in (None, 5):
        detector = ThresholdedDetector(kde, contamination=0.1, cv=cv).fit(X)
        alarms[cv] = (detector.predict(new) == -1).mean()
    assert alarms[None] > 0.9
    assert alarms[5] < 0.3


def test_conformal_p_values_of_out_of_fold_scores(problem):
    X, y = problem
    estimator = DETECTORS["Pipeline"]
    threshold = Conformal(alpha=0.01)  # 180 rows are enough, a held-out fifth is not
    detector = ThresholdedDetector(estimator, threshold=threshold, cv=5).fit(X, y)
    scores, rows = out_of_fold(estimator, X, y, StratifiedKFold(5).split(X, y))
    expected = np.sort(scores[y[rows] == 1])
    np.testing.assert_allclose(detector.calibration_scores_, expected, rtol=1e-6)
    # Rows tested twice are no more rows.
    detector.set_params(cv=RepeatedKFold(n_splits=5, n_repeats=2)).fit(X, y)
    assert len(detector.calibration_scores_) == 180
    with pytest.raises(ValueError, match="got 36"):
        detector.set_params(cv=None).fit(X, y)


def test_folds_train_once_each_and_side_by_side(fits, problem):
    X, y = problem
    detector = ThresholdedDetector(Counting(), cv=OneClassKFold(3)).fit(X, y)
    assert [fit[0] for fit in fits] == [180, 120, 120, 120]
    assert {fit[2] for fit in fits} == {threading.get_ident()}
    fits.clear()
    with joblib.parallel_config(backend="threading"):
        parallel = clone(detector).set_params(n_jobs=2).fit(X, y)
    assert threading.get_ident() not in {fit[2] for fit in fits[1:]}
    assert parallel.offset_ == detector.offset_


def test_folds_train_in_other_processes(problem):
    X, y = problem
    detector = ThresholdedDetector(OneClassSVM(), threshold="roc", cv=3).fit(X, y)
    parallel = clone(detector).set_params(n_jobs=2).fit(X, y)
    assert parallel.offset_ == detector.offset_


def test_folds_need_normal_rows(problem):
    X, y = problem
    folds = [(np.arange(180, 190), np.arange(190, 200))]
    with pytest.raises(ValueError, match="no normal row"):
        ThresholdedDetector(OneClassSVM(), cv=folds).fit(X, y)
    with pytest.raises(ValueError, match="needs labels"):
        ThresholdedDetector(OneClassSVM(), cv=OneClassKFold(3)).fit(X)


@pytest.mark.parametrize("cv", [None, 3])
def test_frozen_detectors_are_not_trained_again(cv, fits, problem):
    X, y = problem
    fitted = Counting().fit(X[:50])
    fits.clear()
    detector = ThresholdedDetector(FrozenEstimator(fitted), threshold="roc", cv=cv)
    detector.fit(X[50:], y[50:])
    assert fits == []
    scores = fitted.score_samples(X)
    np.testing.assert_allclose(detector.score_samples(X), scores, rtol=1e-7)
    expected = ROCOptimal().find_offset(scores[50:], y[50:])
    assert detector.offset_ == pytest.approx(expected, rel=1e-6)


# Kinds of input.


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("threshold", ["roc", Conformal(random_state=0)], ids=repr)
def test_data_frames_lists_and_sparse_rows(threshold, cv, problem):
    X, y = problem
    X = StandardScaler().fit_transform(X)
    detector = ThresholdedDetector(OneClassSVM(), threshold=threshold, cv=cv)
    expected = clone(detector).fit(X, y)
    assert not hasattr(expected, "feature_names_in_")
    assert expected.n_features_in_ == 6

    frame = pd.DataFrame(X, columns=list("abcdef"))
    named = clone(detector).fit(frame, pd.Series(y))
    assert list(named.feature_names_in_) == list("abcdef")
    np.testing.assert_array_equal(named.predict(frame), expected.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        named.predict(frame[list("fedcba")])
    # No names are left of the fit before.
    assert not hasattr(named.fit(X, y), "feature_names_in_")

    listed = clone(detector).fit(X.tolist(), y.tolist())
    assert listed.offset_ == expected.offset_
    np.testing.assert_array_equal(listed.predict(X.tolist()), expected.predict(X))

    for kind in (sparse.csr_matrix, sparse.csr_array, sparse.coo_array):
        thin = clone(detector).fit(kind(X), y)
        assert thin.offset_ == pytest.approx(expected.offset_, rel=1e-6)
        np.testing.assert_allclose(
            thin.score_samples(kind(X)), expected.score_samples(X), rtol=1e-6
        )


def test_a_pipeline_passes_names_on_and_fills_gaps(problem):
    from sklearn.impute import SimpleImputer

    X, y = problem
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame.iloc[3, 2] = np.nan
    pipeline = make_pipeline(SimpleImputer(), *DETECTORS["Pipeline"])
    detector = ThresholdedDetector(pipeline, threshold="roc", cv=4).fit(frame, y)
    assert list(detector.feature_names_in_) == list("abcdef")
    assert np.isfinite(detector.score_samples(frame)).all()


def test_tags_are_those_of_the_detector():
    tags = get_tags(ThresholdedDetector(OneClassSVM()))
    assert tags.input_tags.sparse
    assert tags.estimator_type == "outlier_detector"
    assert not get_tags(ThresholdedDetector(PCADetector())).input_tags.sparse


# Probabilities.


@pytest.fixture
def labelled():
    """Rows to fit on and rows to judge by; both classes overlap."""
    rng = np.random.default_rng(1)
    X = np.r_[rng.normal(size=(600, 3)), 2.2 * rng.normal(size=(200, 3))]
    y = np.r_[np.ones(600, dtype=int), -np.ones(200, dtype=int)]
    order = rng.permutation(800)
    X, y = X[order], y[order]
    return X[:400], y[:400], X[400:], y[400:]


def platt(scores, y):
    """Platt (1999): a sigmoid most likely under his smoothed targets."""
    n_normal, n_anomalies = (y == 1).sum(), (y == -1).sum()
    targets = np.where(y == 1, (n_normal + 1) / (n_normal + 2), 1 / (n_anomalies + 2))
    normal = scores[y == 1]

    def scaled(scores):
        return np.arcsinh((scores - np.median(normal)) / median_abs_deviation(normal))

    def loss(parameters):
        logits = parameters[0] * scaled(scores) + parameters[1]
        return (np.logaddexp(0, logits) - targets * logits).sum()

    slope, shift = minimize(loss, [1.0, 0.0], method="BFGS").x
    return lambda new: 1 / (1 + np.exp(-slope * scaled(new) - shift))


@pytest.mark.parametrize("cv", [None, 5])
def test_sigmoid_is_platts(cv, labelled):
    X, y, X_new, _ = labelled
    detector = ThresholdedDetector(OneClassSVM(), probability="sigmoid", cv=cv)
    detector.fit(X, y)
    scores = detector.score_samples(X)
    if cv is not None:
        folds = StratifiedKFold(cv).split(X, y)
        scores, _ = out_of_fold(OneClassSVM(), X, y, folds)
    expected = platt(scores, y)(detector.score_samples(X_new))
    np.testing.assert_allclose(detector.predict_proba(X_new)[:, 1], expected, atol=2e-3)


@pytest.mark.parametrize("farthest", [1e3, 1e90])
def test_one_extreme_anomaly_does_not_flatten_the_sigmoid(farthest):
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(500, 5)), rng.normal(size=(25, 5)) + 6]
    X[-1] = farthest
    y = np.repeat([1, -1], [500, 25])
    network = AutoencoderDetector(random_state=0)
    detector = ThresholdedDetector(network, probability="sigmoid").fit(X, y)
    anomaly = detector.predict_proba(X)[:, 0]
    assert anomaly[:500].mean() < 0.01
    assert anomaly[500:].min() > 0.7


@pytest.mark.parametrize("cv", [None, 5])
def test_isotonic_is_the_monotone_fit(cv, labelled):
    X, y, _, _ = labelled
    svm = OneClassSVM(gamma=0.3)
    frozen = FrozenEstimator(clone(svm).fit(X[y == 1]))
    # Frozen: out-of-fold scores are then those of the detector in use.
    detector = ThresholdedDetector(frozen, probability="isotonic", cv=cv).fit(X, y)
    scores = detector.score_samples(X)
    order = scores.argsort()
    expected = isotonic_regression((y[order] == 1).astype(float)).x
    found = detector.predict_proba(X[order])[:, 1]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("probability", ["sigmoid", "isotonic", "gaussian"])
@pytest.mark.parametrize("threshold", ["auto", "roc", Conformal(random_state=0)])
def test_probabilities_rise_with_the_score(probability, threshold, labelled):
    X, y, X_new, y_new = labelled
    # Not a OneClassSVM, whose scores grow with the number of rows.
    detector = ThresholdedDetector(
        GaussianMixture(), probability=probability, threshold=threshold, cv=5
    ).fit(X, y)
    proba = detector.predict_proba(X_new)
    assert detector.classes_.tolist() == [-1, 1]
    assert proba.shape == (400, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    assert proba.min() >= 0
    rising = proba[detector.score_samples(X_new).argsort(), 1]
    assert (np.diff(rising) >= 0).all()
    assert rising[0] < rising[-1]
    if probability != "gaussian":
        normal = y_new == 1
        brier = np.mean((proba[:, 1] - normal) ** 2)
        assert brier < 0.8 * normal.mean() * (1 - normal.mean())
        # Calibrated: on average as many as there are.
        assert proba[:, 1].mean() == pytest.approx(normal.mean(), abs=0.05)


def test_anomalies_tested_in_every_fold_count_once(labelled):
    X, y, X_new, y_new = labelled
    cv = OneClassKFold(10, shuffle=True, random_state=0)
    detector = ThresholdedDetector(GaussianMixture(), probability="sigmoid", cv=cv)
    mean = detector.fit(X, y).predict_proba(X_new)[:, 0].mean()
    assert mean == pytest.approx((y_new == -1).mean(), abs=0.05)


@pytest.mark.parametrize("labels", [True, False])
def test_gaussian_is_the_place_in_a_normal_distribution(labels, labelled):
    X, y, X_new, _ = labelled
    detector = ThresholdedDetector(OneClassSVM(), probability="gaussian")
    detector.fit(X, y if labels else None)
    errors = -detector.score_samples(X[y == 1] if labels else X)
    law = norm(errors.mean(), errors.std())
    expected = np.maximum(0, 2 * law.cdf(-detector.score_samples(X_new)) - 1)
    proba = detector.predict_proba(X_new)
    np.testing.assert_allclose(proba[:, 0], expected, atol=1e-9)
    np.testing.assert_allclose(proba[:, 1], 1 - expected, atol=1e-9)
    assert (proba[:, 0] == 0).any()
    assert (proba[:, 0] > 0.5).any()


def test_gaussian_of_equal_scores():
    """No deviation: all that is worse is an anomaly for certain."""
    X = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    detector = ThresholdedDetector(Deciding(), probability="gaussian").fit(X)
    proba = detector.predict_proba(np.r_[X, [[0.0, 0.0]], [[5.0, 5.0]]])
    assert proba[:, 0].tolist() == [0, 0, 0, 0, 0, 1]


def test_probabilities_of_held_out_rows_and_all_anomalies(labelled):
    """A conformal threshold holds normal rows out; anomalies are never trained on."""
    X, y, X_new, _ = labelled
    threshold = Conformal(calibration_size=0.3, random_state=0)
    detector = ThresholdedDetector(
        OneClassSVM(), probability="sigmoid", threshold=threshold
    ).fit(X, y)
    scores = detector.score_samples(X)
    held_out = np.isin(scores, detector.calibration_scores_) & (y == 1)
    assert len(detector.calibration_scores_) == np.ceil(0.3 * (y == 1).sum())
    rows = held_out | (y == -1)
    expected = platt(scores[rows], y[rows])(detector.score_samples(X_new))
    np.testing.assert_allclose(detector.predict_proba(X_new)[:, 1], expected, atol=5e-3)


def test_another_threshold_leaves_the_probabilities_as_they_are(labelled):
    X, y, X_new, _ = labelled
    detector = ThresholdedDetector(OneClassSVM(), probability="sigmoid", cv=3)
    proba = detector.fit(X, y).predict_proba(X_new)
    detector.fit_threshold(X_new, threshold="mad")
    np.testing.assert_array_equal(detector.predict_proba(X_new), proba)


def test_no_probabilities_where_none_were_asked_for(labelled):
    X, y, _, _ = labelled
    detector = ThresholdedDetector(OneClassSVM()).fit(X, y)
    assert not hasattr(detector, "predict_proba")
    with pytest.raises(AttributeError, match="no attribute 'predict_proba'") as error:
        detector.predict_proba(X)
    assert "needs probability='sigmoid', 'iso" in str(error.value.__cause__)
    detector.set_params(probability="gaussian")
    with pytest.raises(NotFittedError, match=r"set after fit.*call fit again"):
        detector.predict_proba(X)
    assert detector.fit(X, y).predict_proba(X).shape == (400, 2)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        clone(detector).predict_proba(X)


@pytest.mark.parametrize("probability", ["sigmoid", "isotonic"])
def test_calibration_needs_labels_of_both_classes(probability, fits, labelled):
    X, _, _, _ = labelled
    detector = ThresholdedDetector(Counting(), probability=probability)
    for labels, message in (
        (None, f"probability='{probability}' needs labels"),
        (np.ones(400), r"needs both classes in y; no row is -1 \(anomaly\)"),
        (np.arange(400), r"Labels must be \+1"),
        (np.arange(400) % 2, r"got values \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            detector.fit(X, labels)
    assert fits == []
    one = np.r_[-1, np.ones(399)]
    with pytest.raises(ValueError, match="needs two rows or more of each label"):
        detector.fit(X, one)
    two = np.r_[-1, -1, np.ones(398)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two that look normal
        detector.fit(X, two)
    assert np.isfinite(detector.predict_proba(X)).all()


# Parameters, searches and failures.


def test_search_over_estimator_and_threshold(problem):
    X, y = problem
    detector = ThresholdedDetector(make_pipeline(StandardScaler(), OneClassSVM()))
    grid = {
        "estimator__oneclasssvm__nu": [0.02, 0.5],
        "threshold": ["max_train", "roc", MAD(2.0)],
    }
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(detector, grid, scoring="balanced_accuracy", cv=folds)
    search.fit(X, y)
    for params, mean in zip(
        search.cv_results_["params"],
        search.cv_results_["mean_test_score"],
        strict=True,
    ):
        by_hand = []
        for train, test in folds.split(X, y):
            normal = X[train][y[train] == 1]
            svm = OneClassSVM(nu=params["estimator__oneclasssvm__nu"])
            pipeline = make_pipeline(StandardScaler(), svm).fit(normal)
            strategy = make_threshold(params["threshold"])
            offset = strategy.find_offset(pipeline.score_samples(X[train]), y[train])
            right = np.sign(pipeline.score_samples(X[test]) - offset) == y[test]
            by_hand.append(np.mean([right[y[test] == k].mean() for k in (1, -1)]))
        # Scores in use have 24 bits: the row at the cut may be on its other side.
        assert mean == pytest.approx(np.mean(by_hand), abs=0.01)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max() > 0.7
    assert set(search.predict(X)) == {-1, 1}


def test_parameters_clone_and_representation():
    detector = ThresholdedDetector(OneClassSVM(nu=0.2), threshold=MAD(2.5), cv=3)
    params = detector.get_params()
    assert (params["estimator__nu"], params["threshold__n_deviations"]) == (0.2, 2.5)
    copy = clone(detector).set_params(estimator__nu=0.3)
    assert (copy.estimator.nu, detector.estimator.nu) == (0.3, 0.2)
    assert "OneClassSVM(nu=0.2)" in repr(detector)
    assert "MAD(n_deviations=2.5)" in repr(detector)
    assert "OneClassSVM" in detector._repr_html_()
    with pytest.raises(TypeError):
        ThresholdedDetector()


def test_every_parameter_is_documented():
    section = ThresholdedDetector.__doc__.split("Parameters\n----------")[1]
    documented = re.findall(r"^(\w+) : ", section.split("Attributes\n---")[0], re.M)
    names = ThresholdedDetector(OneClassSVM()).get_params(deep=False)
    assert sorted(documented) == sorted(names)


def test_pickle_keeps_thresholds_and_probabilities(labelled):
    X, y, X_new, _ = labelled
    for probability in ("sigmoid", "isotonic", "gaussian"):
        detector = ThresholdedDetector(
            DETECTORS["Pipeline"], probability=probability, threshold="conformal", cv=3
        ).fit(X, y)
        loaded = pickle.loads(pickle.dumps(detector))
        for method in ("predict", "predict_proba", "p_values"):
            np.testing.assert_array_equal(
                getattr(loaded, method)(X_new), getattr(detector, method)(X_new)
            )


@pytest.mark.parametrize(
    ("params", "n_rows", "n_anomalies", "match"),
    [
        ({"threshold": "pareto"}, 60, 5, "tail_fraction=0.1 of 55 normal rows"),
        ({"threshold": "pareto", "cv": 5}, 15, 0, "tail_fraction=0.1 of 15"),
        ({"threshold": "conformal", "cv": 5}, 15, 0, "needs 19 .* got 15"),
        ({"probability": "sigmoid"}, 60, 1, "two rows or more of each"),
        ({"probability": "isotonic", "cv": 3}, 60, 1, "two rows or more of each"),
    ],
)
def test_too_few_rows_are_refused_before_training(
    params, n_rows, n_anomalies, match, problem, fits
):
    X, _ = problem
    y = np.r_[np.ones(n_rows - n_anomalies), -np.ones(n_anomalies)]
    detector = ThresholdedDetector(Counting(), **params)
    with pytest.raises(ValueError, match=match):
        detector.fit(X[:n_rows], y)
    assert not fits


def test_callbacks_see_the_detector_train(problem):
    X, y = problem
    inner = AutoencoderDetector(max_epochs=2, random_state=0)
    tasks = Tasks()
    pipeline = make_pipeline(StandardScaler(), ThresholdedDetector(inner, cv=2))
    pipeline.set_callbacks(tasks).fit(X, y)
    # The pipeline, its two steps, the network; and nothing of the folds.
    assert tasks.begun == ["fit"] * 4 + ["epoch"] * 2
    assert tasks.ended == ["fit", "epoch", "epoch", "fit", "fit", "fit"]
    with pytest.warns(UserWarning, match="OneClassSVM does not support callbacks"):
        ThresholdedDetector(OneClassSVM()).set_callbacks(tasks).fit(X, y)


def test_a_frozen_detector_is_left_alone(problem):
    X, y = problem
    inner = AutoencoderDetector(max_epochs=1, random_state=0)
    frozen = FrozenEstimator(inner.set_callbacks(Tasks()).fit(X))
    before, tasks = dict(vars(inner)), Tasks()
    detector = ThresholdedDetector(frozen, threshold="mad").set_callbacks(tasks)
    assert detector.fit(X, y).estimator_ is frozen
    assert dict(vars(inner)) == before
    assert vars(frozen).keys() == {"estimator"}
    assert tasks.begun == tasks.ended[::-1] == ["fit", "fit-estimator"]


def test_labels_of_probabilities_go_with_them(problem):
    X, _ = problem
    detector = ThresholdedDetector(DETECTORS["Pipeline"], probability="gaussian")
    assert detector.fit(X).classes_.tolist() == [-1, 1]
    assert not hasattr(detector.set_params(probability=None).fit(X), "classes_")


def test_folds_that_score_one_anomaly_are_too_few(problem):
    X, y = problem
    folds = [(np.arange(100), np.r_[100:150, np.flatnonzero(y == -1)[:1]])]
    detector = ThresholdedDetector(OneClassSVM(), probability="sigmoid", cv=folds)
    with pytest.raises(ValueError, match="two rows or more of each"):
        detector.fit(X, y)


def test_failed_fit_leaves_the_fitted_detector_as_it_was(problem):
    X, y = problem
    detector = ThresholdedDetector(
        DETECTORS["Pipeline"], probability="sigmoid", threshold="conformal"
    ).fit(X, y)
    expected = detector.predict_proba(X)
    broken = X.copy()
    broken[3, 2] = np.nan
    one = np.r_[np.ones(199), -1]
    for bad_X, bad_y, params in (
        (broken, y, {}),
        (X, None, {}),
        (X[:, :3], -np.ones(200), {}),
        (X, y[:-1], {}),
        (X[:, :3], one, {}),
        (X[:, :3], y, {"cv": 1000}),
        (X[:, :3], y, {"threshold": "pareto", "cv": [(np.arange(9), np.arange(30))]}),
    ):
        detector.set_params(**params)
        before = dict(vars(detector))
        with pytest.raises(ValueError, match=r"."):
            detector.fit(bad_X, bad_y)
        assert dict(vars(detector)) == before
        detector.set_params(cv=None, threshold="conformal")
    np.testing.assert_array_equal(detector.predict_proba(X), expected)


@pytest.mark.parametrize(
    "estimator",
    [
        StandardScaler(),
        KMeans(),
        make_pipeline(StandardScaler(), KMeans()),
        "OneClassSVM",
        None,
    ],
    ids=repr,
)
def test_what_gives_no_scores_is_refused(estimator, problem):
    X, _ = problem
    with pytest.raises(ValueError, match="'estimator' parameter of ThresholdedDet"):
        ThresholdedDetector(estimator).fit(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"probability": "platt"}, "'probability' parameter"),
        ({"cv": "five"}, "'cv' parameter"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter"),
        ({"threshold": "best"}, "is not known"),
        ({"contamination": 0.7}, "'contamination' parameter"),
        ({"threshold": "mad", "contamination": 0.1}, "has no effect"),
    ],
)
def test_bad_parameters(params, message, problem):
    X, _ = problem
    with pytest.raises(ValueError, match=message):
        ThresholdedDetector(OneClassSVM(), **params).fit(X)


def test_scores_must_be_one_a_row(problem):
    X, _ = problem

    class TwoColumns(Deciding):
        def decision_function(self, X):
            return np.zeros((len(X), 2))

    with pytest.raises(ValueError, match=r"TwoColumns gave scores of shape \(200, 2\)"):
        ThresholdedDetector(TwoColumns()).fit(X)


def test_labels_that_are_not_plus_and_minus_one(problem):
    X, y = problem
    expected = ThresholdedDetector(OneClassSVM()).fit(X)
    zeros_and_ones = (y == -1).astype(int)
    with pytest.warns(UserWarning, match="holds 0 and 1 only and is ignored"):
        detector = ThresholdedDetector(OneClassSVM()).fit(X, zeros_and_ones)
    assert detector.offset_ == expected.offset_
    for no_labels in (np.arange(200), np.array(["a", "b", "c", "d"] * 50)):
        detector = ThresholdedDetector(OneClassSVM()).fit(X, no_labels)
        assert detector.offset_ == expected.offset_
        with pytest.raises(ValueError, match=r"must be \+1 \(normal\) and -1"):
            ThresholdedDetector(OneClassSVM(), threshold="f1").fit(X, no_labels)
    with pytest.raises(ValueError, match="every row as an anomaly"):
        ThresholdedDetector(OneClassSVM()).fit(X, -np.ones(200))
    for same in (y.astype(object), y[:, None], y.astype(float), y.tolist()):
        detector = ThresholdedDetector(OneClassSVM(), threshold="roc").fit(X, same)
        assert detector.offset_ == pytest.approx(
            ROCOptimal().find_offset(detector.score_samples(X), y)
        )


def test_parameters_of_the_detector_inside_are_checked(labelled):
    X, y, _, _ = labelled
    for inner in (AutoencoderDetector(learning_rate=-1.0), OneClassSVM(nu=7)):
        with pytest.raises(ValueError, match=r"learning_rate|nu"):
            ThresholdedDetector(inner).fit(X, y)


@pytest.mark.parametrize("as_written", [list, np.asarray, "mask"])
def test_cv_may_be_a_list_of_folds(as_written, problem):
    X, y = problem
    folds = list(KFold(4).split(X))
    written = [
        [
            np.isin(np.arange(len(X)), part)
            if as_written == "mask"
            else as_written(part)
            for part in fold
        ]
        for fold in folds
    ]
    detectors = [
        ThresholdedDetector(OneClassSVM(), threshold="mad", cv=cv).fit(X, y)
        for cv in (KFold(4), written)
    ]
    assert detectors[0].offset_ == detectors[1].offset_


def test_cv_without_folds_is_refused(problem):
    X, _ = problem
    folds = KFold(3).split(X)
    detector = ThresholdedDetector(OneClassSVM(), cv=list(folds))
    detector.fit(X)
    with pytest.raises(ValueError, match=r"gave no folds.*a splitter"):
        detector.set_params(cv=folds).fit(X)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda forest: forest,
        lambda forest: make_pipeline(StandardScaler(), forest),
        lambda forest: make_pipeline(StandardScaler(), make_pipeline(forest)),
        ThresholdedDetector,
        lambda forest: GridSearchCV(
            make_pipeline(forest), {}, scoring=label_free_scorer, cv=KFold(2)
        ),
    ],
    ids=["alone", "pipeline", "two pipelines", "threshold", "search"],
)
def test_held_out_rows_are_drawn_by_the_detectors_own_random_state(wrap, problem):
    X, _ = problem
    forest = wrap(IsolationForest(n_estimators=5, random_state=0))
    detector = ThresholdedDetector(forest, threshold=Conformal(0.1))
    assert detector.fit(X).offset_ == detector.fit(X).offset_
    other = clone(detector).set_params(threshold__random_state=1).fit(X)
    assert other.offset_ != detector.offset_


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_an_estimators_own_threshold_gets_no_labels(in_pipeline, problem):
    X, y = problem
    estimator = PCADetector(threshold="roc")
    if in_pipeline:
        estimator = make_pipeline(StandardScaler(), estimator)
    with pytest.raises(ValueError, match="threshold='roc' to ThresholdedDetector"):
        ThresholdedDetector(estimator).fit(X, y)


@pytest.mark.parametrize("probability", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e6])
def test_probabilities_do_not_depend_on_the_unit(probability, scale, labelled):
    X, y = labelled[:2]
    detector = ThresholdedDetector(
        PCADetector(n_components=2), probability=probability, cv=5
    )
    expected = clone(detector).fit(X, y).predict_proba(X)
    assert np.ptp(expected[:, 0]) > 0.5
    np.testing.assert_allclose(
        detector.fit(scale * X, y).predict_proba(scale * X), expected, atol=1e-5
    )


@pytest.mark.parametrize(
    "X",
    [
        pd.Series(["aa bb", "cc dd"] * 50, index=range(1000, 1100)),
        pd.DataFrame(np.eye(100, 2), columns=["a", "dtype"], index=range(1000, 1100)),
    ],
)
def test_rows_are_taken_by_place_and_not_by_a_tables_labels(X):
    vectors = TfidfVectorizer() if X.ndim == 1 else StandardScaler()
    detector = ThresholdedDetector(make_pipeline(vectors, OneClassSVM())).fit(X)
    assert detector.predict(X).shape == (100,)


def test_the_estimators_random_state_is_left_alone(problem):
    X, _ = problem
    forest = IsolationForest(n_estimators=5, random_state=np.random.RandomState(0))
    first, second = (
        ThresholdedDetector(forest, threshold="conformal").fit(X).score_samples(X)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("given", [np.nan, None, [0.0, 1.0]], ids=repr)
def test_a_strategy_that_gives_no_number_is_refused(given, problem):
    class Nothing:
        def find_offset(self, scores, y=None):
            return given

    X, _ = problem
    detector = PCADetector().fit(X)
    before = detector.offset_
    with pytest.raises(ValueError, match=r"find_offset of .* gave .*: it must give"):
        detector.fit_threshold(X, threshold=Nothing())
    assert detector.offset_ == before


class UpsideDown(IsolationForest):
    """The most anomalous rows have the highest scores."""

    def score_samples(self, X):
        return -super().score_samples(X)


def test_probabilities_that_fall_with_the_score_are_warned_of(problem):
    X, y = problem
    detector = ThresholdedDetector(UpsideDown(random_state=0), probability="sigmoid")
    with pytest.warns(UserWarning, match="does not rise with the score") as caught:
        detector.fit(X, y)
    assert caught[0].filename == __file__
    scores = detector.score_samples(X)
    normal = detector.predict_proba(X)[:, 1]
    assert normal[scores.argmax()] < normal[scores.argmin()]


def test_probabilities_are_of_the_kind_that_was_fitted(problem):
    X, y = problem
    forest = IsolationForest(random_state=0)
    detector = ThresholdedDetector(forest, probability="sigmoid").fit(X, y)
    expected = detector.predict_proba(X)
    with pytest.raises(NotFittedError, match="set after fit"):
        detector.set_params(probability="gaussian").predict_proba(X)
    detector.set_params(probability="sigmoid")
    np.testing.assert_array_equal(detector.predict_proba(X), expected)


@pytest.mark.parametrize(
    "splitter",
    [StratifiedKFold(3), RepeatedStratifiedKFold(), StratifiedShuffleSplit()],
    ids=lambda splitter: type(splitter).__name__,
)
def test_stratified_folds_need_labels(splitter, problem):
    X, _ = problem
    with pytest.raises(ValueError, match="divides rows by their labels"):
        ThresholdedDetector(IsolationForest(), cv=splitter).fit(X)


def test_no_rows_are_said_to_be_none(problem):
    X, y = problem
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        ThresholdedDetector(IsolationForest()).fit(X[:0], y[:0])


def test_all_rows_of_a_frozen_detector_calibrate(problem):
    X, _ = problem
    frozen = FrozenEstimator(PCADetector().fit(X[:50]))
    detector = ThresholdedDetector(frozen, threshold="conformal").fit(X[50:])
    assert len(detector.calibration_scores_) == len(X) - 50


@pytest.mark.parametrize("part", [0, 1])
def test_a_fold_without_rows_is_refused(part, problem):
    X, _ = problem
    folds = [[list(range(100)), list(range(100, 200))] for _ in range(2)]
    for none in ([], np.zeros(200, dtype=bool)):
        folds[1][part] = none
        with pytest.raises(ValueError, match="gave a fold without rows"):
            ThresholdedDetector(PCADetector(), cv=folds).fit(X[:200])


@pytest.mark.parametrize(
    "options",
    [
        {"scoring": "roc_auc"},
        {"scoring": average_precision_scorer},
        {"scoring": ["roc_auc"], "refit": "roc_auc"},
        {"scoring": {"a": label_free_scorer, "b": "roc_auc"}, "refit": "a"},
        {"cv": OneClassKFold(3)},
    ],
    ids=str,
)
def test_a_search_by_labels_belongs_outside(options, problem):
    X, y = problem
    options = {"cv": 3, "scoring": label_free_scorer} | options
    search = GridSearchCV(PCADetector(), {"n_components": [1, 2]}, **options)
    with pytest.raises(ValueError, match=r"GridSearchCV\(ThresholdedDetector"):
        ThresholdedDetector(search, threshold="f1").fit(X, y)


def test_a_search_without_labels_may_be_inside(problem):
    X, y = problem
    grid = {"n_components": [1, 2]}
    search = GridSearchCV(PCADetector(), grid, scoring=label_free_scorer, cv=3)
    detector = ThresholdedDetector(search, threshold="f1").fit(X, y)
    assert detector.estimator_.best_score_ > 0.5
    several = {"scoring": {"a": label_free_scorer}, "refit": "a"}
    search.set_params(**several)
    assert detector.fit(X, y).estimator_.best_score_ > 0.5


def test_feature_errors_are_the_estimators(problem):
    X, y = problem
    detector = ThresholdedDetector(PCADetector(), threshold="f1").fit(X, y)
    expected = PCADetector().fit(X[y == 1]).feature_errors(X)
    np.testing.assert_array_equal(detector.feature_errors(X), expected)
    with pytest.raises(NotFittedError):
        ThresholdedDetector(PCADetector()).feature_errors(X)
    pipeline = make_pipeline(StandardScaler(), PCADetector())
    with pytest.raises(AttributeError) as error:
        ThresholdedDetector(pipeline).fit(X).feature_errors(X)
    assert "pipeline[-1].feature_errors" in str(error.value.__cause__)
    assert not hasattr(ThresholdedDetector(OneClassSVM()), "feature_errors")


def test_a_number_needs_no_folds(fits, problem):
    X, y = problem
    ThresholdedDetector(Counting(), threshold=0.5, cv=5).fit(X, y)
    assert len(fits) == 1


def test_precomputed_kernels_are_not_divided(problem):
    X, y = problem
    kernel, svm = rbf_kernel(X), OneClassSVM(kernel="precomputed")
    detector = ThresholdedDetector(svm).fit(kernel)
    expected = svm.fit(kernel).score_samples(kernel)
    np.testing.assert_allclose(detector.score_samples(kernel), expected)
    ThresholdedDetector(svm, threshold=0.5, cv=5).fit(kernel)  # in no folds
    frozen = ThresholdedDetector(FrozenEstimator(svm), threshold="roc")
    assert np.isfinite(frozen.fit(kernel, y).offset_)
    for params, labels in (
        ({}, y),
        ({"cv": 5}, None),
        ({"threshold": "conformal"}, None),
    ):
        with pytest.raises(ValueError, match="precomputed kernel"):
            ThresholdedDetector(svm, **params).fit(kernel, labels)


class HigherForAnomalies(BaseEstimator):
    """As PyOD's and DeepOD's detectors."""

    def fit(self, X, y=None):
        self.decision_scores_ = self.decision_function(X)
        return self

    def decision_function(self, X):
        return np.abs(X).sum(axis=1)


class Turned(HigherForAnomalies):
    """One of these with scores as they are here."""

    def score_samples(self, X):
        return -self.decision_function(X)


def test_scores_that_were_turned_are_taken(problem):
    X, _ = problem
    detector = ThresholdedDetector(Turned()).fit(X)
    np.testing.assert_allclose(detector.score_samples(X), -np.abs(X).sum(axis=1))


@pytest.mark.parametrize(
    "wrap", [lambda d: d, make_pipeline, lambda d: FrozenEstimator(d.fit(np.eye(6)))]
)
def test_scores_that_are_higher_for_anomalies_are_refused(wrap, problem):
    with pytest.raises(ValueError, match=r"HigherForAnomalies .* higher for anomalies"):
        ThresholdedDetector(wrap(HigherForAnomalies())).fit(problem[0])


@pytest.mark.parametrize(
    "params", [{"threshold": "f1"}, {"probability": "sigmoid"}], ids=str
)
def test_a_search_without_anomalies_to_train_on_says_what_to_do(params, problem):
    X, y = problem
    detector = ThresholdedDetector(PCADetector(), **params)
    options = {"scoring": "roc_auc", "error_score": "raise"}
    with pytest.raises(ValueError, match=r"OneClassKFold.*StratifiedKFold"):
        cross_val_score(detector, X, y, cv=OneClassKFold(3), **options)
    scores = cross_val_score(detector, X, y, cv=StratifiedKFold(3), **options)
    assert np.isfinite(scores).all()


def test_a_threshold_that_fails_leaves_the_offset(problem):
    """The scores it would keep are not finite."""

    class HeldOut:
        calibration_size = 0.2

        def find_offset(self, scores, y):
            return -5.0

    class Unbounded(PCADetector):
        def _score_samples(self, X):
            with np.errstate(over="ignore"):
                return -np.square(X).sum(axis=1)

    X, _ = problem
    detector = Unbounded().fit(X[:50])
    before, X = detector.offset_, X[50:]
    far = np.vstack([X, np.full((1, X.shape[1]), 1e200)])
    with pytest.raises(ValueError, match="scale or clip"):
        detector.fit_threshold(far, threshold=HeldOut())
    assert detector.offset_ == before


def test_warnings_name_the_users_line(problem):
    X, y = problem
    with pytest.warns(UserWarning, match="ignored") as caught:
        ThresholdedDetector(PCADetector()).fit(X, np.where(y == 1, 0, 1))
        make_pipeline(PCADetector()).fit(X, np.where(y == 1, 0, 1))
    assert len(caught) == 2
    assert {w.filename for w in caught} == {__file__}


def test_probabilities_beside_a_fit_are_of_one_fit(problem, monkeypatch):
    X, _ = problem
    forest = IsolationForest(n_estimators=10, random_state=0)
    detector = ThresholdedDetector(forest, probability="gaussian").fit(X)
    expected = detector.predict_proba(X)

    def validate(self, rows):
        monkeypatch.undo()  # once, in the midst of the method
        other = threading.Thread(target=lambda: detector.fit(2 * X[:100]))
        other.start()
        other.join()
        return self._validate(rows)

    monkeypatch.setattr(ThresholdedDetector, "_validate", validate)
    np.testing.assert_array_equal(detector.predict_proba(X), expected)
    assert not np.array_equal(detector.predict_proba(X), expected)


@pytest.mark.parametrize("n_normal", [15, 97])
def test_folds_of_rows_sorted_by_label(n_normal):
    """Stratified, where each label has a row for each fold."""
    X = np.random.default_rng(0).normal(size=(100, 2))
    y = np.repeat([1, -1], [n_normal, 100 - n_normal])
    detector = ThresholdedDetector(OneClassSVM(), threshold="roc", cv=5).fit(X, y)
    assert np.isfinite(detector.offset_)


def test_a_share_that_is_rounded_up_holds_out_no_row_more():
    """0.07 * 100 = 7.00...1."""

    class HeldOut:
        calibration_size = 0.07

        def find_offset(self, scores, y):
            return -float(len(scores))

    X = np.random.default_rng(0).normal(size=(100, 2))
    assert PCADetector(threshold=HeldOut()).fit(X).offset_ == -7


class Identity(BaseEstimator):
    """Its only feature is the score."""

    def fit(self, X, y=None):
        self.n_features_in_ = 1
        return self

    def score_samples(self, X):
        return X[:, 0]


def test_a_detector_that_draws_is_said_to():
    class Drawing(IsolationForest):
        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.non_deterministic = True
            return tags

    assert get_tags(ThresholdedDetector(Drawing())).non_deterministic
    assert not get_tags(ThresholdedDetector(IsolationForest())).non_deterministic


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_probabilities_where_most_normal_scores_are_equal(scale):
    """Their median deviation is zero."""
    X = np.r_[np.zeros(60), np.linspace(-2, -1, 30), np.full(10, -5.0)][:, None]
    y = np.repeat([1, -1], [90, 10])
    detector = ThresholdedDetector(Identity(), probability="sigmoid")
    expected = detector.fit(X, y).predict_proba(X)
    scaled = detector.fit(scale * X, y).predict_proba(scale * X)
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


def test_probabilities_where_all_normal_scores_are_equal():
    X, y = np.repeat([0.0, -3.0], [15, 5])[:, None], np.repeat([1, -1], [15, 5])
    detector = ThresholdedDetector(Identity(), probability="sigmoid").fit(X, y)
    assert detector.predict_proba(X[[0, -1]])[:, 1].round().tolist() == [1, 0]


@pytest.mark.parametrize("probability", ["sigmoid", "isotonic"])
def test_scores_that_tell_nothing_are_warned_of(probability):
    X, y = np.zeros((20, 1)), np.repeat([1, -1], [15, 5])
    with pytest.warns(UserWarning, match="does not rise with the score"):
        ThresholdedDetector(Identity(), probability=probability).fit(X, y)


def test_an_anomaly_farther_than_numbers_go():
    X = np.r_[1e-300 * np.linspace(1, 2, 90), np.full(10, -1e300)][:, None]
    y = np.repeat([1, -1], [90, 10])
    detector = ThresholdedDetector(Identity(), probability="sigmoid").fit(X, y)
    assert detector.predict_proba(X[[0, -1]])[:, 1].round().tolist() == [1, 0]


def test_scores_that_are_a_view_of_the_rows_are_left_alone():
    X = np.random.default_rng(0).normal(size=(50, 1))
    before = X.copy()
    ThresholdedDetector(Identity()).fit(X).score_samples(X)
    np.testing.assert_array_equal(X, before)
