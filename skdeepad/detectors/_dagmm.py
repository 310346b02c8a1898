"""Deep autoencoding Gaussian mixture model (DAGMM)."""

from dataclasses import dataclass
from math import log, pi
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from skdeepad._reconstruction import BaseEstimationDetector

# Of a mean variance: out of reach of what a Cholesky factor loses in float64.
ROUNDING = 1e-10


@dataclass(kw_only=True, eq=False, repr=False)
class DAGMM(BaseEstimationDetector):
    """Autoencoder and a Gaussian mixture of its codes and errors, trained as one.

    A row becomes its code and two measures of how well it is given back: the distance
    between row and reconstruction over the row's norm, and the cosine of the angle
    between them. A second network, the estimation network, turns these numbers into the
    row's probabilities of belonging to each Gaussian of a mixture. From those of a
    batch's rows follow the mixture's weights, means and covariances. The anomaly score
    is the energy, minus the logarithm of the mixture's density, of the mixture of all
    training rows ([1]_, eq. 1 to 6).

    The loss is the squared reconstruction error, summed over the features, plus
    ``energy_weight`` times the energy plus ``covariance_penalty`` times the sum of the
    inverses of all variances (eq. 7).

    Parameters
    ----------
    n_components : int, default={n_components}
        Number of Gaussians.
    estimation_layer_sizes : int or tuple of int, default={estimation_layer_sizes}
        Units of the estimation network's hidden layers.
    estimation_dropout : float in [0, 1), default={estimation_dropout}
        Probability with which a hidden unit of the estimation network is dropped in
        training.
    energy_weight : float, default={energy_weight}
        Weight of the energy in the loss, lambda_1 in [1]_.
    covariance_penalty : float, default={covariance_penalty}
        Weight of the inverse variances in the loss, lambda_2 in [1]_.
    reg_covar : float, default={reg_covar}
        Added to the variances, as in
        :class:`~sklearn.mixture.GaussianMixture`, and 1e-10 times their mean with it:
        no covariance matrix is singular.
    {shared_parameters}
    {decoder_parameters}

    Attributes
    ----------
    weights_ : ndarray of shape (n_estimators, n_components)
        The mixture's weights.
    means_ : ndarray of shape (n_estimators, n_components, latent_dim + 2)
        The Gaussians' means: of the code, the distance and the cosine.
    covariances_ : ndarray of shape \
(n_estimators, n_components, latent_dim + 2, latent_dim + 2)
        The Gaussians' covariance matrices.
    {shared_attributes}

    Notes
    -----
    The networks of [1]_ have ``activation="tanh"`` and codes of one or two numbers.

    The distance and the angle of a row of zeros are undefined, and those of rows near
    it are arbitrary: after standardizing, of rows that are average in all features. A
    norm counts as at least a tenth of the training rows'. Where such rows matter, scale
    X so that it keeps away from zero, and set ``standardize=False``.

    The mixture is computed in float64. In training it is that of a batch, which should
    hold many more rows than the code has dimensions: batches are of one size, of
    ``batch_size`` rows at most, and the last (from 16 on) has nearly half as many or
    more; those of rows held out for ``early_stopping`` too. With ``distributed=True``
    it is that of each process's own share of a batch.

    ``partial_fit`` takes the scores' mixture from the rows of its last call, which
    should be hundreds: with a handful the detector is worth nothing.

    The mixture is that of the training rows: by the default threshold 14 % of new
    normal rows are flagged on ADBench (documentation, *What thresholds do on new
    rows*). Take ``threshold="conformal"``, which holds rows out.

    ``feature_errors`` gives the squared errors of the reconstruction: an energy has no
    parts of single features. ``history_`` has the loss's parts, ``reconstruction``,
    ``energy`` and ``inverse_variances``, before they are weighted.

    References
    ----------
    .. [1] B. Zong et al., *Deep Autoencoding Gaussian Mixture Model for Unsupervised
       Anomaly Detection*, ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DAGMM
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = DAGMM(random_state=0).fit(X)
    >>> detector.predict([[1, 0, -1], [9, -9, 9]])
    array([ 1, -1])
    """

    # A large batch is a better sample of the mixture, and they are fewer.
    batch_size: int = 256
    max_epochs: int = 60
    n_components: int = 4
    estimation_dropout: float = 0.5
    energy_weight: float = 0.1
    covariance_penalty: float = 0.005
    reg_covar: float = 1e-6

    _parameter_constraints: ClassVar[dict] = {
        **BaseEstimationDetector._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "estimation_dropout": [Interval(Real, 0, 1, closed="left")],
        "energy_weight": [Interval(Real, 0, None, closed="left")],
        "covariance_penalty": [Interval(Real, 0, None, closed="left")],
        "reg_covar": [Interval(Real, 0, None, closed="neither")],
    }

    _fixed_by_first_fit: ClassVar[tuple] = (
        *BaseEstimationDetector._fixed_by_first_fit,
        "n_components",
    )

    _used_before: ClassVar[frozenset] = BaseEstimationDetector._used_before | {
        "estimation_dropout"
    }
    _used_within: ClassVar[dict] = {
        **BaseEstimationDetector._used_within,
        "energy_weight": 1,
        "covariance_penalty": 1,
    }

    def _build_estimator(self, members):
        from skdeepad._nn import FLOAT64_LANES, Autoencoder

        n_inputs = self._latent_size() + 2
        # Training makes much of last bits.
        n_outputs = -(-self.n_components // FLOAT64_LANES) * FLOAT64_LANES
        estimator = Autoencoder(  # the half that encodes
            members,
            n_inputs,
            hidden_layer_sizes=self._layer_sizes("estimation_layer_sizes"),
            code_size=n_outputs,
            activation=self.activation,
            dropout=self.estimation_dropout,
        )
        estimator.width = max(estimator.width, n_inputs * n_outputs)  # of the mixture
        return estimator

    def _build_network(self, n_features, members):
        from skdeepad._nn import empty

        network = super()._build_network(n_features, members)
        network.register_buffer("least_norm", empty(members, 1))
        return network

    def _n_batch(self, n_rows):
        # Even ones: the mixture of a few rows that were left would be nearly singular.
        even = -(-n_rows // -(-n_rows // self.batch_size))

        def filled(size):
            """How much of the last batch there is, where that is less than half."""
            return min(0.5, (n_rows % size or size) / size)

        return max(range(even, even // 2, -1), key=filled)

    def _before_training(self, network, x, continued):
        from skdeepad._training import mean_over_rows

        if not continued:
            norm = mean_over_rows(network, lambda x: x.square().sum(2), x).sqrt()
            network.least_norm.copy_(norm.where(norm > 0, 1.0).mul_(0.1).unsqueeze(1))

    def _phases(self, network):
        import torch

        from skdeepad._nn import set_dtype

        # Training makes much of last bits, which depend on the networks beside one.
        set_dtype(network.estimator, torch.float64)
        return super()._phases(network)

    def _describe(self, network, x, code, back):
        """Rows ``(members, n, latent_dim + 2)`` of the mixture."""
        import torch

        norm, norm_back, distance = (
            torch.linalg.vector_norm(rows, dim=2) for rows in (x, back, back - x)
        )
        norm = norm.maximum(network.least_norm)
        norm_back = norm_back.maximum(network.least_norm)
        cosine = ((x / norm[:, :, None]) * (back / norm_back[:, :, None])).sum(2)
        measures = torch.stack([distance / norm, cosine], dim=2)
        return torch.cat([code, measures], dim=2)

    def _described(self, network, x):
        code = network.encode(x)
        return self._describe(network, x, code, network.decode(code))

    def _memberships(self, network, z):
        """Probabilities ``(members, n, n_outputs)``, zero beyond ``n_components``."""
        import torch

        logits = network.estimator.encode(z)
        memberships = logits[:, :, : self.n_components].softmax(2)
        padding = logits.shape[2] - memberships.shape[2]
        return torch.nn.functional.pad(memberships, (0, padding))

    def _losses(self, network, x, code, back):
        z = self._describe(network, x, code, back).double()
        memberships = self._memberships(network, z)
        counts, means = _means(_sums(z, memberships))
        scatter = _scatter(z, memberships, means)
        weights, means, covariances = self._mixture(counts, means, scatter)
        energy = _energy(z, weights, means, covariances).mean(1)
        variances = covariances.diagonal(dim1=2, dim2=3)
        energy, inverses = (
            term.to(x.dtype) for term in (energy, variances.reciprocal().sum((1, 2)))
        )
        error = (back - x).square().sum(2).mean(1)
        penalty = self.covariance_penalty * inverses
        return {
            "loss": error + self.energy_weight * energy + penalty,
            "reconstruction": error,
            "energy": energy,
            "inverse_variances": inverses,
        }

    def _set_threshold(self, task):
        self._set_mixture(task.training_rows(streams=True))
        super()._set_threshold(task)

    def _set_mixture(self, X):
        """Set the mixture of all training rows, as they were given."""

        def sums(fitted, network, x):
            z = fitted._described(network, x)
            return _sums(z, fitted._memberships(network, z))

        def scatter(fitted, network, x):
            z = fitted._described(network, x)
            return _scatter(z, fitted._memberships(network, z), means)

        counts, means = _means(self._sum_chunks(X, sums))
        mixture = self._mixture(counts, means, self._sum_chunks(X, scatter))
        self.weights_, self.means_, self.covariances_ = (
            tensor.cpu().numpy() for tensor in mixture
        )

    def _mixture(self, counts, means, scatter):
        """Weights, means and covariance matrices, none of which is singular."""
        # Without the padding.
        counts, means, scatter = (
            part[:, : self.n_components] for part in (counts, means, scatter)
        )
        covariances = scatter / counts[:, :, None, None]
        variances = covariances.diagonal(dim1=2, dim2=3)
        # Beside large variances the parameter would be lost in rounding.
        added = self.reg_covar + ROUNDING * variances.mean(2)
        unit = scatter.new_ones(scatter.shape[-1]).diag()
        covariances = covariances + added[:, :, None, None] * unit
        return counts / counts.sum(1, keepdim=True), means, covariances

    def _anomaly_scores(self, network, x):
        z = self._described(network, x)
        mixture = self.weights_, self.means_, self.covariances_
        return _energy(z, *(x.new_tensor(array) for array in mixture))


def _sums(z, memberships):
    """Each component's number of rows and sum of rows, ``(k, components, 1 + d)``."""
    import torch

    ones = z.new_ones(1).expand(*z.shape[:2], 1)
    return memberships.mT @ torch.cat([ones, z], dim=2)


def _means(sums):
    """Numbers of rows ``(k, components)``, means of rows ``(k, components, d)``."""
    # However far the estimation network's outputs are apart, not so near to zero that
    # a gradient, which has its square, is infinite.
    counts = sums[:, :, 0].clamp(min=1e-100)
    return counts, sums[:, :, 1:] / counts.unsqueeze(2)


def _scatter(z, memberships, means):
    """Sums of squares and products about the means, ``(k, components, d, d)``."""
    difference = z.unsqueeze(1) - means.unsqueeze(2)
    return (difference * memberships.mT.unsqueeze(3)).mT @ difference


def _energy(z, weights, means, covariances):
    """Minus the logarithm of the mixture's density (eq. 6), ``(k, n)``.

    NaN where a covariance matrix is not positive definite.
    """
    import torch

    factors, failed = torch.linalg.cholesky_ex(covariances)
    factors = factors.where(failed[:, :, None, None] == 0, np.nan)
    difference = z.unsqueeze(1) - means.unsqueeze(2)
    white = torch.linalg.solve_triangular(factors, difference.mT, upper=False)
    log_norm = factors.diagonal(dim1=2, dim2=3).log().sum(2)
    log_norm = log_norm + 0.5 * z.shape[2] * log(2 * pi) - weights.log()
    log_density = -0.5 * white.square().sum(2) - log_norm.unsqueeze(2)
    return -log_density.logsumexp(1)
