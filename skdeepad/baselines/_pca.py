"""Principal components: the reconstruction error is the anomaly score."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils._param_validation import Interval

from skdeepad._base import BaseDetector, from_mean, moments, of_one_fit

# Distance from the mean, by feature, up to which sums of squares are numbers.
SQUARED = 1e150
# Relative error of a few operations in float64.
ROUNDING = 4 * np.finfo(np.float64).eps


@dataclass(kw_only=True, eq=False, repr=False)
class PCADetector(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseDetector):
    """Principal components whose mean squared reconstruction error is the score.

    The linear counterpart of :class:`skdeepad.AutoencoderDetector`.

    Parameters
    ----------
    n_components : int or float, default=0.9
        Components to keep, fewer than there are features. A float in (0, 1) keeps as
        many as explain that share of the variance, and one fewer where no training row
        would have an error left, by which to tell rows apart. Where an int leaves none
        of them an error, every row off the components is an anomaly.
    random_state : int, RandomState instance or None, default=None
        Used where :class:`sklearn.decomposition.PCA` chooses a randomised solver.
    {threshold_parameters}

    Attributes
    ----------
    pca_ : PCA
        The fitted components.
    {detector_attributes}

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import PCADetector
    >>> X = np.outer(np.arange(10.0), [1, 2]) + [[0.1, 0], [0, 0.1]] * 5
    >>> PCADetector(n_components=1).fit(X).predict([[5, 10], [10, 5]])
    array([ 1, -1])
    """

    n_components: int | float = 0.9
    random_state: Any = None

    _parameter_constraints: ClassVar[dict] = {
        **BaseDetector._parameter_constraints,
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "random_state": ["random_state"],
    }

    def _check_input(self, X, y):
        n_features = X.shape[1]
        if isinstance(self.n_components, Integral) and self.n_components >= n_features:
            raise ValueError(
                f"n_components={self.n_components} of {n_features} feature(s) gives "
                "every row back, so that nothing is an error. Lower n_components."
            )

    def _fit(self, X, task):
        if len(X) < 2:
            raise ValueError(
                "PCADetector needs 2 normal rows or more, got n_samples = 1."
            )
        # Centred first: for many rows PCA takes the covariance of what it is given, in
        # which a mean far from zero leaves no digits for the spread.
        mean, variances = moments(X)
        # How large the means are that are rounded, those of features that vary; and the
        # spread, by which components of less spread are rounded.
        self._size = np.abs(mean[variances > 0]).max(initial=0.0)
        spread = np.sqrt(variances.max())
        self._size += 4 * spread
        # No training row is farther than so many times the spread.
        self._farthest = max(SQUARED, np.sqrt(len(X)) * spread)
        centred = X - mean
        self.pca_ = PCA(n_components=self.n_components, random_state=self.random_state)
        with np.errstate(invalid="ignore"):  # shares of no variance at all
            self._fit_components(centred, mean)
            if isinstance(self.n_components, Integral):
                return
            while (n := self.pca_.n_components_) and not self._score_samples(X).any():
                self.pca_.set_params(n_components=n - 1)
                self._fit_components(centred, mean)

    def _fit_components(self, centred, mean):
        self.pca_.fit(centred)
        self.pca_.mean_ += mean

    @property
    def _n_features_out(self):
        return self.pca_.n_components_

    def _score_samples(self, X):
        centred = from_mean(X, self.pca_.mean_, farthest=self._farthest)
        scores = -self._errors(centred).sum(axis=1)
        # What rounding leaves of a row that lies on the components, and changes from
        # batch to batch, is no error.
        size = np.abs(centred).max(axis=1) + self._size
        rounding = ROUNDING * X.shape[1] * size
        scores[np.sqrt(-scores) <= rounding] = 0.0
        return scores

    def _centred(self, X):
        return np.subtract(X, self.pca_.mean_, dtype=np.float64)

    # PCA's own methods do not take a code without components.

    def _codes(self, centred):
        return centred @ self.pca_.components_.T

    def _errors(self, centred):
        back = self._codes(centred) @ self.pca_.components_
        with np.errstate(over="ignore"):  # of rows like training rows that are as far
            return (back - centred) ** 2 / centred.shape[1]

    @of_one_fit
    def transform(self, X):
        """Coordinates along the components.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
        """
        return self._codes(self._centred(self._validate(X)))

    @of_one_fit
    def reconstruct(self, X):
        """Rows as the components give them back.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
        """
        codes = self._codes(self._centred(self._validate(X)))
        return codes @ self.pca_.components_ + self.pca_.mean_

    @of_one_fit
    def feature_errors(self, X):
        """What each feature adds to the anomaly score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        errors : ndarray of shape (n_samples, n_features)
        """
        X = self._validate(X)
        return self._errors(from_mean(X, self.pca_.mean_, farthest=self._farthest))
