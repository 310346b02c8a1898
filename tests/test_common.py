"""What must hold for every public detector: the contract, and known bug classes."""

import inspect
import io
import pickle
import random
import re
from fractions import Fraction
from threading import Thread

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdeepad import AutoencoderDetector, PCADetector, _products
from skdeepad._reconstruction import BaseAutoencoderDetector
from skdeepad.datasets import load_wine
from skdeepad.thresholds import Conformal, ROCOptimal
from skdeepad.thresholds._labels import check_labels
from tests.conftest import (
    ALL,
    DEEP,
    REFUSED,
    every_decoder,
    every_deep,
    every_encoder,
    every_reconstructing,
    make,
    taken,
)

every = pytest.mark.parametrize("cls", ALL)
# These tests stop training before held-out rows stop improving.
unconverged = pytest.mark.filterwarnings("ignore:.*still improved")


@pytest.mark.filterwarnings("ignore:y holds .* only and is ignored")
@parametrize_with_checks([cls() for cls in ALL])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@every
def test_scores_have_the_right_sign_and_are_distinct(cls, problem):
    X, y = problem
    detector = make(cls).fit(X, y)
    scores = detector.score_samples(X)
    assert roc_auc_score(y, scores) > 0.8
    assert len(np.unique(scores)) > 0.95 * len(X)
    assert scores.dtype == np.float64


@every
def test_what_is_asked_for_beside_a_fit_is_of_one_fit(cls, problem, monkeypatch):
    X, _ = problem
    names = "score_samples", "decision_function", "predict", "p_values", "transform"
    names += "reconstruct", "feature_errors"
    detector = make(cls, threshold=Conformal(0.5)).fit(X)
    for name in names:
        if not hasattr(detector, name):
            continue
        fitted = pickle.loads(pickle.dumps(detector))
        expected = getattr(fitted, name)(X)

        def validate(self, rows, fitted=fitted):
            monkeypatch.undo()  # once, in the midst of the method
            other = Thread(target=lambda: fitted.fit(2 * X[:150]))
            other.start()
            other.join()
            return self._validate(rows)

        monkeypatch.setattr(cls, "_validate", validate)
        np.testing.assert_array_equal(getattr(fitted, name)(X), expected, name)
        assert not np.array_equal(fitted.score_samples(X), detector.score_samples(X))


@every
def test_decision_function_is_score_minus_offset(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    decision = detector.decision_function(X)
    np.testing.assert_array_equal(
        decision, detector.score_samples(X) - detector.offset_
    )
    np.testing.assert_array_equal(detector.predict(X), np.where(decision >= 0, 1, -1))


@every
def test_scores_repeat_and_do_not_depend_on_the_batch(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    scores = detector.score_samples(X)
    np.testing.assert_array_equal(detector.score_samples(X), scores)
    np.testing.assert_array_equal(detector.score_samples(X[::-1])[::-1], scores)
    one_by_one = np.concatenate([detector.score_samples(row[None]) for row in X])
    np.testing.assert_array_equal(one_by_one, scores)


@every
def test_default_threshold_is_the_largest_training_error(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    scores = detector.score_samples(X)
    assert detector.offset_ == np.nextafter(scores.min(), np.inf)
    assert (detector.predict(X) == -1).sum() == 1


@every_deep
def test_a_number_is_a_threshold_that_needs_no_scores(cls, problem, monkeypatch):
    X, _ = problem

    def score(self, X):
        raise AssertionError

    monkeypatch.setattr(cls, "_score_samples", score)
    detector = make(cls, threshold=1.5).fit(X)
    assert detector.offset_ == -1.5
    assert detector.fit_threshold(X, threshold=2.5).offset_ == -2.5


@every
def test_contamination_flags_its_share(cls, problem):
    X, _ = problem
    labels = make(cls, contamination=0.05).fit_predict(X)
    assert (labels == -1).sum() == 10


@every
def test_labels_train_on_normal_rows_only(cls, problem):
    X, y = problem
    labelled = make(cls).fit(X, y)
    normal_only = make(cls).fit(X[y == 1])
    np.testing.assert_allclose(
        labelled.score_samples(X), normal_only.score_samples(X), rtol=1e-12
    )
    assert labelled.offset_ == pytest.approx(normal_only.offset_, rel=1e-12)


@every
def test_roc_threshold_uses_the_anomalies(cls, problem):
    X, y = problem
    detector = make(cls, threshold="roc").fit(X, y)
    labels = detector.predict(X)
    product = (labels[y == -1] == -1).mean() * (labels[y == 1] == 1).mean()
    scores = detector.score_samples(X)
    best = max(
        (scores[y == -1] < cut).mean() * (scores[y == 1] >= cut).mean()
        for cut in scores
    )
    assert product == pytest.approx(best)


@every
def test_fit_threshold_changes_the_offset_only(cls, problem):
    X, y = problem
    detector = make(cls).fit(X, y)
    params, scores = detector.get_params(), detector.score_samples(X)
    assert detector.fit_threshold(X, y, threshold="roc") is detector
    roc = detector.offset_
    detector.fit_threshold(X, threshold=1.5)
    assert detector.offset_ == -1.5 != roc
    detector.fit_threshold(X, y)
    assert detector.offset_ == np.nextafter(scores[y == 1].min(), np.inf)
    np.testing.assert_array_equal(detector.score_samples(X), scores)
    assert detector.get_params() == params


@every
@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"threshold": "roc"}, None, "needs labels"),
        ({"threshold": "roc"}, 0, r"must be \+1 \(normal\) and -1 \(anomaly\)"),
        ({"threshold": "roc"}, 1, "needs both classes"),
        ({}, -1, "no normal row"),
        ({"threshold": "best"}, None, "is not known"),
        ({"threshold": "max_train", "contamination": 0.1}, None, "no effect"),
        ({"contamination": 0.7}, None, "contamination"),
    ],
)
def test_bad_thresholds_and_labels_are_refused(cls, params, y, message, problem):
    X, _ = problem
    y = None if y is None else np.full(len(X), y)
    with pytest.raises(ValueError, match=message):
        make(cls, **params).fit(X, y)


@every
def test_failed_fit_leaves_the_fitted_detector_as_it_was(cls, problem):
    X, y = problem
    detector = make(cls).fit(X)
    before, scores = dict(vars(detector)), detector.score_samples(X)
    broken = X.copy()
    broken[3, 2] = np.nan
    for bad_X, bad_y in [(broken, None), (X[:, :3], -np.ones(len(X))), (X, y[:-1])]:
        with pytest.raises(ValueError, match=r"."):
            detector.fit(bad_X, bad_y)
        assert dict(vars(detector)) == before
    np.testing.assert_array_equal(detector.score_samples(X), scores)


@every
def test_y_that_is_no_label_vector_is_ignored(cls, problem):
    X, y = problem
    expected = make(cls).fit(X).score_samples(X)
    np.testing.assert_array_equal(
        make(cls).fit(X, np.arange(len(X))).score_samples(X), expected
    )
    with pytest.warns(UserWarning, match="holds 0 and 1 only"):
        detector = make(cls).fit(X, (y == -1).astype(int))
    np.testing.assert_array_equal(detector.score_samples(X), expected)


@every
@pytest.mark.parametrize(
    "as_written",
    [
        lambda y: (y == -1).astype(int)[:, None],
        lambda y: (y == 1).astype(object),
        lambda y: np.where(y == 1, 1.0, 0.0),
    ],
)
def test_labels_of_0_and_1_are_warned_of_however_they_are_written(
    cls, as_written, problem
):
    X, y = problem
    with pytest.warns(UserWarning, match="holds 0 and 1 only"):
        make(cls).fit(X, as_written(y))


@every
@pytest.mark.parametrize(
    ("missing", "found"),
    [(np.nan, "NaN"), (None, "NaN"), (pd.NA, "NaN"), (0, "0")],
)
def test_rows_without_a_label_among_labels_are_refused(cls, missing, found, problem):
    X, y = problem
    anomalies, y = y == -1, y.astype(object)
    y[:7] = missing
    detector = make(cls).fit(X)
    before = dict(vars(detector))
    with pytest.raises(ValueError, match=f"holds {found} beside .* Leave rows"):
        detector.fit(X, y)
    with pytest.raises(ValueError, match=f"holds {found} beside .* Leave rows"):
        # Anomalies alone are labelled.
        detector.fit(X, np.where(anomalies, -1, missing))
    assert vars(detector) == before


@every
def test_a_sparse_y_is_ignored(cls, problem):
    """Several labels a row, for a classifier behind the detector."""
    X, _ = problem
    expected = make(cls).fit(X).score_samples(X)
    several = sparse.csr_matrix(np.eye(len(X), 3, dtype=int))
    scores = make(cls).fit(X, several).score_samples(X)
    np.testing.assert_array_equal(scores, expected)
    with pytest.raises(ValueError, match=r"one label a row.* needs them"):
        make(cls, threshold="roc").fit(X, several)


@every
def test_all_missing_labels_are_none(cls, problem):
    X, _ = problem
    expected = make(cls).fit(X).score_samples(X)
    scores = make(cls).fit(X, np.full(len(X), np.nan)).score_samples(X)
    np.testing.assert_array_equal(scores, expected)


@every
def test_text_is_no_label_vector(cls, problem):
    X, y = problem
    expected = make(cls).fit(X).score_samples(X)
    for text in (y.astype(str), y.astype(str).astype(object)):
        with pytest.warns(UserWarning, match="holds '-1' and '1' only and is ignored"):
            scores = make(cls).fit(X, text).score_samples(X)
        np.testing.assert_array_equal(scores, expected)


@every
@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("normal", "anomaly"), "'anomaly' and 'normal'"),
        (("normal", "anomaly", None), "'anomaly' and 'normal'"),
        ((2, -2), "-2 and 2"),
        ((True, False), "0 and 1"),
        ((0, 0), "0"),
        ((1 - 1e-9, -1.0), "-1 and 0.999999999"),
    ],
)
def test_two_classes_of_other_names_are_warned_of(cls, names, found, problem):
    X, y = problem
    y = np.where(y == 1, *names[:2])
    if len(names) == 3:  # one of the rows has none
        y = y.astype(object)
        y[0] = names[2]
    with pytest.warns(UserWarning, match=f"y holds {found} only and is ignored"):
        make(cls).fit(X, y)


@every
def test_a_strategy_of_its_own_may_hold_rows_out_and_need_labels(cls, problem):
    class HeldOut(ROCOptimal):
        calibration_size = 0.3

        def _find_offset(self, scores, y):
            self.counts = (y == 1).sum(), (y == -1).sum()
            return super()._find_offset(scores, y)

    X, y = problem
    strategy = HeldOut()
    make(cls, threshold=strategy).fit(X, y)
    assert strategy.counts == (np.ceil(0.3 * (y == 1).sum()), (y == -1).sum())


@every
def test_a_conformal_threshold_leaves_rows_to_train_on(cls):
    strategy = Conformal(alpha=0.9)
    with pytest.raises(ValueError, match=r"1 of 1 normal row\(s\) and leaves none"):
        make(cls, threshold=strategy).fit([[0.0, 1.0], [9.0, 9.0]], [1, -1])


@every
def test_random_state_repeats_and_leaves_global_generators_alone(cls, problem):
    X, _ = problem
    states = [random.getstate(), np.random.get_state(), torch.get_rng_state()]
    first = make(cls).fit(X).score_samples(X)
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1][1])
    assert torch.equal(torch.get_rng_state(), states[2])
    np.random.seed(7)
    torch.manual_seed(7)
    np.testing.assert_array_equal(make(cls).fit(X).score_samples(X), first)
    if "random_state" in cls().get_params():
        state = np.random.RandomState(0)
        by_state = make(cls, random_state=state).fit(X).score_samples(X)
        np.testing.assert_array_equal(by_state, first)


@every_deep
def test_random_state_none_gives_another_network(cls, problem):
    X, _ = problem
    fits = [make(cls, random_state=None).fit(X).score_samples(X) for _ in range(2)]
    assert not np.allclose(*fits)


@every
def test_labels_may_come_as_a_column_or_as_objects(cls, problem):
    X, y = problem
    expected = make(cls).fit(X, y).score_samples(X)
    for labels in (y.astype(object), y[:, None], y.astype(float), y.tolist()):
        np.testing.assert_array_equal(
            make(cls).fit(X, labels).score_samples(X), expected
        )


@every
@pytest.mark.parametrize("wrong", [2, -2.5])
def test_a_wrong_value_among_labels_is_named(cls, wrong, problem):
    X, y = problem
    y = y.astype(type(wrong))
    y[7] = wrong
    with pytest.raises(ValueError, match=rf"holds \[{wrong}\] beside.* row 7 first"):
        make(cls).fit(X, y)
    with pytest.raises(ValueError, match="Correct the others"):
        make(cls, threshold="roc").fit(X, y)
    # Many others are no mistakes, but no labels.
    y[::2] = wrong
    make(cls).fit(X, y)


@every
@pytest.mark.parametrize("dtype", [object, str])
def test_a_text_among_labels_is_named(cls, dtype, problem):
    X, y = problem
    y = y.astype(dtype)
    y[7] = "?"
    with pytest.raises(ValueError, match=r"holds \['\?'\] beside.* row 7 first"):
        make(cls).fit(X, y)
    y = y.astype(object)
    y[7:10] = [["?"], 10**400, ["?"]]
    with pytest.raises(ValueError, match=r"holds \[\['\?'\], 1000+\] beside"):
        make(cls).fit(X, y)


@every
def test_labels_of_another_shape_are_refused(cls, problem):
    X, y = problem
    for labels in (np.c_[y, y], y[None], 1, {"a": 1}, sparse.csr_matrix(y[:, None])):
        with pytest.raises(ValueError, match="must hold one label a row"):
            make(cls).fit(X, labels)
        with pytest.raises(ValueError, match=r"one label a row.* needs them"):
            make(cls, threshold="roc").fit(X, labels)
    # Several targets are no labels.
    make(cls).fit(X, np.c_[y, 2 * y])


@every
def test_y_of_another_length_is_refused(cls, problem):
    X, y = problem
    for other in (y[:7], np.arange(7), np.full(7, np.nan)):
        with pytest.raises(ValueError, match="rows and y has 7 labels"):
            make(cls).fit(X, other)


@every
@pytest.mark.parametrize("size", [0, 1, -0.1])
def test_a_strategy_cannot_hold_out_none_or_all(cls, size, problem):
    class HeldOut(ROCOptimal):
        calibration_size = size

    with pytest.raises(ValueError, match=r"calibration_size=.* number in \(0, 1\)"):
        make(cls, threshold=HeldOut()).fit(*problem)


@every
def test_fit_threshold_by_name_goes_by_contamination(cls, problem):
    X, _ = problem
    detector = make(cls, contamination=0.02).fit(X)
    for threshold in (None, "auto", "quantile"):
        labels = detector.fit_threshold(X, threshold=threshold).predict(X)
        assert (labels == -1).sum() == 4
    labels = detector.fit_threshold(X, threshold="max_train").predict(X)
    assert (labels == -1).sum() == 1


@every_deep
def test_memory_layout_does_not_matter(cls, problem):
    X, _ = problem
    read_only = X.copy()
    read_only.flags.writeable = False
    expected = make(cls, standardize=False).fit(X).score_samples(X)
    for same in (X[::-1].copy()[::-1], read_only, np.asfortranarray(X)):
        detector = make(cls, standardize=False).fit(same)
        np.testing.assert_allclose(detector.score_samples(same), expected, rtol=1e-6)


@every
def test_unfitted_detector_says_so(cls, problem):
    X, _ = problem
    for method in ("score_samples", "decision_function", "predict", "fit_threshold"):
        with pytest.raises(NotFittedError):
            getattr(cls(), method)(X)


@every
def test_pickle_holds_no_torch_and_scores_the_same(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    data = pickle.dumps(detector)
    assert b"torch" not in data
    np.testing.assert_array_equal(
        pickle.loads(data).score_samples(X), detector.score_samples(X)
    )


@every_deep
def test_state_holds_no_training_data(cls, problem):
    X, _ = problem
    small, large = (
        len(pickle.dumps(make(cls).fit(np.tile(X, (n, 1))))) for n in (1, 5)
    )
    assert large - small < 1000


@every
def test_works_in_another_process(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    (scores,) = joblib.Parallel(n_jobs=2)(
        [joblib.delayed(type(detector).score_samples)(detector, X)]
    )
    np.testing.assert_allclose(scores, detector.score_samples(X), rtol=1e-12)


@every
def test_pipeline_grid_search_and_roc_auc(cls, problem):
    X, y = problem
    pipeline = make_pipeline(StandardScaler(), make(cls))
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    scores = cross_val_score(pipeline, X, y, scoring="roc_auc", cv=folds)
    assert scores.min() > 0.7
    grid = {f"{cls.__name__.lower()}__contamination": [0.05, 0.2]}
    search = GridSearchCV(pipeline, grid, scoring="balanced_accuracy", cv=folds)
    search.fit(X, y)
    means = search.cv_results_["mean_test_score"]
    assert means[0] != means[1]


@every
def test_data_frames_keep_their_names(cls, problem):
    X, _ = problem
    frame = pd.DataFrame(X, columns=list("abcdef"))
    detector = make(cls).fit(frame)
    assert list(detector.feature_names_in_) == list("abcdef")
    np.testing.assert_array_equal(
        detector.score_samples(frame), make(cls).fit(X).score_samples(X)
    )
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame[list("fedcba")])
    if hasattr(detector, "transform"):
        codes = detector.set_output(transform="pandas").transform(frame)
        assert list(codes.columns) == list(detector.get_feature_names_out())


@every
def test_clone_copies_parameters_only(cls, problem):
    X, _ = problem
    copy = clone(make(cls, contamination=0.2).fit(X))
    assert copy.contamination == 0.2
    assert not hasattr(copy, "offset_")


@every
def test_html_and_text_representation(cls):
    assert cls.__name__ in repr(make(cls, contamination=0.25))
    assert "contamination=0.25" in repr(make(cls, contamination=0.25))
    assert cls.__name__ in make(cls)._repr_html_()


@every
def test_every_parameter_is_documented_once(cls):
    section = cls.__doc__.split("Parameters\n----------")[1].split("Attributes\n---")[0]
    documented = []
    for line in section.splitlines():
        if found := re.match(r"(\w[\w, ]*) : ", line):
            documented += found[1].split(", ")
    assert sorted(documented) == sorted(cls().get_params())
    assert "{" not in re.sub(r"\{(\"|'|\w+=)[^}]*\}", "", cls.__doc__)
    for name, value in cls().get_params().items():
        line = next(x for x in section.splitlines() if x.startswith(f"{name} :"))
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        assert line.endswith(f"default={shown}") or line.endswith("\\"), line


@every
def test_documented_options_are_those_that_are_taken(cls):
    found = re.findall(r"^(\w+) : .*?\{([^}]*)\}", cls.__doc__, flags=re.MULTILINE)
    for name, options in found:
        taken = [c for c in cls._parameter_constraints[name] if hasattr(c, "options")]
        if taken:
            names = set(re.findall(r'"(\w+)"', options))
            assert names == set(taken[0].options), name
    assert "activation" in dict(found) or cls not in DEEP


@every
def test_public_methods_are_documented(cls):
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(method), name


@every
def test_numpy_scalars_and_lists_are_accepted(cls, problem):
    X, _ = problem
    params = {"contamination": np.float32(0.1)}
    if cls in DEEP:
        params |= {"batch_size": np.int32(16), "hidden_layer_sizes": [np.int64(8), 4]}
        params |= {"learning_rate": np.float32(1e-3), "batch_norm": np.True_}
        params |= {"n_estimators": np.int8(2)}
    make(cls, **params).fit(X.tolist()).predict(X.tolist())


@every
def test_small_integers_do_not_overflow(cls, problem):
    X, _ = problem
    params = {"n_estimators": 8, "n_components": 3, "max_epochs": 2, "batch_size": 64}
    params = {name: value for name, value in params.items() if hasattr(cls(), name)}
    small = {name: np.int8(value) for name, value in params.items()}
    detectors = [make(cls, **each).fit(X) for each in (params, small)]
    scores = [detector.score_samples(X) for detector in detectors]
    np.testing.assert_array_equal(*scores)
    if hasattr(cls, "transform"):
        n_codes = {detector.transform(X).shape[1] for detector in detectors}
        assert n_codes == {len(d.get_feature_names_out()) for d in detectors}


@every
@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_few_rows(cls, n_rows, problem):
    X, _ = problem
    if cls.__name__ == "PCADetector" and n_rows == 1:
        pytest.skip("one row has no principal component: refused with an error")
    detector = make(cls).fit(X[:n_rows])
    assert np.isfinite(detector.decision_function(X)).all()


# An option that is not the default.
ANOTHER = object()
# Parameter: another value, and what else to set in both cases. Every parameter of
# every deep detector must be here: one that changes nothing does not belong there.
EFFECTS = {
    "hidden_layer_sizes": ((5,), {}),
    "support_fraction": (0.5, {}),
    "decoder_layer_sizes": ((7,), {}),
    "latent_dim": (3, {}),
    "activation": ("silu", {}),
    "output_activation": ("sigmoid", {"standardize": False}),
    "batch_norm": (True, {}),
    "dropout": (0.5, {}),
    "noise_std": (0.5, {}),
    "standardize": (False, {}),
    "max_epochs": (7, {}),
    "batch_size": (11, {}),
    "learning_rate": (1e-2, {}),
    "weight_decay": (0.1, {}),
    "early_stopping": (True, {"n_iter_no_change": 1}),
    "validation_fraction": (0.4, {"early_stopping": True, "n_iter_no_change": 1}),
    "n_iter_no_change": (
        1,
        {
            "early_stopping": True,
            "learning_rate": 0.02,
            "max_epochs": 40,
            "batch_size": 16,
        },
    ),
    "n_estimators": (3, {}),
    "random_state": (1, {}),
    "precision": ("bf16", {}),
    "gamma": (3.0, {}),
    "n_gamma_init": (3, {}),
    "kappa": (0.5, {}),
    "center": ("mean", {}),
    "center_learning_rate": (0.1, {}),
    "center_decay": (1.0, {}),
    "loss_reduction": (ANOTHER, {}),
    "score_reduction": (ANOTHER, {}),
    "scoring": ("sample", {}),
    "criterion": (ANOTHER, {}),
    "n_samples": (3, {"scoring": "multi_sample"}),
    "beta": (0.3, {}),
    "likelihood": ("bernoulli", {"standardize": False}),
    "nu": (0.2, {}),
    "fit_intercept": (False, {}),
    "pretrain_epochs": (4, {}),
    "n_components": (2, {}),
    "estimation_layer_sizes": ((5,), {}),
    "estimation_dropout": (0.0, {}),
    "energy_weight": (1.0, {}),
    "covariance_penalty": (1.0, {}),
    "reg_covar": (0.1, {}),
    "n_bins": (7, {}),
    "kernel_size": (3, {}),
    "n_levels": (9, {}),
    "reconstruction_weight": (1.0, {}),
    "latent_critic_layer_sizes": ((5,), {}),
    "n_mining_steps": (3, {}),
    "feature_weight": (0.5, {}),
    "n_mapping_steps": (5, {}),
    "mapping_rate": (0.01, {}),
    "mining_rate": (30.0, {}),
    "surprisal_weight": (1.0, {}),
}
# Tested elsewhere: what they change is not the scores of a first fit.
ELSEWHERE = {
    "architecture",
    "image_shape",
    "contamination",
    "device",
    "threshold",
    "verbose",
    "warm_start",
    "checkpoint_dir",
    "cuda_graphs",
    "distributed",
}


@unconverged
@every_deep
def test_every_parameter_has_an_effect(cls, problem):
    X, _ = problem
    X = (X - X.min(0)) / np.ptp(X, axis=0)
    for name, default in cls().get_params().items():
        if name in ELSEWHERE or name in REFUSED.get(cls.__name__, ()):
            continue
        assert name in EFFECTS, f"Add the parameter {name} to EFFECTS."
        value, context = EFFECTS[name]
        if value is ANOTHER:
            (allowed,) = cls._parameter_constraints[name]
            value = min(allowed.options - {default})
        base = make(cls, **context).fit(X).score_samples(X)
        other = make(cls, **(context | {name: value})).fit(X).score_samples(X)
        assert not np.allclose(base, other, rtol=1e-4), name


@unconverged
@every_deep
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_small_floats_are_the_numbers_they_hold(cls, dtype, problem):
    X, _ = problem
    for name in cls().get_params():
        value, context = EFFECTS.get(name, (None, {}))
        if isinstance(value, float) and name not in REFUSED.get(cls.__name__, ()):
            small = dtype(value)
            scores = [
                make(cls, **(context | {name: number})).fit(X).score_samples(X)
                for number in (small, float(small))
            ]
            np.testing.assert_array_equal(*scores, err_msg=name)


@every
def test_numpy_numbers_stay_the_parameters(cls, problem):
    X, _ = problem
    contamination = np.float32(0.1)
    detector = make(cls, contamination=contamination).fit(X)
    assert detector.contamination is contamination


@every
def test_a_failed_fit_sets_its_generator_back(cls, problem):
    X, _ = problem
    if "random_state" not in cls().get_params():
        pytest.skip("draws nothing")
    scores = []
    for fails in (True, False):
        rng = np.random.RandomState(0)
        detector = make(cls, threshold=Unwilling(fails), random_state=rng)
        if fails:
            with pytest.raises(RuntimeError, match="unwilling"):
                detector.fit(X)
            detector.threshold = Unwilling(False)
        scores.append(detector.fit(X).score_samples(X))
        assert detector.random_state is rng
    np.testing.assert_array_equal(*scores)


class Unwilling:
    """A threshold that may raise, when all else is done."""

    def __init__(self, fails):
        self.fails = fails

    def find_offset(self, scores, y):
        if self.fails:
            raise RuntimeError("unwilling")
        return 0.0


@every
def test_versions_are_told_apart(cls, problem, monkeypatch):
    X, _ = problem
    detector = make(cls).fit(X)
    saved = pickle.dumps(detector)
    assert vars(pickle.loads(saved)).keys() == vars(detector).keys()
    monkeypatch.setattr("skdeepad._base.__version__", "77.0")
    with pytest.warns(UserWarning, match=r"saved by skdeepad 0\..* loaded by 77\.0"):
        pickle.loads(saved)


def test_a_class_may_have_a_state_of_its_own(problem):
    X, _ = problem
    detector = OwnState(max_epochs=1, random_state=0).fit(X)
    copied = pickle.loads(pickle.dumps(detector))  # warnings are errors here
    np.testing.assert_array_equal(copied.score_samples(X), detector.score_samples(X))


class OwnState(AutoencoderDetector):
    def __getstate__(self):
        return vars(self).copy()


@every_deep
def test_constructor_only_stores(cls):
    sizes = [3, 2]
    detector = cls(hidden_layer_sizes=sizes, device="nowhere", learning_rate=-1)
    assert detector.hidden_layer_sizes is sizes
    assert vars(detector).keys() == detector.get_params().keys()


@every_deep
def test_set_params_counts_from_the_next_fit(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    scores = detector.score_samples(X)
    changed = taken(cls, {"hidden_layer_sizes": (7,), "latent_dim": 3})
    detector.set_params(n_estimators=2, **changed)
    np.testing.assert_array_equal(detector.score_samples(X), scores)
    detector.fit(X)
    expected = make(cls, n_estimators=2, **changed).fit(X)
    np.testing.assert_array_equal(detector.score_samples(X), expected.score_samples(X))


@every_encoder
def test_a_code_is_of_the_last_fit(cls, problem):
    X, _ = problem
    detector = make(cls, latent_dim=2).fit(X)
    detector.set_params(latent_dim=3, n_estimators=2)
    assert detector.transform(X).shape == (len(X), 2)
    assert detector.fit(X).transform(X).shape == (len(X), 6)
    assert len(detector.get_feature_names_out()) == 6


@every_reconstructing
def test_standardize_is_a_standard_scaler_before(cls, problem):
    X, _ = problem
    inside = make(cls).fit(X)
    Z = StandardScaler().fit_transform(X)
    outside = make(cls, standardize=False).fit(Z)
    np.testing.assert_allclose(
        inside.score_samples(X), outside.score_samples(Z), rtol=1e-4
    )
    np.testing.assert_allclose(
        StandardScaler().fit(X).transform(inside.reconstruct(X)),
        outside.reconstruct(Z),
        atol=1e-4,
    )


@every_decoder
def test_anomalies_may_be_out_of_a_sigmoids_reach(cls):
    X = np.random.RandomState(0).uniform(size=(60, 6))
    y = np.r_[np.ones(50), -np.ones(10)]
    params = {"output_activation": "sigmoid", "standardize": False}
    expected = make(cls, **params).fit(X[:50]).score_samples(X)
    X[50:] += 3
    detector = make(cls, threshold="roc", **params).fit(X, y)
    np.testing.assert_array_equal(detector.score_samples(X)[:50], expected[:50])
    assert (detector.predict(X[50:]) == -1).all()


@every_decoder
def test_sigmoid_output_refuses_what_it_can_not_reach(cls, problem):
    X, _ = problem
    with pytest.raises(ValueError, match="standardize=False"):
        make(cls, output_activation="sigmoid").fit(X)
    with pytest.raises(ValueError, match=r"X in \[0, 1\]"):
        make(cls, output_activation="sigmoid", standardize=False).fit(X)


@every_decoder
def test_convolutional_networks(cls):
    rng = np.random.default_rng(0)
    X = rng.random((40, 2 * 7 * 5))
    conv = {"architecture": "conv", "hidden_layer_sizes": (4, 6), "latent_dim": 3}
    detector = make(cls, image_shape=(2, 7, 5), n_estimators=2, **conv).fit(X)
    assert detector.reconstruct(X).shape == X.shape
    assert detector.transform(X).shape == (40, 6)
    deeper = make(cls, image_shape=(2, 7, 5), decoder_layer_sizes=(6, 4, 3), **conv)
    assert deeper.fit(X).reconstruct(X).shape == X.shape
    for shape in (None, (1, 7, 5), (7, 10), (0, 7, 5)):
        with pytest.raises(ValueError, match="image_shape"):
            make(cls, image_shape=shape, **conv).fit(X)
    with pytest.raises(ValueError, match="does not use it"):
        make(cls, image_shape=(2, 7, 5)).fit(X)
    with pytest.raises(ValueError, match="a hidden layer or more"):
        make(cls, image_shape=(2, 7, 5), decoder_layer_sizes=(), **conv).fit(X)


@every_reconstructing
def test_feature_errors_point_at_the_broken_feature(cls, problem):
    X, _ = problem
    detector = make(cls, n_estimators=2).fit(X)
    assert detector.feature_errors(X).shape == X.shape
    row = X[:1].copy()
    row[0, 2] += 100 * X[:, 2].std()
    assert detector.feature_errors(row)[0].argmax() == 2


@unconverged
@every_deep
@pytest.mark.parametrize("batch_norm", [False, True])
def test_members_train_as_if_alone(cls, batch_norm, problem):
    X, _ = problem
    params = {
        "dropout": 0.3,
        "batch_norm": batch_norm,
        "early_stopping": True,
        "n_iter_no_change": 2,
        "learning_rate": 0.01,
        "max_epochs": 8,
        # A normalised code: a shift of a linear one before normalisation is free.
        "hidden_layer_sizes": (16, 8),
        "latent_dim": None,
        "contamination": 0.1,
        "gamma": 0.5,
        "device": "cpu",
    }
    params = {name: v for name, v in params.items() if name in cls().get_params()}
    alone = make(cls, **params).fit(X)
    among = make(cls, n_estimators=5, **params).fit(X)
    # To the last bit, on the CPU: chaos would make much of any difference.
    for name, value in alone._state.items():
        np.testing.assert_array_equal(among._state[name][:1], value, err_msg=name)


@pytest.mark.parametrize("n_code", [32, 24, 20])
@pytest.mark.parametrize(
    "cls",
    [
        cls
        for cls in DEEP
        if issubclass(cls, BaseAutoencoderDetector) and cls()._has_own_gradients()
    ],
)
@pytest.mark.parametrize("library", ["onednn", "openblas"])
def test_members_whose_products_another_library_takes_train_as_if_alone(
    library, cls, n_code, monkeypatch
):
    if not _products._is_zen(4):
        pytest.skip("on this processor MKL takes all")
    monkeypatch.setattr(_products, "_is_alone", lambda: library == "onednn")
    monkeypatch.setattr(_products, "_is_unset", lambda: True)
    monkeypatch.setattr(_products, "_is_zen", lambda generation: True)
    calls = []

    def use(wanted, use=_products.use_onednn):
        use(wanted)
        calls.append(torch.backends.mkldnn.matmul.fp32_precision == "bf16")

    def take(*operands, take=_products.openblas_product):
        calls.append(True)
        return take(*operands)

    monkeypatch.setattr("skdeepad._nn._layers.use_onednn", use)
    monkeypatch.setattr("skdeepad._nn._layers.openblas_product", take)
    monkeypatch.setattr(_products, f"{library.upper()}_WORK", 7e4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    X, y = load_wine(return_X_y=True)
    params = {"hidden_layer_sizes": (32, n_code), "latent_dim": None, "batch_size": 32}
    params["device"] = "cpu"
    alone = make(cls, **params).fit(X, y)
    assert not any(calls)
    among = make(cls, n_estimators=5, **params).fit(X, y)
    assert any(calls)
    assert torch.backends.mkldnn.matmul.fp32_precision != "bf16"
    for name, value in alone._state.items():
        np.testing.assert_array_equal(among._state[name][:1], value, err_msg=name)


@every_encoder
def test_convolutional_members_train_as_if_alone(cls):
    X = np.random.default_rng(0).random((40, 35))
    conv = {"architecture": "conv", "hidden_layer_sizes": (4, 6), "latent_dim": 3}
    conv |= {"image_shape": (1, 7, 5), "standardize": False}
    if "gamma" in cls().get_params():
        conv["gamma"] = 0.5
    alone = make(cls, **conv).fit(X)
    among = make(cls, n_estimators=3, **conv).fit(X)
    np.testing.assert_allclose(
        among.transform(X)[:, :3], alone.transform(X), rtol=1e-3, atol=1e-4
    )


@every_deep
def test_parameters_changed_in_place_do_not_reach_the_fitted_networks(cls, problem):
    X, _ = problem
    sizes = [8, 4]
    detector = make(cls, hidden_layer_sizes=sizes).fit(X)
    scores = detector.score_samples(X)
    sizes.append(3)
    np.testing.assert_array_equal(detector.score_samples(X), scores)


@every_deep
def test_extreme_rows_are_anomalies(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    extreme = np.r_[X[:1] + 1e12, X[:1] - 1e6, X[:1] + 1e300]
    assert (detector.predict(extreme) == -1).all()
    assert np.isfinite(detector.score_samples(extreme)).all()


@every_deep
def test_verbose_prints_a_line_an_epoch(cls, problem, capsys):
    X, _ = problem
    make(cls).fit(X)
    assert capsys.readouterr().out == ""
    make(cls, verbose=True).fit(X)
    lines = io.StringIO(capsys.readouterr().out).readlines()
    assert len(lines) == 5
    assert lines[4].startswith(f"[{cls.__name__}] epoch 5: loss=")


@every
@pytest.mark.parametrize("labelled", [False, True])
def test_rows_may_be_changed_after_the_fit(cls, labelled, problem):
    X, _ = problem
    rows = np.array(X)
    detector = make(cls).fit(rows, np.ones(len(X)) if labelled else None)
    expected = detector.score_samples(X)
    rows[:] = 99.0
    np.testing.assert_array_equal(detector.score_samples(X), expected)


# To a PixelCNN a number is a class, and NaN an index out of range.
@pytest.mark.parametrize("cls", [c for c in ALL if c.__name__ != "PixelCNNDetector"])
def test_a_nan_that_nobody_looked_for_is_no_normal_row(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    rows = np.array(X[:3])
    rows[0, 0] = np.nan
    with config_context(assume_finite=True):
        assert detector.predict(rows)[0] == -1


@pytest.mark.parametrize("cls", [c for c in DEEP if hasattr(c, "center_")])
def test_a_centre_that_is_changed_changes_no_score(cls, problem):
    X, _ = problem
    detector = make(cls).fit(X)
    expected = detector.score_samples(X)
    center = detector.center_
    center += 1.0
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.score_samples(X), expected)


@every
@pytest.mark.parametrize("value", [0.1, 1.7e18, 1e300])
def test_a_column_that_is_always_the_same_is_like_one_of_zeros(cls, value, problem):
    X, y = problem  # 1.7e18 are nanoseconds since 1970, whose sum is not exact

    def scores(constant):
        rows = np.insert(X, 2, constant, axis=1)
        return make(cls).fit(rows, y).score_samples(rows)

    np.testing.assert_array_equal(scores(value), scores(0.0))


@every
def test_values_too_large_for_a_variance_are_named(cls, problem):
    X, _ = problem
    X = X.copy()
    X[3, 2] = np.finfo(float).max
    with pytest.raises(ValueError, match="no finite variance, first column 2"):
        make(cls).fit(X)


def test_truth_values_are_no_labels():
    with pytest.raises(ValueError, match=r"got values \[True\]"):
        check_labels(np.ones(5, dtype=bool), "This")


def test_up_to_a_tenth_of_other_values_are_mistakes(problem):
    X, y = problem
    y = y.copy()
    y[40:60] = 2
    with pytest.raises(ValueError, match=r"holds \[2\] beside.* row 40 first"):
        PCADetector().fit(X, y)
    y[60] = 2
    PCADetector().fit(X, y)


def test_values_without_an_order_are_named(problem):
    X, y = problem
    y = y.astype(object)
    y[::2] = "?"
    with pytest.raises(ValueError, match=r"got values \['-1', '1', '\?'\]"):
        PCADetector(threshold="roc").fit(X, y)


def test_numbers_of_other_kinds_are_read(problem):
    X, y = problem
    fractions = np.array([Fraction(int(label)) for label in y], dtype=object)
    expected = PCADetector().fit(X, y).score_samples(X)
    np.testing.assert_array_equal(
        PCADetector().fit(X, fractions).score_samples(X), expected
    )
    PCADetector().fit(X, np.array([2**70, 2**71] * 99 + [1, 2], dtype=object))
