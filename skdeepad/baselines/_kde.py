"""Kernel density: minus the log density is the anomaly score."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.model_selection import KFold
from sklearn.neighbors import KernelDensity
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._base import BaseDetector, moments

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
    kde_ : KernelDensity
        The fitted density, which holds the training rows.
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

    The time of ``bandwidth="cv"`` grows with the square of the number of rows: for more
    than some thousand train on a sample, or give a number.

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
        X = np.array(X)  # the tree keeps its rows, and the caller may change them
        means, variances = moments(X)
        # One bandwidth for all features: in units of their mean spread.
        spread = np.sqrt(variances).mean() or 1.0
        # In a tree of several leaves sums of logarithms cancel: far from the rows its
        # log densities were wrong by hundreds.
        kde = KernelDensity(leaf_size=len(X))
        width = self.bandwidth
        if width == "cv":
            width = 1.0
            if len(X) > 1:
                widths, folds = self._widths(spread), min(self.cv, len(X))
                # In units in which no square overflows.
                likelihoods = _held_out_likelihoods(
                    (X - means) / spread, widths / spread, folds
                )
                width = widths[np.argmax(likelihoods)]
        self.kde_ = kde.set_params(bandwidth=width).fit(X)
        if isinstance(width, str):
            # scikit-learn's rules are for features of unit variance.
            width = spread * self.kde_.bandwidth_
            self.kde_.set_params(bandwidth=width).fit(X)
        self.bandwidth_ = float(self.kde_.bandwidth_)

    def _widths(self, spread):
        """Candidates of ``bandwidth="cv"``."""
        if self.bandwidths is None:
            return np.logspace(-1, 1, 10) * spread
        widths = np.asarray(self.bandwidths, dtype=np.float64)
        if widths.ndim != 1 or not widths.size or not (widths > 0).all():
            raise ValueError(
                "bandwidths must be a list of one or more numbers above 0, got "
                f"{self.bandwidths!r}."
            )
        return widths

    def _score_samples(self, X):
        return self.kde_.score_samples(X)


def _held_out_likelihoods(X, widths, n_folds):
    """Log likelihood of all rows by those of other folds, ``(n_widths,)``.

    By distances that are taken once for all widths, of which KernelDensity has one;
    less ``n * log(2 * pi) / 2`` for each feature.
    """
    likelihoods = np.zeros(len(widths))
    for train, test in KFold(n_folds).split(X):
        for chunk in gen_batches(len(test), max(1, CHUNK_NUMBERS // len(train))):
            distances = cdist(X[test[chunk]], X[train], "sqeuclidean")
            nearest = distances.min(axis=1, keepdims=True)
            distances -= nearest
            kernel = np.empty_like(distances)
            for i, width in enumerate(widths):
                np.exp(np.multiply(distances, -0.5 / width**2, out=kernel), out=kernel)
                logs = np.log(kernel.mean(axis=1)) - 0.5 * nearest[:, 0] / width**2
                likelihoods[i] += logs.sum() - logs.size * X.shape[1] * np.log(width)
    return likelihoods
