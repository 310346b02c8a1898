"""Splitters: who trains, who is tested, and what they refuse."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    TimeSeriesSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)

from skdeepad import AutoencoderDetector
from skdeepad.model_selection import (
    OneClassGroupKFold,
    OneClassKFold,
    OneClassShuffleSplit,
    OneClassTimeSeriesSplit,
    average_precision_scorer,
)
from tests.conftest import make

SPLITTERS = [
    OneClassKFold(4),
    OneClassKFold(4, shuffle=True, random_state=0),
    OneClassKFold(4, anomalies="split"),
    OneClassKFold(4, shuffle=True, random_state=0, anomalies="split"),
    OneClassShuffleSplit(4, random_state=0),
    OneClassShuffleSplit(4, test_size=0.2, train_size=0.3, random_state=0),
    OneClassGroupKFold(4),
    OneClassGroupKFold(4, shuffle=True, random_state=0),
    OneClassTimeSeriesSplit(4),
    OneClassTimeSeriesSplit(4, max_train_size=30, test_size=20, gap=5),
]
EVERY = pytest.mark.parametrize("cv", SPLITTERS, ids=str)
FOREST = IsolationForest(n_estimators=5, random_state=0)
DETECTORS = pytest.mark.parametrize(
    "detector", [FOREST, make(AutoencoderDetector)], ids=["forest", "autoencoder"]
)


@pytest.fixture
def mixed(problem):
    """Rows in random order, and groups of about five."""
    X, y = problem
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    return X[order], y[order], rng.integers(0, 40, size=len(y))


def groups_for(cv, groups):
    return groups if isinstance(cv, OneClassGroupKFold) else None


def folds_of(cv, mixed):
    X, y, groups = mixed
    return list(cv.split(X, y, groups_for(cv, groups)))


@EVERY
def test_what_every_fold_has(cv, mixed):
    _, y, _ = mixed
    folds = folds_of(cv, mixed)
    assert len(folds) == cv.get_n_splits() == cv.get_n_splits(*mixed) == 4
    for train, test in folds:
        assert len(train) and (y[train] == 1).all()
        assert set(y[test]) == {1, -1}
        assert not set(train) & set(test)
        for rows in (train, test):
            assert rows.dtype.kind == "i"
            assert (np.diff(rows) > 0).all()


@EVERY
def test_folds_repeat_and_take_lists(cv, mixed):
    X, y, groups = mixed
    groups = groups_for(cv, groups)
    as_lists = (X.tolist(), y.tolist(), None if groups is None else groups.tolist())
    again = cv.split(*as_lists)
    for fold, other in zip(folds_of(cv, mixed), again, strict=True):
        for rows, same in zip(fold, other, strict=True):
            np.testing.assert_array_equal(rows, same)


@pytest.mark.parametrize("params", [{}, {"shuffle": True, "random_state": 3}])
@pytest.mark.parametrize("anomalies", ["all", "split"])
def test_kfold_is_kfold_of_the_normal_rows(params, anomalies, mixed):
    _, y, _ = mixed
    folds = folds_of(OneClassKFold(3, anomalies=anomalies, **params), mixed)
    normal = np.flatnonzero(y == 1)
    expected = KFold(3, **params).split(normal)
    for (train, test), (kept, held_out) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(train, normal[kept])
        np.testing.assert_array_equal(test[y[test] == 1], normal[held_out])
    tested = np.concatenate([test for _, test in folds])
    counts = np.bincount(tested, minlength=len(y))
    assert (counts[y == 1] == 1).all()
    assert (counts[y == -1] == (3 if anomalies == "all" else 1)).all()


def test_shuffle_split_tests_the_rest_and_all_anomalies(mixed):
    _, y, _ = mixed
    cv = OneClassShuffleSplit(3, random_state=0)
    folds = folds_of(cv, mixed)
    draws = ShuffleSplit(3, test_size=0.5, random_state=0).split(np.zeros(180))
    for (train, test), (drawn, _) in zip(folds, draws, strict=True):
        np.testing.assert_array_equal(
            train, np.sort(np.flatnonzero(y == 1)[drawn]), strict=True
        )
        assert len(train) == 90
        np.testing.assert_array_equal(test, np.setdiff1d(np.arange(200), train))
    assert any((folds[0][0] != train).any() for train, _ in folds)


@pytest.mark.parametrize(
    ("params", "n_train", "n_test"),
    [
        ({"test_size": None}, 90, 90),
        ({"test_size": None, "train_size": 0.75}, 135, 45),
        ({"test_size": 30}, 150, 30),
        ({"test_size": 30, "train_size": 40}, 40, 30),
    ],
)
def test_shuffle_split_sizes_are_of_normal_rows(params, n_train, n_test, mixed):
    for train, test in folds_of(OneClassShuffleSplit(2, **params), mixed):
        assert (len(train), len(test)) == (n_train, n_test + 20)


@pytest.mark.parametrize("params", [{}, {"shuffle": True, "random_state": 3}])
def test_group_kfold_keeps_groups_together(params, mixed):
    X, y, groups = mixed
    folds = folds_of(OneClassGroupKFold(3, **params), mixed)
    expected = StratifiedGroupKFold(3, **params).split(X, y, groups)
    for (train, test), (others, held_out) in zip(folds, expected, strict=True):
        assert not set(groups[train]) & set(groups[test])
        np.testing.assert_array_equal(train, others[y[others] == 1])
        np.testing.assert_array_equal(test, held_out)
    tested = np.sort(np.concatenate([test for _, test in folds]))
    np.testing.assert_array_equal(tested, np.arange(len(y)))


@pytest.mark.parametrize(
    "params", [{}, {"max_train_size": 40, "test_size": 25, "gap": 7}]
)
def test_time_series_split_looks_back_only(params, mixed):
    X, y, _ = mixed
    gap, most = params.get("gap", 0), params.get("max_train_size", len(y))
    folds = folds_of(OneClassTimeSeriesSplit(4, **params), mixed)
    expected = TimeSeriesSplit(4, **params).split(X)
    for (train, test), (past, window) in zip(folds, expected, strict=True):
        assert train.max() < test.min() - gap
        assert train.min() >= test.min() - gap - most
        np.testing.assert_array_equal(train, past[y[past] == 1])
        np.testing.assert_array_equal(test, window)


@EVERY
@DETECTORS
def test_roc_auc_as_it_is(cv, detector, mixed):
    X, y, groups = mixed
    auc = cross_val_score(
        detector,
        X,
        y,
        groups=groups_for(cv, groups),
        cv=cv,
        scoring="roc_auc",
        error_score="raise",
    )
    assert auc.shape == (4,)
    assert auc.mean() > 0.7


@EVERY
def test_grid_search_and_cross_validate(cv, mixed):
    X, y, groups = mixed
    groups = groups_for(cv, groups)
    tools = {"cv": cv, "scoring": "roc_auc", "error_score": "raise"}
    grid = {"n_estimators": [2, 5]}
    search = GridSearchCV(FOREST, grid, **tools).fit(X, y, groups=groups)
    result = cross_validate(FOREST, X, y, groups=groups, return_indices=True, **tools)
    by_fold = [search.cv_results_[f"split{i}_test_score"][1] for i in range(4)]
    np.testing.assert_allclose(by_fold, result["test_score"])
    trained = result["indices"]["train"]
    for rows, (train, _) in zip(trained, folds_of(cv, mixed), strict=True):
        np.testing.assert_array_equal(rows, train)


def halving(detector, grid, cv, scoring, **params):
    # Training parts hold one class: they have no score.
    params = {"return_train_score": False, "random_state": 0, "factor": 2} | params
    return HalvingGridSearchCV(
        detector, grid, cv=cv, scoring=scoring, error_score="raise", **params
    )


@EVERY
@pytest.mark.parametrize(
    "params",
    [
        {"min_resources": 300},
        {"resource": "n_estimators", "min_resources": 2, "max_resources": 4},
    ],
    ids=["rows", "trees"],
)
def test_halving_search(cv, params, mixed):
    # Rows enough that those drawn from a small window hold both classes.
    X, y, groups = (np.concatenate([part] * 3) for part in mixed)
    grid = {"max_features": [0.5, 1.0]}
    search = halving(FOREST, grid, cv, average_precision_scorer, **params)
    search.fit(X, y, groups=groups_for(cv, groups))
    assert search.n_iterations_ == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_halving_search_over_a_deep_detector(mixed):
    X, y, _ = mixed
    epochs = {"resource": "max_epochs", "min_resources": 2, "max_resources": 4}
    detector = make(AutoencoderDetector)
    search = halving(
        detector, {"latent_dim": [1, 2]}, OneClassKFold(2), "roc_auc", **epochs
    )
    assert search.fit(X, y).best_score_ > 0.7


def test_halving_search_of_too_few_rows_says_so(mixed):
    X, y, _ = mixed
    grid = {"max_features": [0.5, 1.0]}
    cv = OneClassKFold(2, anomalies="split")
    # One row in 66: one to train on and one to test on.
    search = halving(FOREST, grid, cv, average_precision_scorer, min_resources=3)
    with pytest.raises(ValueError, match="needs both classes in y"):
        search.fit(X, y)


def test_halving_search_refuses_folds_that_change(mixed):
    X, y, _ = mixed
    for cv in (OneClassShuffleSplit(2), OneClassKFold(2, shuffle=True)):
        search = halving(FOREST, {"max_features": [0.5, 1.0]}, cv, "roc_auc")
        with pytest.raises(ValueError, match="consistent folds"):
            search.fit(X, y)


@DETECTORS
def test_cross_val_predict_of_a_partition(detector, mixed):
    X, y, groups = mixed
    cv = OneClassKFold(3, anomalies="split")
    predicted = cross_val_predict(detector, X, y, cv=cv)
    for train, test in cv.split(X, y):
        expected = clone(detector).fit(X[train]).predict(X[test])
        np.testing.assert_array_equal(predicted[test], expected)
    by_group = cross_val_predict(
        detector, X, y, groups=groups, cv=OneClassGroupKFold(3)
    )
    assert set(by_group) == {1, -1}
    with pytest.raises(ValueError, match="partitions"):
        cross_val_predict(detector, X, y, cv=OneClassKFold(3))
    # Of other methods scikit-learn would encode the labels.
    splits = list(cv.split(X, y))
    scores = cross_val_predict(detector, X, cv=splits, method="decision_function")
    np.testing.assert_array_equal(np.where(scores >= 0, 1, -1), predicted)


def test_groups_by_metadata_routing(mixed):
    X, y, groups = mixed
    cv = OneClassGroupKFold(3)
    tools = {"cv": cv, "scoring": "roc_auc", "error_score": "raise"}
    expected = cross_val_score(FOREST, X, y, groups=groups, **tools)
    grid = {"n_estimators": [5]}
    with config_context(enable_metadata_routing=True):
        auc = cross_val_score(FOREST, X, y, params={"groups": groups}, **tools)
        search = GridSearchCV(FOREST, grid, **tools).fit(X, y, groups=groups)
    np.testing.assert_array_equal(auc, expected)
    assert search.best_score_ == pytest.approx(expected.mean())


@EVERY
def test_groups_are_ignored_with_a_warning(cv, mixed):
    if not isinstance(cv, OneClassGroupKFold):
        with pytest.warns(UserWarning, match="groups parameter is ignored by OneClass"):
            cv.split(*mixed)


@pytest.mark.parametrize(
    ("cv", "text"),
    [
        (
            OneClassKFold(3),
            "OneClassKFold(anomalies='all', n_splits=3, random_state=None, "
            "shuffle=False)",
        ),
        (
            OneClassShuffleSplit(random_state=1),
            "OneClassShuffleSplit(n_splits=10, random_state=1, test_size=None, "
            "train_size=None)",
        ),
        (
            OneClassGroupKFold(),
            "OneClassGroupKFold(n_splits=5, random_state=None, shuffle=False)",
        ),
        (
            OneClassTimeSeriesSplit(gap=2),
            "OneClassTimeSeriesSplit(gap=2, max_train_size=None, n_splits=5, "
            "test_size=None)",
        ),
    ],
)
def test_repr(cv, text):
    assert " ".join(repr(cv).split()) == text


@EVERY
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "needs labels: pass y with"),
        (np.r_[np.zeros(100), np.ones(100)], r"Labels must be \+1 .* np.where"),
        (np.ones(200), r"no row in y is -1 .* use sklearn's (Group|)(KFold|\w+Split)"),
        (np.ones(200), r"In a search within .* divide the outer rows by Stratified"),
        (-np.ones(200), r"needs both classes in y; no row is \+1"),
        (np.ones(199), "inconsistent numbers of samples"),
    ],
)
def test_bad_labels(cv, y, message, mixed):
    X, _, groups = mixed
    # At the call of split, not at the first fold.
    with pytest.raises(ValueError, match=message):
        cv.split(X, y, groups_for(cv, groups))


def test_folds_that_do_not_work_stop_before_any_training(mixed):
    X, y, _ = mixed
    ordered = np.sort(y)[::-1]

    class Untrainable(IsolationForest):
        def fit(self, X, y=None):
            raise AssertionError

    with pytest.raises(ValueError, match=r"test part of fold 0 .* is -1 \(anomaly\)"):
        cross_val_score(
            Untrainable(), X, ordered, cv=OneClassTimeSeriesSplit(), scoring="roc_auc"
        )


@pytest.mark.parametrize(
    ("cv", "y", "groups", "message"),
    [
        (
            OneClassKFold(3),
            [1, 1, -1, -1],
            None,
            r"n_splits=3 needs as many normal rows \(\+1\) at least, got 2: lower",
        ),
        (
            OneClassKFold(3, anomalies="split"),
            [1, 1, 1, -1, -1],
            None,
            r"needs as many anomalies \(-1\) at least, got 2: .* anomalies='all'",
        ),
        (
            OneClassShuffleSplit(),
            [1, -1, -1],
            None,
            r"can't split the 1 normal rows \(\+1\): .* train set will be empty",
        ),
        (OneClassShuffleSplit(test_size=2), [1, 1, -1], None, "the 2 normal rows"),
        (
            OneClassShuffleSplit(test_size=0.5, train_size=0.6),
            [1, 1, -1],
            None,
            "sum of test_size and train_size = 1.1",
        ),
        (OneClassGroupKFold(2), [1, 1, -1, -1], None, "needs groups: pass one"),
        (
            OneClassGroupKFold(2),
            [1, 1, -1, -1],
            [0, 1, 0, 0],
            r"as many groups with anomalies \(-1\) at least, got 1: lower n_splits",
        ),
        (
            OneClassGroupKFold(2),
            [1, 1, -1, -1],
            [0, 0, 0, 1],
            r"as many groups with normal rows \(\+1\) at least, got 1: lower n_splits",
        ),
        (
            OneClassTimeSeriesSplit(2),
            [1, 1, 1, -1, -1, -1],
            None,
            r"test part of fold 1 .* is \+1 \(normal\); lower n_splits or raise test",
        ),
        (
            OneClassTimeSeriesSplit(2),
            [1, -1, 1, -1, 1, 1],
            None,
            r"test part of fold 1 .* is -1 \(anomaly\); lower n_splits or raise test",
        ),
        (
            OneClassTimeSeriesSplit(2),
            [-1, -1, 1, -1, 1, -1],
            None,
            r"training part of fold 0 .* is \+1 \(normal\); lower n_splits, test_size",
        ),
        (
            OneClassTimeSeriesSplit(2, max_train_size=1),
            [1, 1, 1, -1, 1, -1],
            None,
            "training part of fold 1 .* raise max_train_size",
        ),
        (OneClassTimeSeriesSplit(), [1, -1, 1, -1], None, "number of folds=6 greater"),
        (
            OneClassTimeSeriesSplit(2, test_size=2),
            [1, -1, 1, -1],
            None,
            "Too many splits=2",
        ),
    ],
)
def test_folds_that_do_not_work(cv, y, groups, message):
    with pytest.raises(ValueError, match=message):
        cv.split(np.zeros((len(y), 1)), y, groups)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([None, "a", "b", "a"], "groups hold values that can't be put in order"),
        (np.ones((4, 2)), r"one label a row, got an array of shape \(4, 2\)"),
    ],
)
def test_groups_that_are_none(groups, message):
    y = [1, -1, 1, -1]
    with pytest.raises(ValueError, match=message):
        OneClassGroupKFold(2).split(y, y, groups)


def test_a_group_fold_without_a_class_is_said():
    """Enough groups have each class, yet stratification leaves a fold without."""
    rng = np.random.default_rng(0)
    messages = set()
    for _ in range(200):
        groups = rng.integers(0, 6, size=40)
        y = rng.choice([1, 1, 1, -1], size=40) * np.where(groups == 0, -1, 1)
        try:
            OneClassGroupKFold(4).split(groups, y, groups)
        except ValueError as error:
            messages.add(str(error))
    assert any("lower n_splits, try shuffle=True" in text for text in messages)


@pytest.mark.parametrize(
    ("cls", "params", "message"),
    [
        (OneClassKFold, {"n_splits": 1}, r"'n_splits' .* in the range \[2, inf\)"),
        (OneClassKFold, {"n_splits": 2.5}, "'n_splits' parameter of OneClassKFold"),
        (OneClassKFold, {"shuffle": "yes"}, "'shuffle' parameter"),
        (OneClassKFold, {"random_state": 0}, "random_state has no effect"),
        (OneClassKFold, {"anomalies": "none"}, "'all', 'split'|'split', 'all'"),
        (OneClassShuffleSplit, {"n_splits": 0}, "'n_splits' parameter"),
        (OneClassShuffleSplit, {"test_size": 1.0}, "'test_size' parameter"),
        (OneClassShuffleSplit, {"test_size": 0}, "'test_size' parameter"),
        (OneClassShuffleSplit, {"train_size": -0.1}, "'train_size' parameter"),
        (OneClassShuffleSplit, {"random_state": "a"}, "'random_state' parameter"),
        (OneClassGroupKFold, {"n_splits": 0}, "'n_splits' parameter"),
        (OneClassGroupKFold, {"random_state": 0}, "random_state has no effect"),
        (OneClassTimeSeriesSplit, {"n_splits": 1}, "'n_splits' parameter"),
        (OneClassTimeSeriesSplit, {"max_train_size": 0}, "'max_train_size' param"),
        (OneClassTimeSeriesSplit, {"test_size": 0.5}, "'test_size' parameter"),
        (OneClassTimeSeriesSplit, {"gap": -1}, r"'gap' .* in the range \[0, inf\)"),
    ],
)
def test_bad_parameters(cls, params, message):
    with pytest.raises(ValueError, match=message):
        cls(**params)


def test_groups_come_as_a_column_too(mixed):
    X, y, groups = mixed
    cv = OneClassGroupKFold(4)
    folds = zip(cv.split(X, y, groups), cv.split(X, y, groups[:, None]), strict=True)
    for one, other in folds:
        for rows, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(rows, same)
    with pytest.raises(ValueError, match="one label a row"):
        next(cv.split(X, y, np.c_[groups, groups]))


def test_anomalies_that_are_split_are_shuffled_too(mixed):
    _, y, _ = mixed
    params = {"shuffle": True, "random_state": 3}
    anomalies = np.flatnonzero(y == -1)
    folds = folds_of(OneClassKFold(3, anomalies="split", **params), mixed)
    expected = KFold(3, **params).split(anomalies)
    for (_, test), (_, held_out) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(test[y[test] == -1], anomalies[held_out])
