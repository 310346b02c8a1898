"""Variational autoencoder scored by the expected latent representation."""

from dataclasses import dataclass
from functools import partial
from math import log, pi
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._random import row_keys, row_normals
from skdeepad._reconstruction import BaseAutoencoderDetector, ReconstructionMixin
from skdeepad._support import SupportMixin

# Beyond any posterior a normal row has: the prior's is 0. The exponential of an extreme
# row would drown all others' in the loss.
LOG_STD_MAX = 5.0


@dataclass(kw_only=True, eq=False, repr=False)
class VAEDetector(SupportMixin, ReconstructionMixin, BaseAutoencoderDetector):
    """Variational autoencoder scored by its expected latent representation.

    The encoder gives a normal posterior, mean and log standard deviation of the
    code ([1]_, eq. 9 and 10); the decoder is trained on one sample of it (eq. 6,
    12 and 18). A row's score is its evidence lower bound (ELBO), in which the
    reconstruction term is taken at the posterior's mean (eq. 17 and 19) and not
    at a sample.

    Parameters
    ----------
    scoring : {"expected_latent", "sample", "multi_sample"}, \
default="expected_latent"
        Where the reconstruction term of the score is taken: at the posterior's
        mean (eq. 14), at one sample, or averaged over ``n_samples`` samples
        (eq. 6). A row's samples depend on ``random_state`` and on the row's own
        values: they repeat from call to call, whatever rows stand beside it.
    criterion : {"elbo", "reconstruction"}, default="{criterion}"
        Score by the whole bound (eq. 17), or by its reconstruction term alone
        (eq. 15).
    n_samples : int, default=100
        Samples of ``scoring="multi_sample"``.
    beta : float, default={beta}
        Weight of the Kullback-Leibler term in loss and score (eq. 18 and 19).
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        log p(x|z): normal with unit variance around the reconstruction (in the
        standardised scale), or independent Bernoulli for X in [0, 1] with
        ``standardize=False``.
    {support_parameter}
    {shared_parameters}
    {decoder_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    ``transform`` gives the posterior's mean. ``feature_errors`` gives minus the
    log likelihood of each feature at the posterior's mean. ``history_`` has the loss's
    parts, ``reconstruction`` (minus the log likelihood) and ``kl``, before they are
    weighted.

    Early stopping and ``support_fraction`` go by the bound at the posterior's mean
    (eq. 17), which takes no noise, whatever the ``scoring``.

    Layers and training have defaults for tables (documentation, *Defaults, and what to
    tune*). The paper's training is ``max_epochs=1000, early_stopping=True,
    n_iter_no_change=20, learning_rate=1e-4, batch_size=128``, and its networks for
    images ``standardize=False, output_activation="sigmoid", architecture="conv",
    hidden_layer_sizes=(32, 32), latent_dim=32`` (section 4.1, whose fully connected
    layer of 1568 is taken for the 32 * 7 * 7 numbers that the convolutions give).

    A posterior's standard deviation counts as at most ``exp(5)``, in the score too: the
    prior's is 1, and the exponential of an extreme row's would overflow.

    The paper does not name its likelihood. Unit variance makes the score
    ``0.5 * sum((x - x_reconstructed) ** 2)``, a constant, and the
    Kullback-Leibler term. Features of unit variance, as ``standardize`` makes them,
    leave a code little to tell then: on many tables it tells next to nothing (the
    paper's posterior collapse, which ``history_["kl"]`` shows), and the score is nearly
    a row's distance from the mean, by which rows between clusters are normal.

    References
    ----------
    .. [1] *Anomaly Detection with Variational Autoencoders via Reconstruction
       Error of the Expected Latent Representation* (ED-VAE), 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import VAEDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = VAEDetector(random_state=0, max_epochs=20).fit(X)
    >>> detector.predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    # The exponential in eq. 12 stands no larger steps on wide tables.
    max_epochs: int = 40
    learning_rate: float = 1e-3
    scoring: str = "expected_latent"
    criterion: str = "elbo"
    n_samples: int = 100
    beta: float = 1.0
    likelihood: str = "gaussian"

    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoderDetector._parameter_constraints,
        **SupportMixin._support_constraints,
        "scoring": [StrOptions({"expected_latent", "sample", "multi_sample"})],
        "criterion": [StrOptions({"elbo", "reconstruction"})],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
        "likelihood": [StrOptions({"gaussian", "bernoulli"})],
    }

    _codes_per_latent: ClassVar[int] = 2
    _used_after: ClassVar[frozenset] = BaseAutoencoderDetector._used_after | {
        "scoring",
        "criterion",
        "n_samples",
    }
    _loss_methods: ClassVar[frozenset] = frozenset(
        {"_loss", "_log_likelihood", "_posterior"}
    )
    _used_within: ClassVar[dict] = {**BaseAutoencoderDetector._used_within, "beta": 1}

    _fixed_by_first_fit: ClassVar[tuple] = (
        *BaseAutoencoderDetector._fixed_by_first_fit,
        "likelihood",
    )

    def _check_input(self, X, y):
        super()._check_input(X, y)
        if self.likelihood == "bernoulli":
            if self.output_activation != "identity":
                raise ValueError(
                    "likelihood='bernoulli' squashes the output itself: leave "
                    "output_activation='identity'."
                )
            self._check_unit_interval(X, "likelihood='bernoulli'")

    def _validate(self, X):
        X = super()._validate(X)
        fitted = self._as_fitted()
        if fitted.likelihood == "bernoulli":
            # Outside [0, 1] the "likelihood" has no bound: the farther, the better.
            fitted._check_unit_interval(X, "likelihood='bernoulli'")
        return X

    def _build_network(self, n_features, members):
        from skdeepad._nn import GaussianNoise

        network = super()._build_network(n_features, members)
        network.noise = GaussianNoise()
        return network

    def _posterior(self, network, x):
        """Mean and log standard deviation of the code (eq. 10)."""
        mean, log_std = network.encode(x).chunk(2, dim=2)
        # The gradient passes, or what is beyond would never come back.
        passing = log_std - log_std.detach()
        return mean, log_std.detach().clamp(max=LOG_STD_MAX) + passing

    def _loss(self, network, x):
        mean, log_std = self._posterior(network, x)
        z = network.noise(mean, log_std.exp())  # eq. 12
        reconstruction = -self._log_likelihood(network.decode(z), x).sum(2).mean(1)
        kl = _kl_divergence(mean, log_std).mean(1)
        return {
            "loss": reconstruction + self.beta * kl,
            "reconstruction": reconstruction,
            "kl": kl,
        }

    def _set_gradients(self, network, x):
        posterior = _Posterior(network.noise, self.beta)
        reconstruction = network.set_gradients(
            x, partial(self._minus_log_likelihood, x), posterior
        )
        return {
            "loss": reconstruction + self.beta * posterior.kl,
            "reconstruction": reconstruction,
            "kl": posterior.kl,
        }

    def _minus_log_likelihood(self, x, output):
        """Mean over the rows, ``(members,)``, and the gradient by the output."""
        if self.likelihood == "bernoulli":
            from skdeepad._nn import sigmoid

            value = -self._log_likelihood(output, x).sum((1, 2)).div_(x.shape[1])
            return value, sigmoid(output).sub_(x).div_(x.shape[1])
        from skdeepad._nn import squared_error

        value, gradient = squared_error(output, x, 0.5 / x.shape[1])
        return value.add_(0.5 * log(2 * pi) * x.shape[2]), gradient

    def _log_likelihood(self, output, x):
        """Log p(x|z) of each feature, from the decoder's output."""
        if self.likelihood == "bernoulli":
            from torch.nn.functional import binary_cross_entropy_with_logits

            return -binary_cross_entropy_with_logits(output, x, reduction="none")
        return -0.5 * ((x - output).square() + log(2 * pi))

    def _codes(self, network, x):
        return self._posterior(network, x)[0]

    def _reconstruction(self, network, x):
        output = super()._reconstruction(network, x)
        return output.sigmoid() if self.likelihood == "bernoulli" else output

    def _feature_errors(self, network, x):
        output = network.decode(self._codes(network, x))
        return -self._log_likelihood(output, x)

    def _support_scores(self, network, x):
        # By the bound at the posterior's mean: what scores are later is not known here.
        mean, log_std = self._posterior(network, x)
        error = -self._log_likelihood(network.decode(mean), x).sum(2)
        # In a search each member, a row here, has a beta of its own.
        return error + (self.beta * _kl_divergence(mean, log_std).T).T

    def _anomaly_scores(self, network, x):
        mean, log_std = self._posterior(network, x)
        n_samples, score = 0, 0
        for z in self._code_samples(mean, log_std, x):
            score = score - self._log_likelihood(network.decode(z), x).sum(2)
            n_samples += 1
        score = score / n_samples
        if self.criterion == "elbo":
            score = score + self.beta * _kl_divergence(mean, log_std)
        return score

    def _code_samples(self, mean, log_std, x):
        """Codes ``(members, n, latent_dim)`` at which to take the reconstruction."""
        if self.scoring == "expected_latent":
            yield mean
            return
        members, n_rows, latent_dim = mean.shape
        size = members * latent_dim
        keys = row_keys(x[0].cpu().numpy(), self._noise_seed)
        for i in range(1 if self.scoring == "sample" else self.n_samples):
            noise = row_normals(keys, i * size, (i + 1) * size)
            noise = mean.new_tensor(noise).view(n_rows, members, latent_dim)
            yield mean + log_std.exp() * noise.transpose(0, 1)  # eq. 12


class _Posterior:
    """Codes drawn from the posterior, and its divergence from the prior, as a layer.

    Attributes
    ----------
    kl : Tensor of shape (members,)
        Kullback-Leibler divergence, its mean over the rows.
    """

    def __init__(self, noise, beta):
        self._noise, self._beta = noise, beta

    def record(self, codes):
        mean, log_std = codes.float().chunk(2, dim=2)
        n_rows = mean.shape[1]
        log_std = log_std.clamp(max=LOG_STD_MAX)
        std = log_std.exp()
        spread = std * self._noise.noise_like(std)
        kl = mean.square().addcmul_(std, std).sub_(log_std, alpha=2).sub_(1)
        self.kl = kl.sum((1, 2)).mul_(0.5 / n_rows)
        return mean + spread, (mean, std, spread)  # eq. 12

    def backward(self, gradient, saved, wanted):
        import torch

        mean, std, spread = saved
        if isinstance(self._beta, torch.Tensor):  # each member's own
            weight = (self._beta / mean.shape[1]).view(-1, 1, 1)
        else:  # rounded as these are
            weight = float(np.float32(self._beta) / np.float32(mean.shape[1]))
        by_mean = (mean * weight).add_(gradient)
        by_log_std = std.square().sub_(1).mul_(weight).addcmul_(gradient, spread)
        return torch.cat([by_mean, by_log_std], 2)


def _kl_divergence(mean, log_std):
    """KL(N(mean, std^2) || N(0, 1)) summed over the code's dimensions."""
    kl = mean.square() + (2 * log_std).exp() - 2 * log_std - 1
    return 0.5 * kl.sum(2)
