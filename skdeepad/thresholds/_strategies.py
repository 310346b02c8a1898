"""Threshold strategies: objects with one method, ``find_offset``."""

from numbers import Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_curve
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._warnings import warn
from skdeepad.thresholds._labels import (
    check_both_classes,
    check_scores,
    normal_scores,
)


class Strategy(BaseEstimator):
    """Base class: a strategy shows, copies and searches its parameters.

    Attributes
    ----------
    requires_labels : bool
        Whether ``find_offset`` can't do without ``y``.
    reads_scores : bool
        Whether there are scores to compute for it.
    calibration_size : None or float
        Where a number, the share of the normal rows that a fit holds out of
        training, to choose the offset from; ``random_state`` draws them (None: the
        detector's).

    Before training, ``check_size(n)``, where there is one, refuses too few normal rows.
    """

    requires_labels = False
    reads_scores = True
    calibration_size = None
    random_state = None
    _parameter_constraints: ClassVar[dict] = {}

    def find_offset(self, scores, y=None):
        """Choose the offset.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            As ``score_samples`` gives them: higher is more normal.
        y : array-like of shape (n_samples,), default=None
            +1 normal, -1 anomaly. A strategy without use for anomalies leaves
            them out.

        Returns
        -------
        offset : float
            Rows with ``score >= offset`` are normal.

        Raises
        ------
        ValueError
            When a parameter is out of its range, scores are not finite or too far
            apart, or there are too few rows or labels for this strategy.
        """
        self._validate_params()
        with np.errstate(over="ignore", invalid="ignore"):  # see finite_offset()
            return float(self._find_offset(scores, y))


def finite_offset(offset):
    """An offset as it is; ValueError where a difference of scores was no number."""
    if not np.isfinite(offset):
        raise ValueError(
            "The scores are too far apart for this threshold: the difference of two is "
            "no number any more. Scale them, or give a number as threshold."
        )
    return offset


class MaxTrain(Strategy):
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

    def _find_offset(self, scores, y):
        scores = normal_scores(scores, y)
        lowest = scores.min()
        return lowest if lowest == scores.max() else np.nextafter(lowest, np.inf)


class Quantile(Strategy):
    """A share ``contamination`` of the training rows are anomalies.

    Where there are labels, the share is one of the rows of +1. Of new normal rows more
    are flagged, since a detector gives the rows it was trained on better scores
    (documentation, *What thresholds do on new rows*).

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

    _parameter_constraints: ClassVar[dict] = {
        "contamination": [Interval(Real, 0, 0.5, closed="right")]
    }

    def __init__(self, contamination=0.1):
        self.contamination = contamination

    def _find_offset(self, scores, y):
        scores = normal_scores(scores, y)
        return finite_offset(np.quantile(scores, float(self.contamination)))


class ROCOptimal(Strategy):
    """The best cut on labelled rows.

    Anomalies are the positive class. The offset stands halfway between the two
    neighbouring scores it separates. Of several best cuts the one with the
    fewest false alarms is taken. Where no cut is better than flagging none
    (constant scores, or every anomaly more normal than every normal row) a
    warning says so and no labelled row is flagged; the F-measure, to which
    flagging all is better than none, then flags all.

    Parameters
    ----------
    criterion : {"tpr_tnr", "youden", "f_beta"}, default="tpr_tnr"
        What is largest at the cut: TPR x TNR ([1]_, section 3.2), Youden's J =
        TPR + TNR - 1 ([2]_), or the F-measure ([3]_).
    beta : float, default=1.0
        Weight of recall in the F-measure; has no part in the others.

    References
    ----------
    .. [1] Z. Patel et al., *Investigating the Sensitivity of Deep Anomaly
       Detection Methods to Hyperparameter Changes*.
    .. [2] W. J. Youden, *Index for rating diagnostic tests*, Cancer 3, 1950.
    .. [3] C. J. van Rijsbergen, *Information Retrieval*, 2nd ed., 1979.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.thresholds import ROCOptimal
    >>> scores, y = np.array([-5.0, -4.0, -2.0, -1.0]), np.array([-1, -1, 1, 1])
    >>> ROCOptimal().find_offset(scores, y)
    -3.0
    """

    requires_labels = True
    _parameter_constraints: ClassVar[dict] = {
        "criterion": [StrOptions({"tpr_tnr", "youden", "f_beta"})],
        "beta": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, criterion="tpr_tnr", beta=1.0):
        self.criterion = criterion
        self.beta = beta

    def _find_offset(self, scores, y):
        y = check_both_classes(y, "A ROC-optimal threshold")
        scores = check_scores(scores)
        # A row is flagged when -score >= cut; roc_curve's first cut flags none.
        fpr, tpr, cuts = roc_curve(y == -1, -scores, drop_intermediate=False)
        n_anomalies, n_normal = np.sum(y == -1), np.sum(y == 1)
        # Counts, in which equally good cuts have equal values to the last bit.
        hits, alarms = np.rint(tpr * n_anomalies), np.rint(fpr * n_normal)
        value = self._value(hits, alarms, n_anomalies, n_normal)
        best = int(value.argmax())
        if best == 0:
            warn(
                "No threshold separates anomalies from normal rows better than "
                "flagging all or none: no labelled row is flagged. Check the "
                "detector's scores and the sign of the labels (+1 normal, -1 "
                "anomaly).",
            )
            return scores.min()
        flagged = scores <= -cuts[best]
        below = scores[flagged].max()
        above = below if flagged.all() else scores[~flagged].min()
        # Rounding must not put the middle of two neighbours on the lower one.
        return max(below / 2 + above / 2, np.nextafter(below, np.inf))

    def _value(self, hits, alarms, n_anomalies, n_normal):
        """The criterion at each cut, times a constant."""
        if self.criterion == "tpr_tnr":
            return hits * (n_normal - alarms)
        if self.criterion == "youden":
            return hits * n_normal - alarms * n_anomalies
        squared = float(self.beta) ** 2
        return (1 + squared) * hits / (squared * n_anomalies + hits + alarms)


class Fixed(Strategy):
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

    _parameter_constraints: ClassVar[dict] = {
        "value": [Interval(Real, None, None, closed="neither")]
    }

    reads_scores = False

    def __init__(self, value):
        self.value = value

    def _find_offset(self, scores, y):
        return -float(self.value)
