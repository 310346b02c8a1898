"""The training loop that all detectors share; importing this imports torch."""

from contextlib import contextmanager
from functools import partial
from itertools import count, groupby
from threading import Lock, local

import torch

from skdeepad._random import (
    INITIALIZE,
    LAYER,
    SHUFFLE,
    SPLIT,
    make_generators,
)

# Bytes of training rows gathered at once: many small steps, one indexing call.
GATHER_BYTES = 2**20
# Bytes of the widest place of a pass without gradients.
CHUNK_BYTES = 2**24
# Multiply-adds of a step below which a second thread costs more than it brings.
SINGLE_THREAD_WORK = 6e6


def build(make_network, seeds):
    """Make a network on the CPU and draw each member's weights from its seed."""
    with torch.device("meta"):
        network = make_network(len(seeds))
    network.to(torch.float32).to_empty(device="cpu")
    initialize(network, make_generators(seeds, "cpu", INITIALIZE))
    return network


def initialize(network, generators):
    """Draw the parameters of every layer, member i from generator i."""
    for layer in network.modules():
        if hasattr(layer, "initialize"):
            layer.initialize(generators)


def merge(make_network, networks):
    """Put the members of networks of one structure side by side, as they stand."""
    with torch.device("meta"):
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
    loss : callable
        Maps rows ``(k, batch, features)`` to a dict of tensors ``(k,)``: the
        objective to lower and the parts to record.
    add_gradients : callable, default=None
        Takes the place of ``loss`` and adds the objective's gradients to the
        parameters' by itself; None leaves them to autograd.
    parameters : list of Parameter
        Tensors to train. They are moved into one flat buffer, so that a step of
        the optimizer is one kernel however many layers there are.
    optimizer : callable
        Makes an object with ``step()`` from :class:`FlatParameters`.
    share : callable, default=None
        Maps the number of rows of a batch to the slice of them this phase uses.
    objective : str, default="loss"
        Which of the loss's parts to lower.
    """

    def __init__(
        self,
        loss,
        parameters,
        optimizer,
        add_gradients=None,
        share=None,
        objective="loss",
    ):
        self._loss, self._objective = loss, objective
        self._add_gradients = add_gradients or self._add_by_autograd
        self.share = share
        self._parameters = list(parameters)
        flat = FlatParameters(self._parameters)
        self._gradients = flat.gradients
        self._optimizer = optimizer(flat)

    def step(self, x):
        self._gradients.zero_()
        parts = self._add_gradients(x)
        self._optimizer.step()
        return parts

    def _add_by_autograd(self, x):
        parts = self._loss(x)
        loss = parts[self._objective]
        # Members share no parameter, so that the sum's gradient is each one's own.
        gradients = torch.autograd.grad(
            loss, self._parameters, torch.ones_like(loss), allow_unused=True
        )
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            # None: added already, by a Stack.
            if gradient is not None:
                parameter.grad.add_(gradient)
        return parts


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
        self._until_flush = FLUSH_STEPS
        self._calls = []
        tensors = flat.values, flat.gradients, self._mean, self._square
        for values, members in _runs(flat.members, lr, weight_decay):
            parts = [flat.part(tensor, members) for tensor in tensors]
            steps = [self._steps] * len(parts[0])
            self._calls.append((*values, (*parts, [], steps)))

    def step(self):
        self._until_flush -= 1
        if not self._until_flush:
            self._until_flush = FLUSH_STEPS
            for moment in (self._mean, self._square):
                moment.masked_fill_(moment.abs() < TINY, 0.0)
        self._steps.add_(1)
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

    def step(self):
        gradients = self._gradients
        self._sum.addcmul_(gradients, gradients)
        rate = self._lr / (1 + self._steps * self._decay)
        self._steps += 1
        update = gradients / self._sum.sqrt().add_(self.eps)
        self._values.addcmul_(update, rate, value=-1)


def split_validation(seeds, n_rows, n_validation):
    """Each member's own rows to train on and to hold out, ``(k, n)`` each."""
    rows = _permutations(make_generators(seeds, "cpu", SPLIT), n_rows)
    return rows[:, n_validation:], rows[:, :n_validation]


def _permutations(generators, n):
    return torch.stack(
        [torch.randperm(n, generator=g, device="cpu") for g in generators]
    )


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
    validation_rows=None,
    validation_loss=None,
    n_iter_no_change=None,
    reports=None,
    diverged=None,
):
    """Train all members of a network on rows that are already on its device.

    Parameters
    ----------
    network : Module
        Trained in place; left with each member's best weights where validation
        rows are given, else with the last ones.
    phases : list
        Run in turn on every batch: objects with ``step(x) -> dict`` of ``(k,)``
        losses, and ``share`` (see :class:`GradientPhase`).
    X : Tensor of shape (n, features)
    rows : LongTensor of shape (k, n_train)
        Each member's training rows.
    seeds : ndarray of shape (k,)
    max_epochs, batch_size : int
    first_epoch : int, default=0
        Epochs already trained (warm start): continues with new random numbers.
    validation_rows : LongTensor of shape (k, n_validation), default=None
        Turns on early stopping.
    validation_loss : callable, default=None
        As the loss of a phase; only ``"loss"`` is used.
    n_iter_no_change : int, default=None
        Epochs without a better validation loss after which a member stops.
    reports : object, default=None
        ``epoch_begin()`` is called before each epoch, and after it
        ``epoch_end(epoch, history, state)`` with the history so far and the
        tensors that would be kept; training stops if that returns True.
    diverged : dict, default=None
        Where given, a member whose loss is not finite is noted here, as what
        :func:`diverged_message` takes after it, and the others go on.

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
    device = X.device
    prepare(network, seeds, first_epoch)
    shuffle = make_generators(seeds, "cpu", SHUFFLE, first_epoch)
    early = None
    if validation_rows is not None:
        validation_rows = validation_rows.to(device)
        validate = partial(_evaluate, network, validation_loss, X, validation_rows)
        early = _EarlyStopping(network, n_iter_no_change)
    active = torch.ones(len(rows), dtype=torch.bool, device="cpu")
    n_epochs = torch.zeros(len(rows), dtype=torch.long, device="cpu")
    history, stop = {}, False
    with limit_threads(device, 3 * batch_size * network.work), torch.enable_grad():
        if early is not None and first_epoch:
            # A warm start keeps the weights it found, unless it finds better ones.
            early.update(validate().cpu())
        for epoch in range(first_epoch, first_epoch + max_epochs):
            if reports is not None:
                reports.epoch_begin()
            order = rows.gather(1, _permutations(shuffle, rows.shape[1]))
            losses = _run_epoch(network, phases, X, order.to(device), batch_size)
            if early is not None:
                losses["validation_loss"] = validate()
            losses = {name: loss.cpu() for name, loss in losses.items()}
            for member, *what in _not_finite(losses, active):
                if diverged is None:
                    raise ValueError(diverged_message(member, *what, epoch))
                diverged[member] = *what, epoch
                active[member] = False
            n_epochs += active
            for name, loss in losses.items():
                history.setdefault(name, []).append(loss.where(active, torch.nan))
            state = network.state_dict()
            if early is not None:
                active &= early.update(losses["validation_loss"])
                state = early.best
            stop = reports is not None and reports.epoch_end(epoch, history, state)
            if stop or not active.any():
                break
    if early is not None:
        network.load_state_dict(early.best)
    unconverged = 0 if early is None or stop else int(active.sum())
    return history, n_epochs.numpy(), unconverged


def prepare(network, seeds, first_epoch=0):
    """Get the layers ready for steps, with new random numbers for each start."""
    device = next(network.parameters()).device
    for site, layer in zip(count(LAYER), network.modules(), strict=False):
        if hasattr(layer, "seed"):
            purpose = device, site, first_epoch
            layer.seed(seeds, lambda seeds, p=purpose: make_generators(seeds, *p))
        if hasattr(layer, "bind"):
            layer.bind()


def _run_epoch(network, phases, X, order, batch_size):
    """One pass over each member's rows; the epoch's mean losses, ``(k,)`` each."""
    network.train()
    totals, counts = {}, {}
    for x in _gather(X, order, batch_size):
        for phase in phases:
            part = x if phase.share is None else x[:, phase.share(x.shape[1])]
            if not part.shape[1]:
                continue
            for name, loss in phase.step(part).items():
                total = totals.setdefault(name, X.new_zeros(len(order)))
                total.add_(loss.detach(), alpha=part.shape[1])
                counts[name] = counts.get(name, 0) + part.shape[1]
    return {name: total / counts[name] for name, total in totals.items()}


def _gather(X, order, batch_size):
    """Yield batches ``(k, batch, features)``, overwritten later.

    They are gathered many steps at once, into memory that is kept.
    """
    step_bytes = len(order) * batch_size * X[0].numel() * X.element_size()
    n_rows = min(max(1, GATHER_BYTES // step_bytes) * batch_size, order.shape[1])
    memory = X.new_empty(len(order) * n_rows, X.shape[1])
    for rows in order.split(n_rows, dim=1):
        gathered = memory[: rows.numel()]
        # index_select copies whole rows, several times quicker than X[rows].
        torch.index_select(X, 0, rows.flatten(), out=gathered)
        yield from gathered.view(*rows.shape, -1).split(batch_size, dim=1)


def chunk_rows(network, itemsize):
    """Rows of a pass without gradients, so that its widest place stays small."""
    return max(1, CHUNK_BYTES // (network.members * network.width * itemsize))


@torch.no_grad()
def _evaluate(network, loss, X, rows):
    """Mean loss ``(k,)`` over each member's rows, without noise."""
    network.eval()
    total = X.new_zeros(len(rows))
    for x in _gather(X, rows, chunk_rows(network, X.element_size())):
        total.add_(loss(x)["loss"], alpha=x.shape[1])
    return total / rows.shape[1]


@torch.no_grad()
def mean_over_rows(network, function, X):
    """Mean over all rows of ``function``: ``(k, n, ...)`` rows to ``(k, ...)``."""
    network.eval()
    total = 0
    for x in X.split(chunk_rows(network, X.element_size())):
        total = total + function(x.expand(network.members, -1, -1)).sum(1)
    return total / len(X)


def _not_finite(losses, active):
    """Yield active members whose losses are not finite: member, loss's name, value."""
    for name, loss in losses.items():
        for member in (active & ~torch.isfinite(loss)).nonzero().flatten().tolist():
            yield member, name, loss[member].item()


def diverged_message(member, name, value, epoch):
    """Say which network's training diverged, and what to do."""
    return (
        f"Training diverged: {name} of network {member} became {value} in epoch "
        f"{epoch + 1}. Lower learning_rate, set standardize=True, or remove extreme "
        "values from X."
    )


class _EarlyStopping:
    """Each member's best validation loss, and the tensors that reached it."""

    def __init__(self, network, patience):
        self._state = network.state_dict()
        # Clones: the best weights must not follow the live ones.
        self.best = {name: value.clone() for name, value in self._state.items()}
        self._patience = patience
        self._loss = torch.full((network.members,), torch.inf, device="cpu")
        self._waited = torch.zeros(network.members, dtype=torch.long, device="cpu")

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


_limits = {"lock": Lock(), "depth": 0, "threads": 0}
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
    with _limits["lock"]:
        if not _limits["depth"]:
            _limits["threads"] = torch.get_num_threads()
        _limits["depth"] += 1
        torch.set_num_threads(1)
    _in_this_thread.limited = True
    try:
        yield
    finally:
        _in_this_thread.limited = False
        with _limits["lock"]:
            _limits["depth"] -= 1
            torch.set_num_threads(_limits["threads"])
