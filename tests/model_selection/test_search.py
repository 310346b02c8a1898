"""BatchedGridSearchCV against scikit-learn's GridSearchCV: equal to the last bit."""

import pickle
import warnings
import weakref
from functools import partial
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin, clone
from sklearn.callback import ProgressBar
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

import skdeepad._deep
import skdeepad._together
import skdeepad._training
import skdeepad.model_selection._search
from skdeepad import DASVDD, AutoencoderDetector, ThresholdedDetector, VAEDetector
from skdeepad.model_selection import (
    BatchedGridSearchCV,
    OneClassGroupKFold,
    OneClassKFold,
    average_precision_scorer,
)
from skdeepad.thresholds import Conformal
from tests import conftest
from tests.conftest import DEEP, Tasks, every_lowering, taken

CV = OneClassKFold(3, shuffle=True, random_state=0)
# Where the last bits are the same, and large groups are divided.
make = partial(conftest.make, device="cpu")


def searches(estimator, grid, X, y, **options):
    options = {"scoring": "roc_auc", "cv": CV} | options
    return [
        search(estimator, grid, **options).fit(X, y)
        for search in (GridSearchCV, BatchedGridSearchCV)
    ]


def assert_same(one, batched):
    """Every number of the results, but for the times."""
    assert_same_scores(one, batched)
    assert batched.best_index_ == one.best_index_
    assert batched.best_params_ == one.best_params_
    assert batched.n_splits_ == one.n_splits_


def assert_same_scores(one, batched):
    assert one.cv_results_.keys() == batched.cv_results_.keys()
    for name, expected in one.cv_results_.items():
        if "time" not in name:
            np.testing.assert_array_equal(
                batched.cv_results_[name], expected, err_msg=name
            )


GRIDS = {
    "AutoencoderDetector": {
        "learning_rate": [1e-3, 0.03],
        "weight_decay": [0.0, 1e-3],
        "noise_std": [0.0, 0.3, 0.6],
    },
    "VAEDetector": {
        "beta": [0.1, 1.0],
        "dropout": [0.1, 0.4],
        "criterion": ["elbo", "reconstruction"],
        "n_estimators": [1, 2],
    },
    "DASVDD": {
        "gamma": ["auto", 0.1, 1.0],
        "kappa": [0.5, 0.9],
        "center_learning_rate": [0.1, 1.0],
        "center_decay": [0.0, 0.1],
        "random_state": [0, 1],
    },
    "DAGMM": {
        "energy_weight": [0.01, 1.0],
        "covariance_penalty": [0.0, 0.1],
        "estimation_dropout": [0.2, 0.5],
        "learning_rate": [1e-4, 0.03],
        "latent_dim": [1],
        "random_state": [0, 1],
    },
    "LatentAutoregressionDetector": {
        "surprisal_weight": [0.01, 1.0],
        "learning_rate": [1e-3, 0.03],
        "dropout": [0.1, 0.4],
        "random_state": [0, 1],
    },
    "AnoGAN": {
        "feature_weight": [0.1, 0.9],
        "mapping_rate": [0.01, 0.1],
        "learning_rate": [1e-3, 0.01],
        "random_state": [0, 1],
    },
    "OCGAN": {
        "reconstruction_weight": [1.0, 30.0],
        "mining_rate": [0.1, 10.0],
        "learning_rate": [1e-3, 0.01],
        "random_state": [0, 1],
    },
    "PixelCNNDetector": {
        "dropout": [0.1, 0.4],
        "learning_rate": [1e-3, 0.03],
        "weight_decay": [0.0, 1e-3],
        "random_state": [0, 1],
    },
    "DSEBM": {
        "noise_std": [0.3, 1.0],
        "criterion": ["energy", "reconstruction"],
        "learning_rate": [1e-3, 0.03],
        "random_state": [0, 1],
    },
    "DeepSVDD": {
        "nu": [0.1, 1.0],
        "pretrain_epochs": [0, 2],
        "learning_rate": [1e-3, 0.03],
        "random_state": [0, 1],
    },
}


@pytest.mark.parametrize("cls", DEEP)
def test_scores_are_grid_searchs(cls, problem, loops):
    assert cls.__name__ in GRIDS, f"Add a grid of {cls.__name__} to GRIDS."
    X, y = problem
    one, batched = searches(make(cls), GRIDS[cls.__name__], X, y)
    assert_same(one, batched)
    assert max(members for members, _, _ in loops) > 3  # not just one by one
    assert len(set(one.cv_results_["mean_test_score"])) > 3
    np.testing.assert_array_equal(
        one.best_estimator_.score_samples(X), batched.best_estimator_.score_samples(X)
    )
    assert one.best_estimator_.offset_ == batched.best_estimator_.offset_


@pytest.mark.filterwarnings("ignore:.*still improved")
@pytest.mark.parametrize("cls", DEEP)
def test_early_stopping_batch_norm_and_architectures(cls, problem):
    X, y = problem
    base = make(
        cls, early_stopping=True, n_iter_no_change=2, max_epochs=12, dropout=0.2
    )
    grid = {
        "batch_norm": [False, True],
        "hidden_layer_sizes": [(8,), (8, 4)],
        "learning_rate": [1e-3, 0.05],
        "max_epochs": [4, 12],
    }
    grid = taken(cls, grid)
    assert_same(*searches(base, grid, X, y))


@pytest.mark.filterwarnings("ignore:.*(still improved|have not learned)")
@every_lowering
def test_members_that_stopped_are_left_behind(cls, sizes, problem, monkeypatch):
    """Those that go on keep their own parameters, moments and random numbers."""
    X, y = problem
    monkeypatch.setattr(skdeepad._training, "NARROWED_AT", 0.99)
    base = make(cls, early_stopping=True, n_iter_no_change=1, max_epochs=12)
    assert_same(*searches(base, GRIDS[cls.__name__], X, y, refit=False))
    assert len(set(sizes)) > 3  # two times and more


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_members_of_a_users_detector_stay(sizes, problem):
    """What it counts in a step of its own would begin anew."""

    class Warming(AutoencoderDetector):
        def _phases(self, network):
            self.n_steps = 0
            return super()._phases(network)

        def _loss(self, network, x):
            self.n_steps += 1
            share = min(1.0, self.n_steps / 100)
            return {"loss": share * super()._loss(network, x)["loss"]}

    X, _ = problem
    params = {"early_stopping": True, "n_iter_no_change": 1, "n_estimators": 4}
    make(AutoencoderDetector, **params, max_epochs=50).fit(X)
    assert len(set(sizes)) > 1
    sizes.clear()
    make(Warming, **params, max_epochs=50).fit(X)
    assert set(sizes) == {4}


def test_candidates_and_folds_train_in_one_loop(problem, loops):
    X, y = problem
    search = BatchedGridSearchCV(
        make(AutoencoderDetector), {"learning_rate": [1e-4, 1e-3]}, cv=CV
    )
    search.set_params(scoring="roc_auc", refit=False).fit(X, y)
    assert [members for members, _, _ in loops] == [6]
    # Layers differ: a loop for each.
    loops.clear()
    search.set_params(param_grid={"dropout": [0.0, 0.1, 0.2]}).fit(X, y)
    assert sorted(members for members, _, _ in loops) == [3, 6]
    # Uneven folds: rows of one number train together.
    loops.clear()
    search.set_params(cv=OneClassKFold(7)).fit(X, y)
    assert sum(members for members, _, _ in loops) == 21
    assert len(loops) == 4


def test_what_is_used_after_training_is_trained_once(problem, loops):
    X, y = problem
    grid = {
        "max_epochs": [2, 6],
        "contamination": [0.05, 0.2],
        "scoring": ["expected_latent", "sample"],
    }
    search = BatchedGridSearchCV(make(VAEDetector), grid, scoring="balanced_accuracy")
    search.set_params(cv=CV, refit=False).fit(X, y)
    assert [(members, epochs) for members, epochs, _ in loops] == [(3, 6)]
    assert len(set(search.cv_results_["mean_test_score"])) > 3
    expected = GridSearchCV(make(VAEDetector), grid, scoring="balanced_accuracy")
    assert_same(expected.set_params(cv=CV, refit=False).fit(X, y), search)


def test_random_folds_are_the_same_while_it_runs(problem, loops):
    X, y = problem
    cv = OneClassKFold(3, shuffle=True)
    search = BatchedGridSearchCV(
        make(AutoencoderDetector), {"learning_rate": [1e-4, 1e-3]}, cv=cv, refit=False
    )
    search.set_params(scoring="roc_auc").fit(X, y)
    assert [members for members, _, _ in loops] == [6]
    assert search.cv is cv
    assert "cv_results_" in vars(search)


def test_random_state_none_and_generators(problem):
    X, y = problem
    grid = {"learning_rate": [1e-4, 1e-3]}
    for state in (None, np.random.RandomState(0)):
        detector = make(AutoencoderDetector, random_state=state)
        one, batched = searches(detector, grid, X, y)
        same = np.array_equal(
            one.cv_results_["mean_test_score"], batched.cv_results_["mean_test_score"]
        )
        assert same == (state is not None)


def test_pipelines_meta_estimators_and_other_detectors(problem):
    X, y = problem
    pipeline = Pipeline(
        [
            ("scale", StandardScaler()),
            ("pca", PCA(random_state=0)),
            ("detect", make(AutoencoderDetector, standardize=False)),
        ]
    )
    grid = [
        {"pca__n_components": [3, 5], "detect__learning_rate": [1e-3, 1e-2]},
        {"pca": ["passthrough"], "detect": [IsolationForest(random_state=0)]},
        {"pca": ["passthrough"], "detect": [make(VAEDetector)]},
    ]
    assert_same(*searches(pipeline, grid, X, y))
    around = ThresholdedDetector(make(AutoencoderDetector), cv=2)
    grid = {"estimator__learning_rate": [1e-3, 1e-2], "threshold": ["mad", "auto"]}
    assert_same(*searches(around, grid, X, y, scoring="balanced_accuracy"))


def test_scorers_and_options_of_grid_search(problem):
    X, y = problem

    def own(detector, X, y):
        return {"offset": detector.offset_, "epochs": len(detector.history_["loss"])}

    grid = {"learning_rate": [1e-3, 1e-2], "max_epochs": [2, 4]}
    scoring = {"auc": "roc_auc", "ap": average_precision_scorer}
    for options in (
        {"scoring": scoring, "refit": "ap"},
        {"scoring": own, "refit": "epochs", "return_train_score": True},
        {"scoring": "roc_auc", "refit": lambda results: 2},
    ):
        one, batched = searches(make(AutoencoderDetector), grid, X, y, **options)
        assert_same(one, batched)
        assert batched.multimetric_ == one.multimetric_


def test_conformal_thresholds_hold_out_the_same_rows(problem):
    X, y = problem
    grid = {"threshold": [Conformal(0.1), Conformal(0.2, calibration_size=0.4), "mad"]}
    assert_same(
        *searches(make(AutoencoderDetector), grid, X, y, scoring="balanced_accuracy")
    )


def test_groups_are_passed_on(problem):
    X, y = problem
    groups = np.arange(len(X)) % 8
    search = BatchedGridSearchCV(
        make(AutoencoderDetector),
        {"learning_rate": [1e-3]},
        scoring="roc_auc",
        cv=OneClassGroupKFold(4),
    ).fit(X, y, groups=groups)
    assert search.n_splits_ == 4


def test_a_candidate_that_diverges_leaves_the_others_alone(problem):
    X, y = problem
    grid = {"learning_rate": [1e-3, 1e30]}
    search = BatchedGridSearchCV(
        make(AutoencoderDetector), grid, scoring="roc_auc", cv=CV, refit=False
    )
    with (
        pytest.warns(FitFailedWarning, match="Training diverged"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search.fit(X, y)
    alone = GridSearchCV(
        make(AutoencoderDetector),
        {"learning_rate": [1e-3]},
        scoring="roc_auc",
        cv=CV,
        refit=False,
    ).fit(X, y)
    means = search.cv_results_["mean_test_score"]
    assert np.isnan(means).tolist() == [False, True]
    assert means[0] == alone.cv_results_["mean_test_score"][0]
    with pytest.raises(ValueError, match="network 0 became"):
        search.set_params(error_score="raise").fit(X, y)


def test_failed_search_leaves_it_as_it_was(problem):
    X, y = problem
    search = BatchedGridSearchCV(
        make(AutoencoderDetector),
        {"learning_rate": [1e-3]},
        scoring="roc_auc",
        cv=CV,
    ).fit(X, y)
    before = dict(vars(search))
    with pytest.raises(ValueError, match="no row in y is -1"):
        search.fit(X, np.ones(len(X)))
    with pytest.raises(ValueError, match="NaN"):
        search.fit(np.full_like(X, np.nan), y)
    assert dict(vars(search)) == before


def test_bad_parameters_are_grid_searchs_errors(problem):
    X, y = problem
    for grid, message in [
        ({"dropout": [2.0]}, "dropout"),
        ({"drop": [0.1]}, "drop"),
        ({"hidden_layer_sizes": [(0,)]}, "positive integers"),
    ]:
        search = BatchedGridSearchCV(
            make(AutoencoderDetector), grid, scoring="roc_auc", cv=CV
        )
        with pytest.raises(ValueError, match=message):
            search.fit(X, y)


@pytest.mark.parametrize("n_jobs, members", [(1, [3] * 4), (2, [3] * 4), (3, [2] * 6)])
def test_large_groups_are_divided_evenly(problem, loops, monkeypatch, n_jobs, members):
    X, y = problem
    monkeypatch.setattr(skdeepad._together, "MEMBERS_AT_ONCE", 3)
    monkeypatch.setattr(skdeepad._together, "LOOP_WORK", 1)
    grid = {"learning_rate": [1e-4, 1e-3, 1e-2, 2e-2]}
    search = BatchedGridSearchCV(
        make(AutoencoderDetector, max_epochs=60), grid, cv=CV, n_jobs=n_jobs
    )
    with joblib.parallel_config("threading"):
        search.set_params(scoring="roc_auc", refit=False).fit(X, y)
    assert [members for members, _, _ in loops] == members
    assert (len({thread for _, _, thread in loops}) > 1) == (n_jobs > 1)


def test_same_in_other_processes(problem):
    X, y = problem
    grid = {"learning_rate": [1e-3, 1e-2], "max_epochs": [10, 20], "dropout": [0, 0.2]}
    assert_same(*searches(make(AutoencoderDetector), grid, X, y, n_jobs=2))


def test_fit_times_share_what_was_spent_together(problem, monkeypatch):
    X, y = problem
    search = BatchedGridSearchCV(
        make(AutoencoderDetector), {"learning_rate": [1e-4, 1e-3]}, cv=CV, refit=False
    )
    clock = iter([100.0, 112.0])
    monkeypatch.setattr(
        "skdeepad.model_selection._search.perf_counter", lambda: next(clock)
    )
    search.set_params(scoring="roc_auc").fit(X, y)
    np.testing.assert_allclose(search.cv_results_["mean_fit_time"], 2.0, atol=1.0)


def test_verbose_says_what_trains_together(problem, capsys):
    X, y = problem
    search = BatchedGridSearchCV(
        make(AutoencoderDetector), {"learning_rate": [1e-4, 1e-3]}, cv=CV, refit=False
    )
    search.set_params(scoring="roc_auc").fit(X, y)
    assert capsys.readouterr().out == ""
    search.set_params(verbose=1).fit(X, y)
    assert "Trained 6 fits together in 1 groups" in capsys.readouterr().out


def test_is_a_scikit_learn_estimator(problem):
    X, y = problem
    search = BatchedGridSearchCV(
        make(AutoencoderDetector),
        {"learning_rate": [1e-4, 1e-3]},
        scoring="roc_auc",
        cv=KFold(3, shuffle=True, random_state=0),
    )
    assert repr(search).startswith("BatchedGridSearchCV(")
    fitted = clone(search).fit(X, y)
    assert not hasattr(search, "cv_results_")
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict(X), fitted.predict(X))
    assert b"torch" not in pickle.dumps(fitted)


def assert_fails_alike(detector, grid, X, y, why):
    """Both searches tell of fits that failed, and have the others' scores."""
    options = {"scoring": "roc_auc", "cv": CV, "refit": False}
    results = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with (
            pytest.warns(FitFailedWarning, match=why),
            pytest.warns(UserWarning, match="non-finite"),
        ):
            results.append(search(detector, grid, **options).fit(X, y))
    assert_same_scores(*results)


def test_a_candidate_without_a_network_leaves_the_others_alone(problem):
    X, y = problem
    grid = {"hidden_layer_sizes": [(4,), (0,)], "learning_rate": [1e-3, 1e-2]}
    assert_fails_alike(make(AutoencoderDetector), grid, X, y, "positive integers")


def test_fits_of_a_loop_that_breaks_train_alone(problem, loops, monkeypatch):
    X, y = problem

    def broken(*args, **params):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(skdeepad._together, "_join", broken)
    grid = {"learning_rate": [1e-3, 1e-2]}
    with pytest.warns(UserWarning, match=r"^6 fits .* \(RuntimeError: out of memory\)"):
        results = searches(make(AutoencoderDetector), grid, X, y)
    assert_same(*results)
    assert {members for members, _, _ in loops} == {1}


def test_a_loop_that_breaks_leaves_no_file(problem, tmp_path, monkeypatch):
    X, y = problem

    def broken(self, state):
        raise RuntimeError("no space")

    monkeypatch.setattr(skdeepad._together._Leaving, "all_that_remain", broken)
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    options = {"scoring": "roc_auc", "cv": CV, "refit": False, "verbose": 1}
    search = BatchedGridSearchCV(detector, {"learning_rate": [1e-3, 1e-2]}, **options)
    with pytest.warns(UserWarning, match="no space"):
        search.fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*could not be trained together")
def test_one_candidates_error_is_not_the_others(problem, tmp_path):
    X, y = problem
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    grid = {"random_state": [0, None]}
    assert_fails_alike(detector, grid, X, y, "checkpoint_dir needs a random_state")


def test_rows_that_are_drawn_anew_are_told_of(problem, loops):
    X, y = problem
    options = {"scoring": "roc_auc", "cv": CV, "refit": False}
    grid = {"learning_rate": [1e-3, 1e-2]}
    drawn = make(AutoencoderDetector, random_state=None, threshold=Conformal(0.1))
    with pytest.warns(UserWarning, match="^6 of 6 fits were trained .* for nothing"):
        BatchedGridSearchCV(drawn, grid, **options).fit(X, y)
    assert len(loops) == 1 + 6
    BatchedGridSearchCV(drawn.set_params(random_state=0), grid, **options).fit(X, y)
    assert len(loops) == 1 + 6 + 1


def test_the_search_is_checked_before_training(problem, loops):
    X, y = problem
    for params, error in (
        ({"scoring": None}, TypeError),
        ({"scoring": "auc"}, ValueError),
        ({"scoring": ["roc_auc", "balanced_accuracy"]}, ValueError),
        ({"n_jobs": "2"}, ValueError),
    ):
        search = BatchedGridSearchCV(
            make(AutoencoderDetector), {"learning_rate": [1e-3]}, scoring="roc_auc"
        )
        with pytest.raises(error):
            search.set_params(**params).fit(X, y)
    assert not loops


def test_folds_of_a_classifier_are_stratified(problem):
    X, y = problem
    pipeline = Pipeline(
        [("codes", make(AutoencoderDetector)), ("label", LogisticRegression())]
    )
    grid = {"codes__learning_rate": [1e-3, 1e-2]}
    assert_same(*searches(pipeline, grid, X, y, cv=3))


@pytest.mark.parametrize(
    "params, members",
    [
        ({"hidden_layer_sizes": (16,)}, [6]),
        ({"hidden_layer_sizes": (2000, 500)}, [3, 3]),
        # A batch is of all rows at most.
        ({"hidden_layer_sizes": (16,), "batch_size": 10**6}, [6]),
    ],
)
def test_small_groups_are_divided_by_the_work_of_a_step(
    problem, loops, params, members
):
    X, y = problem
    search = BatchedGridSearchCV(
        make(AutoencoderDetector, max_epochs=1, **params),
        {"learning_rate": [1e-4, 1e-3]},
        cv=CV,
        n_jobs=2,
        refit=False,
    )
    with joblib.parallel_config("threading"):
        search.set_params(scoring="roc_auc").fit(X, y)
    assert [members for members, _, _ in loops] == members


def test_small_integers_do_not_overflow(problem, loops):
    X, y = problem
    detector = make(AutoencoderDetector, n_estimators=np.int8(8), max_epochs=np.int8(2))
    search = BatchedGridSearchCV(
        detector, {"learning_rate": np.geomspace(1e-4, 1e-2, 6)}, cv=CV, refit=False
    )
    search.set_params(scoring="roc_auc").fit(X, y)
    assert sum(members for members, _, _ in loops) == 8 * 6 * 3


def test_workers_of_a_joblib_configuration_are_used(problem, loops, monkeypatch):
    X, y = problem
    monkeypatch.setattr(skdeepad._together, "LOOP_WORK", 1)
    grid = {"learning_rate": [1e-4, 1e-3]}
    search = BatchedGridSearchCV(make(AutoencoderDetector), grid, cv=CV, refit=False)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        search.set_params(scoring="roc_auc").fit(X, y)
    assert [members for members, _, _ in loops] == [3, 3]
    loops.clear()
    search.fit(X, y)
    assert [members for members, _, _ in loops] == [6]


def test_networks_that_train_together_print_nothing(problem, capsys):
    X, y = problem
    options = {"scoring": "roc_auc", "cv": CV, "refit": False}
    grid = {"learning_rate": [1e-4, 1e-3]}
    BatchedGridSearchCV(make(AutoencoderDetector, verbose=True), grid, **options).fit(
        X, y
    )
    assert not capsys.readouterr().out


def test_detectors_with_callbacks_train_alone(problem, loops):
    X, y = problem

    class StopAfterOne:
        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch"

        def teardown(self, estimator, context):
            pass

    detector = make(AutoencoderDetector).set_callbacks(StopAfterOne())
    search = BatchedGridSearchCV(detector, {"max_epochs": [2, 3]}, cv=CV, refit=False)
    search.set_params(scoring=lambda detector, X, y: -detector.n_iter_).fit(X, y)
    assert [members for members, _, _ in loops] == [1] * 6
    assert search.cv_results_["mean_test_score"].tolist() == [-1, -1]


def test_equal_rows_are_kept_once(problem, monkeypatch):
    X, y = problem
    kept, join = [], skdeepad._together._join

    def spy(courses):
        kept.append({course.run.x.data_ptr() for course in courses})
        return join(courses)

    monkeypatch.setattr(skdeepad._together, "_join", spy)
    search = BatchedGridSearchCV(
        make(AutoencoderDetector), {"learning_rate": [1e-4, 1e-3, 1e-2]}, cv=CV
    )
    search.set_params(scoring="roc_auc", refit=False).fit(X, y)
    assert [len(pointers) for pointers in kept] == [3]


@pytest.mark.parametrize(("seeds", "n_starts"), [([0], 1), ([0, 1], 2), ([None], 4)])
def test_what_comes_before_the_loop_is_done_once(
    seeds, n_starts, problem, loops, monkeypatch
):
    X, y = problem
    estimated, estimate = [], DASVDD._auto_gamma

    def spy(detector, x):
        estimated.append(estimate(detector, x))
        return estimated[-1]

    monkeypatch.setattr(DASVDD, "_auto_gamma", spy)
    grid = {
        "learning_rate": [1e-3, 1e-2],
        "center_decay": [0.0, 0.1],
        "random_state": seeds,
    }
    search = BatchedGridSearchCV(make(DASVDD), grid, scoring="roc_auc", cv=CV)
    search.set_params(refit=False).fit(X, y)
    assert [members for members, _, _ in loops] == [4 * len(seeds) * 3]
    assert len(estimated) == len(set(estimated)) == n_starts * 3


def test_rows_beyond_the_memory_train_alone(problem, loops):
    X, y = (np.repeat(part, 50, axis=0) for part in problem)
    grid = {"learning_rate": [1e-3, 1e-2]}
    small = make(AutoencoderDetector, hidden_layer_sizes=(4,), latent_dim=2)
    options = {"scoring": "roc_auc", "cv": CV, "refit": False}
    expected = GridSearchCV(small, grid, **options).fit(X, y)
    loops.clear()
    n_bytes = 4 * X.shape[1] * max((y[train] == 1).sum() for train, _ in CV.split(X, y))
    # Room for the rows of two of three folds.
    with config_context(working_memory=2.5 * n_bytes / 2**20):
        search = BatchedGridSearchCV(small, grid, **options)
        search.fit(X, y)
    assert sorted(members for members, _, _ in loops) == [1, 1, 4]
    for name in ("mean_test_score", "split2_test_score"):
        np.testing.assert_allclose(
            search.cv_results_[name], expected.cv_results_[name], atol=1e-6
        )


class WithoutLabels(BaseEstimator):
    """Fits a detector, and takes no y."""

    def __init__(self, detector=None):
        self.detector = detector

    def fit(self, X):
        self.detector_ = clone(self.detector).fit(X)
        return self

    def score_samples(self, X):
        return self.detector_.score_samples(X)


def test_a_fit_that_takes_no_labels(problem, loops):
    X, _ = problem
    grid = {"detector__learning_rate": [1e-3, 1e-2]}
    options = {"cv": 3, "scoring": lambda e, X, y=None: e.score_samples(X).mean()}
    estimator = WithoutLabels(make(AutoencoderDetector))
    one = GridSearchCV(estimator, grid, **options, refit=False).fit(X)
    loops.clear()
    batched = BatchedGridSearchCV(estimator, grid, **options, refit=False).fit(X)
    assert_same(one, batched)
    assert sum(members for members, _, _ in loops) == 6
    assert len(loops) < 6


class Doubling(TransformerMixin, BaseEstimator):
    """Doubles the training rows in place."""

    def fit_transform(self, X, y=None):
        X *= 2
        return X

    def transform(self, X):
        return X * 2


def test_steps_that_change_their_rows(problem):
    X, y = problem
    detector = make(AutoencoderDetector, standardize=False)
    grid = {"autoencoderdetector__learning_rate": [1e-3, 1e-2]}
    pipeline = make_pipeline(Doubling(), detector)
    assert_same(*searches(pipeline, grid, X, y, refit=False))


def test_what_a_fold_was_split_into_is_kept_for_detectors(problem, monkeypatch):
    X, y = problem
    split = skdeepad.model_selection._search._safe_split
    calls = []

    def spy(*args):
        calls.append(args)
        return split(*args)

    monkeypatch.setattr(skdeepad.model_selection._search, "_safe_split", spy)
    grid = {"learning_rate": [1e-4, 1e-3, 1e-2]}
    options = {"cv": CV, "scoring": "roc_auc", "refit": False}
    BatchedGridSearchCV(make(AutoencoderDetector), grid, **options).fit(X, y)
    assert len(calls) == 3


def test_what_was_fitted_is_let_go(problem):
    X, y = problem
    fitted, alive = [], []

    def scoring(detector, X, y):
        fitted.append(weakref.ref(detector))
        alive.append(sum(reference() is not None for reference in fitted))
        return detector.score_samples(X).mean()

    grid = {"learning_rate": [1e-4, 1e-3, 1e-2]}
    options = {"cv": CV, "scoring": scoring, "refit": False}
    BatchedGridSearchCV(make(AutoencoderDetector), grid, **options).fit(X, y)
    assert alive == [1] * 9


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_callbacks_see_the_search_and_its_fits(backend, problem):
    X, y = problem
    options = {"scoring": "roc_auc", "cv": CV, "n_jobs": 2}
    tasks = []
    for cls in (GridSearchCV, BatchedGridSearchCV):
        heard = Tasks()
        search = cls(make(AutoencoderDetector), {"learning_rate": [1e-3]}, **options)
        with joblib.parallel_config(backend):
            search.set_callbacks(heard).fit(X, y)
        assert search.best_score_ > 0.5
        tasks.append(sorted(name for name in heard.ended if name != "epoch"))
        assert heard.ended.count("epoch") > 0  # of the refit at least
    assert tasks[0] == tasks[1]
    if backend == "threading":  # what a process hears stays there
        assert len(tasks[0]) > 4


def test_callbacks_see_a_pipelines_fits(problem):
    X, y = problem
    pipe = make_pipeline(StandardScaler(), make(AutoencoderDetector))
    grid = {"autoencoderdetector__learning_rate": [1e-3, 1e-2]}
    heard = [Tasks(), ProgressBar(max_propagation_depth=None)]
    for cls in (GridSearchCV, BatchedGridSearchCV):
        search = cls(pipe, grid, scoring="roc_auc", cv=CV, error_score="raise")
        search.set_callbacks(*heard).fit(X, y)
        assert search.best_score_ > 0.5


class Ensemble(OutlierMixin, BaseEstimator):
    """Several fits of one detector, and how many of them differ."""

    def __init__(self, detector):
        self.detector = detector

    def fit(self, X, y=None):
        self.members_ = [clone(self.detector).fit(X) for _ in range(3)]
        return self

    def score_samples(self, X):
        return np.mean([member.score_samples(X) for member in self.members_], axis=0)


def n_distinct(ensemble, X, y):
    return len({member.score_samples(X)[0] for member in ensemble.members_})


@pytest.mark.parametrize(("random_state", "expected"), [(None, 3), (0, 1)])
def test_members_of_an_ensemble_without_a_seed_differ(random_state, expected, problem):
    X, y = problem
    ensemble = Ensemble(make(AutoencoderDetector, random_state=random_state))
    grid = {"detector__learning_rate": [1e-3, 1e-2]}
    for cls in (GridSearchCV, BatchedGridSearchCV):
        search = cls(ensemble, grid, scoring=n_distinct, cv=CV, refit=False)
        search.fit(X, y)
        assert set(search.cv_results_["mean_test_score"]) == {expected}


def test_those_that_end_early_are_not_said_to_have_gone_on_improving(problem):
    X, y = problem
    detector = make(AutoencoderDetector, early_stopping=True, n_iter_no_change=3)
    grid = [
        {"max_epochs": [2], "learning_rate": [1e-5, 2e-5]},
        {"max_epochs": [6], "learning_rate": [3e-5]},
    ]
    search = BatchedGridSearchCV(detector, grid, scoring="roc_auc", cv=CV, refit=False)
    with pytest.warns(ConvergenceWarning, match=r"^3 of 3 network.* max_epochs=6:"):
        search.fit(X, y)


def test_a_search_within_the_search(problem):
    """It catches what its first fit raises, and asks for more fits."""
    X, y = problem
    folds = {"cv": StratifiedKFold(2), "scoring": "roc_auc"}
    inner = GridSearchCV(make(AutoencoderDetector), {"weight_decay": [0, 0.1]}, **folds)
    grid = {"estimator__learning_rate": [1e-3, 1e-2]}
    assert_same(*searches(inner, grid, X, y, **folds))


def test_a_warning_of_a_fit_comes_once_a_fit(problem):
    X, y = problem
    labels = (y == -1).astype(int)
    for search in (GridSearchCV, BatchedGridSearchCV):
        options = {"scoring": lambda *args: 1.0, "cv": KFold(3), "refit": False}
        with pytest.warns(UserWarning, match="y holds 0 .*only") as caught:
            search(make(AutoencoderDetector), {"dropout": [0.1]}, **options).fit(
                X, labels
            )
        assert len(caught) == 3


def test_the_filters_of_warnings_are_left_alone(problem):
    """They are all threads'."""
    X, y = problem
    seen = []

    class Looking(StandardScaler):
        def fit(self, X, y=None):
            seen.append(warnings.filters[0])
            return super().fit(X)

    pipeline = make_pipeline(Looking(), make(AutoencoderDetector))
    options = {"scoring": "roc_auc", "cv": CV, "refit": False}
    BatchedGridSearchCV(pipeline, {"looking": [Looking()]}, **options).fit(X, y)
    assert len(seen) == 6
    assert set(seen) == {warnings.filters[0]}


class Counting(IsolationForest):
    """Counts its fits."""

    fits = 0

    def fit(self, X, y=None):
        Counting.fits += 1
        return super().fit(X)


def test_other_detectors_are_fitted_once(problem):
    X, y = problem
    pipeline = Pipeline([("detect", make(AutoencoderDetector))])
    grid = {"detect": [Counting(n_estimators=5, random_state=0)]}
    search = BatchedGridSearchCV(pipeline, grid, scoring="roc_auc", cv=CV, refit=False)
    Counting.fits = 0
    search.fit(X, y)
    assert Counting.fits == 3


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_options_with_workers(backend, problem):
    X, y = problem
    grid = {"learning_rate": [1e-3, 1e-2]}
    params = {"cv": CV, "n_jobs": 2, "scoring": lambda d, X, y: d.score_samples(X)[0]}
    with joblib.parallel_config(backend):
        assert_same(*searches(make(AutoencoderDetector), grid, X, y, **params))
        heard = BatchedGridSearchCV(make(AutoencoderDetector), grid, **params)
        heard.set_callbacks(ProgressBar()).fit(X, y)
        assert heard.best_score_ < 0
        failing = BatchedGridSearchCV(
            make(AutoencoderDetector), {"learning_rate": [1e30]}, **params
        )
        with pytest.raises(ValueError, match="Training diverged"):
            failing.set_params(error_score="raise").fit(X, y)


def was_served(detector, X, y):
    """A scorer: whether the detector's networks were trained before it was fitted."""
    trained = skdeepad._deep.TRAINED_BEFORE.get()._outcomes.values()
    return float(any(detector.history_ is one.history_ for one in trained))


def test_no_fit_is_missed_in_other_processes(problem):
    """Nor one of rows that joblib hands over as files, since they are large."""
    X, y = problem
    X, y = np.tile(X, (200, 1)), np.tile(y, 200)
    assert X.nbytes > 2**20
    search = BatchedGridSearchCV(
        make(AutoencoderDetector, max_epochs=1, batch_size=4096),
        {"learning_rate": [1e-3, 1e-2]},
        scoring=was_served,
        cv=OneClassKFold(2),
        n_jobs=2,
        refit=False,
    ).fit(X, y)
    assert search.cv_results_["mean_test_score"].tolist() == [1.0, 1.0]


class InRounds(BatchedGridSearchCV):
    """Calls for its candidates one by one."""

    def _run_search(self, evaluate_candidates, **params):
        for rate in (1e-3, 1e-2):
            evaluate_candidates([{"learning_rate": rate}])


def test_a_search_that_asks_several_times(problem, loops, capsys):
    X, y = problem
    search = InRounds(make(AutoencoderDetector), {}, scoring="roc_auc", cv=CV)
    search.set_params(refit=False, verbose=1).fit(X, y)
    assert [members for members, _, _ in loops] == [3, 3]
    assert "Trained 6 fits together in 2 groups" in capsys.readouterr().out


def test_a_refit_has_the_users_workers(problem):
    X, y = problem
    pipeline = Pipeline([("look", Looking()), ("detect", make(AutoencoderDetector))])
    grid = {"detect__learning_rate": [1e-3, 1e-2]}
    search = BatchedGridSearchCV(pipeline, grid, scoring="roc_auc", cv=CV)
    with joblib.parallel_config("threading", n_jobs=2):
        search.fit(X, y)
    assert search.best_estimator_["look"].backend_ == "ThreadingBackend"


class Looking(TransformerMixin, BaseEstimator):
    """Notes the joblib backend that its fit finds."""

    def fit(self, X, y=None):
        self.backend_ = type(joblib.parallel.get_active_backend()[0]).__name__
        return self

    def transform(self, X):
        return X


def test_convolutions(problem):
    X, y = problem
    params = {"architecture": "conv", "image_shape": (1, 2, 3), "latent_dim": 2}
    detector = make(AutoencoderDetector, hidden_layer_sizes=(4,), **params)
    grid = {"learning_rate": [1e-3, 1e-2]}
    scoring = {"scoring": lambda d, X, y: d.score_samples(X).mean()}
    one, batched = searches(detector, grid, X, y, **scoring)
    np.testing.assert_allclose(
        batched.cv_results_["mean_test_score"],
        one.cv_results_["mean_test_score"],
        rtol=1e-4,
    )


def test_equal_rows_with_other_names_keep_their_names():
    """Of two candidates the first one's networks serve both."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(90, 3)), columns=list("abc"))
    y = np.r_[np.ones(80), -np.ones(10)]
    X[y == -1] += 4
    scale = ColumnTransformer([("scaled", StandardScaler(), list("abc"))])
    pipeline = make_pipeline(
        scale.set_output(transform="pandas"),
        AutoencoderDetector(max_epochs=2, random_state=0),
    )
    grid = {"columntransformer__verbose_feature_names_out": [True, False]}
    assert_same(*searches(pipeline, grid, X, y))


def test_what_was_fitted_before_is_scored_once(problem):
    X, y = problem
    fitted = FrozenEstimator(make(AutoencoderDetector).fit(X, y))
    calls = []

    def scoring(estimator, X, y):
        calls.append(len(X))
        return 0.0

    pipeline = make_pipeline(fitted, OneClassSVM())
    grid = {"oneclasssvm__nu": [0.1, 0.2]}
    BatchedGridSearchCV(pipeline, grid, scoring=scoring, cv=CV, refit=False).fit(X, y)
    assert len(calls) == 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "cls, n_networks",
    [(AutoencoderDetector, 2), (VAEDetector, 1)],  # with input noise and without
)
def test_on_a_gpu(cls, n_networks, problem, loops, monkeypatch):
    X, y = problem
    monkeypatch.setattr(skdeepad._together, "MEMBERS_AT_ONCE", 3)
    detector, grid = make(cls, device="cuda"), GRIDS[cls.__name__]
    options = {"scoring": "roc_auc", "cv": CV, "refit": False}
    batched = BatchedGridSearchCV(detector, grid, n_jobs=2, **options).fit(X, y)
    assert len(loops) == n_networks
    one = GridSearchCV(detector, grid, **options).fit(X, y)
    np.testing.assert_allclose(
        batched.cv_results_["mean_test_score"],
        one.cv_results_["mean_test_score"],
        atol=5e-3,
    )


def test_calls_of_another_kind_are_no_silent_failure():
    """What scikit-learn asks for is its own affair, and may change."""
    for args, error in (((None,) * 3, KeyError), ((None,) * 2, ValueError)):
        calls = SimpleNamespace(items=[(None, args, {"params": {}})])
        with pytest.raises(error):
            skdeepad.model_selection._search._Task(calls, None).fits()


def test_a_loop_is_no_larger_than_memory():
    with config_context(working_memory=1):  # 2**18 numbers
        limits = [
            skdeepad._together.Group(make(AutoencoderDetector), n, 1)._at_once
            for n in (10, 2**16, 2**20)
        ]
    assert limits == [64, 4, 1]


def test_candidates_without_a_seed_share_their_networks(problem, loops):
    X, y = problem
    detector = make(AutoencoderDetector, random_state=None)
    grid = {"contamination": [0.05, 0.2]}
    options = {"scoring": "balanced_accuracy", "cv": CV, "refit": False}
    BatchedGridSearchCV(detector, grid, **options).fit(X, y)
    assert [members for members, _, _ in loops] == [3]


@pytest.mark.parametrize(
    "mode", [torch.no_grad, torch.inference_mode, partial(torch.autocast, "cpu")]
)
def test_a_search_within_torchs_modes(mode, problem, loops):
    X, y = problem
    options = {"scoring": "roc_auc", "cv": CV, "refit": False}
    grid = {"learning_rate": [1e-3, 1e-2]}
    search = BatchedGridSearchCV(make(AutoencoderDetector), grid, **options)
    expected = clone(search).fit(X, y).cv_results_["mean_test_score"]
    loops.clear()
    with mode():
        found = search.fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(found, expected)
    assert [members for members, _, _ in loops] == [6]
