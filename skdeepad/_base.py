"""What every detector shares: labels, thresholds, and a fit that is all or nothing."""

import functools
import re
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.callback import with_callbacks
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _get_feature_names,
    _num_samples,
    check_is_fitted,
    validate_data,
)

from skdeepad._docs import insert_shared_docs
from skdeepad._shares import round_up
from skdeepad._version import __version__
from skdeepad._warnings import warn
from skdeepad.thresholds._conformal import benjamini_hochberg, conformal_p_values
from skdeepad.thresholds._labels import (
    check_both_classes,
    check_other_labels,
    normal_scores,
    to_labels,
)
from skdeepad.thresholds._make import make_threshold

# What to do where the training parts of a search have no anomalies.
SEARCH = (
    "In a search whose training parts hold normal rows only (OneClassKFold), set this "
    "on the winner, fitted again or by fit_threshold; or divide the rows by "
    "StratifiedKFold: detectors train on the normal rows of a part alone."
)

# dtypes of rows that are kept; others become the first.
NUMBERS = [np.float64, np.float32]

# Largest scaled value that is told from larger ones, whose squares may overflow.
FARTHEST = 1e100


def snapshot(estimator):
    """An estimator with the attributes of this moment."""
    other = object.__new__(type(estimator))
    vars(other).update(vars(estimator))
    return other


def of_one_fit(method):
    """Let a method work on a copy: another thread may end a fit meanwhile."""

    @functools.wraps(method)
    def wrapper(self, *args, **kwargs):
        return method(snapshot(self), *args, **kwargs)

    return wrapper


def _all_or_nothing(fit):
    """Let a fit work on a copy, which the estimator becomes at its end.

    One that raises, Ctrl-C included, leaves the estimator as it was, and so the
    RandomStates that its ``get_params`` gives; one that runs leaves it to other threads
    that score. The copy has Python's numbers for NumPy's, which are rounded, or
    overflow, otherwise.
    """

    @functools.wraps(fit)
    def wrapper(self, *args, **kwargs):
        params = self.get_params(deep=False)
        given = {name: p for name, p in params.items() if isinstance(p, np.generic)}
        work = snapshot(self)
        vars(work).update({name: number.item() for name, number in given.items()})
        with _generators_set_back(self):
            fit(work, *args, **kwargs)
        self.__dict__ = vars(work) | given
        return self

    return wrapper


@contextmanager
def _generators_set_back(estimator):
    """Let RandomStates among the parameters be as they were, if anything raises."""
    params = estimator.get_params().values()
    generators = [param for param in params if isinstance(param, np.random.RandomState)]
    states = [generator.get_state() for generator in generators]
    try:
        yield
    except BaseException:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        raise


@dataclass(frozen=True)
class FitTask:
    """The rows of one fit: some to train on, some to set the threshold with."""

    X: Any
    y: np.ndarray | None
    strategy: Any
    training: np.ndarray | None = None
    scored: np.ndarray | None = None

    @classmethod
    def divide(cls, X, y, strategy, random_state):
        """Train on the normal rows, but for those that the strategy holds out.

        It chooses the offset from these, and from the anomalies.
        """
        size = getattr(strategy, "calibration_size", None)
        if size is None:
            return cls.keep_all(X, y, strategy)
        n_rows = _num_samples(X)
        normal = np.arange(n_rows) if y is None else np.flatnonzero(y == 1)
        n_held_out = round_up(float(size) * len(normal))
        if hasattr(strategy, "check_size"):
            strategy.check_size(n_held_out)
        if n_held_out >= len(normal):
            raise ValueError(
                f"The threshold {strategy!r} holds out {n_held_out} of {len(normal)} "
                "normal row(s) and leaves none to train on. Give more rows, or lower "
                "calibration_size."
            )
        own = getattr(strategy, "random_state", None)
        training, scored = train_test_split(
            normal,
            test_size=n_held_out,
            random_state=random_state if own is None else own,
        )
        if y is not None:
            scored = np.r_[scored, np.flatnonzero(y == -1)]
        return cls(X, y, strategy, training, scored)

    @classmethod
    def keep_all(cls, X, y, strategy):
        """Train on all normal rows and score all rows."""
        if hasattr(strategy, "check_size"):
            strategy.check_size(
                _num_samples(X) if y is None else np.count_nonzero(y == 1)
            )
        no_anomalies = y is None or np.all(y == 1)
        return cls(X, y, strategy, None if no_anomalies else np.flatnonzero(y == 1))

    def training_rows(self, streams=False):
        """Rows to train on; all are the array itself, and a large part no copy."""
        return self._part(self.training, streams)

    def scores(self, detector):
        """Scores for the threshold by a detector that can score, and their labels."""
        y = self.y if self.y is None or self.scored is None else self.y[self.scored]
        rows = self._part(self.scored, detector._streams)
        return detector._rounded_scores(rows), y

    def _part(self, indices, streams):
        if indices is None:
            return self.X
        if streams:
            from skdeepad._rows import subset

            return subset(self.X, indices)
        return _safe_indexing(self.X, indices)

    @property
    def reads_scores(self):
        """Whether the threshold depends on scores of the rows."""
        return getattr(self.strategy, "reads_scores", True)

    def set_threshold(self, detector):
        """Set the threshold of a detector that can score."""
        scores = self.scores(detector) if self.reads_scores else (np.empty(0), None)
        set_offset(detector, self.strategy, *scores)


def set_offset(detector, strategy, scores, y):
    """Set a detector's offset, and keep the scores that p-values compare with."""
    given = strategy.find_offset(scores, y)
    try:
        offset = float(given)
    except (TypeError, ValueError):
        offset = np.nan
    if np.isnan(offset):
        raise ValueError(
            f"find_offset of {strategy!r} gave {given!r}: it must give a number, the "
            "score below which a row is an anomaly."
        )
    if getattr(strategy, "calibration_size", None) is None:
        vars(detector).pop("calibration_scores_", None)
    else:
        detector.calibration_scores_ = np.sort(normal_scores(scores, y))
    detector.offset_ = offset


def from_mean(X, mean, spread=None, farthest=FARTHEST):
    """Rows minus a mean, in units of a spread, in float64 and one after the other.

    What is farther is as anomalous as any, and its square would overflow: it is set to
    ``farthest``.
    """
    with np.errstate(over="ignore"):
        rows = np.subtract(X, mean, dtype=np.float64, order="C")
        if spread is not None:
            rows /= spread
    return np.clip(rows, -farthest, farthest, out=rows)


def moments(X):
    """Each feature's mean and variance, in float64; ValueError where one has no room.

    Of a feature that is the same in all rows they are exact: what rounding adds to a
    large number may be more than the other features' spread.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.asarray(X, dtype=np.float64, order="C")
        means, variances = rows.mean(axis=0), rows.var(axis=0)
    same = (rows == rows[0]).all(axis=0)
    means[same], variances[same] = rows[0, same], 0.0
    refuse_huge(variances)
    return means, variances


def refuse_huge(variances):
    """Raise ValueError where variances of features are not finite."""
    huge = np.flatnonzero(~np.isfinite(variances))
    if huge.size:
        raise ValueError(
            f"X holds values so large that {huge.size} feature(s) have no finite "
            f"variance, first column {huge[0]}: remove such rows, or clip them."
        )


def chunked(n_rows, size):
    """Slices of so many rows: ``gen_batches``, whose checks cost what scoring does."""
    return (slice(a, min(a + size, n_rows)) for a in range(0, n_rows, size))


def round_scores(scores, out=None):
    """Scores to 24 significant bits, out of reach of float64 rounding noise.

    A product's last bits depend on the shape of the batch, and a score (a training
    row's at the threshold above all) must not.
    """
    out = np.empty(scores.shape) if out is None else out
    for chunk in chunked(len(scores), 2**16):
        # 29 of the significand's 53 bits go; a carry raises the exponent next to them.
        bits = np.asarray(scores[chunk], dtype=np.float64).view(np.int64)
        is_odd = (bits >> 29) & 1  # halves go to the even neighbour
        bits = (bits + (2**28 - 1) + is_odd) & -(2**29)
        out[chunk] = bits.view(np.float64)
    return out


def column_names(detector, columns):
    """Some columns of a fit in words, by their names where they have any."""
    names = getattr(detector, "feature_names_in_", None)
    return some_of(columns if names is None else names[columns])


def some_of(items):
    """The first five of them in words."""
    words = [str(item) for item in items[:5]]
    return ", ".join([*words, "..."] if len(items) > 5 else words)


def what_is_no_number(X):
    """Columns of a data frame that hold other values than numbers, with the first."""
    table = nw.from_native(X, eager_only=True, pass_through=True)
    if table is X:
        return []
    found = []
    for column in table.iter_columns():
        values = column.drop_nulls().to_numpy()
        others = (value for value in values if not _is_number(value))
        if not _is_number(values) and (other := next(others, None)) is not None:
            found.append(f"{column.name} ({str(other)!r})")
    return found


def note_what_is_not_finite(error, X):
    """Add to an error that tells of NaN or infinity which columns hold them."""
    if not re.search("NaN|infinity", str(error)):
        return
    try:
        values = check_array(X, dtype=NUMBERS, ensure_all_finite=False)
    except (TypeError, ValueError):  # something else is wrong, too
        return
    finite = np.ones(values.shape[1], dtype=bool)
    for chunk in chunked(len(values), 2**14):  # which may be larger than memory
        finite &= np.isfinite(values[chunk]).all(axis=0)
    columns, names = np.flatnonzero(~finite), _get_feature_names(X)
    names = columns if names is None else names[columns]
    error.add_note(
        f"NaN or infinity is in the column(s) {some_of(names)}. Fill in what is "
        "missing first (by SimpleImputer in a pipeline), or leave such rows out."
    )


def _is_number(values):
    """Whether these, or this one, can be read as numbers; times can't."""
    values = np.asarray(values)
    try:
        values.astype(np.float64)
    except (TypeError, ValueError):
        return False
    return values.dtype.kind not in "mM"


def some_rows(n_rows):
    """Indices of up to a hundred rows."""
    return np.linspace(0, n_rows - 1, min(100, n_rows)).astype(int)


def _is_calibrated(detector):
    if not hasattr(detector, "calibration_scores_"):
        raise AttributeError(
            "p-values need a conformal threshold: fit with threshold='conformal', or "
            "call fit_threshold(X, threshold='conformal') with normal rows that were "
            "not trained on."
        )
    return True


@dataclass(kw_only=True, eq=False, repr=False)
class BaseDetector(OutlierMixin, BaseEstimator):
    """Base class of all detectors.

    A detector is a dataclass that adds its own parameters as fields and states
    ``_fit(X, task)`` and ``_score_samples(X)``, on validated rows.

    Class docstrings may hold ``{name}`` for a shared text or a default, which
    are filled in here.
    """

    threshold: Any = "auto"
    contamination: str | float = "auto"

    _parameter_constraints: ClassVar[dict] = {
        "threshold": [str, Real, HasMethods("find_offset")],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
    }

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        insert_shared_docs(cls)

    @classmethod
    @functools.cache
    def _get_param_names(cls):
        # Asked for many times a fit, each by reading the signature anew.
        return super()._get_param_names()

    def __getstate__(self):
        return {**super().__getstate__(), "_skdeepad_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        # A class with a __getstate__ of its own may leave it out.
        version = state.pop("_skdeepad_version", __version__)
        if version != __version__:
            warn(
                f"This {type(self).__name__} was saved by skdeepad {version}, and is "
                f"loaded by {__version__}, which may score otherwise or not at all: "
                "load it with the version it was saved by, or fit it again."
            )
        super().__setstate__(state)

    # Whether ``_fit`` takes rows that are read as they are asked for.
    _streams: ClassVar[bool] = False

    # What a detector states.

    def _fit(self, X, task):
        """Learn from the normal rows X of a :class:`FitTask`.

        ``fit`` sets the threshold afterwards, and then calls what is returned, if it
        is not None.
        """
        raise NotImplementedError

    def _score_samples(self, X):
        """Minus the anomaly score of validated rows, a new array ``(n_samples,)``."""
        raise NotImplementedError

    def _check_input(self, X, y):
        """Refuse validated rows that the method has no meaning for.

        ``y`` are labels or None: rows of -1 are not trained on.
        """

    def _continues(self):
        """Whether ``fit`` goes on from the fitted state."""
        return False

    # What is the same for all.

    @_all_or_nothing
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Learn from normal rows and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to train on.
        y : array-like of shape (n_samples,), default=None
            Labels: +1 normal, -1 anomaly. The detector is trained on the normal
            rows only; the anomalies serve the threshold. A ``y`` with other
            values is not a label vector and is ignored, with a warning when they
            are two, as 0 and 1; a few other values among labels are an error.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When X or y do not suit the parameters, or training diverges. A
            detector that was fitted stays as it was.
        """
        task = self._task(X, y)
        clean_up = self._fit(task.training_rows(self._streams), task)
        self._set_threshold(task)
        if clean_up is not None:
            clean_up()
        return self

    def _set_threshold(self, task):
        """Set the threshold of a trained detector."""
        task.set_threshold(self)

    def _task(self, X, y, continued=None):
        """Validated rows and labels of a fit, which may go on from the fitted state."""
        if continued is None:
            continued = self._continues()
        strategy = make_threshold(self.threshold, self.contamination)
        X = self._numbers(X, reset=not continued)
        y = self._labels(X, y, strategy)
        self._check_input(X, y)
        if continued:
            self._refuse_calibration(strategy)
        return FitTask.divide(X, y, strategy, self._division_seed())

    def _division_seed(self):
        """The random_state by which rows are held out."""
        return getattr(self, "random_state", None)

    def _refuse_calibration(self, strategy):
        """Rows held out of one call must not be trained on in another."""
        if getattr(strategy, "calibration_size", None) is not None:
            raise ValueError(
                "With warm_start=True, or in partial_fit, the rows that a conformal "
                "threshold holds out may be ones that the networks were trained on "
                "before. Set another threshold, and call fit_threshold(X, "
                "threshold='conformal') with rows that never were."
            )

    def fit_predict(self, X, y=None):
        """Fit, then label the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            As in :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            +1 for normal rows, -1 for anomalies.
        """
        return self.fit(X, y).predict(X)

    def fit_threshold(self, X, y=None, threshold=None):
        """Choose a new ``offset_`` from rows, without training again.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to choose by, best such as were not in ``fit``, whose scores are too
            good. With a conformal threshold they must not have been: the false-alarm
            rate would be several times alpha.
        y : array-like of shape (n_samples,), default=None
            Labels: +1 normal, -1 anomaly.
        threshold : str, float or object, default=None
            As the parameter ``threshold``; None takes that parameter. "auto" and
            "quantile" go by ``contamination``.

        Returns
        -------
        self : object
        """
        X = self._validate(X)
        contamination = self.contamination
        if threshold is None:
            threshold = self.threshold
        elif not isinstance(threshold, str) or threshold not in ("auto", "quantile"):
            contamination = "auto"
        strategy = make_threshold(threshold, contamination)
        y = self._labels(X, y, strategy)
        FitTask(X, y, strategy).set_threshold(self)
        return self

    def _labels(self, X, y, strategy):
        """``y`` as labels, or None where it is not a label vector."""
        if getattr(strategy, "requires_labels", False):
            check_both_classes(
                y,
                f"The threshold {strategy!r}",
                "Add such rows, or use threshold='max_train', which needs none. "
                + SEARCH,
            )
        if y is None:
            return None
        labels = to_labels(y)
        if labels is None:
            check_other_labels(y)
        if _num_samples(y) != _num_samples(X):
            raise ValueError(
                f"X has {_num_samples(X)} rows and y has {_num_samples(y)} labels."
            )
        if labels is None:
            return None
        if len(labels) and not np.any(labels == 1):
            raise ValueError(
                "y labels every row as an anomaly (-1): there is no normal row (+1) "
                "to train on or to set a threshold with."
            )
        return labels

    def _validate(self, X):
        check_is_fitted(self)
        return self._numbers(X, reset=False)

    def _numbers(self, X, reset):
        """Rows as scikit-learn validates them; columns of text are named."""
        try:
            return validate_data(self, X, dtype=NUMBERS, reset=reset)
        except (TypeError, ValueError) as error:
            # Other columns than those of fit are what is wrong then.
            names = None if reset else getattr(self, "feature_names_in_", None)
            is_alike = names is None or np.array_equal(_get_feature_names(X), names)
            if is_alike and (found := what_is_no_number(X)):
                raise ValueError(
                    "X must hold numbers, and has other values in the column(s) "
                    f"{some_of(found)}. Encode text and categories (by OneHotEncoder "
                    "in a ColumnTransformer), make numbers of times, give NaN for what "
                    "is missing and fill it in, or leave such columns out."
                ) from error
            note_what_is_not_finite(error, X)
            raise

    @of_one_fit
    def score_samples(self, X):
        """Minus the anomaly score of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher is more normal. Computed in float64 and rounded to 24
            significant bits, so that a row's score does not depend on the rows
            beside it.
        """
        return self._rounded_scores(self._validate(X))

    def _rounded_scores(self, X):
        scores = self._score_samples(X)
        return round_scores(scores, out=scores)

    @of_one_fit
    def decision_function(self, X):
        """Score above the threshold: ``score_samples(X) - offset_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,), float64
            Negative for anomalies.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Label rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            +1 for normal rows, -1 for anomalies.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    @available_if(_is_calibrated)
    @of_one_fit
    def p_values(self, X):
        """Conformal p-value of each row; with a conformal threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that were not used in ``fit``: training rows look more normal than new
            ones.

        Returns
        -------
        p_values : ndarray of shape (n_samples,), float64
            Share of held-out normal rows (and the row itself) that look as
            anomalous, see :func:`skdeepad.thresholds.conformal_p_values`.
        """
        return conformal_p_values(self.calibration_scores_, self.score_samples(X))

    @available_if(_is_calibrated)
    def predict_fdr(self, X, fdr=0.1):
        """Label rows so that few of those flagged are false alarms.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that are judged together (a row's label depends on the others), and
            that were not in ``fit``. With n held-out rows the smallest p-value is
            ``1 / (n + 1)``: unless ``n + 1 >= m / (k * fdr)``, no k of m rows can be
            flagged.
        fdr : float in (0, 1), default=0.1
            Expected share of false alarms among the flagged rows, by the
            procedure of Benjamini and Hochberg on ``p_values``.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            +1 for normal rows, -1 for anomalies.
        """
        return np.where(benjamini_hochberg(self.p_values(X), fdr), -1, 1)
