"""What every deep detector shares: parameters, training, scoring and state."""

import copy
import functools
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import joblib
import numpy as np
from sklearn import get_config
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import Interval, StrOptions

from skdeepad._base import (
    BaseDetector,
    _all_or_nothing,
    chunked,
    column_names,
    from_mean,
    of_one_fit,
    refuse_huge,
    snapshot,
    some_rows,
)
from skdeepad._callbacks import EpochReports, print_epoch
from skdeepad._checkpoint import Checkpoint, hashed, qualified_name
from skdeepad._random import member_seeds
from skdeepad._version import __version__
from skdeepad._warnings import warn
from skdeepad.thresholds._make import make_threshold

# Standard deviations below which a difference is next to nothing in a loss.
ALIKE = 1e-3

# Multiply-adds of a step and network from which bfloat16 pays (precision="auto").
LARGE_WORK = 1e8

# Parameters that scores do not depend on: a fit need not keep those it had.
ONLY_LATER = "random_state", "threshold", "contamination", "device", "checkpoint_dir"

# What a detector keeps beside its parameters when it becomes as another one. Equal rows
# may have other names, and their codes may be wanted in another container.
KEPT = (
    "n_features_in_",
    "feature_names_in_",
    "_sklearn_output_config",
    "_skl_callbacks",
    "_parent_callback_ctx",
)

# Constraints of a parameter that :meth:`BaseDeepDetector._layer_sizes` reads.
LAYER_SIZES = ["array-like", Interval(Integral, 1, None, closed="left")]

# Networks that a search has trained together, for the fits that follow.
TRAINED_BEFORE: ContextVar = ContextVar("trained_before", default=None)

# The network to score with, and its device, of each state while it is there. Not among
# a detector's attributes, which scoring leaves alone, nor in its pickles.
SCORING: WeakKeyDictionary = WeakKeyDictionary()


class State(dict):
    """Arrays of a fitted network by name, and a key to what is made of them."""

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__  # type: ignore[assignment]


def in_own_modes(function):
    """Run a function outside of torch's modes that the caller may be in."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        import torch

        from skdeepad._settings import exact_float32

        with (
            exact_float32(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            return function(*args, **kwargs)

    return wrapper


@dataclass(kw_only=True, eq=False, repr=False)
class BaseDeepDetector(CallbackSupportMixin, BaseDetector):
    """Base class of the deep detectors.

    A detector is a dataclass that adds its own parameters as fields and states
    three things:

    - ``_build_network(n_features, members)``: the torch module;
    - ``_loss(network, x)``: a dict of ``(members,)`` losses of a batch, with the
      key ``"loss"`` and its parts;
    - ``_anomaly_scores(network, x)``: the paper's anomaly score, ``(members, n)``.

    One that trains in other ways than by one loss and one optimizer overrides
    ``_phases`` too; one that must look at the data first, ``_before_training``, or
    once more before it can score, ``_set_threshold``.

    Class docstrings hold ``{shared_parameters}`` and ``{shared_attributes}``,
    which are filled in here.
    """

    hidden_layer_sizes: Any = (256,)
    image_shape: tuple[int, int, int] | None = None
    activation: str = "relu"
    batch_norm: bool = False
    dropout: float = 0.0
    standardize: bool = True
    max_epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    early_stopping: bool = False
    validation_fraction: float = 0.2
    n_iter_no_change: int = 20
    n_estimators: int = 1
    warm_start: bool = False
    checkpoint_dir: Any = None
    precision: str = "float32"
    cuda_graphs: bool | str = "auto"
    distributed: bool = False
    device: str = "auto"
    random_state: Any = None
    verbose: int | bool = False

    _parameter_constraints: ClassVar[dict] = {
        **BaseDetector._parameter_constraints,
        "hidden_layer_sizes": LAYER_SIZES,
        "image_shape": ["array-like", None],
        "activation": [
            StrOptions(
                {
                    "relu",
                    "leaky_relu",
                    "elu",
                    "gelu",
                    "silu",
                    "softplus",
                    "tanh",
                    "identity",
                }
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
        "checkpoint_dir": [str, PathLike, None],
        "precision": [StrOptions({"auto", "float32", "tf32", "bf16"})],
        "cuda_graphs": [StrOptions({"auto"}), "boolean"],
        "distributed": ["boolean"],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _streams: ClassVar[bool] = True

    # Parameters in which networks that train together may differ: those that their
    # seeds and layers hold for each member, those used after the loop only, and those
    # used in it and not before, where the parameter becomes a tensor (members, 1, ...)
    # of so many dimensions.
    _used_before: ClassVar[frozenset] = frozenset(
        {"random_state", "n_estimators", "dropout"}
    )
    _used_after: ClassVar[frozenset] = frozenset(
        {
            "max_epochs",
            "threshold",
            "contamination",
            "warm_start",
            "verbose",
            "checkpoint_dir",
        }
    )
    _used_within: ClassVar[dict] = {"learning_rate": 1, "weight_decay": 1}

    # Parameters that say what the fitted weights mean, beside the networks' shape.
    _fixed_by_first_fit: ClassVar[tuple] = "image_shape", "activation", "standardize"

    # What a detector states.

    def _build_network(self, n_features, members):
        """The torch module of ``members`` networks; no weights drawn yet."""
        raise NotImplementedError

    def _loss(self, network, x):
        """Losses of rows ``(members, batch, n_features)``: a dict of ``(members,)``."""
        raise NotImplementedError

    def _anomaly_scores(self, network, x):
        """Scores ``(members, n)`` of rows ``x``, ``(members, n, n_features)``."""
        raise NotImplementedError

    def _phases(self, network):
        """Steps taken in turn on each batch; see :mod:`skdeepad._training`."""
        from skdeepad._training import GradientPhase

        loss = partial(self._loss, network)
        return [GradientPhase(loss, network.parameters(), self._adam)]

    def _n_batch(self, n_rows):
        """Rows of a batch, of so many rows."""
        return self.batch_size

    def _before_training(self, network, x, continued):
        """Prepare a network, new or continued, for rows ``x`` ``(n, n_features)``."""

    def _warn_if_alike(self, X, network):
        """Warn of columns in which some training rows differ by next to nothing.

        Without ``standardize``, which brings them to one scale, where all do so.
        """
        scaled = self._scale(X)
        n_differ = np.count_nonzero(np.median(X, axis=0) != X, axis=0)
        distances = np.sort(np.abs(scaled - np.median(scaled, axis=0)), axis=0)
        # What nine of ten values that differ from the median keep within, by column.
        typical = distances[len(X) - 1 - n_differ // 10, np.arange(X.shape[1])]
        alike = np.flatnonzero((n_differ > 0) & (typical < ALIKE))
        if not len(alike):
            return
        if self.standardize and not self.scaler_.var_[alike].any():
            why = "Their variances are too small for a number: multiply X."
        elif self.standardize:
            why = (
                "A few that are far out, such as 999999 for a missing value, may have "
                "set the networks' scale: remove or clip them, or take logarithms."
            )
        elif len(alike) == np.count_nonzero(n_differ):
            why = (
                "The networks' scale is that of X: multiply it, or set "
                "standardize=True."
            )
        else:
            return
        warn(
            f"Rows look alike to the networks in {len(alike)} of {X.shape[1]} "
            f"column(s) ({column_names(self, alike)}): nine of ten values that "
            f"differ from the median are within {ALIKE} of it, in the networks' scale. "
            f"{why}",
        )

    def _warn_if_not_learned(self, X):
        """Warn where fitted networks are worse than none, by some training rows."""

    # Fitting.

    def _continues(self):
        return self.warm_start and hasattr(self, "_state")

    def _division_seed(self):
        if self.distributed and self.random_state is None:
            from skdeepad._processes import check_group, same_for_all

            check_group()
            return int(same_for_all(member_seeds(None, 1))[0])
        return self.random_state

    def _fit(self, X, task):
        trained = TRAINED_BEFORE.get()
        continued = self._continues()
        if trained is not None and not continued and trained.serve(self, X):
            with EpochReports(self, task, None):
                return None
        from skdeepad._training import Diverged

        checkpoint = self._checkpoint(X)
        run = self._start(X, continued)
        with EpochReports(self, task, run) as reports:
            try:
                history, n_epochs, unconverged = self._train(
                    run, reports=reports, checkpoint=checkpoint
                )
            except Diverged:  # as it would from the checkpoint on
                if checkpoint is not None:
                    checkpoint.remove()
                raise
            # Also where no epoch was left after a checkpoint.
            reports.last = int(n_epochs.max()), history, run.network.state_dict()
        self._warn_unconverged(unconverged)
        run.finish(self, *reports.last)
        self._warn_if_not_learned(X[some_rows(len(X))])
        # Only partial_fit goes on with an optimizer.
        vars(self).pop("_optimizers", None)
        return None if checkpoint is None else checkpoint.remove

    @_all_or_nothing
    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X, y=None):
        """Train for one pass over some rows, going on from where training stands.

        For data that come in parts or are larger than memory: call it part by part, and
        for several passes over all of them. The first part should be a fair sample: it
        settles the scale, DASVDD's gamma and fixed centre, DeepSVDD's start and centre,
        DAGMM's least norm, and PixelCNNDetector's levels. Each call is an epoch of
        ``history_``, and the optimizer's state is kept from call to call. After ``fit``
        it starts anew: the first calls undo some of what was learned, for rows that are
        like those of ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), default=None
            Labels as in :meth:`fit`.

        Returns
        -------
        self : object
            Its threshold is set with the rows of this call; :meth:`fit_threshold`
            sets it with others.

        Raises
        ------
        ValueError
            As :meth:`fit`; for ``early_stopping=True``, since a part has no rows to
            spare; and for a conformal threshold, whose rows must not be trained on.

        Notes
        -----
        Callbacks are not told of it. A part must have a normal row to train on, and
        rows of both labels for a threshold that goes by them: take another while rows
        come in, and set that one by :meth:`fit_threshold`.
        """
        if self.early_stopping:
            raise ValueError(
                "partial_fit takes no early_stopping=True: it trains for one pass. "
                "Set early_stopping=False, and stop calling it when scores of rows "
                "that were held out get worse."
            )
        self._refuse_calibration(make_threshold(self.threshold, self.contamination))
        continued = hasattr(self, "_state")
        if continued and not get_config()["skip_parameter_validation"]:
            self._validate_params()  # which scikit-learn does before the first call
        task = self._task(X, y, continued)
        run = self._start(task.training_rows(streams=True), continued)
        run.optimizers = getattr(self, "_optimizers", {})
        if not continued:
            self._warn_if_constant()
        history, _, _ = self._train(run, max_epochs=1)
        if self.verbose:
            print_epoch(self, run.first_epoch, history)
        run.finish(self, 1, history, run.network.state_dict())
        self._optimizers = _to_arrays(run.optimizers)
        self._set_threshold(task)
        return self

    def _warn_if_constant(self):
        """Warn of columns to which a first part gave no scale."""
        constant = np.flatnonzero(self.scaler_.var_ == 0) if self.standardize else []
        if len(constant):
            warn(
                f"{len(constant)} of {self.n_features_in_} column(s) are constant in "
                f"the first part ({column_names(self, constant)}), which settles the "
                "scale: they are left unscaled. If they differ in later parts, begin "
                "with such rows.",
            )

    def _warn_if_channels_are_last(self):
        if self.image_shape is None:
            return
        first, second, third = map(int, self.image_shape)
        # One column of pixels may be a signal, unless it looks like a square image.
        is_image = third in (3, 4) or (third == 1 and first == second)
        if is_image and min(first, second) > 4:
            moved = " bring the channels to the front of each row, and" * (third > 1)
            warn(
                f"image_shape=({first}, {second}, {third}) is read as {first} channels "
                f"of {second} x {third} pixels. For images of {first} x {second} "
                f"pixels{moved} give ({third}, {first}, {second}).",
            )

    @in_own_modes
    def _start(self, X, continued=False, scaled=None):
        """Learn the scale, and make the networks that training begins with.

        ``scaled`` is a scaler and its rows, of a detector that learnt the same scale.
        """
        import torch

        from skdeepad._processes import check_group, same_for_all
        from skdeepad._rows import place
        from skdeepad._settings import gpu_settings
        from skdeepad._training import build, split_validation

        device = self._torch_device()
        if self.precision == "tf32" and device.type != "cuda":
            raise ValueError(
                f"precision='tf32' is for GPUs, and this fit is on {str(device)!r}: "
                "set precision='float32', or 'bf16' if the processor has it."
            )
        if self._replays(device):
            self._check_cuda_graphs(device)
        seeds = member_seeds(self.random_state, self.n_estimators)
        if self.distributed:
            check_group()
            seeds = same_for_all(seeds)
        self._noise_seed = int(seeds[0])
        make_network = partial(self._build_network, X.shape[1])
        if continued:
            before, first_epoch = self.history_, self.n_iter_
            network = self._continued_network(device)
        else:
            before, first_epoch = {}, 0
            self._split_seeds = seeds
            if scaled is None:
                self.scaler_ = _learn_scale(X, self.standardize)
            else:
                self.scaler_, x = scaled
            network = build(make_network, seeds)
            if device.type != "cpu":
                network.to(device)
        if scaled is None:
            x = place(X, self._scale, device)
        # What it finds (gamma, a centre) is a part of the scores, which are precise.
        with gpu_settings(device, tf32=False), torch.no_grad():
            self._before_training(network, x, continued)
        if scaled is None and not continued:
            self._warn_if_channels_are_last()
            self._warn_if_alike(X[some_rows(len(X))], network)
        rows = held_out = None
        if self.early_stopping:
            # Of as many rows, a warm start holds out those not trained on before.
            rows, held_out = split_validation(
                self._split_seeds, len(X), self._n_validation(X)
            )
        self.device_ = str(device)
        return Run(make_network, network, x, rows, held_out, seeds, first_epoch, before)

    @in_own_modes
    def _train(self, run, **options):
        """Train the networks of a :class:`Run`; see ``skdeepad._training.train``."""
        from skdeepad._settings import gpu_settings
        from skdeepad._training import (
            EarlyStopping,
            load_phases_state,
            phases_state,
            train,
        )

        dtype = self._product_dtype(run)
        phases, select, loss = self._trained_by(run.network, dtype)
        if run.optimizers:
            load_phases_state(phases, _to_tensors(run.optimizers))
        n_rows = len(run.x) if run.rows is None else run.rows.shape[1]
        options = {
            "seeds": run.seeds,
            "max_epochs": self.max_epochs,
            "batch_size": self._n_batch(n_rows),
            "first_epoch": run.first_epoch,
            "distributed": self.distributed,
            "replayed": self._replays(run.x.device),
            "select": select,
        } | options
        if run.held_out is not None:
            options["early_stopping"] = EarlyStopping(
                run.held_out,
                loss,
                self.n_iter_no_change,
                self._n_batch(run.held_out.shape[1]),
            )
            # A GPU's step of few members takes hardly less time than one of many.
            # Several processes would have to narrow their networks together.
            is_alone = run.x.device.type == "cpu" and not self.distributed
            if is_alone and self._is_known():
                options["narrowed"] = partial(self._narrowed, run.make_network, dtype)
        with gpu_settings(run.x.device, tf32=self.precision == "tf32"):
            outcome = train(run.network, phases, run.x, run.rows, **options)
        run.optimizers = phases_state(phases)
        return outcome

    def _trained_by(self, network, dtype):
        """A network's phases, what selects its rows, and its loss of held-out ones."""
        from skdeepad._nn import set_dtype

        set_dtype(network, dtype)
        phases, select = self._phases(network), self._selection(network)

        def loss(x):
            return self._loss(network, x if select is None else select(x))

        return phases, select, loss

    def _narrowed(self, make_network, dtype, part, members):
        """A network of some members, by their numbers, and what it is trained by."""
        import torch

        from skdeepad._training import merge

        theirs = snapshot(self)
        for name in self._used_within:
            value = getattr(self, name)
            if torch.is_tensor(value):  # one for each member
                setattr(theirs, name, value[members])
        network = merge(make_network, [part])
        return network, *theirs._trained_by(network, dtype)

    def _selection(self, network):
        """What picks the rows of a batch to train on; None takes all."""
        return None

    def _replays(self, device):
        """Whether steps are recorded and replayed."""
        if self.cuda_graphs == "auto":
            return self._is_known() and device.type == "cuda" and not self.distributed
        return bool(self.cuda_graphs)

    def _is_known(self):
        """Whether steps depend on tensors of the network and the optimizers alone.

        A user's own may go by other numbers, which change from step to step.
        """
        return type(self).__module__.partition(".")[0] == "skdeepad"

    def _check_cuda_graphs(self, device):
        if device.type != "cuda":
            raise ValueError(
                f"cuda_graphs=True is for GPUs, and this fit is on {str(device)!r}: "
                "set cuda_graphs='auto' or False."
            )
        if self.distributed:
            raise ValueError(
                "cuda_graphs=True and distributed=True do not go together: what "
                "processes send each other is not recorded. Set one of them to False."
            )

    def _product_dtype(self, run):
        """The type that products are taken in, or None for the weights' own."""
        import torch

        from skdeepad._nn import has_convolutions

        if self.precision == "auto":
            device = run.x.device
            work = run.network.work // run.network.members * self.batch_size
            low = work >= LARGE_WORK and _has_bf16(device)
            # A processor's convolutions gain nothing.
            low &= device.type == "cuda" or not has_convolutions(run.network)
        else:
            low = self.precision == "bf16"
        return torch.bfloat16 if low else None

    def _checkpoint(self, X):
        """The file of this fit, or None."""
        if self.checkpoint_dir is None:
            return None
        from skdeepad._rows import rows_digest

        self._check_checkpoint_dir()
        # Without those that training does not depend on.
        params = self._params_but(self._used_after - {"max_epochs"})
        params["device"] = self._torch_device().type
        before = (self._state, self.n_iter_) if self._continues() else None
        rows = rows_digest(X)
        parts = qualified_name(self), hashed(params), rows, before, __version__
        digest = joblib.hash(parts)
        return Checkpoint(self.checkpoint_dir, f"{type(self).__name__}-{digest}")

    def _check_checkpoint_dir(self):
        if self.random_state is None:
            raise ValueError(
                "checkpoint_dir needs a random_state: a fit is known again by its "
                "parameters and rows, and random_state=None makes each another one. "
                "Set random_state=0, say, or checkpoint_dir=None."
            )
        if self.distributed:
            raise ValueError(
                "checkpoint_dir and distributed=True do not go together: every "
                "process would write the file. Set checkpoint_dir=None."
            )

    def _warn_unconverged(self, unconverged):
        if unconverged.any():
            warn(
                f"{unconverged.sum()} of {len(unconverged)} network(s) still improved "
                f"on the held-out rows within n_iter_no_change={self.n_iter_no_change} "
                f"epochs of the end at max_epochs={self.max_epochs}: the best weights "
                "so far are kept. Raise max_epochs.",
                ConvergenceWarning,
            )

    def _n_validation(self, X):
        n_validation = int(np.ceil(self.validation_fraction * len(X)))
        if n_validation >= len(X):
            raise ValueError(
                f"early_stopping=True holds out {n_validation} of {len(X)} normal "
                f"row(s) (validation_fraction={self.validation_fraction}) and leaves "
                "none to train on. Give more rows, or set early_stopping=False."
            )
        return n_validation

    def _continued_network(self, device):
        """The fitted networks, to go on with under the parameters as they are now."""
        import torch

        new = self._build_network(self.n_features_in_, self.n_estimators)
        shapes = {name: tuple(value.shape) for name, value in new.state_dict().items()}
        changed = self._changed_since_fit()
        if shapes != {name: value.shape for name, value in self._state.items()}:
            others = {*self._fixed_by_first_fit, *self._used_within, *self._used_after}
            others = self._changed(self._fitted_params.keys() - others)
            if others or not changed:
                changed.append(
                    "the networks' layers or their shapes "
                    f"(with {', '.join(others)}; dropout=0.0 has no layer)"
                )
        if changed:
            raise ValueError(
                "warm_start=True and partial_fit continue the fitted networks, but "
                f"{' and '.join(changed)} changed since. Undo the change, or train "
                "from the start: fit with warm_start=False."
            )
        return self._load_state(new, torch.float32, device)

    def _changed_since_fit(self):
        """Names of parameters with which the fitted weights have another meaning."""
        return self._changed(self._fixed_by_first_fit)

    def _changed(self, names):
        """Those of some parameters that are others than in the last fit."""
        return [
            name
            for name, value in self._fitted_params.items()
            if name in names and not np.array_equal(getattr(self, name), value)
        ]

    def _adam(self, flat):
        from skdeepad._optimizers import Adam

        return Adam(flat, self.learning_rate, self.weight_decay)

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

    # The fitted state: arrays, and the parameters that say how to read them.

    def _set_state(self, state):
        self._state = State(_to_arrays(state))
        self._note_params()

    def _note_params(self):
        """Keep the parameters that the state is read with."""
        self._fitted_params = copy.deepcopy(self._params_but(ONLY_LATER))

    def _params_but(self, names):
        """The parameters, of which a subclass may have fewer, without some."""
        params = self.get_params(deep=False)
        return {name: value for name, value in params.items() if name not in names}

    def _adopt(self, fitted):
        """Become as another detector, which was trained on the same rows."""
        own = {*self.get_params(deep=False), *KEPT}
        for name, value in vars(fitted).items():
            if name not in own:
                setattr(self, name, value)
        vars(self).pop("_optimizers", None)  # of other networks
        self._note_params()

    def _as_fitted(self):
        """Copy with the parameters it was fitted with, except the device."""
        fitted = snapshot(self)
        vars(fitted).update(fitted._fitted_params)
        return fitted

    def _scoring_network(self, device):
        """The fitted network in float64, made once for a state and a device."""
        import torch

        place, network = SCORING.get(self._state, (None, None))
        if place != device:
            network = self._build_network(self.n_features_in_, self.n_estimators)
            network = self._load_state(network, torch.float64, device).eval()
            SCORING[self._state] = device, network
        return network

    @in_own_modes
    def _load_state(self, network, dtype, device):
        import torch

        state = {
            name: torch.tensor(value, dtype=dtype, device=device)
            for name, value in self._state.items()
        }
        network.load_state_dict(state, assign=True)
        return network

    def _scale(self, X):
        """Rows in the scale the network was trained in, float64."""
        if self.scaler_.with_mean:
            return from_mean(X, self.scaler_.mean_, self.scaler_.scale_)
        return from_mean(X, 0.0)

    def _unscale(self, X):
        """Rows back in the scale of the input."""
        if self.scaler_.with_mean:
            X = X * self.scaler_.scale_ + self.scaler_.mean_
        return X

    def _map_rows(self, X, function):
        """Apply ``function(fitted, network, x)`` to chunks of rows, in float64.

        float64, so that rounding (see ``_rounded_scores``) hides how the rows were
        chunked. ``x`` is ``(members, n, n_features)``; the function returns
        a tensor ``(n, ...)``.
        """
        outputs = None

        def keep(chunk, output):
            nonlocal outputs
            output = output.cpu().numpy()
            if outputs is None:
                outputs = np.empty((len(X), *output.shape[1:]))
            outputs[chunk] = output

        self._visit_chunks(X, function, keep)
        return outputs

    def _sum_chunks(self, X, function):
        """Sum of what a function as :meth:`_map_rows`'s returns of chunks of rows."""
        total = None

        def add(chunk, output):
            nonlocal total
            total = output if total is None else total + output

        self._visit_chunks(X, function, add)
        return total

    def _visit_chunks(self, X, function, use):
        """Call ``use`` with each chunk of rows and what the function returns of it."""
        import torch

        from skdeepad._settings import gpu_settings, limit_threads
        from skdeepad._training import chunk_rows

        device = self._torch_device()
        fitted = self._as_fitted()
        network = fitted._scoring_network(device)
        # "cuda" is another one where the current device has changed since.
        device = next(chain(network.parameters(), network.buffers())).device
        n_chunk = chunk_rows(network, device, itemsize=8)
        work = min(n_chunk, len(X)) * network.work
        with (
            torch.inference_mode(),
            limit_threads(device, work),
            gpu_settings(device),
        ):
            for chunk in chunked(len(X), n_chunk):
                x = torch.as_tensor(fitted._scale(X[chunk]), device=device)
                x = x.expand(network.members, -1, -1)
                use(chunk, function(fitted, network, x))

    # Using the fitted detector.

    def _score_samples(self, X):
        def score(fitted, network, x):
            scores = fitted._anomaly_scores(network, x)
            if scores.shape != x.shape[:2]:
                raise ValueError(
                    f"{type(self).__name__}._anomaly_scores gave a tensor of shape "
                    f"{tuple(scores.shape)}, expected (members, n) = "
                    f"{tuple(x.shape[:2])}."
                )
            return -scores.mean(0)

        return self._map_rows(X, score)

    # Architecture.

    def _hidden_sizes(self):
        """``hidden_layer_sizes`` as a tuple."""
        return self._layer_sizes("hidden_layer_sizes")

    def _layer_sizes(self, name):
        """A parameter's value as a tuple of int; ValueError where it is none."""
        value = getattr(self, name)
        sizes = (value,) if isinstance(value, Integral) else tuple(value)
        if not all(isinstance(size, Integral) and size > 0 for size in sizes):
            raise ValueError(f"{name} must hold positive integers, got {sizes!r}.")
        return tuple(int(size) for size in sizes)

    def _image_shape(self, n_features):
        """``image_shape`` checked against the data."""
        if self.image_shape is None or len(self.image_shape) != 3:
            raise ValueError(
                "image_shape must be (channels, height, width), got "
                f"{self.image_shape!r}."
            )
        if not all(isinstance(size, Integral) for size in self.image_shape):
            raise ValueError(
                f"image_shape must hold integers, got {self.image_shape!r}."
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


class FeatureErrorsMixin:
    """What detectors add whose anomaly score is a sum over the features."""

    @of_one_fit
    def feature_errors(self, X):
        """What each feature adds to the anomaly score.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        errors : ndarray of shape (n_samples, n_features), float64
            Their sum over the features is the anomaly score, or the part of it
            that the reconstruction makes (see the class's notes); the members'
            mean.
        """

        def errors(fitted, network, x):
            return fitted._feature_errors(network, x).mean(0)

        return self._map_rows(self._validate(X), errors)

    def _feature_errors(self, network, x):
        """Parts of the anomaly score ``(members, n, n_features)``."""
        raise NotImplementedError

    def _anomaly_scores(self, network, x):
        return self._feature_errors(network, x).sum(2)


def _learn_scale(X, standardize):
    """A scaler of these rows, or one that changes nothing."""
    from skdeepad._rows import chunks

    scaler = StandardScaler(with_mean=standardize, with_std=standardize)
    first, same = X[:1], True
    with np.errstate(over="ignore", invalid="ignore"):
        for chunk in chunks(X):
            rows = X[chunk]
            scaler.partial_fit(rows)
            same &= (rows == first).all(axis=0)
    if standardize:
        # Exactly, as in moments: rounding adds to large numbers.
        scaler.mean_[same], scaler.var_[same] = first[0, same], 0.0
        # scikit-learn takes features for the same that only lie far from zero; those
        # that differ in their last bits alone are.
        spread = np.sqrt(scaler.var_)
        noise = 8 * np.finfo(np.float64).eps * np.abs(scaler.mean_)
        scaler.scale_ = np.where(spread > noise, spread, 1.0)
        refuse_huge(scaler.var_)
    return scaler


def _has_bf16(device):
    """Whether a device has instructions for products of bfloat16."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


@dataclass
class Run:
    """What a detector brings to the training loop.

    Attributes
    ----------
    make_network : callable
        Maps a number of members to a network like theirs.
    network : Module
    x : Tensor or Streamed of shape (n, n_features)
    rows, held_out : Tensor of shape (members, n_rows), or None
        Each member's rows of ``x`` to train on (None: all), and for early stopping.
    seeds : ndarray of shape (members,)
    first_epoch : int
    before : dict
        The history of earlier fits.
    optimizers : dict
        Their state, before training and after.
    """

    make_network: Any
    network: Any
    x: Any
    rows: Any
    held_out: Any
    seeds: Any
    first_epoch: int = 0
    before: dict = field(default_factory=dict)
    optimizers: dict = field(default_factory=dict)

    def finish(self, detector, n_epochs, history, state):
        """Give a detector what training leaves behind."""
        detector.n_iter_ = self.first_epoch + n_epochs
        means = {name: _member_means(losses) for name, losses in history.items()}
        detector.history_ = _append_history(self.before, means, self.first_epoch)
        detector._set_state(state)


def _to_arrays(state):
    """A dict of tensors as one of arrays, copied."""
    return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}


def _to_tensors(state):
    """And back, copied."""
    import torch

    return {name: torch.tensor(array, device="cpu") for name, array in state.items()}


def _member_means(losses):
    """Mean over the members that still train, of each epoch's losses ``(k,)``."""
    return np.nanmean(np.array([loss.numpy() for loss in losses]), axis=1)


def _append_history(before, history, n_before):
    """Per-epoch losses as arrays, those of earlier fits first, NaN where none is."""
    n_after = len(next(iter(history.values())))
    return {
        name: np.concatenate(
            [
                before.get(name, np.full(n_before, np.nan)),
                history.get(name, np.full(n_after, np.nan)),
            ]
        )
        for name in {**before, **history}
    }
