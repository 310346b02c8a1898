"""The training loop that all detectors share; importing this imports torch."""

from contextlib import contextmanager
from functools import partial
from itertools import count
from threading import Lock, local

import torch
from torch.optim.adam import adam

from skdeepad._random import (
    INITIALIZE,
    LAYER,
    SHUFFLE,
    SPLIT,
    make_generators,
)

# Bytes of training rows gathered at once: many small steps, one indexing call.
GATHER_BYTES = 2**22
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
        Makes an optimizer from the flat tensor, and from a function that maps one
        value a member, ``(k,)``, to one for each element of that tensor.
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
        parameters = list(parameters)
        self._flat = _flatten(parameters)
        self._optimizer = optimizer(self._flat, partial(_spread, parameters))

    def step(self, x):
        self._flat.grad.zero_()
        parts = self._add_gradients(x)
        self._optimizer.step()
        return parts

    def _add_by_autograd(self, x):
        parts = self._loss(x)
        loss = parts[self._objective]
        # Members share no parameter, so that the sum's gradient is each one's own.
        torch.autograd.backward(loss, torch.ones_like(loss))
        return parts


# Numbers that a buffer is padded to a multiple of: a kernel rounds the last few, which
# fill no vector register, in another way.
ALIGNMENT = 64

# Steps between which Adam's moments can't sink from TINY to a denormal number.
FLUSH_STEPS, TINY = 128, 1e-30


class Adam:
    """torch's fused Adam on one tensor, without the bookkeeping of torch.optim.

    The kernel takes one step size and one decay for all: here each element has its
    own, multiplied in around it. A network alone takes the same way, so that its
    numbers are those it has among others, to the last bit.

    A unit that died has no gradient any more, and its moments would decay into
    denormal numbers, on which a processor is ten times slower. They are set to zero
    before that: an update by them would be below 1e-20.

    Parameters
    ----------
    parameter : Parameter
    spread : callable
        See :class:`GradientPhase`.
    lr, weight_decay : float or Tensor of shape (k,)
        One for all members, or one for each.
    """

    def __init__(self, parameter, spread, lr, weight_decay):
        self._parameter = parameter
        self._lr = spread(lr)
        decay = spread(weight_decay)
        self._decay = decay if decay.any() else None
        self._update = torch.zeros_like(parameter.data)
        self._mean = torch.zeros_like(parameter.data)
        self._square = torch.zeros_like(parameter.data)
        self._steps = torch.zeros((), dtype=torch.float32, device=parameter.device)
        self._until_flush = FLUSH_STEPS

    def step(self):
        self._until_flush -= 1
        if not self._until_flush:
            self._until_flush = FLUSH_STEPS
            for moment in (self._mean, self._square):
                moment.masked_fill_(moment.abs() < TINY, 0.0)
        values, gradient = self._parameter.data, self._parameter.grad
        if self._decay is not None:
            gradient.addcmul_(values, self._decay)
        adam(
            [self._update.zero_()],
            [gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps],
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            lr=1.0,
            weight_decay=0.0,
        )
        values.addcmul_(self._update, self._lr)


class AdaGrad:
    """AdaGrad on one tensor, each element with its own step size and decay.

    Step t uses ``lr / (1 + (t - 1) * decay)``. Parameters are as for :class:`Adam`.
    """

    eps = 1e-10

    def __init__(self, parameter, spread, lr, decay):
        self._parameter = parameter
        self._lr, self._decay = spread(lr), spread(decay)
        self._sum = torch.zeros_like(parameter.data)
        self._steps = 0

    def step(self):
        gradient = self._parameter.grad
        self._sum.addcmul_(gradient, gradient)
        rate = self._lr / (1 + self._steps * self._decay)
        self._steps += 1
        update = gradient / self._sum.sqrt().add_(self.eps)
        self._parameter.data.addcmul_(update, rate, value=-1)


def _flatten(parameters):
    """Make parameters and their gradients views of one buffer, and return it."""
    pieces = [p.detach().flatten() for p in parameters]
    pieces.append(pieces[0].new_zeros(-sum(map(len, pieces)) % ALIGNMENT))
    flat = torch.nn.Parameter(torch.cat(pieces))
    flat.grad = torch.zeros_like(flat)
    sizes = [len(piece) for piece in pieces]
    values, gradients = flat.detach().split(sizes), flat.grad.split(sizes)
    for parameter, value, gradient in zip(parameters, values, gradients, strict=False):
        parameter.data = value.view_as(parameter)
        parameter.grad = gradient.view_as(parameter)
    return flat


def _spread(parameters, values):
    """One value a member, ``(k,)``, or one for all, for each flattened element."""
    values = torch.as_tensor(values, dtype=torch.float32, device=parameters[0].device)
    spread = [values.expand(len(p)).repeat_interleave(p[0].numel()) for p in parameters]
    spread.append(values.new_zeros(-sum(map(len, spread)) % ALIGNMENT))
    return torch.cat(spread)


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
            layer.seed(make_generators(seeds, device, site, first_epoch))
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
    """Yield batches ``(k, batch, features)``, gathered many steps at once."""
    step_bytes = len(order) * batch_size * X[0].numel() * X.element_size()
    steps = max(1, GATHER_BYTES // step_bytes)
    for rows in order.split(steps * batch_size, dim=1):
        # index_select copies whole rows, several times quicker than X[rows].
        gathered = X.index_select(0, rows.flatten()).view(*rows.shape, -1)
        yield from gathered.split(batch_size, dim=1)


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
