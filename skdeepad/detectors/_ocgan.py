"""Denoising autoencoder whose code's whole range decodes to normal rows (OCGAN)."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval

from skdeepad._adversarial import (
    AdversarialMixin,
    cross_entropy,
    logits,
    told_apart,
)
from skdeepad._deep import LAYER_SIZES
from skdeepad.detectors._autoencoder import AutoencoderDetector


@dataclass(kw_only=True, eq=False, repr=False)
class OCGAN(AdversarialMixin, AutoencoderDetector):
    """Denoising autoencoder, with critics that keep its codes to normal rows alone.

    An autoencoder may give anomalies back that it never saw. Here codes lie in (-1, 1),
    by a hyperbolic tangent, and two discriminators see to it that the codes of normal
    rows fill that cube evenly, and that what is decoded from anywhere in it looks like
    a normal row ([1]_, section 3). The anomaly score is the squared reconstruction
    error, averaged over the features.

    In each step three critics are trained first: the latent discriminator tells points
    drawn from the cube from codes, the visual discriminator rows from decoded points,
    and the classifier decoded codes from decoded points. The points are then moved, by
    gradient descent, to where the classifier is surest that no normal row is decoded
    (informative-negative mining). Last, encoder and decoder are trained against the
    discriminators: codes to be taken for points, the decoded points for rows, and rows
    to be given back, ``reconstruction_weight`` times as much (Algorithm 1).

    Parameters
    ----------
    noise_std : float, default={noise_std}
        Standard deviation of normal noise added to the (scaled) rows in training,
        while the target stays clean.
    reconstruction_weight : float, default={reconstruction_weight}
        Weight of the squared reconstruction error, summed over the features, beside
        the two discriminators.
    latent_critic_layer_sizes : int or tuple of int, \
default={latent_critic_layer_sizes}
        Units of the latent discriminator's hidden layers. Those of the visual
        discriminator and of the classifier are the encoder's.
    n_mining_steps : int, default={n_mining_steps}
        Steps of gradient descent that the points take; 0 leaves them as drawn.
    mining_rate : float, default={mining_rate}
        Size of these steps: by so much times the gradient. Points stay in the cube.
    {support_parameter}
    {shared_parameters}
    {decoder_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    Mining and the squared error's sum follow the paper; in the authors' code mining
    begins late in training, and the squared error is averaged over the features.

    ``early_stopping`` goes by the reconstruction error of held-out rows. ``dropout``
    and ``batch_norm`` are refused: rows and points pass through the same layers. The
    hyperbolic tangent ends the encoder with ``latent_dim=None`` too.

    ``history_`` has the autoencoder's loss (``loss``), of which the parts are
    ``reconstruction``, ``latent`` and ``visual``, and the critics' (``critics``), of
    which they are ``latent_critic``, ``visual_critic`` and ``classifier``.

    References
    ----------
    .. [1] P. Perera, R. Nallapati and B. Xiang, *OCGAN: One-Class Novelty Detection
       Using GANs with Constrained Latent Representations*, CVPR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import OCGAN
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = OCGAN(random_state=0).fit(X)
    >>> detector.predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    max_epochs: int = 60
    learning_rate: float = 1e-3
    noise_std: float = 0.2
    reconstruction_weight: float = 10.0
    latent_critic_layer_sizes: Any = (32, 16)
    n_mining_steps: int = 1
    mining_rate: float = 1.0

    _parameter_constraints: ClassVar[dict] = {
        **AutoencoderDetector._parameter_constraints,
        "reconstruction_weight": [Interval(Real, 0, None, closed="neither")],
        "latent_critic_layer_sizes": LAYER_SIZES,
        "n_mining_steps": [Interval(Integral, 0, None, closed="left")],
        "mining_rate": [Interval(Real, 0, None, closed="neither")],
    }

    _used_within: ClassVar[dict] = {
        **AutoencoderDetector._used_within,
        "reconstruction_weight": 1,
        "mining_rate": 3,
    }

    _code_activation: ClassVar[str] = "tanh"

    def _build_network(self, n_features, members):
        from torch import nn

        from skdeepad._nn import UniformNoise

        network = super()._build_network(n_features, members)
        network.points = UniformNoise()
        sizes = self._layer_sizes("latent_critic_layer_sizes")
        network.critics = nn.ModuleDict(
            {
                "latent": self._critic(members, self._latent_size(), sizes),
                "visual": self._visual_critic(n_features, members),
                "classifier": self._visual_critic(n_features, members),
            }
        )
        for critic in network.critics.values():
            network.count(critic)
        return network

    def _visual_critic(self, n_features, members):
        image_shape = self._image_shape(n_features)
        return self._critic(members, n_features, self._hidden_sizes(), image_shape)

    def _critic(self, members, n_inputs, sizes, image_shape=None):
        """A network that gives a row's logit."""
        from skdeepad._nn import FLOAT32_LANES, Autoencoder

        return Autoencoder(  # the half that encodes
            members,
            n_inputs,
            hidden_layer_sizes=sizes,
            code_size=FLOAT32_LANES,
            image_shape=image_shape,
            activation=self.activation,
        )

    def _phases(self, network):
        autoencoder = [*network.encoder.parameters(), *network.decoder.parameters()]
        return self._turns(network, network.critics.parameters(), autoencoder)

    def _critics_loss(self, network, x):
        import torch

        critics = network.critics
        with torch.no_grad():
            points = self._draw(network, x)
            # The noise of this step, for the autoencoder's turn too.
            network.noisy = self._noisy(network, x)
            codes = network.encode(network.noisy)
            given_back, decoded = network.decode(codes), network.decode(points)
        latent = told_apart(critics["latent"].encode, points, codes)
        visual = told_apart(critics["visual"].encode, x, decoded)
        classifier = told_apart(critics["classifier"].encode, given_back, decoded)
        return {
            "critics": latent + visual + classifier,
            "latent_critic": latent,
            "visual_critic": visual,
            "classifier": classifier,
        }

    def _mined(self, network, points):
        """Points moved to where the classifier is surest of no normal row."""
        import torch

        classifier, points = network.critics["classifier"].encode, points.detach()
        for _ in range(self.n_mining_steps):
            points.requires_grad_()
            said = logits(classifier, network.decode(points))
            loss = cross_entropy(said, normal=False).sum()  # each point's own
            (gradient,) = torch.autograd.grad(loss, points)
            points = (points.detach() - self.mining_rate * gradient).clamp(-1.0, 1.0)
        return points

    def _loss(self, network, x):
        if not network.training:
            back = network.decode(network.encode(x))
            return {"loss": (back - x).square().sum(2).mean(1)}
        critics, codes = network.critics, network.encode(network.noisy)
        error = (network.decode(codes) - x).square().sum(2).mean(1)
        decoded = network.decode(self._mined(network, network.drawn))
        latent = cross_entropy(logits(critics["latent"].encode, codes)).mean(1)
        visual = cross_entropy(logits(critics["visual"].encode, decoded)).mean(1)
        return {
            "loss": self.reconstruction_weight * error + latent + visual,
            "reconstruction": error,
            "latent": latent,
            "visual": visual,
        }
