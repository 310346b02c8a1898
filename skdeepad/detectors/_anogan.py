"""Generative adversarial network and the row it comes nearest to (AnoGAN)."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval

from skdeepad._adversarial import (
    AdversarialMixin,
    cross_entropy,
    logits,
    told_apart,
)
from skdeepad._reconstruction import BaseAutoencoderDetector, ReconstructionMixin

# Rows that are mapped at once, of all members, whose memory then stays in the cache.
# Always so many: a product of other shape rounds otherwise.
MAPPED_ROWS, LEAST_ROWS = 256, 16


@dataclass(kw_only=True, eq=False, repr=False)
class AnoGAN(AdversarialMixin, ReconstructionMixin, BaseAutoencoderDetector):
    """Generative adversarial network, scored by how near it comes to a row.

    A generator learns to make rows from normally distributed points, and a
    discriminator to tell them from the training rows ([1]_, eq. 1). For a row that is
    scored, the point is sought whose generated row is most like it, by gradient
    descent. What difference is left is the anomaly score: the sum of the features'
    absolute differences, times ``1 - feature_weight``, plus that of the numbers in the
    discriminator's last hidden layer, times ``feature_weight`` (eq. 2 and 4 to 6).

    Parameters
    ----------
    feature_weight : float in [0, 1], default={feature_weight}
        Weight of the discriminator's features in the search and in the score, lambda
        in [1]_.
    n_mapping_steps : int, default={n_mapping_steps}
        Steps of the search, Gamma in [1]_, where it is 500. The time of scoring is
        proportional to it.
    mapping_rate : float, default={mapping_rate}
        Step size of the search, which is Adam's.
    {shared_parameters}
    {decoder_parameters}

    Attributes
    ----------
    {shared_attributes}

    Notes
    -----
    ``hidden_layer_sizes`` are those of the discriminator. The generator, which mirrors
    it, is the decoder of other detectors: ``transform`` gives the points that were
    found, ``reconstruct`` the rows generated from them, and ``feature_errors`` the
    features' parts of the score's first term.

    Points are normally distributed, where [1]_ has a uniform distribution, and the
    generator lowers ``-log D(G(z))``, whose gradient does not vanish where the
    discriminator is sure, in place of ``log(1 - D(G(z)))``.

    The search begins at the origin, the likeliest point, so that a row has one score:
    the authors begin at random. A search for 1,000 rows of a table takes some 0.4
    seconds on a processor's core, and for 1,000 images of 28 x 28 pixels a minute or
    more; ``fit`` searches for its training rows as well, unless ``threshold`` is a
    number. Parameters of the search count from the next ``fit``, as all others.

    ``dropout`` and ``batch_norm`` are refused: rows and generated ones pass through the
    same layers; so is ``early_stopping``: no loss says how alike they are. ``history_``
    has the generator's loss (``loss``) and the discriminator's (``critics``).

    References
    ----------
    .. [1] T. Schlegl et al., *Unsupervised Anomaly Detection with Generative
       Adversarial Networks to Guide Marker Discovery*, IPMI 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import AnoGAN
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = AnoGAN(random_state=0).fit(X)
    >>> detector.predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    max_epochs: int = 60
    learning_rate: float = 1e-3
    feature_weight: float = 0.1
    n_mapping_steps: int = 100
    mapping_rate: float = 0.05

    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoderDetector._parameter_constraints,
        "feature_weight": [Interval(Real, 0, 1, closed="both")],
        "n_mapping_steps": [Interval(Integral, 1, None, closed="left")],
        "mapping_rate": [Interval(Real, 0, None, closed="neither")],
    }

    _used_after: ClassVar[frozenset] = BaseAutoencoderDetector._used_after | {
        "feature_weight",
        "n_mapping_steps",
        "mapping_rate",
    }

    def _check_input(self, X, y):
        super()._check_input(X, y)
        if self.early_stopping:
            raise ValueError(
                "AnoGAN takes no early_stopping=True: no loss of held-out rows says "
                "how alike generated rows are to them. Set early_stopping=False, and "
                "max_epochs to where training is to end."
            )

    def _build_network(self, n_features, members):
        from skdeepad._nn import FLOAT32_LANES, Autoencoder, GaussianNoise

        image_shape, hidden = self._image_shape(n_features), self._hidden_sizes()
        network = Autoencoder(
            members,
            n_features,
            hidden_layer_sizes=hidden,
            decoder_layer_sizes=self._decoder_sizes(hidden, image_shape),
            code_size=FLOAT32_LANES,
            latent_dim=self._latent_size(),
            image_shape=image_shape,
            activation=self.activation,
            sigmoid_output=self.output_activation == "sigmoid",
        )
        network.points = GaussianNoise()
        return network

    def _phases(self, network):
        return self._turns(
            network, network.encoder.parameters(), network.decoder.parameters()
        )

    def _critics_loss(self, network, x):
        import torch

        with torch.no_grad():
            generated = network.decode(self._draw(network, x))
        return {"critics": told_apart(network.encode, x, generated)}

    def _loss(self, network, x):
        generated = network.decode(network.drawn)
        return {"loss": cross_entropy(logits(network.encode, generated)).mean(1)}

    def _warn_if_not_learned(self, X):
        """Nothing to say: no network is trained to give rows back."""

    # Scoring: with gradients, in blocks of rows whose results do not depend on others.

    def _parts(self, network, x):
        """A function of points: the score's parts, ``(k, n, ...)`` each."""

        def of_critic(rows):
            for layer in list(network.encoder)[:-1]:
                rows = layer(rows)
            return rows

        features = of_critic(x)

        def parts(points):
            generated = network.decode(points)
            difference = (x - generated).abs()
            of_features = (features - of_critic(generated)).abs()
            weight = self.feature_weight
            return (1 - weight) * difference, weight * of_features

        return parts

    def _codes(self, network, x):
        import torch

        blocks, size = [], max(LEAST_ROWS, MAPPED_ROWS // len(x))
        with torch.inference_mode(False), torch.enable_grad():
            for block in x.split(size, dim=1):
                n_rows = block.shape[1]
                padding = block[:, :1].expand(-1, size - n_rows, -1)
                points = self._mapped(network, torch.cat([block, padding], dim=1))
                blocks.append(points[:, :n_rows])
        return torch.cat(blocks, dim=1)

    def _mapped(self, network, x):
        """Points whose generated rows are most like a block of rows."""
        import torch

        # torch's own one would import its compiler first, which takes seconds.
        from skdeepad._optimizers import Adam, FlatParameters

        parts = self._parts(network, x)
        shape = *x.shape[:2], self._latent_size()
        points = torch.nn.Parameter(x.new_zeros(shape))
        optimizer = Adam(FlatParameters([points]), self.mapping_rate, 0.0)
        for _ in range(self.n_mapping_steps):
            loss = sum(part.sum() for part in parts(points))  # each row's own
            points.grad.copy_(*torch.autograd.grad(loss, points))
            optimizer.step()
        return points.detach()

    def _feature_errors(self, network, x):
        return self._parts(network, x)(self._codes(network, x))[0]

    def _anomaly_scores(self, network, x):
        parts = self._parts(network, x)(self._codes(network, x))
        return sum(part.sum(2) for part in parts)
