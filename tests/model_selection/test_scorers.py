"""Scorers of detection metrics in scikit-learn's tools."""

import pickle

import numpy as np
import pytest
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from skdeepad import AutoencoderDetector, PCADetector, metrics
from skdeepad.model_selection import (
    OneClassKFold,
    average_precision_scorer,
    partial_auc_scorer,
    precision_at_n_scorer,
    recall_at_fpr_scorer,
)
from tests.conftest import make

SCORERS = {
    average_precision_scorer: metrics.average_precision,
    precision_at_n_scorer: metrics.precision_at_n,
    recall_at_fpr_scorer: metrics.recall_at_fpr,
    partial_auc_scorer: metrics.partial_roc_auc,
}
DETECTORS = {
    "forest": IsolationForest(n_estimators=10, random_state=0),
    "svm": OneClassSVM(gamma="scale"),
    "lof": LocalOutlierFactor(novelty=True),
    "envelope": EllipticEnvelope(random_state=0),
    "pipeline": make_pipeline(StandardScaler(), OneClassSVM()),
    "autoencoder": make(AutoencoderDetector),
    "pca": PCADetector(),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_scorers_are_the_metrics_of_the_decision_function(name, problem):
    X, y = problem
    detector = DETECTORS[name].fit(X[:90])
    scores = detector.decision_function(X)
    for scorer, metric in SCORERS.items():
        assert scorer(detector, X, y) == metric(y, scores)


def test_a_classifier_of_the_same_labels_scores_too(problem):
    X, y = problem
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    expected = metrics.average_precision(y, model.decision_function(X))
    assert average_precision_scorer(model, X, y) == expected


@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_survive_a_pickle(scorer, problem):
    X, y = problem
    forest = DETECTORS["forest"].fit(X[:90])
    assert pickle.loads(pickle.dumps(scorer))(forest, X, y) == scorer(forest, X, y)


def test_metrics_take_other_values_by_scikit_learns_make_scorer(problem):
    X, y = problem
    forest = DETECTORS["forest"].fit(X[:90])
    scorer = make_scorer(
        metrics.recall_at_fpr, response_method="decision_function", max_fpr=0.5
    )
    scores = forest.decision_function(X)
    assert scorer(forest, X, y) == metrics.recall_at_fpr(y, scores, max_fpr=0.5)
    assert scorer(forest, X, y) != recall_at_fpr_scorer(forest, X, y)


def test_scorers_in_cross_validation_and_search(problem):
    X, y = problem
    scoring = {"ap": average_precision_scorer, "recall": recall_at_fpr_scorer}
    cv = OneClassKFold(3)
    forest = DETECTORS["forest"]
    result = cross_validate(forest, X, y, cv=cv, scoring=scoring, error_score="raise")
    alone = cross_val_score(forest, X, y, cv=cv, scoring=average_precision_scorer)
    np.testing.assert_array_equal(result["test_ap"], alone)
    grid = {"n_estimators": [1, 20]}
    search = GridSearchCV(forest, grid, cv=cv, scoring=scoring, refit="ap")
    assert search.fit(X, y).best_params_ == {"n_estimators": 20}


def test_train_scores_of_one_class_are_nan_and_test_scores_stand(problem):
    X, y = problem
    tools = {"cv": OneClassKFold(2), "scoring": average_precision_scorer}
    with pytest.warns(UserWarning, match="needs both classes"):
        both = cross_validate(
            DETECTORS["forest"], X, y, return_train_score=True, **tools
        )
    assert np.isnan(both["train_score"]).all()
    alone = cross_val_score(DETECTORS["forest"], X, y, **tools)
    np.testing.assert_array_equal(both["test_score"], alone)


def test_a_missing_class_is_said(problem):
    X, y = problem
    forest = DETECTORS["forest"].fit(X)
    with pytest.raises(ValueError, match="average_precision needs both classes"):
        average_precision_scorer(forest, X[:90], y[:90])
