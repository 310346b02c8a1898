"""Deep support vector data description (Deep SVDD)."""

from dataclasses import dataclass
from functools import partial
from math import ceil
from numbers import Integral, Real
from typing import ClassVar

from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skdeepad._deep import Run, in_own_modes
from skdeepad._encoder import BaseEncoderDetector
from skdeepad._random import member_seeds
from skdeepad._reconstruction import BaseAutoencoderDetector
from skdeepad._support import SupportMixin

# Coordinates of the centre keep so far from zero, which dead units give for any row.
SMALLEST = 0.1


@dataclass(kw_only=True, eq=False, repr=False)
class DeepSVDD(SupportMixin, BaseAutoencoderDetector):
    """Network that maps normal rows close to a fixed point, the centre.

    The anomaly score is the squared distance of a row's code from the centre ([1]_,
    eq. 5), which is the mean code of the training rows before training, each coordinate
    at least 0.1 from zero. No layer but the first (see ``fit_intercept``) has a bias,
    nor batch normalisation a scale or shift, and ``activation`` can't be "tanh" or
    "elu", which saturate at a number that is not zero (section 3.3), nor "softplus",
    which is not zero at zero: each of these lets the network map all rows to the
    centre.

    Parameters
    ----------
    nu : float in (0, 1], default={nu}
        Share of a batch's rows, those farthest from the centre, whose mean distance is
        the loss. 1 is one-class Deep SVDD (eq. 4). Less is soft-boundary Deep SVDD
        (eq. 3), with the radius that makes its loss the least for each batch: at most
        this share of the rows is outside.
    fit_intercept : bool, default={fit_intercept}
        Whether the first of several layers has a bias, which the paper's networks have
        not. Without one a row of zeros has the code zero, whatever is learnt, and is as
        far from the centre as that is: a row at the mean of standardised data is an
        anomaly. With one all rows may come to lie at the centre in hundreds of epochs
        or with large steps; in the few there are by default they do not, and scores
        are better (documentation, *Defaults, and what to tune*). ``batch_norm`` takes
        the bias away again. False is for long training, and for rows to which zero is
        no typical value, such as pixels in [0, 1].
    pretrain_epochs : int, default={pretrain_epochs}
        Passes over the training rows by which an autoencoder is trained first, with the
        same step and batch size; its encoder is then where training starts, as in the
        paper. With 0 that is at random weights, which was better on tabular data, and
        the decoder's parameters have no effect.
    {support_parameter}
    {shared_parameters}
    {decoder_parameters}

    Attributes
    ----------
    center_ : ndarray of shape (n_estimators, latent_dim)
        The point of each network.
    {shared_attributes}

    Notes
    -----
    The paper lowers the soft-boundary loss by networks and radius in turn. For a batch
    of n rows the best radius is known: the loss there is the mean of the ``nu * n``
    largest distances. With ``distributed=True`` these are of each process's share.
    Early stopping goes by the mean distance of all held-out rows (with
    ``support_fraction``, of those that are kept of each batch).

    A warm start, or another ``partial_fit``, goes on with the networks and the centre.
    ``history_`` begins after the pretraining, and so does what a ``checkpoint_dir``
    holds.

    Training draws its own rows to the centre: by the default threshold 17 % of new
    normal rows are flagged on ADBench (documentation, *What thresholds do on new
    rows*). Take ``threshold="conformal"``, which holds rows out.

    References
    ----------
    .. [1] L. Ruff et al., *Deep One-Class Classification*, ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeepad import DeepSVDD
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = DeepSVDD(random_state=0).fit(X)
    >>> detector.predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    activation: str = "leaky_relu"
    weight_decay: float = 1e-6
    nu: float = 1.0
    fit_intercept: bool = True
    pretrain_epochs: int = 0

    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoderDetector._parameter_constraints,
        **SupportMixin._support_constraints,
        "activation": [StrOptions({"relu", "leaky_relu", "gelu", "silu", "identity"})],
        "nu": [Interval(Real, 0, 1, closed="right")],
        "fit_intercept": ["boolean"],
        "pretrain_epochs": [Interval(Integral, 0, None, closed="left")],
    }

    # Pretraining makes new networks, of one dropout for all.
    _used_before: ClassVar[frozenset] = BaseAutoencoderDetector._used_before - {
        "dropout"
    }

    # The decoder ends with the pretraining.
    _fixed_by_first_fit: ClassVar[tuple] = BaseEncoderDetector._fixed_by_first_fit

    @property
    def center_(self):
        check_is_fitted(self)
        return self._state["center.value"][:, 0].copy()  # the fitted one stays

    def _check_input(self, X, y):
        if self.pretrain_epochs:
            super()._check_input(X, y)

    def _build_network(self, n_features, members):
        from skdeepad._nn import Center

        network = self._build_autoencoder(n_features, members, decodes=False)
        network.center = Center(members, self._latent_size())
        return network

    def _build_autoencoder(self, n_features, members, decodes=True):
        # A bias of the code itself would be all that is learnt.
        n_layers = len(self._hidden_sizes())
        n_layers += self.latent_dim is not None or self.architecture == "conv"
        bias = "first" if self.fit_intercept and n_layers > 1 else False
        return super()._build_network(n_features, members, bias=bias, decodes=decodes)

    @in_own_modes
    def _train(self, run, **options):
        checkpoint = options.get("checkpoint")
        has_begun = run.first_epoch or (checkpoint is not None and checkpoint.has_begun)
        if not has_begun:
            if self.pretrain_epochs:
                self._pretrain(run, options.get("diverged"))
            self._set_center(run)
        return super()._train(run, **options)

    def _pretrain(self, run, diverged):
        """Begin with the encoders of autoencoders that start elsewhere."""
        from skdeepad._training import build

        seeds = [member_seeds(int(seed), 1)[0] for seed in run.seeds]
        make_network = partial(self._build_autoencoder, run.x.shape[1])
        network = build(make_network, seeds).to(run.x.device)
        first = Run(make_network, network, run.x, run.rows, None, seeds)
        super()._train(first, max_epochs=self.pretrain_epochs, diverged=diverged)
        run.network.encoder.load_state_dict(network.encoder.state_dict())

    def _set_center(self, run):
        import torch

        from skdeepad._settings import gpu_settings
        from skdeepad._training import mean_over_rows

        network = run.network
        # It is a part of the scores, which are precise.
        with gpu_settings(run.x.device, tf32=False):
            center = mean_over_rows(network, network.encode, run.x, run.rows)
        center = center.unsqueeze(1)
        apart = torch.full_like(center, SMALLEST).copysign(center)
        apart = torch.where(center.abs() < SMALLEST, apart, center)
        network.center.value.data.copy_(apart)

    def _phases(self, network):
        layers = [*network.encoder.parameters(), *network.decoder.parameters()]
        trained = [parameter for parameter in layers if parameter.requires_grad]
        return [self._gradient_phase(network, trained)]

    def _loss(self, network, x):
        output = network.decode(network.encode(x))
        if network.decoder:
            return {"loss": (output - x).square().sum(2).mean(1)}
        distances = (output - network.center.value.detach()).square().sum(2)
        # Held-out rows come in parts of any size, whose largest are not those of all.
        nu = self.nu if network.training else 1.0
        return {"loss": _mean_of_largest(distances, nu)[0]}

    def _set_gradients(self, network, x):
        from skdeepad._nn import squared_error

        if network.decoder:
            loss = partial(squared_error, target=x, weight=1 / x.shape[1])
        else:
            loss = partial(self._distance_loss, network.center.value.data)
        return {"loss": network.set_gradients(x, loss)}

    def _distance_loss(self, center, z):
        difference = z - center
        value, weights = _mean_of_largest(difference.square().sum(2), self.nu)
        gradient = difference.mul_(2 * weights.unsqueeze(2))
        return value, gradient.to(z.dtype)

    def _support_scores(self, network, x):
        if network.decoder:  # pretraining, without a centre
            return (network.decode(network.encode(x)) - x).square().sum(2)
        return super()._support_scores(network, x)

    def _anomaly_scores(self, network, x):
        return (network.encode(x) - network.center.value).square().sum(2)  # eq. 5


def _mean_of_largest(distances, nu):
    """Mean of the share ``nu`` of each member's largest distances; their weights."""
    import torch

    n_rows = distances.shape[1]
    n_outside = max(1.0, nu * n_rows)
    n_taken = ceil(n_outside)
    values, rows = distances.topk(n_taken, dim=1)
    shares = torch.full_like(values, 1 / n_outside)
    # The last one counts in part, so that the weights' sum is one.
    shares[:, -1] = 1 - (n_taken - 1) / n_outside
    weights = torch.zeros_like(distances).scatter_(1, rows, shares)
    return (values * shares).sum(1), weights
