"""Train several detectors as the members of one network.

First every fit is asked for (:class:`Requests`). What was asked for trains in groups,
and is then fitted as always: each fit finds its networks trained (:class:`Trained`).

A request is a fit that will come. A course is the networks of all requests that differ
only in what is used after the loop. Courses that differ only in what is used within it
start with the same networks. A group is the requests whose networks are of one shape,
and may train in one loop.
"""

import copy
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from math import ceil, prod
from typing import NamedTuple

import joblib
import numpy as np

from skdeepad._base import snapshot
from skdeepad._checkpoint import Checkpoint, hashed, qualified_name
from skdeepad._deep import TRAINED_BEFORE, Run, in_own_modes
from skdeepad._version import __version__

# Networks in one loop: with more, weights and moments leave the processor's cache. On a
# GPU a step of many takes hardly longer than one of few.
MEMBERS_AT_ONCE, MEMBERS_AT_ONCE_ON_A_GPU = 64, 1024
# And no more than memory allows: for each parameter nine numbers, and for each row of
# a batch so many of its widest layer.
PARAMETER_NUMBERS, WIDEST_LAYERS = 9, 20
# Multiply-adds of a batch, forward, below which a group is not divided: each loop has
# its own overhead.
LOOP_WORK = 2.5e6


@contextmanager
def serving(trained):
    """Let ``trained.serve(detector, X)`` answer each fit of a deep detector."""
    token = TRAINED_BEFORE.set(trained)
    try:
        yield trained
    finally:
        TRAINED_BEFORE.reset(token)


class Deferred(Exception):
    """A fit that was noted and not carried out."""


class Requests:
    """Notes what fits are asked for, and refuses to carry them out.

    Fits whose rows no longer fit in memory, beside those of the others, are not noted.
    """

    def __init__(self):
        self._wanted, self._rows, self._digests, self._first = {}, {}, {}, None
        self._n_numbers = 0  # in all rows

    def note(self, task):
        """Call a task; the key of the first fit it asks for, or None."""
        self._first = None
        with serving(self), suppress(Exception):  # which the task will raise again
            task()
        return self._first

    def serve(self, detector, X):
        """Note a task's first detector and its rows; equal rows are kept once."""
        from skdeepad._rows import rows_digest

        # A task may go on after it was refused a fit: a search within it does.
        if self._first is None and self._has_room(X.shape, detector):
            digest = self._digests.get(id(X)) or rows_digest(X)
            if digest not in self._rows:
                if not self._has_room((self._n_numbers + prod(X.shape),), detector):
                    raise Deferred
                self._rows[digest] = X
                self._n_numbers += prod(X.shape)
            X = self._rows[digest]
            self._digests[id(X)] = digest  # of rows that are kept
            self._first = _key(detector, digest)
            self._wanted.setdefault(self._first, (snapshot(detector), X))
        raise Deferred

    def _has_room(self, shape, detector):
        from skdeepad._rows import fits_in_memory

        return fits_in_memory(shape, detector._torch_device())

    def __len__(self):
        return len(self._wanted)

    def groups(self):
        """What was asked for, in groups that may train together."""
        groups, networks = {}, {}
        for key, (detector, X) in self._wanted.items():
            # One that has no network or device raises its own error when it is fitted.
            with suppress(Exception):
                candidate = key.course[0], X.shape[1]
                if candidate not in networks:
                    network = detector._build_network(X.shape[1], 1)
                    batch_size = min(detector.batch_size, len(X))
                    networks[candidate] = (
                        repr(network),
                        _n_numbers(network, batch_size),
                        batch_size * network.work,
                    )
                description, *costs = networks[candidate]
                group = _group_key(detector, X, description)
                if group not in groups:
                    groups[group] = Group(detector, *costs)
                groups[group].items.append((key, detector, X))
        return list(groups.values())


def _group_key(detector, X, network):
    """What detectors must share to train together; ``network`` is its description."""
    params = detector.get_params(deep=False)
    used = {*detector._used_before, *detector._used_after, *detector._used_within}
    fixed = {name: params[name] for name in params if name not in used}
    # Layers come and go with parameters: dropout=0 has none to train beside.
    return type(detector), _frozen(fixed), X.shape, network


def _n_numbers(network, batch_size):
    """Numbers of float32 that training a network of one member takes, at most."""
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    n_activations = WIDEST_LAYERS * batch_size * network.width
    return PARAMETER_NUMBERS * n_parameters + n_activations


class Group:
    """Requests that may train together.

    Parameters
    ----------
    detector : BaseDeepDetector
        One of them.
    n_numbers : int
        See :func:`_n_numbers`.
    work : int
        Multiply-adds of a batch, forward.

    Attributes
    ----------
    items : list of tuple
        The key of a fit, its detector and its rows.
    is_on_cpu : bool
    """

    def __init__(self, detector, n_numbers, work):
        from skdeepad._rows import fits_in_memory

        self.items = []
        device = detector._torch_device()
        self.is_on_cpu = device.type == "cpu"
        limit = MEMBERS_AT_ONCE if self.is_on_cpu else MEMBERS_AT_ONCE_ON_A_GPU
        while limit > 1 and not fits_in_memory((limit, n_numbers), device):
            limit //= 2
        self._at_once = limit
        self._at_least = min(ceil(LOOP_WORK / work), limit)

    def parts(self, n_loops):
        """The requests in even lists, which keep so many loops busy to the end."""
        courses = {}
        for item in self.items:
            courses.setdefault(item[0].course, []).append(item)
        courses = list(courses.values())  # those of one train as one
        n_members = sum(items[0][1].n_estimators for items in courses)
        n_parts = n_loops * -(-n_members // (n_loops * self._at_once))
        n_parts = min(n_parts, len(courses), -(-n_members // self._at_least))
        ends = [i * len(courses) // n_parts for i in range(n_parts + 1)]
        return [list(chain(*courses[a:b])) for a, b in pairwise(ends)]


class Trained:
    """Detectors that were trained beforehand, and why others could not be.

    Attributes
    ----------
    n_unused : int
        Those that no fit has asked for since.
    checkpoints : list of Path
        Files that hold them, to be removed when they are needed no more.
    failures : list of (int, str)
        Numbers of fits that could not be trained together, and why.
    """

    def __init__(self):
        self._outcomes, self._served, self._in_task = {}, set(), set()
        self.checkpoints, self.failures = [], []

    @classmethod
    def of(cls, *parts):
        """Train each list of a group's items in one loop."""
        trained = cls()
        for items in parts:
            trained._train(items)
        return trained

    def _train(self, items):
        try:
            errors, checkpoint = fit_together(items)
        except Exception as broken:
            # Each fit trains by itself, and raises what is wrong with it alone.
            self.failures.append((len(items), f"{type(broken).__name__}: {broken}"))
            return
        if checkpoint is not None:
            self.checkpoints.append(checkpoint.path)
        for (key, detector, _), error in zip(items, errors, strict=True):
            self._outcomes[key] = detector if error is None else error

    @property
    def n_unused(self):
        return len(self._outcomes) - len(self._served)

    def begin_task(self):
        """Let the first fit of each kind in a task be served."""
        self._in_task.clear()

    def serve(self, detector, X):
        """Make a detector as the one trained for it; False where there is none."""
        if not self._outcomes:
            return False
        from skdeepad._rows import rows_digest

        key = _key(detector, rows_digest(X))
        outcome = self._outcomes.get(key)
        # Without a random_state the members of an ensemble are to be different ones.
        if outcome is None or (detector.random_state is None and key in self._in_task):
            return False
        self._served.add(key)
        self._in_task.add(key)
        if isinstance(outcome, Exception):
            raise outcome
        detector._adopt(outcome)
        return True


class _Key(NamedTuple):
    """What decides how a detector is trained: its own parameters and the rows."""

    course: tuple  # the parameters used before the end of the loop, and a hash of X
    max_epochs: int


def _key(detector, digest):
    params = type(detector), _frozen(_course_params(detector))
    return _Key((params, digest), detector.max_epochs)


def _frozen(params):
    """Parameters as a key; those of other types than most are hashed, which is slow."""
    return tuple(
        (name, value if _is_plain(value) else joblib.hash(value))
        for name, value in params.items()
    )


def _is_plain(value):
    if type(value) is tuple:
        return all(map(_is_plain, value))
    return type(value) in (bool, int, float, str, type(None))


def _course_params(detector):
    """The parameters that are used before the end of the loop."""
    return detector._params_but(detector._used_after)


def _start_params(detector):
    """The parameters that are used before the loop, as a key."""
    later = {*detector._used_after, *detector._used_within}
    return _frozen(detector._params_but(later))


@in_own_modes
def fit_together(items):
    """Train detectors of one group, each on its own rows, in one loop.

    A detector becomes what its own ``fit`` would make of it, but for the threshold.
    Those that differ only in what is used after the loop share their networks.

    Parameters
    ----------
    items : list of tuple
        Of one group: the key of a fit, its detector, which is not fitted, and its
        validated rows.

    Returns
    -------
    errors : list of (Exception or None)
        Why a detector could not be trained; the others are.
    checkpoint : Checkpoint or None
        The file that holds them, where the first one has a ``checkpoint_dir``.
    """
    errors, courses, starts, scaled, checkpoint = {}, {}, {}, {}, None
    for key, detector, X in items:
        if key.course in courses:
            courses[key.course].add(detector)
            continue
        _, digest = key.course
        start = _start_params(detector), digest
        # Without a random_state each has a seed of its own.
        if start in starts and detector.random_state is not None:
            courses[key.course] = starts[start].beside(detector)
            continue
        try:
            # Rows that are the same are scaled and kept once.
            course = _Course(detector, X, digest, scaled.get(digest))
        except Exception as error:  # raised again by the detector's fit
            errors[id(detector)] = error
        else:
            courses[key.course] = starts[start] = course
            scaled[digest] = detector.scaler_, course.run.x
    del scaled, starts  # the courses hold them, and give them up
    if courses:
        diverged, checkpoint = _train(list(courses.values()))
        errors |= diverged
    return [errors.get(id(detector)) for _, detector, _ in items], checkpoint


class _Course:
    """Networks on their way through the loop, and the detectors that want them."""

    def __init__(self, detector, X, digest, scaled):
        from skdeepad._training import take_apart

        self.run = detector._start(X, scaled=scaled)
        self.networks, self.run.network = take_apart(self.run.network), None
        self.detectors = [detector]
        self.digest = digest

    def add(self, detector):
        """Let a detector take part, which would start as the first one did."""
        self._start_alike(detector)
        self.detectors.append(detector)

    def beside(self, detector):
        """The course of another detector that would start as the first one did."""
        self._start_alike(detector)
        course = copy.copy(self)
        course.run, course.detectors = replace(self.run), [detector]
        return course

    def _start_alike(self, detector):
        for name, value in vars(self.detectors[0]).items():
            vars(detector).setdefault(name, value)

    def finish(self, detector, members, history, state):
        """Give a detector its members' history, and their state."""
        import torch

        own = {
            name: torch.stack(losses[: detector.max_epochs])[:, members]
            for name, losses in history.items()
        }
        n_epochs = max(int((~losses.isnan()).any(1).sum()) for losses in own.values())
        self.run.finish(
            detector,
            n_epochs,
            {name: losses[:n_epochs] for name, losses in own.items()},
            state,
        )


def _train(courses):
    """Train all courses in one loop; errors by the detectors' ids, and its file."""
    from skdeepad._training import diverged_message

    run, all_members = _join(courses)
    joint = _joint_detector(courses, run.x.device)
    leaving = _Leaving(courses, all_members)
    checkpoint = _checkpoint(courses, run, leaving)
    try:
        _, _, unconverged = joint._train(
            run, reports=leaving, diverged=leaving.diverged, checkpoint=checkpoint
        )
        if checkpoint is not None:
            checkpoint.keep()
        leaving.all_that_remain(run.network.state_dict())
    except Exception:
        if checkpoint is not None:
            checkpoint.remove()
        raise
    # Those that end earlier train on beside the others.
    last = [
        member
        for course, members in zip(courses, all_members, strict=True)
        if joint.max_epochs in {detector.max_epochs for detector in course.detectors}
        for member in range(members.start, members.stop)
    ]
    joint._warn_unconverged(unconverged[last])
    errors = {
        id(detector): ValueError(diverged_message(*why))
        for detector, why in leaving.errors
    }
    return errors, checkpoint


def _join(courses):
    """One :class:`Run` of all, and each course's members in it."""
    import torch

    from skdeepad._training import merge

    runs = [course.run for course in courses]
    sections, n_rows = {}, 0
    for course in courses:
        if course.digest not in sections:
            sections[course.digest] = n_rows, course.run.x
            n_rows += len(course.run.x)
    starts = [sections[course.digest][0] for course in courses]

    def joined(parts):
        return torch.cat([p + start for p, start in zip(parts, starts, strict=True)])

    rows, held_out = [run.rows for run in runs], None
    if rows[0] is None:
        all_rows = torch.arange(len(runs[0].x), device="cpu")
        rows = [all_rows.expand(len(run.seeds), -1) for run in runs]
    else:
        held_out = joined([run.held_out for run in runs])
    x = runs[0].x
    if len(sections) > 1:
        x = x.new_empty(n_rows, x.shape[1])
    for run in runs:
        run.x = None
    while sections:  # each is given up as soon as it is copied
        _, (start, section) = sections.popitem()
        if section is not x:
            x[start : start + len(section)] = section
    make_network = partial(courses[0].detectors[0]._build_network, x.shape[1])
    run = Run(
        make_network,
        merge(make_network, [course.networks for course in courses]),
        x,
        joined(rows),
        held_out,
        np.concatenate([run.seeds for run in runs]),
    )
    ends = np.cumsum([len(run.seeds) for run in runs]).tolist()
    return run, [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]


def _joint_detector(courses, device):
    """A detector whose parameters within the loop are each member's own."""
    import torch

    joint = snapshot(courses[0].detectors[0])
    joint.max_epochs = max(d.max_epochs for c in courses for d in c.detectors)
    for name, n_dims in joint._used_within.items():
        values = [
            float(getattr(course.detectors[0], name))
            for course in courses
            for _ in course.run.seeds
        ]
        if len(set(values)) > 1:
            values = torch.tensor(values, dtype=torch.float32, device=device)
            setattr(joint, name, values.view(-1, *[1] * (n_dims - 1)))
    return joint


def _checkpoint(courses, run, leaving):
    """The file of this loop, or None."""
    first = courses[0].detectors[0]
    if first.checkpoint_dir is None:
        return None
    for course in courses:
        course.detectors[0]._check_checkpoint_dir()
    wanted = [
        (detector.max_epochs, hashed(_course_params(detector) | {"device": None}))
        for course in courses
        for detector in course.detectors
    ]
    sections = list(dict.fromkeys(course.digest for course in courses))
    sections = [sections.index(course.digest) for course in courses]
    data = run.seeds, sections, run.x.cpu().numpy(), run.x.device.type
    digest = joblib.hash((qualified_name(first), wanted, data, __version__))
    return _LoopCheckpoint(first.checkpoint_dir, digest, leaving)


class _LoopCheckpoint(Checkpoint):
    """Holds the detectors that have ended too, and is there when all have."""

    def __init__(self, folder, digest, leaving):
        super().__init__(folder, f"search-{digest}")
        self._leaving, self._progress = leaving, None

    def load(self):
        state = super().load()
        if state is not None:
            self._leaving.load_state_dict(state)
        return state

    def save(self, progress):
        self._progress = progress
        super().save(self)

    def keep(self):
        """Write how the loop ended, unless that is in the file."""
        if self._progress is not None:
            self.write(self)

    def state_dict(self):
        """The loop's state, and the detectors that have ended."""
        return self._progress.state_dict() | self._leaving.state_dict()


class _Leaving:
    """Reports of the loop: finishes each detector at the end of its own epochs."""

    def __init__(self, courses, members):
        self._items = [
            (course, detector, own)
            for course, own in zip(courses, members, strict=True)
            for detector in course.detectors
        ]
        self._waiting = list(self._items)
        self._history = {}
        self.diverged, self.errors = {}, []

    def epoch_begin(self):
        """Nothing to do."""

    def epoch_end(self, epoch, history, state):
        """Finish the detectors whose last epoch this was."""
        self._history = history
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            if item[1].max_epochs == epoch + 1:
                self._finish(*item, state)
            else:
                self._waiting.append(item)

    def all_that_remain(self, state):
        """Finish the detectors whose members stopped early."""
        for item in self._waiting:
            self._finish(*item, state)

    def _finish(self, course, detector, members, state):
        for member in range(members.start, members.stop):
            if member in self.diverged:
                why = (member - members.start, *self.diverged[member])
                self.errors.append((detector, why))
                return
        own = {name: value[members] for name, value in state.items()}
        course.finish(detector, members, self._history, own)

    # What a checkpoint holds of them.

    def state_dict(self):
        """Who has ended with which networks, and what is known of who diverged."""
        import torch

        from skdeepad._training import prefixed

        without = {id(detector) for _, detector, _ in self._waiting}
        without |= {id(detector) for detector, _ in self.errors}
        state = {}
        for i, (_, detector, _) in enumerate(self._items):
            if id(detector) not in without:
                own = {k: torch.from_numpy(v) for k, v in detector._state.items()}
                state |= prefixed(f"ended/{i}", own)
        names = sorted(self._history)
        rows = [
            (member, names.index(name), value, epoch)
            for member, (name, value, epoch) in self.diverged.items()
        ]
        state["diverged"] = torch.tensor(rows, dtype=torch.float64).view(-1, 4)
        return state

    def load_state_dict(self, state):
        """Finish what had ended; ``state`` is the loop's too."""
        from skdeepad._training import history_of, unprefixed

        self._history = history_of(state)
        names = sorted(self._history)
        for member, name, value, epoch in state["diverged"].tolist():
            self.diverged[int(member)] = names[int(name)], value, int(epoch)
        self._waiting = []
        for i, (course, detector, members) in enumerate(self._items):
            if own := unprefixed(state, f"ended/{i}"):
                course.finish(detector, members, self._history, own)
            else:  # on its way, or diverged
                self._waiting.append((course, detector, members))
