"""Kernel principal components: the reconstruction error in feature space."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError, eigsh
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import KernelCenterer
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._base import (
    FARTHEST,
    BaseDetector,
    chunked,
    from_mean,
    moments,
    of_one_fit,
)

# What rounding leaves of an error, where kernels are at most 1.
ROUNDING = 1e-12
CHUNK_ROWS = 64
# Rows from which an iterative solver is quicker, and its rounds until it is not.
MANY_ROWS, MAX_ROUNDS = 200, 10


@dataclass(kw_only=True, eq=False, repr=False)
class KernelPCADetector(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseDetector
):
    """Kernel principal components; what they leave of a row is the anomaly score.

    The squared distance of a row from the components in the feature space of a
    Gaussian kernel ([1]_, section 3). It follows a curved set of normal rows, as an
    autoencoder does.

    Parameters
    ----------
    n_components : int, default=128
        Components to keep; a quarter of the rows where that is less, so that the rows
        do not span themselves. Of one feature or two 128 span nearly all that lies
        between the rows, and errors there are zero: take ten or so.
    gamma : "scale" or float, default="scale"
        Of the kernel ``exp(-gamma * ||x - y||^2)``. "scale" is one divided by the sum
        of the features' variances: features should have one scale, and no training row
        be far out.
    max_samples : int, default=5000
        Rows that the components are of, drawn at random where there are more. The
        memory of a fit grows with their square (half a gigabyte for 5,000).
    random_state : int, RandomState instance or None, default=None
        Draws the rows, and where the solver starts: of given rows the components are
        the same to rounding, unless eigenvalues coincide.
    {threshold_parameters}

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_rows, n_components)
        The components, as weights of these rows in feature space.
    X_fit_ : ndarray of shape (n_rows, n_features)
        The rows that the components are of, minus their mean.
    gamma_ : float
        The one in use.
    {detector_attributes}

    Notes
    -----
    The components fit the training rows closely: by the default threshold 13 % of new
    normal rows are flagged on ADBench (documentation, *What thresholds do on new
    rows*). Take ``threshold="conformal"``, which holds rows out, or out-of-fold scores
    (:class:`skdeepad.ThresholdedDetector` with ``cv``).

    Scoring n rows takes ``n * n_rows`` kernels.

    References
    ----------
    .. [1] H. Hoffmann, *Kernel PCA for Novelty Detection*, Pattern Recognition 40,
       2007.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import KernelPCADetector
    >>> angles = np.linspace(0, 6, 100)
    >>> X = np.c_[np.cos(angles), np.sin(angles)]
    >>> KernelPCADetector().fit(X).predict([[0.6, 0.8], [0, 0]])
    array([ 1, -1])
    """

    n_components: int = 128
    gamma: str | float = "scale"
    max_samples: int = 5000
    random_state: Any = None

    _parameter_constraints: ClassVar[dict] = {
        **BaseDetector._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "gamma": [StrOptions({"scale"}), Interval(Real, 0, None, closed="neither")],
        "max_samples": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def _fit(self, X, task):
        self._mean, variances = moments(X)
        rng = check_random_state(self.random_state)
        if len(X) > self.max_samples:
            X = X[rng.choice(len(X), self.max_samples, replace=False)]
            self._mean, _ = moments(X)
        self.X_fit_ = self._centred(X)
        far = np.flatnonzero((np.abs(self.X_fit_) >= FARTHEST).any(axis=0))
        if far.size:
            raise ValueError(
                f"X holds values {FARTHEST:g} or more from the mean, whose distances "
                f"have no room, first in column {far[0]}: divide X by a number, or "
                "remove or clip such rows."
            )
        self.gamma_ = self.gamma
        if self.gamma == "scale":
            self.gamma_ = self._inverse(variances.sum())
        kernel = rbf_kernel(self.X_fit_, gamma=self.gamma_)
        self._centerer = KernelCenterer().fit(kernel)
        kernel = self._centerer.transform(kernel, copy=False)
        n_components = min(self.n_components, max(1, len(X) // 4))
        values, vectors = largest_eigenpairs(kernel, n_components, rng)
        # Of length one in feature space; none where the rows span no more.
        noise = max(ROUNDING, len(kernel) * np.finfo(np.float64).eps * values[-1])
        lengths = np.sqrt(np.where(values > noise, values, np.inf))
        self.dual_coef_ = np.ascontiguousarray((vectors / lengths)[:, ::-1])

    def _inverse(self, spread):
        if not spread and not self.X_fit_.any():
            return 1.0
        with np.errstate(divide="ignore", over="ignore"):
            inverse = 1 / spread
        if not np.isfinite(inverse):
            raise ValueError(
                "The features' variances are too small for gamma='scale': multiply X "
                "by a number, or give gamma one."
            )
        return inverse

    @property
    def _n_features_out(self):
        return self.dual_coef_.shape[1]

    def _map_rows(self, X, function):
        """Apply ``function(norms, codes)`` to chunks of rows.

        All are of one size, the last one filled up: an error is a small difference, and
        the last bits of a product depend on the number of its rows.
        """
        outputs = []
        for chunk in chunked(len(X), CHUNK_ROWS):
            rows = self._centred(X[chunk])
            filled = np.zeros((CHUNK_ROWS, X.shape[1]))
            filled[: len(rows)] = rows
            kernel = rbf_kernel(filled, self.X_fit_, gamma=self.gamma_)
            # The squared norm of a row in feature space, less the training rows' mean.
            norms = 1 - 2 * kernel.mean(axis=1) + self._centerer.K_fit_all_
            kernel = self._centerer.transform(kernel, copy=False)
            output = function(norms, kernel @ self.dual_coef_)
            outputs.append(output[: len(rows)])
        return np.concatenate(outputs)

    def _centred(self, X):
        # Distances are taken by products, which lose the digits of a mean far off.
        return from_mean(X, self._mean)

    def _score_samples(self, X):
        def score(norms, codes):
            errors = norms - np.square(codes).sum(axis=1)
            return -np.where(errors <= ROUNDING, 0.0, errors)  # NaN stays NaN

        return self._map_rows(X, score)

    @of_one_fit
    def transform(self, X):
        """Coordinates along the components, the one of most variance first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
        """
        return self._map_rows(self._validate(X), lambda norms, codes: codes)


def largest_eigenpairs(kernel, n, rng):
    """The largest eigenvalues of a symmetric matrix, rising, and their vectors."""
    n_rows = len(kernel)
    start = rng.uniform(-1, 1, size=n_rows)
    if n_rows > MANY_ROWS and kernel.any():
        try:
            return eigsh(kernel, n, which="LA", v0=start, maxiter=MAX_ROUNDS)
        except ArpackError:  # eigenvalues that lie close together
            pass
    values, vectors = eigh(kernel, subset_by_index=(n_rows - n, n_rows - 1))
    if len(values) < n:  # so close that it takes them for fewer
        values, vectors = np.linalg.eigh(kernel)
    return values[-n:], vectors[:, -n:]
