"""Thresholds from the shape of the training scores, without labels."""

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy.stats import genpareto, median_abs_deviation
from sklearn.utils._param_validation import Interval

from skdeepad._shares import round_down
from skdeepad._warnings import warn
from skdeepad.thresholds._labels import normal_scores
from skdeepad.thresholds._strategies import Strategy, finite_offset

# Fewest scores in the tail that two parameters are fitted to.
MIN_TAIL = 10


class MAD(Strategy):
    """Cut at ``n_deviations`` robust standard deviations above the median score.

    The deviation is the median absolute deviation from the median, times 1.4826, which
    is the standard deviation where scores are normal ([1]_). As long as fewer than half
    of the training rows are anomalies, these move both only so far, however large their
    scores are: of normal scores the cut at 3 goes to 3.6 where a tenth of the rows are
    anomalies, and to 5.1 where a quarter are. Anomaly scores are mostly skewed to the
    right: the false-alarm rate is then above that of a normal distribution (0.13 % at
    3).

    Parameters
    ----------
    n_deviations : float, default=3.0
        Deviations above the median; [1]_ calls 3 very conservative, 2.5
        moderately, and 2 poorly conservative.

    References
    ----------
    .. [1] C. Leys et al., *Detecting outliers: Do not use standard deviation
       around the mean, use absolute deviation around the median*, Journal of
       Experimental Social Psychology 49, 2013.

    Examples
    --------
    >>> from skdeepad.thresholds import MAD
    >>> round(MAD(3.0).find_offset([-1.0, -2.0, -3.0, -4.0, -500.0]), 3)
    -7.448
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_deviations": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, n_deviations=3.0):
        self.n_deviations = n_deviations

    def _find_offset(self, scores, y):
        scores = normal_scores(scores, y)
        deviation = median_abs_deviation(scores, scale="normal")
        if deviation == 0 and scores.min() < scores.max():
            warn(
                "More than half of the normal rows have the same score, so that their "
                "median absolute deviation is 0 and every row above the median is "
                "flagged. Use threshold='quantile' or a number.",
            )
        return finite_offset(np.median(scores) - self.n_deviations * deviation)


class ParetoTail(Strategy):
    """Peaks over threshold: a generalised Pareto distribution of the largest scores.

    The ``tail_fraction`` largest anomaly scores are fitted by a generalised Pareto
    distribution, whose shape most tails take far enough out, and the cut is where
    it leaves the share ``alpha`` of normal rows ([1]_, eq. 1; the fit is SciPy's
    maximum likelihood). ``alpha`` may be smaller than one over the number of training
    rows, but is then an extrapolation: at 0.001 and from 100 rows, 0.008 of
    new normal rows are flagged on average, 0.002 from 500. The likelihood of a tail of
    ten rows often has no maximum: the distribution then ends at the largest score, and
    the cut lies right below it. A score that ten rows or
    more have, and a larger share than ``alpha``, is no anomaly's: rows of few distinct
    values may have none.

    Parameters
    ----------
    alpha : float in (0, 1), default=0.001
        Share of the normal rows beyond the cut; below ``tail_fraction``.
    tail_fraction : float in (0, 1), default=0.1
        Share of the training rows that make the tail, but for those equal to the
        score at its start; ten rows at least.

    References
    ----------
    .. [1] A. Siffer et al., *Anomaly Detection in Streams with Extreme Value
       Theory*, KDD 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad.thresholds import ParetoTail
    >>> scores = -np.random.default_rng(0).exponential(size=5000)
    >>> offset = ParetoTail(alpha=0.001).find_offset(scores)
    >>> round(offset, 1), round(float(np.log(0.001)), 1)  # found and true
    (-7.0, -6.9)
    """

    _parameter_constraints: ClassVar[dict] = {
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "tail_fraction": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(self, alpha=0.001, tail_fraction=0.1):
        self.alpha = alpha
        self.tail_fraction = tail_fraction

    def _validate_params(self):
        super()._validate_params()
        if self.alpha >= self.tail_fraction:
            raise ValueError(
                f"alpha={self.alpha} must be below tail_fraction={self.tail_fraction}: "
                "the cut lies in the tail. For a larger share use "
                "threshold='quantile'."
            )

    def _find_offset(self, scores, y):
        errors = -normal_scores(scores, y)
        self.check_size(len(errors))
        alpha = float(self.alpha)
        errors = np.sort(errors)
        start = errors[-self._n_tail(len(errors)) - 1]
        # Excesses of zero, where scores tie, have a density without bound.
        tail = errors[errors > start]
        if not len(tail):
            return -errors[-1]
        n_tail = len(tail)
        self._check_tail(n_tail, len(errors))
        values, counts = np.unique(tail, return_counts=True)
        is_frequent = (counts >= MIN_TAIL) & (counts > alpha * len(errors))
        if len(values) == 1:
            return -(errors[-1] if is_frequent[0] else start)
        # Scaled to a mean of one, where the search for the parameters starts.
        excess = tail - start
        scale = excess.mean()
        shape, _, spread = genpareto.fit(excess / scale, floc=0)
        # Above 1 where the tail is a smaller share than alpha.
        beyond = min(1.0, alpha * len(errors) / n_tail)
        cut = start + scale * genpareto.isf(beyond, shape, scale=spread)
        # The distribution knows no ties, and may end right below some.
        frequent = values[is_frequent]
        return finite_offset(-max(cut, frequent.max(initial=start)))

    def check_size(self, n_rows):
        """Raise ValueError where the tail of so many rows is too short."""
        self._check_tail(self._n_tail(n_rows), n_rows)

    def _n_tail(self, n_rows):
        n_tail = round_down(float(self.tail_fraction) * n_rows)
        return min(n_tail, max(0, n_rows - 1))  # one row is left before the tail

    def _check_tail(self, n_tail, n_rows):
        if n_tail < MIN_TAIL:
            raise ValueError(
                f"tail_fraction={self.tail_fraction} of {n_rows} normal rows is a tail "
                f"of {n_tail} row(s) above its start, and {MIN_TAIL} or more are "
                "needed. Raise tail_fraction, give more rows (with fewer equal "
                "scores), or use threshold='mad'."
            )
