"""Kernel principal components: the reconstruction error in feature space."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import KernelPCA
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._base import BaseDetector, refuse_huge, variances_of

# What rounding leaves of an error, where kernels are at most 1.
ROUNDING = 1e-12
CHUNK_ROWS = 64
# Rows from which an iterative solver is quicker than one of all eigenvectors.
MANY_ROWS = 200


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
        do not span themselves.
    gamma : "scale" or float, default="scale"
        Of the kernel ``exp(-gamma * ||x - y||^2)``. "scale" is one divided by the sum
        of the features' variances.
    max_samples : int, default=5000
        Rows that the components are of, drawn at random where there are more. The time
        of a fit and its memory grow with their square (200 MB for 5,000).
    random_state : int, RandomState instance or None, default=None
        Draws the rows, and where the solver starts (the components of given rows are
        the same to rounding).
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
        variances = variances_of(X)
        refuse_huge(variances)
        rng = check_random_state(self.random_state)
        if len(X) > self.max_samples:
            X = X[rng.choice(len(X), self.max_samples, replace=False)]
        self._mean = np.ascontiguousarray(X, dtype=np.float64).mean(axis=0)
        self.X_fit_ = self._centred(X)
        self.gamma_ = self.gamma
        if self.gamma == "scale":
            spread = variances.sum()
            self.gamma_ = 1 / spread if spread else 1.0
        kernel = rbf_kernel(self.X_fit_, gamma=self.gamma_)
        self._mean_kernels = kernel.mean(axis=0)
        n_components = min(self.n_components, max(1, len(X) // 4))
        # A kernel of equal rows has no components to iterate towards.
        is_large = len(X) > MANY_ROWS and np.ptp(kernel) > ROUNDING
        pca = KernelPCA(
            n_components=n_components,
            kernel="precomputed",
            eigen_solver="arpack" if is_large else "dense",
            random_state=rng,
        ).fit(kernel)

        # Of length one in feature space; none where the rows span no more.
        lengths = np.sqrt(pca.eigenvalues_)
        self.dual_coef_ = pca.eigenvectors_ / np.where(lengths > 0, lengths, np.inf)

    @property
    def _n_features_out(self):
        return self.dual_coef_.shape[1]

    def _map_rows(self, X, function):
        """Apply ``function(norms, codes)`` to chunks of rows.

        All are of one size, the last one filled up: an error is a small difference, and
        the last bits of a product depend on the number of its rows.
        """
        outputs = []
        for chunk in gen_batches(len(X), CHUNK_ROWS):
            rows = self._centred(X[chunk])
            filled = np.zeros((CHUNK_ROWS, X.shape[1]))
            filled[: len(rows)] = rows
            kernel = rbf_kernel(filled, self.X_fit_, gamma=self.gamma_)
            means = kernel.mean(axis=1, keepdims=True)
            kernel -= self._mean_kernels
            kernel -= means - self._mean_kernels.mean()
            # The squared norm of a row in feature space, less the training rows' mean.
            norms = 1 - 2 * means[:, 0] + self._mean_kernels.mean()
            output = function(norms, kernel @ self.dual_coef_)
            outputs.append(output[: len(rows)])
        return np.concatenate(outputs)

    def _centred(self, X):
        # Distances are taken by products, which lose the digits of a mean far off.
        return np.subtract(X, self._mean, dtype=np.float64, order="C")

    def _score_samples(self, X):
        def score(norms, codes):
            errors = norms - np.square(codes).sum(axis=1)
            return -np.where(errors > ROUNDING, errors, 0.0)

        return self._map_rows(X, score)

    def transform(self, X):
        """Coordinates along the components.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
        """
        return self._map_rows(self._validate(X), lambda norms, codes: codes)
