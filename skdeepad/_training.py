"""The training loop that all detectors share; importing this imports torch."""

from contextlib import contextmanager
from itertools import count, groupby
from math import isfinite
from threading import Lock, local

import torch

from skdeepad import _processes
from skdeepad._random import (
    INITIALIZE,
    LAYER,
    SHUFFLE,
    SPLIT,
    make_generators,
)
from skdeepad._rows import gather

# Bytes of training rows gathered at once: many small steps, one indexing call.
GATHER_BYTES = 2**20
# Bytes of the widest place of a pass without gradients: about what a cache holds.
CHUNK_BYTES = 2**21
# Multiply-adds of a step below which a second thread costs more than it brings.
SINGLE_THREAD_WORK = 6e6


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


def merge(make_network, networks):
    """Put the members of networks of one structure side by side, as they stand."""
    network = make_network(sum(part.members for part in networks))
    states = [part.state_dict() for part in networks]
    joined = {name: torch.cat([s[name] for s in states]) for name in states[0]}
    network.load_state_dict(joined, assign=True)
    for layer, *parts in zip(
        network.modules(), *(part.modules() for part in networks), strict=True
    ):
        if hasattr(layer, "join"):
            layer.join(parts)
    return network


class GradientPhase:
    """One optimizer, the loss it lowers, and the rows of each batch it is given.

    Parameters
    ----------
    loss : callable or None
        Maps rows ``(k, batch, features)`` to a dict of tensors ``(k,)``: ``"loss"``,
        which is lowered, and its parts, which are recorded. Not needed beside
        ``set_gradients``.
    parameters : list of Parameter
        Tensors to train. They are moved into one flat buffer, so that a step of
        the optimizer is one kernel however many layers there are.
    optimizer : callable
        Makes an object with ``step()`` from :class:`FlatParameters`.
    set_gradients : callable, default=None
        Takes the place of ``loss`` and sets the parameters' gradients by itself; None
        leaves them to autograd.
    share : callable, default=None
        Maps the number of rows of a batch to the slice of them this phase uses.
    after_step : callable, default=None
        Called when the parameters have changed.
    """

    def __init__(
        self,
        loss,
        parameters,
        optimizer,
        set_gradients=None,
        share=None,
        after_step=None,
    ):
        self._loss = loss
        self._set_gradients = set_gradients or self._set_by_autograd
        self.share, self._after_step = share, after_step
        self.distributed = False
        self._parameters = list(parameters)
        flat = FlatParameters(self._parameters)
        self._gradients = flat.gradients
        self._optimizer = optimizer(flat)

    def state_dict(self):
        """The optimizer's state, a dict of tensors."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state):
        """Go on as the optimizer that the state is of."""
        self._optimizer.load_state_dict(state)

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
        loss = parts["loss"]
        # Members share no parameter, so that the sum's gradient is each one's own.
        gradients = torch.autograd.grad(
            loss, self._parameters, torch.ones_like(loss), materialize_grads=True
        )
        torch._foreach_copy_([p.grad for p in self._parameters], gradients)
        return {name: part.detach() for name, part in parts.items()}


# Numbers in the widest vector register: a kernel rounds those that fill none in
# another way.
VECTOR = 16


class FlatParameters:
    """Parameters of ``k`` members in one buffer, and their gradients in another.

    The parameters become views of them. Each member's part of each parameter is
    padded to whole vector registers, so that any run of members is updated as each
    of them would be alone, to the last bit.

    Attributes
    ----------
    values, gradients : Tensor of shape (n,)
    members : int
    """

    def __init__(self, parameters):
        self.members = len(parameters[0])
        self._sizes = [-(-p[0].numel() // VECTOR) * VECTOR for p in parameters]
        n = self.members * sum(self._sizes)
        self.values, self.gradients = parameters[0].data.new_zeros(2, n)
        views = self._views(self.values), self._views(self.gradients)
        for parameter, *pair in zip(parameters, *views, strict=True):
            n = parameter[0].numel()
            value, gradient = (view[:, :n].view(parameter.shape) for view in pair)
            value.copy_(parameter.data)
            parameter.data, parameter.grad = value, gradient

    def _views(self, flat):
        """Views ``(k, size)`` of a flat tensor, one a parameter."""
        views = flat.split([self.members * size for size in self._sizes])
        return [view.view(self.members, -1) for view in views]

    def part(self, flat, members):
        """Flat views of a flat tensor that together are a slice of its members."""
        if members == slice(0, self.members):
            return [flat]
        return [view[members].flatten() for view in self._views(flat)]

    def spread(self, values):
        """One value a member, ``(k,)``, or one for all, for each number."""
        values = torch.as_tensor(values, dtype=torch.float32, device=self.values.device)
        values = values.expand(self.members)
        return torch.cat([values.repeat_interleave(size) for size in self._sizes])


# Steps between which Adam's moments can't sink from TINY to a denormal number.
FLUSH_STEPS, TINY = 128, 1e-30


class Adam:
    """torch's fused Adam, without the bookkeeping of torch.optim.

    A unit that died has no gradient any more, and its moments would decay into
    denormal numbers, on which a processor is ten times slower. They are set to zero
    before that: an update by them would be below 1e-20.

    Parameters
    ----------
    flat : FlatParameters
    lr, weight_decay : float or Tensor of shape (k,)
        One for all members, or one for each. Each run of members with equal ones is
        one call of the kernel.
    """

    def __init__(self, flat, lr, weight_decay):
        self._mean, self._square = torch.zeros(2, len(flat.values)).to(flat.values)
        self._steps = torch.zeros((), dtype=torch.float32, device=flat.values.device)
        self._n_steps = 0
        self._calls = []
        tensors = flat.values, flat.gradients, self._mean, self._square
        for values, members in _runs(flat.members, lr, weight_decay):
            parts = [flat.part(tensor, members) for tensor in tensors]
            steps = [self._steps] * len(parts[0])
            self._calls.append((*values, (*parts, [], steps)))

    def state_dict(self):
        """Moments and the number of steps."""
        return {"mean": self._mean, "square": self._square, "steps": self._steps}

    def load_state_dict(self, state):
        """Take over moments and the number of steps."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])
        self._n_steps = int(self._steps)

    def step(self):
        self._n_steps += 1
        if self._n_steps % FLUSH_STEPS == 0:
            for moment in (self._mean, self._square):
                moment.masked_fill_(moment.abs() < TINY, 0.0)
        self._steps.fill_(self._n_steps)
        for lr, weight_decay, tensors in self._calls:
            torch._fused_adam_(
                *tensors,
                lr=lr,
                weight_decay=weight_decay,
                beta1=0.9,
                beta2=0.999,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )


def _runs(members, *values):
    """Runs of members with equal values: pairs of these and a slice."""
    # In float32, as the values that come as a tensor.
    values = [torch.as_tensor(value, dtype=torch.float32) for value in values]
    each = [value.expand(members).tolist() for value in values]
    start = 0
    for value, run in groupby(zip(*each, strict=True)):
        stop = start + len(list(run))
        yield value, slice(start, stop)
        start = stop


class AdaGrad:
    """AdaGrad with a step size and decay for each member.

    Step t uses ``lr / (1 + (t - 1) * decay)``. Parameters are as for :class:`Adam`.
    """

    eps = 1e-10

    def __init__(self, flat, lr, decay):
        self._values, self._gradients = flat.values, flat.gradients
        self._lr, self._decay = flat.spread(lr), flat.spread(decay)
        self._sum = torch.zeros_like(flat.values)
        self._steps = 0

    def state_dict(self):
        """Sum of squared gradients and the number of steps."""
        return {"sum": self._sum, "steps": torch.tensor(self._steps, device="cpu")}

    def load_state_dict(self, state):
        """Take over the sum of squared gradients and the number of steps."""
        self._sum.copy_(state["sum"])
        self._steps = int(state["steps"])

    def step(self):
        gradients = self._gradients
        self._sum.addcmul_(gradients, gradients)
        rate = self._lr / (1 + self._steps * self._decay)
        self._steps += 1
        update = gradients / self._sum.sqrt().add_(self.eps)
        self._values.addcmul_(update, rate, value=-1)


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
        torch.randperm(n, generator=generator, out=permutation)
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
):
    """Train all members of a network on rows that are already on its device.

    Parameters
    ----------
    network : Module
        Trained in place; left with each member's best weights where there is early
        stopping, else with the last ones.
    phases : list
        Run in turn on every batch: objects with ``step(x) -> dict`` of ``(k,)``
        losses, and ``share`` (see :class:`GradientPhase`).
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
        :func:`diverged_message` takes after it, and the others go on.
    checkpoint : Checkpoint, default=None
        Where to go on from, and to save to after each epoch.
    distributed : bool, default=False
        Whether other processes train the same networks on shares of each batch.

    Returns
    -------
    history : dict of list of Tensor of shape (k,)
        Per epoch, each member's mean loss; NaN for members that have stopped.
    n_epochs : ndarray of shape (k,)
        Epochs each member trained for.
    unconverged : int
        Members that early stopping had not stopped when ``max_epochs`` ended.

    Raises
    ------
    ValueError
        When a loss is not finite and ``diverged`` is None.
    """
    progress = _Progress(network, phases, first_epoch, early_stopping)
    last_epoch, stop = first_epoch + max_epochs, False
    layers = random_layers(network)
    own = (_processes.rank(),) if distributed else ()
    for phase in phases:
        phase.distributed = distributed
    with limit_threads(X.device, 3 * batch_size * network.work):
        if checkpoint is not None and (state := checkpoint.load()):
            progress.load_state_dict(state)
        elif early_stopping is not None and first_epoch:
            # A warm start keeps the weights it found, unless it finds better ones.
            early_stopping.update(early_stopping.validate(X).cpu())
        prepare(network)
        while progress.active.any() and progress.epoch < last_epoch and not stop:
            epoch = progress.epoch
            if reports is not None:
                reports.epoch_begin()
            n_train = len(X) if rows is None else rows.shape[1]
            n_steps = -(-n_train // batch_size)
            seed_layers(layers, seeds, (epoch, *own), n_steps, X.device)
            order = _permutations(seeds, n_train, SHUFFLE, epoch)
            if rows is not None:
                order = rows.gather(1, order.long())
            losses = _run_epoch(network, phases, X, order, batch_size)
            if distributed:
                _processes.average(network)
            if early_stopping is not None:
                losses["validation_loss"] = early_stopping.validate(X)
            losses = {name: loss.cpu() for name, loss in losses.items()}
            for member, *what in _not_finite(losses, progress.active):
                if diverged is None:
                    raise ValueError(diverged_message(member, *what, epoch))
                diverged[member] = *what, epoch
                progress.active[member] = False
            state = progress.end_epoch(losses)
            if reports is not None:
                stop = reports.epoch_end(epoch, progress.history, state)
            if checkpoint is not None:
                checkpoint.save(progress)
    unconverged = 0
    if early_stopping is not None:
        network.load_state_dict(early_stopping.best)
        unconverged = 0 if stop else int(progress.active.sum())
    return progress.history, progress.n_epochs.numpy(), unconverged


class _Progress:
    """How far training is: all that the next epoch depends on, but for the data.

    Attributes
    ----------
    epoch : int
        The next one's number.
    history, n_epochs
        See :func:`train`.
    active : BoolTensor of shape (k,)
        Members that still train.
    early : EarlyStopping or None
    """

    def __init__(self, network, phases, first_epoch, early):
        self._network, self._phases = network, phases
        self._state = network.state_dict()  # the live tensors
        self.epoch, self.history = first_epoch, {}
        self.active = torch.ones(network.members, dtype=torch.bool, device="cpu")
        self.n_epochs = torch.zeros(network.members, dtype=torch.long, device="cpu")
        self.early = early
        if early is not None:
            early.begin(network)

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
        state["epoch"] = torch.tensor(self.epoch, device="cpu")
        state |= prefixed("network", self._state)
        state |= prefixed("phases", phases_state(self._phases))
        history = {name: torch.stack(losses) for name, losses in self.history.items()}
        state |= prefixed("history", history)
        if self.early is not None:
            state |= prefixed("early", self.early.state_dict())
        return state

    def load_state_dict(self, state):
        """Take over everything."""
        self.epoch = int(state["epoch"])
        self.active, self.n_epochs = state["active"], state["n_epochs"]
        self._network.load_state_dict(unprefixed(state, "network"))
        load_phases_state(self._phases, unprefixed(state, "phases"))
        history = unprefixed(state, "history")
        self.history = {k: list(losses.unbind()) for k, losses in history.items()}
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
        if own:  # none of a phase that was not there before
            phase.load_state_dict(own)


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


def _run_epoch(network, phases, X, order, batch_size):
    """One pass over each member's rows; the epoch's mean losses, ``(k,)`` each."""
    if not network.training:
        network.train()
    totals, counts = {}, {}
    for x in _gather(X, order, batch_size):
        for phase in phases:
            part = x if phase.share is None else x[:, phase.share(x.shape[1])]
            if not part.shape[1]:
                continue
            n_rows = part.shape[1]
            for name, loss in phase.step(part).items():
                if name not in totals:
                    totals[name], counts[name] = torch.zeros_like(loss), 0
                totals[name].add_(loss, alpha=n_rows)
                counts[name] += n_rows
    return {name: total / counts[name] for name, total in totals.items()}


def _gather(X, order, batch_size):
    """Yield batches ``(k, batch, features)``, overwritten later.

    They are gathered many steps at once, into memory that is kept.
    """
    step_bytes = 4 * len(order) * batch_size * X.shape[1]
    n_rows = min(max(1, GATHER_BYTES // step_bytes) * batch_size, order.shape[1])
    shape = len(order) * n_rows, X.shape[1]
    memory = torch.empty(shape, dtype=torch.float32, device=X.device)
    for rows in order.to(X.device).split(n_rows, dim=1):
        gathered = memory[: rows.numel()]
        gather(X, rows.flatten(), gathered)
        yield from gathered.view(*rows.shape, -1).split(batch_size, dim=1)


def chunk_rows(network, itemsize=4):
    """Rows of a pass without gradients, so that its widest place stays small."""
    return max(1, CHUNK_BYTES // (network.members * network.width * itemsize))


@torch.no_grad()
def mean_over_rows(network, function, X):
    """Mean over all rows of ``function``: ``(k, n, ...)`` rows to ``(k, ...)``."""
    network.eval()
    total = 0
    for x in X.split(chunk_rows(network)):
        total = total + function(x.expand(network.members, -1, -1)).sum(1)
    return total / len(X)


def _not_finite(losses, active):
    """Yield active members whose losses are not finite: member, loss's name, value."""
    for name, loss in losses.items():
        for member, value in enumerate(loss.tolist()):
            if not isfinite(value) and active[member]:
                yield member, name, value


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
    """

    def __init__(self, rows, loss, n_iter_no_change):
        self._rows, self._loss_of, self._patience = rows, loss, n_iter_no_change

    def begin(self, network):
        """Watch a network whose tensors are where they will be trained."""
        self._network, self._state = network, network.state_dict()
        # Clones: the best weights must not follow the live ones.
        self.best = {name: value.clone() for name, value in self._state.items()}
        self._loss = torch.full((network.members,), torch.inf, device="cpu")
        self._waited = torch.zeros(network.members, dtype=torch.long, device="cpu")

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
    def validate(self, X):
        """Mean loss ``(k,)`` over each member's rows, without noise."""
        self._network.eval()
        total = torch.zeros(len(self._rows), dtype=torch.float32, device=X.device)
        for x in _gather(X, self._rows, chunk_rows(self._network)):
            total.add_(self._loss_of(x)["loss"], alpha=x.shape[1])
        return total / self._rows.shape[1]

    def update(self, loss):
        """Record a validation loss ``(k,)``; return which members go on."""
        going = self._waited < self._patience
        better = going & (loss < self._loss)
        self._loss = torch.where(better, loss, self._loss)
        self._waited = torch.where(better, 0, self._waited + going)
        for name, value in self._state.items():
            mask = better.to(value.device)
            self.best[name][mask] = value[mask]
        return self._waited < self._patience


_limits = {"lock": Lock(), "holders": set(), "threads": 0}
_in_this_thread = local()


@contextmanager
def limit_threads(device, work):
    """Use one thread where a pass is too small to share, and undo it after.

    torch keeps the number for the process: of several fits in threads of one
    process, the first notes it and each one puts that number back. A pass within a
    limited one (scores for a callback) changes nothing.
    """
    nested = getattr(_in_this_thread, "limited", False)
    if nested or device.type != "cpu" or work >= SINGLE_THREAD_WORK:
        yield
        return
    holder = object()
    try:  # from here on, or Ctrl-C would leave the limit
        with _limits["lock"]:
            if not _limits["holders"]:
                _limits["threads"] = torch.get_num_threads()
            _limits["holders"].add(holder)
            torch.set_num_threads(1)
        _in_this_thread.limited = True
        yield
    finally:
        _in_this_thread.limited = False
        with _limits["lock"]:
            if holder in _limits["holders"]:
                _limits["holders"].remove(holder)
                torch.set_num_threads(_limits["threads"])


_tf32 = {"lock": Lock(), "holders": set(), "before": None}


@contextmanager
def allow_tf32(device, allowed):
    """Let a GPU take products of float32 in TF32 or not, and undo it after.

    torch keeps that for the process, and by default allows it in convolutions only. Of
    several fits in threads the last to begin decides, and the last to end undoes it.
    """
    if device.type != "cuda":
        yield
        return
    holder = object()
    try:
        with _tf32["lock"]:
            if not _tf32["holders"]:
                _tf32["before"] = (
                    torch.get_float32_matmul_precision(),
                    torch.backends.cudnn.allow_tf32,
                )
            _tf32["holders"].add(holder)
            _set_tf32("high" if allowed else "highest", allowed)
        yield
    finally:
        with _tf32["lock"]:
            _tf32["holders"].discard(holder)
            if not _tf32["holders"] and _tf32["before"] is not None:
                _set_tf32(*_tf32["before"])


def _set_tf32(products, convolutions):
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
