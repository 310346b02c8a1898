"""Threshold strategies: objects with one method, ``find_offset``."""

import warnings
from numbers import Real

import numpy as np
from sklearn.metrics import roc_curve


class MaxTrain:
    """The largest anomaly score among the training rows is the cut.

    A row is an anomaly when its score reaches the largest training score, so
    the most extreme training row is one. When all training scores are equal
    there is no most extreme row, and all of them are normal.

    Source: Patel et al., *Investigating the Sensitivity of Deep Anomaly
    Detection Methods to Hyperparameter Changes*, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.thresholds import MaxTrain
    >>> scores = np.array([-3.0, -1.0, -2.0])
    >>> (scores >= MaxTrain().find_offset(scores)).tolist()
    [False, True, True]
    """

    requires_labels = False

    def find_offset(self, scores, y=None):
        """Offset from scores of the training rows.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            As ``score_samples`` gives them: higher is more normal.
        y : ndarray of shape (n_samples,), default=None
            +1 normal, -1 anomaly; where given, only the normal rows count.

        Returns
        -------
        offset : float
            Rows with ``score >= offset`` are normal.
        """
        scores = _normal_scores(scores, y)
        lowest = scores.min()
        if lowest == scores.max():
            return float(lowest)
        return float(np.nextafter(lowest, np.inf))


class Quantile:
    """A share ``contamination`` of the training rows are anomalies.

    Parameters
    ----------
    contamination : float in (0, 0.5], default=0.1
        The share, as in :class:`sklearn.ensemble.IsolationForest`.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.thresholds import Quantile
    >>> scores = np.arange(10.0)
    >>> int((scores < Quantile(0.2).find_offset(scores)).sum())
    2
    """

    requires_labels = False

    def __init__(self, contamination=0.1):
        if not 0 < contamination <= 0.5:
            raise ValueError(
                f"contamination must be in (0, 0.5], got {contamination!r}."
            )
        self.contamination = contamination

    def find_offset(self, scores, y=None):
        """Offset from scores of the training rows; see :class:`MaxTrain`."""
        return float(np.quantile(_normal_scores(scores, y), self.contamination))


class ROCOptimal:
    """The cut with the largest TPR x TNR on labelled rows.

    Anomalies are the positive class. The offset stands halfway between the two
    neighbouring scores it separates. Of several best cuts the one with the
    fewest false alarms is taken. Where no cut has a positive product (constant
    scores, or every anomaly more normal than every normal row) a warning says
    so and no labelled row is flagged.

    Source: Patel et al., *Investigating the Sensitivity of Deep Anomaly
    Detection Methods to Hyperparameter Changes*, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.thresholds import ROCOptimal
    >>> scores, y = np.array([-5.0, -4.0, -2.0, -1.0]), np.array([-1, -1, 1, 1])
    >>> ROCOptimal().find_offset(scores, y)
    -3.0
    """

    requires_labels = True

    def find_offset(self, scores, y=None):
        """Offset from scores and labels.

        Parameters
        ----------
        scores : ndarray of shape (n_samples,)
            As ``score_samples`` gives them: higher is more normal.
        y : ndarray of shape (n_samples,)
            +1 normal, -1 anomaly; both must occur.

        Returns
        -------
        offset : float
            Rows with ``score >= offset`` are normal.

        Raises
        ------
        ValueError
            When ``y`` is None, holds other values, or lacks a class.
        """
        scores = _finite(scores)
        y = check_both_classes(y)
        # A row is flagged when -score >= cut; roc_curve's first cut flags none.
        fpr, tpr, cuts = roc_curve(y == -1, -scores, drop_intermediate=False)
        product = tpr * (1 - fpr)
        best = int(product.argmax())
        if product[best] == 0:
            warnings.warn(
                "No threshold separates anomalies from normal rows better than "
                "flagging all or none: no labelled row is flagged. Check the "
                "detector's scores and the sign of the labels (+1 normal, -1 "
                "anomaly).",
                UserWarning,
                stacklevel=2,
            )
            return float(scores.min())
        flagged = scores <= -cuts[best]
        below, above = scores[flagged].max(), scores[~flagged].min()
        # Rounding must not put the middle of two neighbours on the lower one.
        return float(max((below + above) / 2, np.nextafter(below, np.inf)))


class Fixed:
    """A given anomaly score is the cut.

    Parameters
    ----------
    value : float
        The largest anomaly score (minus ``score_samples``) of a normal row.

    Examples
    --------
    >>> from skdeepad.thresholds import Fixed
    >>> Fixed(0.5).find_offset([-0.1, -0.9])
    -0.5
    """

    requires_labels = False

    def __init__(self, value):
        if not np.isfinite(value):
            raise ValueError(f"A threshold must be a finite number, got {value!r}.")
        self.value = value

    def find_offset(self, scores, y=None):
        """Minus the value, whatever the scores."""
        return -float(self.value)


STRATEGIES = {"max_train": MaxTrain, "quantile": Quantile, "roc": ROCOptimal}


def make_threshold(threshold="auto", contamination="auto"):
    """Strategy object for a detector's ``threshold`` and ``contamination``.

    Parameters
    ----------
    threshold : {"auto", "max_train", "quantile", "roc"}, float or object, \
default="auto"
        A strategy's name, a fixed anomaly score, or any object with a method
        ``find_offset(scores, y)``. "auto" is "max_train", or "quantile" where
        ``contamination`` is a number.
    contamination : "auto" or float in (0, 0.5], default="auto"
        The share of training rows to flag; 0.1 where "quantile" is asked for
        without one.

    Returns
    -------
    strategy : object

    Raises
    ------
    ValueError
        When a number for ``contamination`` meets a strategy that has no use for
        it, or the threshold is not known.

    Examples
    --------
    >>> from skdeepad.thresholds import make_threshold
    >>> type(make_threshold("auto", contamination=0.05)).__name__
    'Quantile'
    """
    given = contamination != "auto"
    if isinstance(threshold, str) and threshold == "auto":
        threshold = "quantile" if given else "max_train"
    if given and not (isinstance(threshold, str) and threshold == "quantile"):
        raise ValueError(
            f"contamination={contamination!r} has no effect with "
            f"threshold={threshold!r}: leave contamination='auto', or use "
            "threshold='quantile'."
        )
    if isinstance(threshold, str):
        if threshold not in STRATEGIES:
            raise ValueError(
                f"threshold={threshold!r} is not known: use 'auto', "
                f"{', '.join(map(repr, STRATEGIES))}, a number, or an object with "
                "find_offset(scores, y)."
            )
        return Quantile(contamination) if given else STRATEGIES[threshold]()
    if isinstance(threshold, Real) and not isinstance(threshold, bool):
        return Fixed(threshold)
    if not callable(getattr(threshold, "find_offset", None)):
        raise ValueError(
            f"threshold={threshold!r} has no method find_offset(scores, y)."
        )
    return threshold


def to_labels(y):
    """``y`` as an int array of +1 and -1, or None where it holds anything else."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    if y.dtype == object:
        # A column of a table with mixed types.
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError):
            return None
    if y.ndim != 1 or y.dtype.kind not in "if" or not np.isin(y, (-1, 1)).all():
        return None
    return y.astype(int)


def check_both_classes(y):
    """Return y as an array of +1 and -1 with both present, or raise ValueError."""
    if y is None:
        raise ValueError(
            "threshold='roc' needs labels: pass y with +1 for normal rows and -1 "
            "for anomalies, or use threshold='max_train'."
        )
    labels = to_labels(y)
    if labels is None:
        y = np.asarray(y)
        found = np.unique(y.astype(str) if y.dtype == object else y)
        raise ValueError(
            "Labels must be +1 (normal) and -1 (anomaly), got values "
            f"{found[:5].tolist()}. For 0 = normal, 1 = anomaly use "
            "np.where(y == 1, -1, 1)."
        )
    y = labels
    if not (np.any(y == 1) and np.any(y == -1)):
        missing = "-1 (anomaly)" if np.all(y == 1) else "+1 (normal)"
        raise ValueError(
            f"threshold='roc' needs both classes in y; no row is {missing}. Add "
            "such rows, or use threshold='max_train'."
        )
    return y


def _normal_scores(scores, y):
    """Scores of the rows not labelled as anomalies."""
    scores = _finite(scores)
    labels = None if y is None else to_labels(y)
    if labels is not None:
        scores = scores[labels == 1]
    if not len(scores):
        raise ValueError("No row is labelled +1 (normal): no threshold can be set.")
    return scores


def _finite(scores):
    scores = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError(
            "Scores hold NaN or infinity: a threshold needs finite scores. Look for "
            "extreme values in X, or use standardize=True."
        )
    return scores
