"""Deep autoencoding support vector data descriptor (DASVDD)."""

from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skdeepad._random import member_seeds
from skdeepad._reconstruction import BaseAutoencoderDetector, ReconstructionMixin
from skdeepad._support import SupportMixin
from skdeepad._warnings import warn


@dataclass(kw_only=True, eq=False, repr=False)
class DASVDD(SupportMixin, ReconstructionMixin, BaseAutoencoderDetector):
    """Autoencoder whose codes are held in a hypersphere with a trained centre.

    The anomaly score adds the reconstruction error and the squared distance of
    the code from the centre ([1]_, eq. 2)::

        S(x) = ||x_reconstructed - x||^2 + gamma * ||z - c||^2

    Networks and centre are trained in turn on every batch (Algorithm 1): the
    share ``kappa`` of its rows serves the networks, with Adam, the rest the
    centre, with AdaGrad.

    Parameters
    ----------
    gamma : "auto" or float, default="auto"
        Weight of the distance. "auto" takes the mean ratio of the two terms of
        the score over randomly initialised networks, with the centre at zero
        (eq. 6); a warm start keeps it. For codes of one or two numbers that mean is
        not finite, and what is found is large and a matter of chance (for those of
        one there is a warning): give a number.
    n_gamma_init : int, default=10
        Random initialisations of ``gamma="auto"`` (T in eq. 6).
    kappa : float in (0, 1], default=0.9
        Share of each batch that trains the networks. Below 1 the centre has one
        row of a batch at least, where there are two; with 1 it stays where it
        started (section 4.8). With a fixed centre the networks have them all.
    center : {"trained", "mean", "fixed"}, default="trained"
        "trained": by AdaGrad, from a random start. "mean": set to the mean code
        of the batch's remaining rows (eq. 4), in the end those of the last batch.
        "fixed": the mean code of all training rows under the initial weights
        (section 4.5); a warm start leaves it where it is.
    center_learning_rate : float, default=1.0
        Step size of AdaGrad.
    center_decay : float, default=0.1
        Decay of that step size: step t uses ``lr / (1 + (t - 1) * decay)``.
    loss_reduction : {"sum", "mean"}, default="{loss_reduction}"
        Whether the squared reconstruction error of a row is summed over the
        features or averaged, in the loss.
    score_reduction : {"sum", "mean"}, default="{score_reduction}"
        The same in the anomaly score, and in the ratio of ``gamma="auto"``.
    {support_parameter}
    {shared_parameters}
    {decoder_parameters}

    Attributes
    ----------
    gamma_ : float
        The weight of the distance in use.
    center_ : ndarray of shape (n_estimators, latent_dim)
        Centre of each network's hypersphere.
    {shared_attributes}

    Notes
    -----
    Equations 2, 3 and 6 sum the squared error over the features, and that is the
    default: it was also the best on tabular data. With it eq. 6 gives a gamma of
    about 195 on MNIST (digit 8), where the paper prints 0.75, a value of the size
    that a mean over the pixels gives. The two reductions are therefore parameters,
    and for images ``score_reduction="mean"`` is the better choice: the error must
    not drown the distance.

    ``support_fraction`` leaves out the rows with the largest loss (eq. 3) from both
    steps, of which the centre's needs a second row that is left; ``gamma="auto"`` and a
    fixed centre are of all rows.

    ``feature_errors`` divides the reconstruction term among the features; the
    distance belongs to no feature. ``history_`` has the loss's parts,
    ``reconstruction`` and ``distance``, before they are weighted; and, unless the
    centre is fixed, ``center_distance``, of the rows that move it.

    Layers and training have defaults for tables (documentation, *Defaults, and what to
    tune*). For MNIST, its pixels divided by 255 and not standardized, the paper has
    layers of 1024 units and a code of 256 (section 4.3). This reaches its figure for
    the digit 8, an AUROC of 0.942, with 0.943::

        DASVDD(
            hidden_layer_sizes=(1024, 256), latent_dim=None, standardize=False,
            output_activation="sigmoid", score_reduction="mean", batch_size=200,
            max_epochs=300, learning_rate=1e-3, weight_decay=1e-7, random_state=0,
        )

    That the code has an activation, and the output a sigmoid, is not said in the paper.

    References
    ----------
    .. [1] H. Hojjati and N. Armanfard, *DASVDD: Deep Autoencoding Support Vector
       Data Descriptor for Anomaly Detection*, IEEE TKDE 36, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DASVDD
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = DASVDD(gamma="auto", random_state=0, max_epochs=20).fit(X)
    >>> detector.predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    # The paper's, and never quite zero: a ReLU code can be, where eq. 6 divides.
    activation: str = "leaky_relu"
    gamma: str | float = "auto"
    n_gamma_init: int = 10
    kappa: float = 0.9
    center: str = "trained"
    center_learning_rate: float = 1.0
    center_decay: float = 0.1
    loss_reduction: str = "sum"
    score_reduction: str = "sum"

    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoderDetector._parameter_constraints,
        **SupportMixin._support_constraints,
        "gamma": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "n_gamma_init": [Interval(Integral, 1, None, closed="left")],
        "kappa": [Interval(Real, 0, 1, closed="right")],
        "center": [StrOptions({"trained", "mean", "fixed"})],
        "center_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "center_decay": [Interval(Real, 0, None, closed="left")],
        "loss_reduction": [StrOptions({"sum", "mean"})],
        "score_reduction": [StrOptions({"sum", "mean"})],
    }

    _loss_methods: ClassVar[frozenset] = frozenset({"_loss", "_reduce"})

    # The weight gamma is held by the network.
    _used_before: ClassVar[frozenset] = BaseAutoencoderDetector._used_before | {
        "gamma",
        "n_gamma_init",
        "score_reduction",
    }
    _used_within: ClassVar[dict] = {
        **BaseAutoencoderDetector._used_within,
        "center_learning_rate": 1,
        "center_decay": 1,
    }

    @property
    def center_(self):
        check_is_fitted(self)
        return self._state["center.value"][:, 0].copy()  # the fitted one stays

    @property
    def gamma_(self):
        check_is_fitted(self)
        return float(self._state["gamma"][0, 0])

    def _build_network(self, n_features, members):
        from skdeepad._nn import Center, empty

        network = super()._build_network(n_features, members)
        network.center = Center(members, self._latent_size())
        network.register_buffer("gamma", empty(members, 1))
        return network

    def _before_training(self, network, x, continued):
        from skdeepad._training import mean_over_rows

        if self.center == "fixed" and not continued:
            center = mean_over_rows(network, network.encode, x)
            network.center.value.data.copy_(center.unsqueeze(1))
        if self.gamma != "auto":
            network.gamma.fill_(self.gamma)
        elif not continued:
            network.gamma.fill_(self._auto_gamma(x))

    def _auto_gamma(self, x):
        """Mean ratio of the score's two terms over random networks (eq. 6)."""
        from skdeepad._training import build, mean_over_rows

        def ratio(x):
            z = network.encode(x)
            error = self._reduce(network.decode(z) - x, self.score_reduction)
            return error / z.square().sum(2)

        seeds = member_seeds(self._noise_seed, self.n_gamma_init)
        make_network = partial(self._build_network, x.shape[1])
        network = build(make_network, seeds).to(x.device)
        gamma = float(mean_over_rows(network, ratio, x).mean())
        if not np.isfinite(gamma):
            raise ValueError(
                "gamma='auto' (eq. 6) divides by the squared norm of the initial "
                "codes, and some are zero, or X holds values too large to square. Give "
                "gamma a number, set latent_dim so that the code is linear, use "
                "activation='leaky_relu', or scale X."
            )
        if network.center.value.shape[2] == 1:
            warn(
                "gamma='auto' (eq. 6) averages the inverse square of the initial "
                "codes, which for a code of one number has no finite mean: gamma_ is "
                f"{gamma:.3g} by chance. Give gamma a number, or raise latent_dim.",
            )
        return gamma

    def _phases(self, network):
        """Algorithm 1: the first rows of a batch for the networks, then the rest."""
        from skdeepad._training import GradientPhase

        autoencoder = [*network.encoder.parameters(), *network.decoder.parameters()]
        if self.center == "fixed":
            return [self._gradient_phase(network, autoencoder)]
        phases = [self._gradient_phase(network, autoencoder, share=self._first)]
        if self.center == "mean":
            return [*phases, _MeanCenterPhase(network, share=self._rest)]
        return [
            *phases,
            GradientPhase(
                None,
                network.center.parameters(),
                self._adagrad,
                partial(_set_center_gradient, network),
                share=self._rest,
            ),
        ]

    def _first(self, n_rows):
        n_first = max(1, round(self.kappa * n_rows))
        if self.kappa < 1 and n_rows > 1:
            # However small the batch, the centre has a row of it.
            n_first = min(n_first, n_rows - 1)
        return slice(0, n_first)

    def _rest(self, n_rows):
        return slice(self._first(n_rows).stop, None)

    def _adagrad(self, flat):
        from skdeepad._optimizers import AdaGrad

        return AdaGrad(flat, self.center_learning_rate, self.center_decay)

    def _loss(self, network, x):
        z = network.encode(x)
        error = self._reduce(network.decode(z) - x, self.loss_reduction).mean(1)
        distance = (z - network.center.value.detach()).square().sum(2).mean(1)
        return {
            "loss": error + network.gamma[:, 0] * distance,  # eq. 3
            "reconstruction": error,
            "distance": distance,
        }

    def _set_gradients(self, network, x):
        from skdeepad._nn import squared_error

        weight = 1 / (x.shape[1] if self.loss_reduction == "sum" else x[0].numel())
        loss = partial(squared_error, target=x, weight=weight)
        distance = _Distance(network.center.value.data, network.gamma)
        error = network.set_gradients(x, loss, distance)
        return {
            "loss": error + network.gamma[:, 0] * distance.value,
            "reconstruction": error,
            "distance": distance.value,
        }

    def _reduce(self, difference, reduction):
        """Squared norm over the features, summed or averaged."""
        squared = difference.square()
        return squared.sum(2) if reduction == "sum" else squared.mean(2)

    def _feature_errors(self, network, x):
        errors = (self._reconstruction(network, x) - x).square()
        return errors if self.score_reduction == "sum" else errors / x.shape[2]

    def _support_scores(self, network, x):
        # What eq. 3 is the mean of: how scores are reduced is not known in training.
        return self._weighted_sum(network, x, self.loss_reduction)

    def _anomaly_scores(self, network, x):
        return self._weighted_sum(network, x, self.score_reduction)  # eq. 2

    def _weighted_sum(self, network, x, reduction):
        z = network.encode(x)
        error = self._reduce(network.decode(z) - x, reduction)
        distance = (z - network.center.value).square().sum(2)
        return error + network.gamma * distance


class _MeanCenterPhase:
    """Sets the centre to the mean code of its rows (eq. 4)."""

    uses_autograd = False

    def __init__(self, network, share):
        self.share = share
        self._network = network

    def step(self, x):
        center = self._network.center.value.data
        center.copy_(codes_outside_training(self._network, x).mean(1, keepdim=True))
        return _center_distance(self._network, x)[0]


class _Distance:
    """Squared distance of the codes from the centre, as a layer that passes them on.

    Attributes
    ----------
    value : Tensor of shape (members,)
        Its mean over the rows.
    """

    def __init__(self, center, gamma):
        self._center, self._gamma = center, gamma

    def record(self, z):
        from skdeepad._nn import sum_of_squares

        difference = z - self._center
        self.value = sum_of_squares(difference).div_(z.shape[1])
        return z, (difference,)

    def backward(self, gradient, saved, wanted):
        (difference,) = saved
        weight = self._gamma.unsqueeze(2) * (2 / difference.shape[1])
        return difference.mul_(weight).add_(gradient)


def _center_distance(network, x):
    """Mean squared distance of the codes from the centre, and their differences."""
    from skdeepad._nn import sum_of_squares

    difference = codes_outside_training(network, x) - network.center.value.data
    value = sum_of_squares(difference).div_(x.shape[1])
    return {"center_distance": value}, difference


def _set_center_gradient(network, x):
    """The distance as a loss, and its gradient by the centre; the networks fixed."""
    losses, difference = _center_distance(network, x)
    network.center.value.grad.copy_(difference.mean(1, keepdim=True).mul_(-2))
    return losses


def codes_outside_training(network, x):
    """Codes that no gradient flows back from, of a network that nothing changes.

    Outside training mode there is no dropout, and the few rows left for the centre
    do not enter the running statistics of batch normalisation.
    """
    import torch

    with torch.no_grad():
        if not network.has_modes:
            return network.fixed_codes(x)
        network.eval()
        z = network.fixed_codes(x)
    network.train()
    return z
