"""Kernel density: minus the log density is the anomaly score."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.model_selection import KFold
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._base import BaseDetector, chunked, from_mean, moments

# Distances at once: about what a cache holds.
CHUNK_NUMBERS = 2**17


@dataclass(kw_only=True, eq=False, repr=False)
class KDEDetector(BaseDetector):
    """Gaussian kernel density; minus the log density is the anomaly score.

    Parameters
    ----------
    bandwidth : "cv", "scott", "silverman" or float, default="cv"
        Width of the kernel. "cv" takes, of ``bandwidths``, the one with the
        largest held-out likelihood in ``cv``-fold cross-validation. The rules of
        Scott and of Silverman are multiplied by the features' mean standard
        deviation.
    bandwidths : array-like of float, default=None
        Candidates of ``bandwidth="cv"``. None takes ten from 0.1 to 10, evenly
        spaced on a logarithmic scale and multiplied by the mean standard
        deviation of the features.
    cv : int, default=5
        Folds of ``bandwidth="cv"``, in the order of the rows; as many as there
        are rows where there are fewer.
    {threshold_parameters}

    Attributes
    ----------
    X_fit_ : ndarray of shape (n_rows, n_features)
        The training rows, minus their mean and divided by the features' mean standard
        deviation.
    bandwidth_ : float
        The width in use.
    {detector_attributes}

    Notes
    -----
    A training row's density holds the row's own kernel, more so the more features there
    are, and training scores are too good: with 10 features and 1,000 normal rows the
    largest training error as a threshold flags four of five new ones. Take
    ``threshold="conformal"``, which holds rows out, or out-of-fold scores
    (:class:`skdeepad.ThresholdedDetector` with ``cv``).

    The time of ``bandwidth="cv"``, and of the threshold, grows with the square of the
    number of rows: for more than some ten thousand train on a sample.

    References
    ----------
    .. [1] E. Parzen, *On Estimation of a Probability Density Function and Mode*,
       The Annals of Mathematical Statistics 33, 1962.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import KDEDetector
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> KDEDetector(contamination=0.1).fit(X).predict([[0, 0], [9, 9]])
    array([ 1, -1])
    """

    bandwidth: str | float = "cv"
    bandwidths: Any = None
    cv: int = 5

    _parameter_constraints: ClassVar[dict] = {
        **BaseDetector._parameter_constraints,
        "bandwidth": [
            StrOptions({"cv", "scott", "silverman"}),
            Interval(Real, 0, None, closed="neither"),
        ],
        "bandwidths": ["array-like", None],
        "cv": [Interval(Integral, 2, None, closed="left")],
    }

    def _fit(self, X, task):
        self._mean, variances = moments(X)
        # One bandwidth for all features: in units of their mean spread.
        self._spread = np.sqrt(variances).mean() or 1.0
        self.X_fit_ = self._scaled(X)
        n_rows, n_features = X.shape
        if self.bandwidth == "cv":
            width = self._most_likely() if n_rows > 1 else 1.0
        elif self.bandwidth == "scott":
            width = self._spread * n_rows ** (-1 / (n_features + 4))
        elif self.bandwidth == "silverman":
            width = n_rows * (n_features + 2) / 4
            width = self._spread * width ** (-1 / (n_features + 4))
        else:
            width = self.bandwidth
        self.bandwidth_ = float(width)

    def _scaled(self, X):
        """Rows from the mean, in units of the spread."""
        return from_mean(X, self._mean, self._spread)

    def _most_likely(self):
        """Of the candidates the one with the largest held-out likelihood."""
        widths, likelihoods = self._widths(), 0.0
        for train, test in KFold(min(self.cv, len(self.X_fit_))).split(self.X_fit_):
            logs = _log_densities(
                self.X_fit_[test], self.X_fit_[train], widths / self._spread
            )
            likelihoods += logs.sum(axis=1)
        return widths[np.argmax(likelihoods)]

    def _widths(self):
        """Candidates of ``bandwidth="cv"``."""
        if self.bandwidths is None:
            return np.logspace(-1, 1, 10) * self._spread
        widths = np.asarray(self.bandwidths, dtype=np.float64)
        is_one = (widths > 0) & np.isfinite(widths)
        if widths.ndim != 1 or not widths.size or not is_one.all():
            raise ValueError(
                "bandwidths must be a list of one or more finite numbers above 0, got "
                f"{self.bandwidths!r}."
            )
        return widths

    def _score_samples(self, X):
        widths = [self.bandwidth_ / self._spread]
        (logs,) = _log_densities(self._scaled(X), self.X_fit_, widths)
        return logs - X.shape[1] * np.log(self._spread)


def _log_densities(X, X_fit, widths):
    """Log densities of rows by kernels of several widths, ``(n_widths, n)``.

    By distances that are taken once for all widths. scikit-learn's KernelDensity, as
    exact in a tree of one leaf, is 3 to 10 times as slow; in one of several leaves sums
    of logarithms cancel, and far from the rows they were wrong by hundreds.
    """
    logs = np.empty((len(widths), len(X)))
    for chunk in chunked(len(X), max(1, CHUNK_NUMBERS // len(X_fit))):
        distances = cdist(X[chunk], X_fit, "sqeuclidean")
        nearest = distances.min(axis=1)
        distances -= nearest[:, None]
        kernel = np.empty_like(distances)
        for i, width in enumerate(widths):
            with np.errstate(over="ignore", under="ignore"):
                np.multiply(distances, -0.5 / width, out=kernel)
                kernel /= width  # twice: its square may have no room
                height = -0.5 * nearest / width / width
                np.exp(kernel, out=kernel)
            logs[i, chunk] = np.log(kernel.mean(axis=1)) + height
    norms = np.log(widths) + 0.5 * np.log(2 * np.pi)
    return logs - X.shape[1] * norms[:, None]
