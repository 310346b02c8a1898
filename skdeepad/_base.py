"""What every deep detector shares: parameters, validation, fitting and scoring."""

import copy
import functools
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skdeepad._docs import insert_shared_docs
from skdeepad._random import member_seeds
from skdeepad.thresholds import make_threshold
from skdeepad.thresholds._strategies import check_both_classes, is_label_vector

# Bytes that one chunk of rows may take in the widest place of a scoring pass.
SCORE_BYTES = 2**24


def _all_or_nothing(fit):
    """Make a fit that raises, Ctrl-C included, leave the estimator as it was."""

    @functools.wraps(fit)
    def wrapper(self, *args, **kwargs):
        before = self.__dict__.copy()
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return wrapper


@dataclass(kw_only=True, eq=False, repr=False)
class BaseDeepDetector(
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    OutlierMixin,
    BaseEstimator,
):
    """Base class of the deep detectors.

    A detector is a dataclass that adds its own parameters as fields and states
    three things:

    - ``_build_network(n_features, members)``: the torch module;
    - ``_loss(network, x)``: a dict of ``(members,)`` losses of a batch, with the
      key ``"loss"`` and its parts;
    - ``_anomaly_scores(network, x)``: the paper's anomaly score, ``(members, n)``.

    One that trains in other ways than by one loss and one optimizer overrides
    ``_phases`` too; one that must look at the data first, ``_before_training``.

    Class docstrings hold ``{shared_parameters}`` and ``{shared_attributes}``,
    which are filled in here.
    """

    hidden_layer_sizes: Any = (64, 32)
    latent_dim: int | None = None
    architecture: str = "mlp"
    image_shape: tuple[int, int, int] | None = None
    activation: str = "relu"
    batch_norm: bool = False
    dropout: float = 0.0
    standardize: bool = True
    max_epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    early_stopping: bool = False
    validation_fraction: float = 0.2
    n_iter_no_change: int = 20
    n_estimators: int = 1
    warm_start: bool = False
    threshold: Any = "auto"
    contamination: str | float = "auto"
    device: str = "auto"
    random_state: Any = None
    verbose: int | bool = False

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "latent_dim": [Interval(Integral, 1, None, closed="left"), None],
        "architecture": [StrOptions({"mlp", "conv"})],
        "image_shape": ["array-like", None],
        "activation": [
            StrOptions(
                {"relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "identity"}
            )
        ],
        "batch_norm": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "threshold": [str, Real, HasMethods("find_offset")],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        insert_shared_docs(cls)

    # What a detector states.

    def _build_network(self, n_features, members):
        """The torch module of ``members`` networks; no weights drawn yet."""
        raise NotImplementedError

    def _loss(self, network, x):
        """Losses of rows ``(members, batch, n_features)``: a dict of ``(members,)``."""
        raise NotImplementedError

    def _anomaly_scores(self, network, x, X):
        """Anomaly score of rows ``x`` ``(members, n, n_features)``: ``(members, n)``.

        ``X`` is the same rows as the user gave them, ``(n, n_features)``.
        """
        raise NotImplementedError

    def _phases(self, network):
        """Steps taken in turn on each batch; see :mod:`skdeepad._training`."""
        from skdeepad._training import GradientPhase

        loss = functools.partial(self._loss, network)
        return [GradientPhase(loss, network.parameters(), self._adam)]

    def _before_training(self, network, x):
        """Prepare a new network for rows ``x`` ``(n, n_features)``."""

    def _check_input(self, X):
        """Refuse rows that the method has no meaning for."""

    # Fitting.

    @_all_or_nothing
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Train on normal rows and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to train on.
        y : array-like of shape (n_samples,), default=None
            Labels: +1 normal, -1 anomaly. The network is trained on the normal
            rows only; the anomalies serve the threshold. A ``y`` with other
            values is not a label vector and is ignored, with a warning when it
            holds 0 and 1 only.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            When X or y do not fit the parameters, or training diverges. A fitted
            estimator then stays as it was.
        """
        strategy = make_threshold(self.threshold, self.contamination)
        continued = self.warm_start and hasattr(self, "_state")
        X = validate_data(
            self, X, dtype=[np.float64, np.float32], reset=not continued
        )
        y = self._labels(X, y, strategy)
        self._check_input(X)
        rows = X if y is None else X[y == 1]
        if not continued:
            scaler = StandardScaler(with_mean=self.standardize, with_std=self.standardize)
            self.scaler_ = scaler.fit(rows)

        def attributes(network):
            """What training leaves behind, were it to end with this network."""
            fitted = copy.copy(self)
            fitted._fitted_params = self.get_params(deep=False)
            fitted._state = _numpy_state(network)
            fitted._n_features_out = self.n_estimators * self._latent_size()
            fitted.offset_ = strategy.find_offset(fitted._score_samples(X), y)
            return fitted.__dict__

        self.__dict__.update(attributes(self._train(rows, continued, attributes)))
        return self

    def fit_predict(self, X, y=None):
        """Fit, then label the same rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            As in :meth:`fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            +1 for normal rows, -1 for anomalies.
        """
        return self.fit(X, y).predict(X)

    def fit_threshold(self, X, y=None, threshold=None):
        """Choose a new ``offset_`` from rows, without training again.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Labels: +1 normal, -1 anomaly.
        threshold : str, float or object, default=None
            As the parameter ``threshold``; None takes that parameter.

        Returns
        -------
        self : object
        """
        check_is_fitted(self)
        if threshold is None:
            strategy = make_threshold(self.threshold, self.contamination)
        else:
            strategy = make_threshold(threshold)
        X = self._validate(X)
        y = self._labels(X, y, strategy)
        self.offset_ = strategy.find_offset(self._score_samples(X), y)
        return self

    def _labels(self, X, y, strategy):
        """``y`` as labels, or None where it is not a label vector."""
        if getattr(strategy, "requires_labels", False):
            check_both_classes(y)
        if y is None:
            return None
        y = np.asarray(y)
        if not is_label_vector(y):
            if y.ndim == 1 and y.dtype.kind in "iufb" and np.isin(y, (0, 1)).all():
                warnings.warn(
                    "y holds 0 and 1 only and is ignored: labels are +1 for normal "
                    "rows and -1 for anomalies. Use np.where(y == 1, -1, 1).",
                    UserWarning,
                    stacklevel=2,
                )
            return None
        if len(y) != len(X):
            raise ValueError(f"X has {len(X)} rows and y has {len(y)} labels.")
        if not np.any(y == 1):
            raise ValueError(
                "y labels every row as an anomaly (-1): there is no normal row (+1) "
                "to train on or to set a threshold with."
            )
        return y

    def _train(self, X, continued, attributes):
        """Train on the rows of X and return the network."""
        import torch

        from skdeepad._training import build, split_validation, train

        device = self._torch_device()
        seeds = member_seeds(self.random_state, self.n_estimators)
        self._noise_seed = int(seeds[0])
        make_network = functools.partial(self._build_network, X.shape[1])
        if continued:
            self._check_continued()
            network, first_epoch = self._network(torch.float32, device), self.n_iter_
        else:
            network, first_epoch = build(make_network, seeds).to(device), 0
        x = torch.as_tensor(self._scale(X), dtype=torch.float32, device=device)
        if not continued:
            self._before_training(network, x)
        rows = torch.arange(len(X)).expand(self.n_estimators, -1)
        held_out = None
        if self.early_stopping:
            rows, held_out = split_validation(seeds, len(X), self._n_validation(X))
        finished = functools.partial(attributes, network)
        with _EpochReports(self, X, finished) as reports:
            history, n_epochs, stopped = train(
                network,
                self._phases(network),
                x,
                rows,
                seeds=seeds,
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                first_epoch=first_epoch,
                validation_rows=held_out,
                validation_loss=functools.partial(self._loss, network),
                n_iter_no_change=self.n_iter_no_change,
                on_epoch=reports.epoch_end,
            )
        if self.early_stopping and not stopped.all():
            warnings.warn(
                f"{(~stopped).sum()} of {self.n_estimators} network(s) still improved "
                f"on the held-out rows when max_epochs={self.max_epochs} was reached. "
                "Raise max_epochs, or n_iter_no_change is never met.",
                ConvergenceWarning,
                stacklevel=4,
            )
        history = {name: np.array(values) for name, values in history.items()}
        if continued:
            history = {
                name: np.concatenate([self.history_[name], values])
                for name, values in history.items()
            }
        self.history_ = history
        self.n_iter_ = first_epoch + int(n_epochs.max())
        self.device_ = str(device)
        return network

    def _n_validation(self, X):
        n_validation = int(np.ceil(self.validation_fraction * len(X)))
        if n_validation >= len(X):
            raise ValueError(
                f"early_stopping=True holds out {n_validation} of {len(X)} normal "
                f"row(s) (validation_fraction={self.validation_fraction}) and leaves "
                "none to train on. Give more rows, or set early_stopping=False."
            )
        return n_validation

    def _check_continued(self):
        """Refuse a warm start onto other networks than the fitted ones."""
        network = self._as_fitted()._build_network
        import torch

        with torch.device("meta"):
            new = self._build_network(self.n_features_in_, self.n_estimators)
            old = network(self.n_features_in_, len(next(iter(self._state.values()))))
        shapes = [
            {name: tuple(value.shape) for name, value in net.state_dict().items()}
            for net in (new, old)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                "warm_start=True continues the fitted networks, but the parameters "
                "now describe networks of another shape. Set warm_start=False, or "
                "undo the change of the architecture or of n_estimators."
            )

    def _adam(self, parameters):
        import torch

        return torch.optim.Adam(
            parameters,
            lr=float(self.learning_rate),
            weight_decay=float(self.weight_decay),
            fused=True,
        )

    def _torch_device(self):
        """The device to run on, from the parameter ``device``."""
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise ValueError(
                f"device={self.device!r} is not a torch device: use 'auto', 'cpu', "
                "'cuda' or 'cuda:0'."
            ) from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"device={self.device!r}, but torch finds no CUDA device here. Use "
                "set_params(device='auto'): a fitted estimator scores on any device."
            )
        if device.type not in ("cpu", "cuda"):
            raise ValueError(
                f"device={self.device!r} is not supported: scores are computed in "
                "float64, on 'cpu' or 'cuda'."
            )
        return device

    # The fitted state.

    def _as_fitted(self):
        """This estimator with the parameters it was fitted with, but its device."""
        fitted = copy.copy(self)
        fitted.__dict__.update(self._fitted_params | {"device": self.device})
        return fitted

    def _network(self, dtype, device):
        """The fitted network, its weights a copy in the given type and place."""
        import torch

        members = len(next(iter(self._state.values())))
        with torch.device("meta"):
            network = self._as_fitted()._build_network(self.n_features_in_, members)
        state = {
            name: torch.tensor(value, dtype=dtype, device=device)
            for name, value in self._state.items()
        }
        network.load_state_dict(state, assign=True)
        return network

    def _scale(self, X):
        """Rows in the scale the network was trained in, float64."""
        X = np.asarray(X, dtype=np.float64)
        if self.scaler_.with_mean:
            X = (X - self.scaler_.mean_) / self.scaler_.scale_
        return X

    def _unscale(self, X):
        """Rows back in the scale of the input."""
        if self.scaler_.with_mean:
            X = X * self.scaler_.scale_ + self.scaler_.mean_
        return X

    def _validate(self, X):
        check_is_fitted(self)
        return validate_data(self, X, dtype=[np.float64, np.float32], reset=False)

    def _map_rows(self, X, function):
        """Apply ``function(fitted, network, x, X)`` to chunks of rows, in float64.

        float64, since a float32 product depends on the shape of the batch, and a
        score must not. ``x`` is ``(members, n, n_features)``; the function returns
        a tensor ``(n, ...)``.
        """
        import torch

        from skdeepad._training import limit_threads

        device = self._torch_device()
        fitted = self._as_fitted()
        network = self._network(torch.float64, device).eval()
        weights = [v for v in self._state.values() if v.ndim > 2]
        members = fitted.n_estimators
        # The widest a row becomes, in numbers: the largest layer of all members.
        width = members * max([X.shape[1], *(max(v.shape[1:]) for v in weights)])
        if fitted.architecture == "conv":
            height_width = fitted.image_shape[1] * fitted.image_shape[2]
            width = max(width, members * height_width * max(fitted._hidden_sizes()))
        rows = max(1, SCORE_BYTES // (8 * width))
        work = min(rows, len(X)) * sum(v.size for v in self._state.values())
        outputs = []
        with torch.inference_mode(), limit_threads(device, work):
            for chunk in gen_batches(len(X), rows):
                x = torch.as_tensor(self._scale(X[chunk]), device=device)
                x = x.expand(members, -1, -1)
                output = function(fitted, network, x, X[chunk])
                outputs.append(output.cpu().numpy())
        return np.concatenate(outputs)

    # Using the fitted detector.

    def _score_samples(self, X):
        def score(fitted, network, x, X):
            return fitted._anomaly_scores(network, x, X).mean(0)

        return -_round_mantissa(self._map_rows(X, score))

    def score_samples(self, X):
        """Minus the anomaly score of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        scores : ndarray of shape (n_samples,), float64
            Higher is more normal. Members are averaged. Computed in float64 and
            rounded to 24 significant bits, so that a row's score does not depend
            on the rows beside it.
        """
        return self._score_samples(self._validate(X))

    def decision_function(self, X):
        """Score above the threshold: ``score_samples(X) - offset_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        decision : ndarray of shape (n_samples,), float64
            Negative for anomalies.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Label rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,), int
            +1 for normal rows, -1 for anomalies.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def transform(self, X):
        """Latent codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        codes : ndarray of shape (n_samples, n_estimators * latent_dim), float64
            The members' codes side by side.
        """

        def codes(fitted, network, x, X):
            return fitted._codes(network, x).transpose(0, 1).flatten(1)

        return self._map_rows(self._validate(X), codes)

    def _codes(self, network, x):
        """Latent codes ``(members, n, latent_dim)``."""
        return network.encode(x)

    # Architecture.

    def _hidden_sizes(self):
        """``hidden_layer_sizes`` as a tuple."""
        return _layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes)

    def _latent_size(self):
        """Width of the code."""
        if self.latent_dim is not None:
            return int(self.latent_dim)
        sizes = self._hidden_sizes()
        if not sizes:
            raise ValueError(
                "hidden_layer_sizes is empty and latent_dim is None: there is no "
                "layer to hold the code. Set latent_dim."
            )
        return sizes[-1]

    def _image_shape(self, n_features):
        """``image_shape`` checked against the data, or None for an MLP."""
        if self.architecture == "mlp":
            if self.image_shape is not None:
                raise ValueError(
                    "image_shape is given but architecture='mlp' does not use it. "
                    "Set architecture='conv', or image_shape=None."
                )
            return None
        if self.image_shape is None or len(self.image_shape) != 3:
            raise ValueError(
                "architecture='conv' needs image_shape=(channels, height, width), "
                f"got {self.image_shape!r}."
            )
        shape = tuple(int(size) for size in self.image_shape)
        if min(shape) < 1 or np.prod(shape) != n_features:
            raise ValueError(
                f"image_shape={shape} holds {np.prod(shape)} values, but X has "
                f"{n_features} features: channels * height * width must be equal "
                "to the number of features."
            )
        return shape

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_state")


class ReconstructionMixin:
    """What detectors with a decoder add; their network has ``encode``, ``decode``."""

    def reconstruct(self, X):
        """Rows as the network gives them back.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features), float64
            In the scale of X; the members' mean.
        """

        def reconstruction(fitted, network, x, X):
            return fitted._reconstruction(network, x).mean(0)

        return self._unscale(self._map_rows(self._validate(X), reconstruction))

    def feature_errors(self, X):
        """What each feature adds to the anomaly score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        errors : ndarray of shape (n_samples, n_features), float64
            Their sum over the features is the part of the anomaly score that
            the reconstruction makes; the members' mean.
        """

        def errors(fitted, network, x, X):
            return fitted._feature_errors(network, x).mean(0)

        return self._map_rows(self._validate(X), errors)

    def _reconstruction(self, network, x):
        """Reconstructions ``(members, n, n_features)``."""
        return network.decode(self._codes(network, x))

    def _feature_errors(self, network, x):
        """Parts of the anomaly score ``(members, n, n_features)``."""
        raise NotImplementedError


@dataclass(kw_only=True, eq=False, repr=False)
class BaseAutoencoderDetector(ReconstructionMixin, BaseDeepDetector):
    """Base class of the detectors built on an encoder and a mirrored decoder."""

    decoder_layer_sizes: Any = None
    output_activation: str = "identity"

    _parameter_constraints: ClassVar[dict] = {
        **BaseDeepDetector._parameter_constraints,
        "decoder_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
            None,
        ],
        "output_activation": [StrOptions({"identity", "sigmoid"})],
    }

    # Outputs of the encoder for each latent dimension.
    _codes_per_latent: ClassVar[int] = 1

    def _build_network(self, n_features, members):
        from skdeepad._nn import Autoencoder

        image_shape = self._image_shape(n_features)
        hidden, latent = self._hidden_sizes(), self._latent_size()
        code_size = latent * self._codes_per_latent
        mirrored = hidden[::-1]
        if self.latent_dim is None and image_shape is None:
            mirrored = mirrored[1:]
            if self._codes_per_latent == 1:
                code_size = None
            else:
                hidden = hidden[:-1]
        if image_shape is not None and not hidden:
            raise ValueError("architecture='conv' needs hidden_layer_sizes, got none.")
        decoder = mirrored
        if self.decoder_layer_sizes is not None:
            decoder = _layer_sizes("decoder_layer_sizes", self.decoder_layer_sizes)
        return Autoencoder(
            members,
            n_features,
            hidden_layer_sizes=hidden,
            decoder_layer_sizes=decoder,
            code_size=code_size,
            latent_dim=latent,
            image_shape=image_shape,
            activation=self.activation,
            sigmoid_output=self.output_activation == "sigmoid",
            batch_norm=self.batch_norm,
            dropout=float(self.dropout),
        )

    def _check_input(self, X):
        if self.output_activation == "sigmoid":
            self._check_unit_interval(X, "output_activation='sigmoid'")

    def _check_unit_interval(self, X, what):
        """Refuse targets that an output in [0, 1] can not reach."""
        if self.standardize:
            raise ValueError(
                f"{what} needs targets in [0, 1], which standardize=True does not "
                "give. Set standardize=False and scale X to [0, 1]."
            )
        if X.min() < 0 or X.max() > 1:
            raise ValueError(
                f"{what} needs X in [0, 1], got values from {X.min():g} to "
                f"{X.max():g}. Scale X first, for example with "
                "MinMaxScaler(clip=True)."
            )


class _EpochReports:
    """Tells scikit-learn's callbacks, and the user, how training goes."""

    def __init__(self, estimator, X, finished):
        self._estimator, self._X, self._finished = estimator, X, finished

    def __enter__(self):
        estimator = self._estimator
        self._context = estimator._init_callback_context(
            max_subtasks=estimator.max_epochs
        )
        self._context.call_on_fit_task_begin(estimator=estimator, X=self._X)
        self._begin_epoch()
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self._context.call_on_fit_task_end(estimator=self._estimator, X=self._X)

    def _begin_epoch(self):
        self._epoch = self._context.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(estimator=self._estimator, X=self._X)

    def epoch_end(self, epoch, losses):
        """Report an epoch; True asks training to stop."""
        if self._estimator.verbose:
            parts = ", ".join(f"{name}={value:.6g}" for name, value in losses.items())
            print(f"[{type(self._estimator).__name__}] epoch {epoch + 1}: {parts}")
        stop = self._epoch.call_on_fit_task_end(
            estimator=self._estimator,
            X=self._X,
            reconstruction_attributes=self._finished,
        )
        if not stop and len(self._context._children_map) < self._context.max_subtasks:
            self._begin_epoch()
        return stop


def _layer_sizes(name, sizes):
    sizes = (sizes,) if isinstance(sizes, Integral) else tuple(sizes)
    if not all(isinstance(size, Integral) and size > 0 for size in sizes):
        raise ValueError(f"{name} must hold positive integers, got {sizes!r}.")
    return tuple(int(size) for size in sizes)


def _numpy_state(network):
    """Copies of a network's tensors as arrays, ``(members, ...)`` each."""
    return {
        name: value.detach().cpu().numpy().copy()
        for name, value in network.state_dict().items()
    }


def _round_mantissa(scores, bits=24):
    """Round to ``bits`` significant bits, which float64 rounding noise can't reach."""
    mantissa, exponent = np.frexp(scores)
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
