"""Thresholds and probabilities for any detector."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from scipy.special import erf
from scipy.stats import median_abs_deviation
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics._scorer import _BaseScorer
from sklearn.model_selection import (
    RepeatedStratifiedKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    check_cv,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples, check_is_fitted

from skdeepad._base import (
    SEARCH,
    BaseDetector,
    FitTask,
    from_mean,
    of_one_fit,
    round_scores,
    set_offset,
)
from skdeepad._warnings import warn
from skdeepad.model_selection._split import OneClassSplitter
from skdeepad.thresholds._labels import check_both_classes, normal_scores
from skdeepad.thresholds._make import make_threshold

STRATIFIED = StratifiedKFold, RepeatedStratifiedKFold, StratifiedShuffleSplit


def _gives_probabilities(detector):
    if detector.probability is None:
        raise AttributeError(
            "predict_proba needs probability='sigmoid', 'isotonic' or 'gaussian'."
        )
    return True


def _explains(detector):
    estimator = getattr(detector, "estimator_", detector.estimator)
    if not hasattr(estimator, "feature_errors"):
        why = f"{type(estimator).__name__} has no feature_errors."
        if hasattr(estimator, "_final_estimator"):
            why += (
                " With pipeline = detector.estimator_, its last step may have those of "
                "the transformed rows: "
                "pipeline[-1].feature_errors(pipeline[:-1].transform(X))."
            )
        raise AttributeError(why)
    return True


@dataclass(kw_only=True, eq=False, repr=False)
class ThresholdedDetector(CallbackSupportMixin, BaseDetector):
    """Any detector, with a threshold strategy and probabilities of its scores.

    A clone of the detector is trained on the normal rows; its scores (or, with
    ``cv``, those of rows it was not trained on) choose the offset.

    Parameters
    ----------
    estimator : object
        A detector with ``score_samples`` or ``decision_function``, higher for
        more normal rows: scikit-learn's, ours, or a pipeline that ends in one.
        It sees the normal rows alone, without labels.
    probability : {"sigmoid", "isotonic", "gaussian"}, default=None
        What ``predict_proba`` makes of a score. "sigmoid" (Platt, [1]_) and
        "isotonic" ([2]_) are learnt from labels of both classes in ``fit``, with
        scikit-learn's calibration; use ``cv`` with them, or normal rows look
        better than new ones will. Both are learnt of the score's inverse hyperbolic
        sine, in deviations of the normal rows: a sigmoid of the score itself would be
        flattened by a single very large error. A probability is one where
        anomalies are as frequent as among the labels, however frequent they are in
        other rows; ``predict`` goes by the threshold and not by one half.
        "gaussian" needs no labels: the anomaly
        score's place in a normal distribution with the training scores' mean
        and deviation, 0 below the mean ([3]_, normal scaling): a common scale
        for scores, not a calibrated probability.
    cv : int, cross-validation generator or iterable, default=None
        An integer is a number of folds, not shuffled: stratified where y has as many
        rows of each label, else one after the other.
        Out-of-fold scores choose the offset: of each fold's test rows, by a detector
        trained on the normal rows among its training rows. The detector in use is then
        trained on all normal rows. A row in several test parts counts once, by its mean
        score. None scores the training rows again. The detector in use was trained on
        more rows than those of the folds and scores a little otherwise, so that the
        rate is nearly the one asked for: with ``contamination=0.05``, by detector, 3.6
        to 7.0 % of new normal rows were flagged on ADBench (documentation, *What
        thresholds do on new rows*). ``threshold="conformal"`` without ``cv`` has a
        guarantee. Where a splitter needs groups, give ``cv=list(splitter.split(X, y,
        groups))``.
    n_jobs : int, default=None
        Folds trained side by side, as in :class:`joblib.Parallel`.
    {threshold_parameters}

    Attributes
    ----------
    estimator_ : object
        The fitted detector.
    classes_ : ndarray of shape (2,)
        The labels, -1 and +1, in the order of ``predict_proba``; with ``probability``.
    {detector_attributes}

    Notes
    -----
    Callbacks see the detector in use being trained, and not those of the folds. Set
    ProgressBar and others that scikit-learn hands on to the parts of an estimator here,
    and not on ``estimator``, where they are refused.

    Probabilities of rows that were not trained on come from a loop over folds, and not
    from ``cross_val_predict``, which would turn the labels into 0 and 1::

        for train, test in StratifiedKFold(5).split(X, y):
            fold = clone(detector).fit(X[train], y[train])
            probabilities[test] = fold.predict_proba(X[test])

    References
    ----------
    .. [1] J. Platt, *Probabilistic outputs for support vector machines*, 1999.
    .. [2] B. Zadrozny and C. Elkan, *Transforming classifier scores into accurate
       multiclass probability estimates*, KDD 2002.
    .. [3] H.-P. Kriegel et al., *Interpreting and unifying outlier scores*, SDM
       2011.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import IsolationForest
    >>> from skdeepad import ThresholdedDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> forest = IsolationForest(random_state=0)
    >>> detector = ThresholdedDetector(forest, threshold="mad", cv=5).fit(X)
    >>> detector.predict([[0, 0], [4, -4]])
    array([ 1, -1])
    """

    estimator: Any = field(kw_only=False)
    probability: str | None = None
    cv: Any = None
    n_jobs: int | None = None

    _parameter_constraints: ClassVar[dict] = {
        **BaseDetector._parameter_constraints,
        "estimator": [
            HasMethods(["fit", "score_samples"]),
            HasMethods(["fit", "decision_function"]),
        ],
        "probability": [StrOptions({"sigmoid", "isotonic", "gaussian"}), None],
        "cv": ["cv_object"],
        "n_jobs": [Integral, None],
    }

    @property
    def _is_frozen(self):
        return isinstance(self.estimator, FrozenEstimator)

    def _validate_params(self):
        detector = _last_step(self.estimator)
        if not getattr(detector, "novelty", True):
            name = type(detector).__name__
            raise ValueError(f"{name} scores new rows with novelty=True only.")
        super()._validate_params()

    def _task(self, X, y):
        strategy = make_threshold(self.threshold, self.contamination)
        (X,) = indexable(X)
        if self.probability in ("sigmoid", "isotonic"):
            what = f"probability={self.probability!r}"
            check_both_classes(y, what, f"Add such rows. {SEARCH}")
        y = self._labels(X, y, strategy)
        if self.probability in ("sigmoid", "isotonic"):
            _check_two_of_each(y, self.probability)
        detector = _last_step(self.estimator)
        if isinstance(detector, BaseSearchCV) and (
            _reads_labels(detector.scoring)
            or isinstance(detector.cv, (*STRATIFIED, OneClassSplitter))
        ):
            name = type(detector).__name__
            raise ValueError(
                "ThresholdedDetector fits its estimator without labels, by which this "
                f"{name} divides or scores: search over {name}(ThresholdedDetector(...)"
                "), wrap its best_estimator_, or give it scoring=label_free_scorer and "
                "a cv that needs no labels."
            )
        if isinstance(detector, BaseDetector):
            own = make_threshold(detector.threshold, detector.contamination)
            if getattr(own, "requires_labels", False):
                raise ValueError(
                    "ThresholdedDetector fits its estimator without labels: give "
                    f"threshold={detector.threshold!r} to ThresholdedDetector itself, "
                    "and leave the estimator's at 'auto'."
                )
        if self.cv is not None:
            if y is None and isinstance(self.cv, STRATIFIED):
                raise ValueError(
                    f"cv={self.cv!r} divides rows by their labels, and there are none: "
                    "pass y with +1 for normal rows and -1 for anomalies, or cv=5."
                )
            task = _CrossValidated.keep_all(X, y, strategy)
        elif self._is_frozen:
            # It trains on no row: all can set the threshold.
            task = FitTask.keep_all(X, y, strategy)
        else:
            # A copy: fit draws from clones of the estimator, and leaves itself alone.
            random_state = copy.deepcopy(_random_state(detector))
            task = FitTask.divide(X, y, strategy, random_state)
        has_folds = self.cv is not None and (self.probability or task.reads_scores)
        is_divided = (has_folds or task.training is not None) and not self._is_frozen
        if is_divided and get_tags(self).input_tags.pairwise:
            raise ValueError(
                "With a precomputed kernel or distances between all rows, training on "
                "some of them (the normal ones, those of a fold, or those that a "
                "conformal threshold does not hold out) is not possible. Give the rows "
                "themselves and the kernel's name, or fit without y, cv and "
                "threshold='conformal'."
            )
        return task

    def _fit(self, X, task):
        rows = {"X": task.X, "y": task.y}
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, **rows)
        training = context.subcontext(task_name="fit-estimator")
        estimator = clone(self.estimator)
        # A frozen one trains nothing, and is the user's own: it is left alone.
        propagate = training.propagate_callback_context
        with nullcontext() if self._is_frozen else propagate(estimator):
            training.call_on_fit_task_begin(estimator=self, **rows)
            self.estimator_ = estimator.fit(X, None)  # a frozen one insists on a y
            training.call_on_fit_task_end(estimator=self, **rows)
        detector = _last_step(self.estimator_)
        if isinstance(detector, FrozenEstimator):
            detector = detector.estimator
        if hasattr(detector, "decision_scores_") and not hasattr(
            detector, "score_samples"
        ):
            raise ValueError(
                f"{type(detector).__name__} has decision_scores_, as detectors of PyOD "
                "and DeepOD have: their decision_function is higher for anomalies, and "
                "scikit-learn's is lower. Give a class around it whose score_samples "
                "returns -detector.decision_function(X)."
            )
        for name in ("n_features_in_", "feature_names_in_"):
            vars(self).pop(name, None)
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        return partial(context.call_on_fit_task_end, estimator=self, **rows)

    def _set_threshold(self, task):
        self._to_probability = {}
        vars(self).pop("classes_", None)
        if self.probability is None:
            task.set_threshold(self)
            return
        scores, y = task.scores(self)
        set_offset(self, task.strategy, scores, y)
        if self.probability == "gaussian":
            self._to_probability["gaussian"] = _Gaussian().fit(scores, y)
        else:
            calibrated = _Calibrated(self.probability).fit(scores, y)
            self._to_probability[self.probability] = calibrated
        self.classes_ = np.array([-1, 1])

    def _validate(self, X):
        check_is_fitted(self)
        return X

    def _score_samples(self, X):
        return _score(self.estimator_, X)

    @available_if(_gives_probabilities)
    @of_one_fit
    def predict_proba(self, X):
        """Probability of anomaly and of normal for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, 2)
            Columns in the order of the labels: -1 (anomaly), +1 (normal).
        """
        scores = self.score_samples(X)
        if self.probability not in self._to_probability:
            raise NotFittedError(
                f"probability={self.probability!r} was set after fit, which makes the "
                "probabilities: call fit again."
            )
        return self._to_probability[self.probability](scores)

    @available_if(_explains)
    def feature_errors(self, X):
        """What each feature adds to the anomaly score, where the estimator tells.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        errors : ndarray of shape (n_samples, n_features), float64
        """
        check_is_fitted(self)
        return self.estimator_.feature_errors(X)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.non_deterministic = inner.non_deterministic
        return tags


class _CrossValidated(FitTask):
    """Rows that are all trained on, and scored by detectors not trained on them."""

    def _splitter(self, cv):
        """Stratified folds where there are labels enough."""
        stratified = isinstance(cv, Integral) and self.y is not None
        if stratified:
            _, counts = np.unique(self.y, return_counts=True)
            stratified = counts.min() >= cv
        return check_cv(cv, self.y, classifier=stratified)

    def scores(self, detector):
        rows = np.arange(_num_samples(self.X))
        folds = [
            [rows[np.asarray(part)] if len(part) else rows[:0] for part in fold]
            for fold in self._splitter(detector.cv).split(self.X, self.y)
        ]
        if not folds:
            raise ValueError(
                f"cv={detector.cv!r} gave no folds. An iterator can be used once: pass "
                "a list of folds, or a splitter."
            )
        if not all(len(part) for fold in folds for part in fold):
            raise ValueError(
                f"cv={detector.cv!r} gave a fold without rows to train on, or to score."
            )
        scores = Parallel(n_jobs=detector.n_jobs)(
            delayed(_fold_scores)(detector.estimator, self.X, self.y, train, test)
            for train, test in folds
        )
        tests = np.concatenate([test for _, test in folds])
        # A row in several test parts counts once, by its mean score.
        rows, place = np.unique(tests, return_inverse=True)
        scores = np.bincount(place, np.concatenate(scores)) / np.bincount(place)
        return scores, None if self.y is None else self.y[rows]


def _fold_scores(estimator, X, y, train, test):
    """Scores of test rows by a clone trained on the normal training rows."""
    if y is not None:
        train = train[y[train] == 1]
    if not len(train):
        raise ValueError("A fold of cv has no normal row (+1) to train on.")
    fold = clone(estimator).fit(_safe_indexing(X, train), None)
    return round_scores(_score(fold, _safe_indexing(X, test)))


def _last_step(estimator):
    """The detector itself; of a pipeline, also of one within another, its last step."""
    while hasattr(estimator, "_final_estimator"):
        estimator = estimator._final_estimator
    return estimator


def _random_state(detector):
    """The detector's own, or that of the one that it wraps."""
    while not hasattr(detector, "random_state") and hasattr(detector, "estimator"):
        detector = _last_step(detector.estimator)
    return getattr(detector, "random_state", None)


def _reads_labels(scoring):
    """Whether a search scores by labels, as far as that can be seen."""
    if isinstance(scoring, dict):
        scoring = list(scoring.values())
    scorers = scoring if isinstance(scoring, (list, tuple, set)) else [scoring]
    return any(isinstance(scorer, (str, _BaseScorer)) for scorer in scorers)


def _score(estimator, X):
    """Scores of any detector, higher for more normal rows."""
    if hasattr(estimator, "score_samples"):
        scores = estimator.score_samples(X)
    else:
        scores = estimator.decision_function(X)
    scores = np.array(scores, dtype=np.float64)
    if scores.shape != (_num_samples(X),):
        raise ValueError(
            f"{type(estimator).__name__} gave scores of shape {scores.shape} for "
            f"{_num_samples(X)} rows: a detector gives one a row."
        )
    return scores


class _Gaussian:
    """Normal scaling of anomaly scores (Kriegel et al., 2011, section 4)."""

    def fit(self, scores, y):
        errors = -normal_scores(scores, y)
        self._mean, self._std = errors.mean(), errors.std()
        return self

    def __call__(self, scores):
        deviation = -scores - self._mean
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(deviation > 0, deviation / self._std, 0.0)
        anomaly = erf(z / np.sqrt(2))
        return np.column_stack([anomaly, 1 - anomaly])


def _check_two_of_each(y, method):
    """Raise ValueError where labels are too few for scikit-learn's calibration."""
    if min(np.sum(y == 1), np.sum(y == -1)) < 2:
        raise ValueError(
            f"probability={method!r} needs two rows or more of each label; use "
            "probability='gaussian', which needs no labels."
        )


class _Calibrated:
    """scikit-learn's calibration, of scores that are there already."""

    def __init__(self, method):
        self._method = method

    def fit(self, scores, y):
        normal = normal_scores(scores, y)
        self._center = np.median(normal)
        # Also for Newton steps, which from a slope of one don't reach a million.
        self._spread = median_abs_deviation(normal) or normal.std() or 1.0
        _check_two_of_each(y, self._method)  # again: folds may leave rows out
        # Nothing is trained in these folds: the frozen scores are given back.
        frozen = FrozenEstimator(_Scores())
        self._calibrated = CalibratedClassifierCV(frozen, method=self._method, cv=2)
        self._calibrated.fit(self._scaled(scores), y)
        lowest, highest = self(np.array([scores.min(), scores.max()]))[:, 1]
        if lowest >= highest:
            warn(
                "The probability of normal does not rise with the score: by these "
                "labels, anomalies have no lower scores. With cv, the scores of the "
                "folds may be of different scales: set cv=None, or "
                "probability='gaussian'. Without, the detector does not find them.",
            )
        return self

    def _scaled(self, scores):
        return np.arcsinh(from_mean(scores[:, None], self._center, self._spread))

    def __call__(self, scores):
        return self._calibrated.predict_proba(self._scaled(scores))


class _Scores(ClassifierMixin, BaseEstimator):
    """A classifier whose decision function is its only feature."""

    classes_ = np.array([-1, 1])

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.where(X[:, 0] >= 0, 1, -1)

    def decision_function(self, X):
        return X[:, 0]
