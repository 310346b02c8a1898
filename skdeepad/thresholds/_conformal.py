"""Conformal thresholds and p-values: guarantees from rows held out of training."""

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.stats import false_discovery_control
from sklearn.utils._param_validation import Interval

from skdeepad._shares import round_down, round_up
from skdeepad.thresholds._labels import normal_scores, to_vector
from skdeepad.thresholds._strategies import Strategy


class Conformal(Strategy):
    """A false-alarm rate of at most ``alpha``, whatever the detector and the data.

    A part of the normal rows is held out of training, and the cut is the
    ``floor(alpha * (n + 1))``-th largest of their n anomaly scores. A new normal
    row, drawn as they were, is flagged with probability ``alpha`` at most
    (on average over the draw of the held-out rows; [1]_, [2]_, section 2). A
    detector fitted with it has ``p_values`` and ``predict_fdr``.

    With ``ThresholdedDetector(cv=...)`` out-of-fold scores take the place of the
    held-out part: all rows serve both ends, and the guarantee is no longer exact (see
    ``cv`` there).

    Parameters
    ----------
    alpha : float in (0, 1), default=0.05
        The false-alarm rate. ``1 / alpha - 1`` held-out rows are needed at least.
    calibration_size : float in (0, 1), default=0.2
        Share of the normal rows that ``fit`` holds out. ``fit_threshold`` takes
        all normal rows it is given: they must not be the training rows.
    random_state : int, RandomState instance or None, default=None
        Which rows are held out. None takes the detector's ``random_state``,
        where it has one.

    References
    ----------
    .. [1] R. Laxhammar and G. Falkman, *Conformal prediction for distribution-
       independent anomaly detection in streaming vessel data*, 2010.
    .. [2] S. Bates et al., *Testing for outliers with conformal p-values*, Annals
       of Statistics 51, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.thresholds import Conformal
    >>> scores = np.arange(1.0, 20.0)  # of 19 held-out rows
    >>> Conformal(alpha=0.1).find_offset(scores)
    2.0
    """

    _parameter_constraints: ClassVar[dict] = {
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "calibration_size": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(self, alpha=0.05, calibration_size=0.2, random_state=None):
        self.alpha = alpha
        self.calibration_size = calibration_size
        self.random_state = random_state

    def _find_offset(self, scores, y):
        scores = normal_scores(scores, y)
        self.check_size(len(scores))
        rank = round_down(float(self.alpha) * (len(scores) + 1))
        return np.sort(scores)[min(rank, len(scores)) - 1]

    def check_size(self, n_calibration):
        """Raise ValueError where so many held-out rows are too few for ``alpha``."""
        needed = round_up(1 / float(self.alpha)) - 1
        if n_calibration < needed:
            raise ValueError(
                f"A conformal threshold at alpha={self.alpha} needs {needed} held-out "
                f"normal rows or more, got {n_calibration}. Give more rows, raise "
                "alpha, or let fit hold out more by calibration_size."
            )


def conformal_p_values(calibration_scores, scores):
    """Probability that a normal row looks as anomalous.

    Parameters
    ----------
    calibration_scores : array-like of shape (n_calibration,)
        ``score_samples`` of normal rows that the detector was not trained on.
    scores : array-like of shape (n_samples,)
        ``score_samples`` of the rows in question.

    Returns
    -------
    p_values : ndarray of shape (n_samples,)
        ``(1 + #{calibration_scores <= score}) / (n_calibration + 1)``; of a
        normal row, at most alpha with probability at most alpha (Bates et al.,
        2023, eq. 3).

    Examples
    --------
    >>> from skdeepad.thresholds import conformal_p_values
    >>> conformal_p_values([-3, -2, -1, 0], [-9, -2, 5]).tolist()
    [0.2, 0.6, 1.0]
    """
    if not np.size(calibration_scores):
        raise ValueError("calibration_scores is empty: give scores to compare with.")
    calibration = np.sort(normal_scores(calibration_scores, None))
    scores = to_vector(scores)
    if np.isnan(scores).any():
        raise ValueError("Scores hold NaN, which has no place among others.")
    n_below = np.searchsorted(calibration, scores, side="right")
    return (1 + n_below) / (len(calibration) + 1)


def benjamini_hochberg(p_values, fdr):
    """Rows to flag so that at most ``fdr`` of those flagged are false alarms.

    Benjamini and Hochberg (1995); conformal p-values of one calibration set have
    the kind of dependence under which it holds (Bates et al., 2023, theorem 2).

    Parameters
    ----------
    p_values : array-like of shape (n_samples,)
        Of all rows that are tested together.
    fdr : float in (0, 1)
        Expected share of false alarms among the flagged rows.

    Returns
    -------
    flagged : ndarray of shape (n_samples,), bool

    Examples
    --------
    >>> from skdeepad.thresholds import benjamini_hochberg
    >>> benjamini_hochberg([0.01, 0.02, 0.5, 0.9], fdr=0.1).tolist()
    [True, True, False, False]
    """
    if not (isinstance(fdr, Real) and 0 < fdr < 1):
        raise ValueError(f"fdr must be in (0, 1), got {fdr!r}.")
    if np.ndim(p_values) != 1:
        raise ValueError(
            f"p_values must be one number a row, got {np.ndim(p_values)} dimensions."
        )
    p_values = np.asarray(p_values, dtype=np.float64)
    if not np.all((p_values >= 0) & (p_values <= 1)):
        raise ValueError("p_values must be numbers in [0, 1], without NaN.")
    # Conformal p-values often lie on the line itself, where rounding must not decide.
    return false_discovery_control(p_values, method="bh") <= fdr * (1 + 1e-9)
