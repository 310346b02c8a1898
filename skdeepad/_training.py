"""The training loop that all detectors share; importing this imports torch."""

from collections import Counter
from contextlib import contextmanager
from functools import partial
from itertools import count
from math import isfinite

import numpy as np
import torch

from skdeepad import _processes
from skdeepad._graphs import ReplayedStep
from skdeepad._optimizers import FlatParameters
from skdeepad._products import allow_onednn
from skdeepad._random import (
    INITIALIZE,
    LAYER,
    SHUFFLE,
    SPLIT,
    make_generators,
)
from skdeepad._rows import gather
from skdeepad._settings import limit_threads

# Bytes of training rows gathered at once: many small steps, one indexing call.
GATHER_BYTES = 2**20
# Share of a network's members that still train at which the others are left behind.
NARROWED_AT = 0.75


def build(make_network, seeds):
    """Make a network on the CPU and draw each member's weights from its seed."""
    network = make_network(len(seeds))
    initialize(network, make_generators(seeds, "cpu", INITIALIZE))
    return network


def initialize(network, generators):
    """Draw the parameters of every layer, member i from generator i."""
    for layer in network.modules():
        if hasattr(layer, "initialize"):
            layer.initialize(generators)
        elif next(layer.parameters(recurse=False), None) is not None:
            raise TypeError(
                f"{type(layer).__name__} has parameters and no initialize(generators), "
                "which draws member i's from generator i. Use layers of skdeepad._nn, "
                "or add that method."
            )


def take_apart(network):
    """What :func:`merge` needs of a network, which holds hundreds of objects."""
    settings = [layer.settings(network.members) for layer in _joinable(network)]
    return network.members, network.state_dict(), settings


def merge(make_network, parts):
    """Put the members of networks of one structure side by side, as they stand.

    ``parts`` are what :func:`take_apart` gives of each.
    """
    members, states, settings = zip(*parts, strict=True)
    network = make_network(sum(members))
    if len(states) == 1:  # not copied
        (joined,) = states
    else:
        joined = {name: torch.cat([s[name] for s in states]) for name in states[0]}
    network.load_state_dict(joined, assign=True)
    for layer, *own in zip(_joinable(network), *settings, strict=True):
        layer.join(own)
    return network


def take_some(network, places):
    """As :func:`take_apart`, of the members in some places, copied."""
    _, state, settings = take_apart(network)
    state = {name: value[places] for name, value in state.items()}
    settings = [[own[place] for place in places.tolist()] for own in settings]
    return len(places), state, settings


def release(network):
    """Let go of a network's tensors: it is to be loaded anew, or needed no more."""
    for layer in network.modules():
        if hasattr(layer, "unbind"):
            layer.unbind()
    network.to("meta")


def _joinable(network):
    """The layers with settings of each member's that are no tensors."""
    return [layer for layer in network.modules() if hasattr(layer, "join")]


class GradientPhase:
    """One optimizer, the loss it lowers, and the rows of each batch it is given.

    Parameters
    ----------
    loss : callable or None
        Maps rows ``(k, batch, features)`` to a dict of tensors ``(k,)``, all of which
        are recorded. Not needed beside ``set_gradients``.
    parameters : list of Parameter
        Tensors to train. They are moved into one flat buffer, so that a step of
        the optimizer is one kernel however many layers there are.
    optimizer : callable
        Makes of :class:`FlatParameters` an object with ``step()``, ``state_dict()``
        and ``load_state_dict(state)``; the state's tensors lie as ``flat.values`` does,
        or have no dimension.
    set_gradients : callable, default=None
        Takes the place of ``loss`` and sets the parameters' gradients by itself; None
        leaves them to autograd.
    share : callable, default=None
        Maps the number of rows of a batch to the slice of them this phase uses.
    after_step : callable, default=None
        Called when the parameters have changed.
    lowered : str, default="loss"
        Name of the one that is lowered.
    uses_autograd : bool, default=False
        Whether ``set_gradients`` does.
    """

    def __init__(
        self,
        loss,
        parameters,
        optimizer,
        set_gradients=None,
        share=None,
        after_step=None,
        lowered="loss",
        uses_autograd=False,
    ):
        self._loss, self._lowered = loss, lowered
        self.uses_autograd = uses_autograd or set_gradients is None
        self._set_gradients = set_gradients or self._set_by_autograd
        self.share, self._after_step = share, after_step
        self.distributed = False
        self._parameters = list(parameters)
        self._flat = FlatParameters(self._parameters)
        self._gradients = self._flat.gradients
        self._optimizer = optimizer(self._flat)

    def state_dict(self):
        """The optimizer's state, a dict of tensors."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state):
        """Go on as the optimizer that the state is of."""
        self._optimizer.load_state_dict(state)

    def state_at(self, places):
        """The state of the members in some places."""
        return {
            name: self._flat.at(value, places) if value.dim() else value
            for name, value in self.state_dict().items()
        }

    def step(self, x):
        if self.distributed:
            rows, weight = _processes.share_of(x.shape[1])
            parts = self._set_gradients(x[:, rows])
            for tensor in (self._gradients, *parts.values()):
                _processes.add_up(tensor.mul_(weight))
        else:
            parts = self._set_gradients(x)
        self._optimizer.step()
        if self._after_step is not None:
            self._after_step()
        return parts

    def _set_by_autograd(self, x):
        parts = self._loss(x)
        loss = parts[self._lowered]
        # Members share no parameter, so that the sum's gradient is each one's own.
        gradients = torch.autograd.grad(
            loss, self._parameters, torch.ones_like(loss), materialize_grads=True
        )
        with torch.no_grad():  # older torches give some that have a graph
            torch._foreach_copy_([p.grad for p in self._parameters], gradients)
        return {name: part.detach() for name, part in parts.items()}


def split_validation(seeds, n_rows, n_validation):
    """Each member's own rows to train on and to hold out, ``(k, n)`` each."""
    rows = _permutations(seeds, n_rows, SPLIT)
    return rows[:, n_validation:], rows[:, :n_validation]


def _permutations(seeds, n, *purpose):
    """A permutation of n rows a member, ``(k, n)``."""
    seeds = list(seeds)
    distinct = list(dict.fromkeys(seeds))
    permutations = torch.empty(len(distinct), n, dtype=torch.int32, device="cpu")
    generators = make_generators(distinct, "cpu", *purpose)
    for permutation, generator in zip(permutations, generators, strict=True):
        torch.randperm(n, generator=generator, out=permutation, device="cpu")
    if distinct == seeds:
        return permutations
    return permutations[[distinct.index(seed) for seed in seeds]]


def train(
    network,
    phases,
    X,
    rows,
    *,
    seeds,
    max_epochs,
    batch_size,
    first_epoch=0,
    early_stopping=None,
    reports=None,
    diverged=None,
    checkpoint=None,
    distributed=False,
    replayed=False,
    select=None,
    narrowed=None,
):
    """Train all members of a network, on rows that are on its device or streamed.

    Parameters
    ----------
    network : Module
        Trained in place; left with each member's best weights where there is early
        stopping, else with the last ones.
    phases : list
        Run in turn on every batch: objects with ``step(x) -> dict`` of ``(k,)``
        losses, and ``share`` (see :class:`GradientPhase`). Where all have
        ``uses_autograd`` and it is False, they run in torch's inference mode.
    X : Tensor or Streamed of shape (n, features)
    rows : Tensor of shape (k, n_train) or None
        Each member's training rows; None takes all.
    seeds : ndarray of shape (k,)
        An epoch's random numbers depend on a member's seed and on the epoch alone.
    max_epochs, batch_size : int
    first_epoch : int, default=0
        Epochs already trained (warm start): continues with new random numbers.
    early_stopping : EarlyStopping, default=None
        Without it all members train to the end.
    reports : object, default=None
        ``epoch_begin()`` is called before each epoch, and after it
        ``epoch_end(epoch, history, state)`` with the history so far and the
        tensors that would be kept; training stops if that returns True.
    diverged : dict, default=None
        Where given, a member whose loss is not finite is noted here, as what
        :func:`diverged_message` takes after it, and the others go on; members noted
        before do not train.
    checkpoint : Checkpoint, default=None
        Where to go on from, and to save to after each epoch.
    distributed : bool, default=False
        Whether other processes train the same networks on shares of each batch.
    replayed : bool, default=False
        Whether steps are recorded as a CUDA graph and replayed.
    select : callable, default=None
        Maps a batch to the rows of it to train on, as many as it decides.
    narrowed : callable, default=None
        Maps some members, as :func:`take_apart` gives them, and their numbers to a
        network of these alone, its phases and ``select``, and the loss of its held-out
        rows. With it, members that early stopping has stopped are left behind and cost
        no more time; the list of phases is emptied then. It needs ``early_stopping``,
        ``rows``, and a network on the CPU.

    Returns
    -------
    history : dict of list of Tensor of shape (k,)
        Per epoch, each member's mean loss; NaN for members that have stopped.
    n_epochs : ndarray of shape (k,)
        Epochs each member trained for.
    unconverged : ndarray of shape (k,)
        Whether early stopping had not stopped a member when ``max_epochs`` ended.

    Raises
    ------
    Diverged
        When a loss is not finite and ``diverged`` is None.
    """
    trainee = _Trainee(network, phases, select, rows, seeds)
    progress = _Progress(trainee, first_epoch, early_stopping)
    progress.active[list(diverged or ())] = False
    last_epoch, stop = first_epoch + max_epochs, False

    def validate():
        loss = early_stopping.validate(X)
        if distributed:  # all are to stop in the same epoch
            _processes.take_first(loss)
        return loss

    if checkpoint is not None and (state := checkpoint.load()):
        progress.load_state_dict(state, narrowed)
    elif early_stopping is not None and first_epoch:
        # A warm start keeps the weights it found, unless it finds better ones.
        with _step_settings(X.device, network, batch_size):
            early_stopping.update(validate().cpu())
    while progress.goes_on(last_epoch) and not stop:
        members = progress.members
        with _step_settings(X.device, trainee.network, batch_size):
            trainee.begin(distributed, replayed)
            while (
                progress.goes_on(last_epoch)
                and not stop
                and members is progress.members
            ):
                epoch = progress.epoch
                if reports is not None:
                    reports.epoch_begin()
                losses = trainee.run_epoch(X, epoch, batch_size)
                if early_stopping is not None:
                    losses["validation_loss"] = validate()
                losses = progress.of_all(losses)
                for member, *what in _not_finite(losses, progress.active):
                    if diverged is None:
                        raise Diverged(diverged_message(member, *what, epoch))
                    diverged[member] = *what, epoch
                    progress.active[member] = False
                state = progress.end_epoch(losses)
                if reports is not None:
                    stop = reports.epoch_end(epoch, progress.history, state)
                    if distributed:
                        stop = _processes.same_for_all(stop)
                if narrowed is not None and progress.goes_on(last_epoch) and not stop:
                    progress.leave_behind(narrowed)
                if checkpoint is not None:
                    checkpoint.save(progress)
    unconverged = np.zeros(network.members, dtype=bool)
    if early_stopping is not None:
        network.load_state_dict(early_stopping.best, assign=True)
        if not stop:
            unconverged = progress.active.numpy()
    return progress.history, progress.n_epochs.numpy(), unconverged


@contextmanager
def _step_settings(device, network, batch_size):
    """The process's settings for steps of a network, undone after them."""
    work = 3 * batch_size * network.work
    with limit_threads(device, work), allow_onednn(device):
        yield


class _Trainee:
    """Members in training, and what is theirs; parameters as of :func:`train`."""

    def __init__(self, network, phases, select, rows, seeds):
        self.network, self.phases = network, phases
        self._select, self._rows, self._seeds = select, rows, seeds
        self._step = self._layers = self._totals = None
        self._distributed = False

    def narrow(self, places, members, narrowed):
        """Keep the members in some places; their loss of held-out rows."""
        part = take_some(self.network, places)
        states = [
            phase.state_at(places) if hasattr(phase, "state_at") else None
            for phase in self.phases
        ]
        # The tensors of the larger network go before there are others.
        self.phases.clear()
        self._step = self._layers = None
        release(self.network)
        self.network, self.phases, self._select, loss = narrowed(part, members)
        for phase, state in zip(self.phases, states, strict=True):
            if state is not None:
                phase.load_state_dict(state)
        self._rows, self._seeds = self._rows[places], self._seeds[places.numpy()]
        return loss

    def begin(self, distributed, replayed):
        """Prepare epochs, under the settings that they will run with."""
        for phase in self.phases:
            phase.distributed = distributed
        self._distributed = distributed
        self._layers, self._totals = random_layers(self.network), {}
        self._step = partial(_step, self.phases, self._totals, self._select)
        if replayed:
            layers = [layer for _, layer in self._layers]
            self._step = ReplayedStep(self._step, layers)
        prepare(self.network)

    def run_epoch(self, X, epoch, batch_size):
        """One pass over each member's rows; the mean losses, ``(k,)`` each."""
        rows, seeds = self._rows, self._seeds
        n_train = len(X) if rows is None else rows.shape[1]
        own = (_processes.rank(),) if self._distributed else ()
        n_steps = -(-n_train // batch_size)
        seed_layers(self._layers, seeds, (epoch, *own), n_steps, X.device)
        order = _permutations(seeds, n_train, SHUFFLE, epoch)
        if rows is not None:
            # One by one: of all members at once it would take memory for three.
            for all_rows, drawn in zip(rows, order, strict=True):
                drawn.copy_(all_rows.index_select(0, drawn))
        # What no gradient flows through costs less where nothing may: up to an eighth.
        autograd = any(getattr(phase, "uses_autograd", True) for phase in self.phases)
        with torch.inference_mode(not autograd):
            losses = _run_epoch(
                self.network, self._step, self._totals, X, order, batch_size
            )
        if self._distributed:
            _processes.average(self.network)
        return losses


class _Progress:
    """How far training is: all that the next epoch depends on, but for the data.

    Attributes
    ----------
    trainee : _Trainee
        The members that have not been left behind.
    members : Tensor of shape (n_members,)
        Their numbers among all.
    epoch : int
        The next one's number.
    history, n_epochs
        See :func:`train`.
    active : BoolTensor of shape (k,)
        Members that still train.
    early : EarlyStopping or None
    """

    def __init__(self, trainee, first_epoch, early):
        self.trainee = trainee
        self._state = trainee.network.state_dict()  # the live tensors
        k = trainee.network.members
        self.members = torch.arange(k, device="cpu")
        self.epoch, self.history = first_epoch, {}
        self.active = torch.ones(k, dtype=torch.bool, device="cpu")
        self.n_epochs = torch.zeros(k, dtype=torch.long, device="cpu")
        self.early = early
        if early is not None:
            early.begin(trainee.network)

    def goes_on(self, last_epoch):
        """Whether there is another epoch."""
        return self.epoch < last_epoch and bool(self.active.any())

    def leave_behind(self, narrowed):
        """Go on without the members that have stopped, once they are a quarter."""
        going = self.active[self.members].nonzero().squeeze(1)
        if 0 < len(going) <= NARROWED_AT * len(self.members):
            self._narrow(going, narrowed)

    def _narrow(self, places, narrowed):
        """Go on with the members in some places of the network."""
        self.members, self._state = self.members[places], None
        self.early.narrow(places)
        loss = self.trainee.narrow(places, self.members, narrowed)
        self.early.watch(self.trainee.network, loss)
        self._state = self.trainee.network.state_dict()

    def of_all(self, losses):
        """Losses ``(k,)`` of all members, NaN for those left behind."""
        everyone = {}
        for name, loss in losses.items():
            loss = loss.cpu()
            everyone[name] = loss.new_full(self.active.shape, torch.nan)
            everyone[name][self.members] = loss
        return everyone

    def end_epoch(self, losses):
        """Count an epoch; the tensors that would be kept if it were the last."""
        self.epoch += 1
        self.n_epochs += self.active
        for name, loss in losses.items():
            self.history.setdefault(name, []).append(loss.where(self.active, torch.nan))
        if self.early is None:
            return self._state
        self.active &= self.early.update(losses["validation_loss"])
        return self.early.best

    def state_dict(self):
        """Everything, as a dict of tensors."""
        state = {"active": self.active, "n_epochs": self.n_epochs}
        state["members"] = self.members
        state["epoch"] = torch.tensor(self.epoch, device="cpu")
        state |= prefixed("network", self._state)
        state |= prefixed("phases", phases_state(self.trainee.phases))
        history = {name: torch.stack(losses) for name, losses in self.history.items()}
        state |= prefixed("history", history)
        if self.early is not None:
            state |= prefixed("early", self.early.state_dict())
        return state

    def load_state_dict(self, state, narrowed):
        """Take over everything."""
        if len(state["members"]) < len(self.members):
            self._narrow(state["members"], narrowed)
        self.epoch = int(state["epoch"])
        self.active, self.n_epochs = state["active"], state["n_epochs"]
        self.trainee.network.load_state_dict(unprefixed(state, "network"))
        load_phases_state(self.trainee.phases, unprefixed(state, "phases"))
        self.history = history_of(state)
        if self.early is not None:
            self.early.load_state_dict(unprefixed(state, "early"))


def phases_state(phases):
    """The optimizers' state, one dict of tensors."""
    state = {}
    for i, phase in enumerate(phases):
        if hasattr(phase, "state_dict"):
            state |= prefixed(str(i), phase.state_dict())
    return state


def load_phases_state(phases, state):
    """Take over the optimizers' state."""
    for i, phase in enumerate(phases):
        own = unprefixed(state, str(i))
        # None of a phase that had, or has, nothing to go on from.
        if own and hasattr(phase, "load_state_dict"):
            phase.load_state_dict(own)


def history_of(state):
    """The history in a state of training, as :func:`train` gives it."""
    history = unprefixed(state, "history")
    return {name: list(losses.unbind()) for name, losses in history.items()}


def prefixed(prefix, state):
    """A state as a part of a larger one."""
    return {f"{prefix}/{name}": value for name, value in state.items()}


def unprefixed(state, prefix):
    """A part of a state that :func:`prefixed` made, by its own names."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}


def prepare(network):
    """Let the layers note where their parameters are."""
    for layer in network.modules():
        if hasattr(layer, "bind"):
            layer.bind()


def random_layers(network):
    """The layers that draw random numbers: pairs of a site, a number, and a layer."""
    layers = zip(count(LAYER), network.modules(), strict=False)
    return [(site, layer) for site, layer in layers if hasattr(layer, "seed")]


def seed_layers(layers, seeds, purpose, n_steps, device):
    """Start the layers' random numbers for a purpose, and for so many steps."""
    for site, layer in layers:
        place = device, site, *purpose
        layer.seed(seeds, lambda s, p=place: make_generators(s, *p), n_steps)


@np.errstate(all="ignore")  # products by NumPy need not tell of what losses do
def _run_epoch(network, step, totals, X, order, batch_size):
    """One pass over each member's rows; the epoch's mean losses, ``(k,)`` each."""
    if not network.training:
        network.train()
    for total in totals.values():
        total.zero_()
    n_rows = Counter()
    for x in _gather(X, order, batch_size):
        n_rows.update(step(x))
    names = sorted(totals, key=lambda name: name != "loss")  # that is the first
    return {name: totals[name] / n_rows[name] for name in names}


def _step(phases, totals, select, x):
    """All phases on a batch: adds to the losses' sums; the rows of each loss."""
    counts = {}
    if select is not None:
        x = select(x)
    for phase in phases:
        part = x if phase.share is None else x[:, phase.share(x.shape[1])]
        n_rows = part.shape[1]
        if not n_rows:
            continue
        for name, loss in phase.step(part).items():
            if name not in totals:
                if loss.shape != part.shape[:1]:
                    raise ValueError(
                        f"The loss {name!r} is a tensor of shape {tuple(loss.shape)}, "
                        f"expected (members,) = {tuple(part.shape[:1])}."
                    )
                totals[name] = torch.zeros_like(loss)
            totals[name].add_(loss, alpha=n_rows)
            counts[name] = counts.get(name, 0) + n_rows
    return counts


def _gather(X, order, batch_size):
    """Yield batches ``(k, batch, features)``, overwritten later.

    They are gathered many steps at once, into memory that is kept.
    """
    members, n_features = len(order), X.shape[1]
    step_bytes = 4 * members * batch_size * n_features
    n_rows = min(max(1, GATHER_BYTES // step_bytes) * batch_size, order.shape[1])
    shape = members * n_rows, n_features
    memory = torch.empty(shape, dtype=torch.float32, device=X.device)
    for rows in order.to(X.device).split(n_rows, dim=1):
        n_whole = rows.shape[1] // batch_size * batch_size
        whole, rest = rows[:, :n_whole], rows[:, n_whole:]
        # Each batch in one piece, which a product would copy it to otherwise.
        whole = whole.unflatten(1, (-1, batch_size)).transpose(0, 1)
        for part in (whole, rest.unsqueeze(0)):
            if part.numel():
                gathered = memory[: part.numel()]
                gather(X, part.flatten(), gathered)
                yield from gathered.view(*part.shape, n_features)


def chunk_bytes(device):
    """Bytes of the widest place of a pass without gradients.

    On a CPU about what a cache holds, on a GPU enough for its kernels to take longer
    than their launches.
    """
    return 2**21 if device.type == "cpu" else 2**26


def chunk_rows(network, device, itemsize=4):
    """Rows of a pass without gradients, so that its widest place is no larger."""
    row_bytes = network.members * network.width * itemsize
    return max(1, chunk_bytes(device) // row_bytes)


@torch.no_grad()
def mean_over_rows(network, function, X, rows=None):
    """Mean of ``function``, ``(k, n, ...)`` rows to ``(k, ...)``, over each's rows.

    ``rows`` is as in :func:`train`.
    """
    network.eval()
    n_rows = len(X) if rows is None else rows.shape[1]
    n_chunk = chunk_rows(network, X.device)
    chunks = X.split(n_chunk) if rows is None else _gather(X, rows, n_chunk)
    total = 0.0
    with limit_threads(X.device, min(n_rows, n_chunk) * network.work):
        for x in chunks:
            values = function(x.expand(network.members, -1, -1))
            # Exact enough to hide the chunks' size, which differs with the members.
            total = total + values.sum(1, dtype=torch.float64)
    return (total / n_rows).to(torch.float32)


def _not_finite(losses, active):
    """Yield active members whose losses are not finite: member, loss's name, value."""
    for name, loss in losses.items():
        for member, value in enumerate(loss.tolist()):
            if not isfinite(value) and active[member]:
                yield member, name, value


class Diverged(ValueError):
    """Training came to numbers that are not finite."""


def diverged_message(member, name, value, epoch):
    """Say which network's training diverged, and what to do."""
    return (
        f"Training diverged: {name} of network {member} became {value} in epoch "
        f"{epoch + 1}. Lower learning_rate, set standardize=True, or remove extreme "
        "values from X."
    )


class EarlyStopping:
    """Each member's best loss over rows that are held out, and the tensors then.

    Parameters
    ----------
    rows : Tensor of shape (k, n_held_out)
        Each member's own.
    loss : callable
        As the loss of a phase; only ``"loss"`` is used.
    n_iter_no_change : int
        Epochs without a better loss after which a member stops.
    batch_size : int
        As in training: a loss may be one of a batch, and not of its rows.
    """

    def __init__(self, rows, loss, n_iter_no_change, batch_size):
        self._rows, self._loss_of, self._patience = rows, loss, n_iter_no_change
        self._batch_size = batch_size

    def begin(self, network):
        """Watch a network whose tensors are where they will be trained."""
        self.watch(network, self._loss_of)
        # Clones: the best weights must not follow the live ones.
        self.best = {name: value.clone() for name, value in self._state.items()}
        self._members = torch.arange(network.members, device="cpu")
        self._loss = torch.full((network.members,), torch.inf, device="cpu")
        self._waited = torch.zeros(network.members, dtype=torch.long, device="cpu")

    def watch(self, network, loss):
        """Watch a network, by its loss of held-out rows."""
        self._network, self._state = network, network.state_dict()
        self._loss_of = loss

    def narrow(self, places):
        """Keep the members in some places, whose network is to come."""
        self._network = self._state = self._loss_of = None
        self._members, self._rows = self._members[places], self._rows[places]

    def state_dict(self):
        """Best weights and losses, and how long ago they were."""
        own = {"loss": self._loss, "waited": self._waited}
        return own | prefixed("best", self.best)

    def load_state_dict(self, state):
        """Take over what :meth:`state_dict` gave."""
        self._loss, self._waited = state["loss"], state["waited"]
        for name, value in unprefixed(state, "best").items():
            self.best[name].copy_(value)

    @torch.no_grad()
    @np.errstate(all="ignore")
    def validate(self, X):
        """Mean loss over each member's rows, of those that are watched."""
        self._network.eval()
        total = torch.zeros(len(self._rows), dtype=torch.float32, device=X.device)
        for x in _gather(X, self._rows, self._batch_size):
            total.add_(self._loss_of(x)["loss"], alpha=x.shape[1])
        return total / self._rows.shape[1]

    def update(self, loss):
        """Record a validation loss ``(k,)`` of all; return which members go on."""
        going = self._waited < self._patience
        better = going & (loss < self._loss)
        self._loss = torch.where(better, loss, self._loss)
        self._waited = torch.where(better, 0, self._waited + going)
        places = better[self._members].nonzero().squeeze(1)
        if len(places):
            members = self._members[places]
            for name, value in self._state.items():
                device = value.device
                self.best[name][members.to(device)] = value[places.to(device)]
        return self._waited < self._patience
