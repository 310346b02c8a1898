"""Fits that are interrupted and started again."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.callback import ScoringMonitor

import skdeepad._checkpoint
from skdeepad import AutoencoderDetector
from skdeepad._checkpoint import Checkpoint
from skdeepad._together import Requests, Trained, serving
from skdeepad.model_selection import BatchedGridSearchCV, OneClassKFold
from skdeepad.thresholds import MaxTrain
from tests.conftest import HARD, assert_equal_states, every_deep, make


class Interruption:
    """A callback that presses Ctrl-C at the end of an epoch."""

    def __init__(self, epoch):
        self.left = epoch

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch":
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    def teardown(self, estimator, context):
        pass


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch):
    monkeypatch.setattr(skdeepad._checkpoint, "INTERVAL", 0.0)


def interrupt(detector, X, epoch):
    """A fit that ends after so many epochs; its checkpoint is of the one before."""
    with pytest.raises(KeyboardInterrupt):
        detector.set_callbacks(Interruption(epoch)).fit(X)
    del detector._skl_callbacks


@every_deep
@pytest.mark.parametrize(
    "params",
    [{}, HARD, {"early_stopping": True, "n_iter_no_change": 8, "learning_rate": 0.02}],
)
def test_a_resumed_fit_is_the_uninterrupted_one_bit_for_bit(
    cls, params, problem, tmp_path
):
    X, _ = problem
    params = {"max_epochs": 12} | params
    if cls is not AutoencoderDetector and "early_stopping" in params:
        params |= {"max_epochs": 60}
    whole = make(cls, **params)
    resumed = make(cls, checkpoint_dir=tmp_path, **params)
    interrupt(resumed, X, 7)
    assert len(list(tmp_path.iterdir())) == 1
    assert not hasattr(resumed, "n_iter_")
    # Another process, or the same: only the file is carried over.
    resumed = make(cls, checkpoint_dir=str(tmp_path), **params)
    epochs = []

    class Count(Interruption):
        def on_fit_task_end(self, estimator, context):
            epochs.append(context.task_name)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole.fit(X)
        resumed.set_callbacks(Count(0)).fit(X)
    assert epochs.count("epoch") == whole.n_iter_ - 6
    assert_equal_states(whole, resumed)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_a_resumed_ensemble_that_has_left_members_behind(problem, tmp_path, sizes):
    """It goes on with the same ones: layers of odd sizes round by how many they are."""
    X, _ = problem
    params = {"hidden_layer_sizes": (17, 3), "latent_dim": 5, "learning_rate": 0.02}
    params |= {"early_stopping": True, "n_iter_no_change": 1, "n_estimators": 5}
    params |= {"max_epochs": 40, "device": "cpu"}
    whole = make(AutoencoderDetector, **params).fit(X)
    uninterrupted = list(sizes)
    assert min(uninterrupted) < 5
    first = next(i for i, size in enumerate(uninterrupted) if size < 5)
    for n_epochs in range(first, len(uninterrupted))[:3]:
        sizes.clear()
        resumed = make(AutoencoderDetector, checkpoint_dir=tmp_path, **params)
        interrupt(resumed, X, n_epochs + 1)
        assert_equal_states(whole, resumed.fit(X))
        assert sizes[-len(uninterrupted) + n_epochs :] == uninterrupted[n_epochs:]


def test_a_resumed_warm_start(problem, tmp_path):
    X, _ = problem
    params = {"warm_start": True, "max_epochs": 5}
    whole = make(AutoencoderDetector, **params).fit(X).fit(X)
    resumed = make(AutoencoderDetector, checkpoint_dir=tmp_path, **params).fit(X)
    interrupt(resumed, X, 3)
    assert resumed.n_iter_ == 5
    assert_equal_states(whole, resumed.fit(X))


def test_a_random_state_is_needed(problem, tmp_path):
    X, y = problem
    detector = make(AutoencoderDetector).fit(X)
    before = dict(vars(detector))
    detector.set_params(checkpoint_dir=tmp_path, random_state=None)
    with pytest.raises(ValueError, match="checkpoint_dir needs a random_state"):
        detector.fit(X)
    detector.set_params(checkpoint_dir=None, random_state=0)
    assert vars(detector) == before
    detector.set_params(checkpoint_dir=tmp_path, random_state=None)
    options = {"scoring": "roc_auc", "cv": OneClassKFold(2), "error_score": "raise"}
    with pytest.raises(ValueError, match="checkpoint_dir needs a random_state"):
        BatchedGridSearchCV(detector, {"dropout": [0.1, 0.2]}, **options).fit(X, y)
    assert not list(tmp_path.iterdir())
    detector.partial_fit(X)  # writes none


def test_fits_side_by_side_write_whole_files(problem, tmp_path, monkeypatch):
    X, _ = problem
    monkeypatch.setattr(skdeepad._checkpoint, "INTERVAL", 0.0)
    replace, broken = os.replace, []

    def checked(part, path):
        with np.load(part) as arrays:
            if "epoch" not in arrays:
                broken.append(part)
        replace(part, path)

    monkeypatch.setattr(os, "replace", checked)
    detector = make(AutoencoderDetector, max_epochs=20, checkpoint_dir=tmp_path)
    with ThreadPoolExecutor(4) as pool:
        fitted = list(pool.map(lambda _: clone(detector).fit(X), range(4)))
    assert not broken
    assert not list(tmp_path.iterdir())
    for other in fitted[1:]:
        assert_equal_states(fitted[0], other)


def test_rows_are_known_again_however_they_lie(problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    interrupt(detector, X, 3)
    detector.set_params(max_epochs=5)
    wide = np.hstack([X, X])[:, : X.shape[1]]
    name = detector._checkpoint(X).path
    assert name.exists()
    assert detector._checkpoint(wide).path == name
    assert detector._checkpoint(np.asfortranarray(X)).path == name
    assert detector._checkpoint(X[::-1]).path != name


def test_parameters_are_known_again_whichever_objects_they_are(problem, tmp_path):
    X, _ = problem
    sizes = (4,)
    one = AutoencoderDetector(
        hidden_layer_sizes=sizes,
        decoder_layer_sizes=sizes,
        checkpoint_dir=tmp_path,
        random_state=0,
    )
    assert clone(one)._checkpoint(X).path == one._checkpoint(X).path
    # A search's too.
    paths = []
    for detector in (one, clone(one)):
        requests = Requests()
        requests.note(partial(detector.fit, X))
        (part,) = requests.groups()[0].parts(1)
        paths += Trained.of(part).checkpoints
    assert paths[0] == paths[1]


def test_a_warm_start_that_kept_its_weights_has_another_file(problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, warm_start=True, checkpoint_dir=tmp_path)
    first = detector.fit(X)._checkpoint(X).path
    assert detector._checkpoint(X).path == first
    detector.n_iter_ += 5  # as after epochs without one better than those before
    assert detector._checkpoint(X).path != first


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.5}, {"random_state": 7}, "rows"]
)
def test_other_fits_have_other_files(change, problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    interrupt(detector, X, 3)
    if change == "rows":
        X = X + 1
    else:
        detector.set_params(**change)
    interrupt(detector, X, 3)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_threshold_may_change_in_between(problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    interrupt(detector, X, 4)
    detector.set_params(contamination=0.3).fit(X)
    assert not list(tmp_path.iterdir())
    whole = make(AutoencoderDetector, contamination=0.3).fit(X)
    assert detector.offset_ == whole.offset_


def _npy(content):
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def _npz(content):
    file = io.BytesIO()
    np.savez(file, other=np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        lambda c: c[:100],
        lambda c: c[:-100],
        lambda c: b"",
        lambda c: b"#" * 9,
        _npy,
        _npz,
    ],
)
def test_a_file_that_is_no_checkpoint(content, problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    interrupt(detector, X, 3)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(ValueError, match="Delete it"):
        detector.fit(X)


def test_a_file_is_no_folder(problem, tmp_path):
    X, _ = problem
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file: give a folder"):
        make(AutoencoderDetector, checkpoint_dir=tmp_path / "file").fit(X)


def test_a_folder_that_cannot_be_looked_into_is_named(problem, tmp_path):
    X, _ = problem
    with pytest.raises(ValueError, match=r"checkpoint_dir=.* cannot be looked into"):
        make(AutoencoderDetector, checkpoint_dir=tmp_path / ("a" * 300)).fit(X)


def test_a_folder_of_the_users_home(problem, tmp_path, monkeypatch):
    X, _ = problem
    monkeypatch.setenv("HOME", str(tmp_path))
    interrupt(make(AutoencoderDetector, checkpoint_dir="~/here"), X, 3)
    assert len(list((tmp_path / "here").iterdir())) == 1


def test_the_file_is_there_until_the_threshold_is_set(problem, tmp_path, epochs):
    X, _ = problem

    class Interrupted(MaxTrain):
        def _find_offset(self, scores, y):
            raise KeyboardInterrupt

    detector = make(
        AutoencoderDetector, checkpoint_dir=tmp_path, threshold=Interrupted()
    )
    with pytest.raises(KeyboardInterrupt):
        detector.fit(X)
    assert epochs.n_begun == 5
    detector.set_params(threshold="auto").fit(X)
    assert epochs.n_begun == 5
    assert not list(tmp_path.iterdir())
    assert_equal_states(make(AutoencoderDetector).fit(X), detector)


def test_a_fit_that_diverges_leaves_no_file(problem, tmp_path):
    X, _ = problem

    class Diverging(AutoencoderDetector):
        def _loss(self, network, x):
            losses = super()._loss(network, x)
            self.n_steps += 1
            return {"loss": losses["loss"] * (np.nan if self.n_steps > 10 else 1)}

    detector = make(Diverging, checkpoint_dir=tmp_path)
    detector.n_steps = 0
    with pytest.raises(ValueError, match="diverged"):
        detector.fit(X)
    assert not list(tmp_path.iterdir())


def test_another_error_leaves_the_file(problem, tmp_path):
    X, _ = problem

    class Broken(Interruption):
        def on_fit_task_begin(self, estimator, context):
            self.left -= context.task_name == "epoch"
            if not self.left:
                raise ValueError("no log")

        def on_fit_task_end(self, estimator, context):
            pass

    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="no log"):
        detector.set_callbacks(Broken(3)).fit(X)
    assert len(list(tmp_path.iterdir())) == 1


def test_classes_of_one_name_have_other_files(problem, tmp_path):
    X, _ = problem
    for module in ("one", "other"):
        cls = type("Mine", (AutoencoderDetector,), {"__module__": module})
        interrupt(make(cls, checkpoint_dir=tmp_path), X, 3)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_fit_without_an_epoch_left_has_its_callbacks_told(problem, tmp_path):
    X, y = problem
    few = np.r_[np.arange(50), np.flatnonzero(y == -1)]
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path, threshold="pareto")
    with pytest.raises(ValueError, match="tail"):  # after training
        detector.fit(X[few], y[few])
    monitor = ScoringMonitor(scoring="roc_auc")
    detector.set_params(threshold="auto").set_callbacks(monitor).fit(X[few], y[few])
    assert_equal_states(make(AutoencoderDetector).fit(X[few], y[few]), detector)


def test_a_file_that_stays_spoils_no_fit(problem, tmp_path, monkeypatch):
    X, _ = problem

    def refuse(self, missing_ok):
        raise PermissionError("not yours")

    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.warns(RuntimeWarning, match="could not be removed .not yours"):
        detector.fit(X)
    assert detector.n_iter_ == 5


def test_a_full_disk_keeps_the_last_checkpoint(problem, tmp_path, monkeypatch):
    X, _ = problem
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    interrupt(detector, X, 3)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(RuntimeWarning, match=r"No space left .* training goes on"):
        interrupt(detector, X, 2)
    assert [f.name for f in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_an_interrupted_write_leaves_nothing(problem, tmp_path, monkeypatch):
    X, _ = problem

    def interrupted(number):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(AutoencoderDetector, checkpoint_dir=tmp_path).fit(X)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_was_writing_is_removed(problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    interrupt(detector, X, 2)
    [file] = tmp_path.iterdir()
    old, new = (file.with_name(f"{file.stem}.{n * 32}.part") for n in "ab")
    other, foreign = (
        tmp_path / name for name in (f"Other-1.{'c' * 32}.part", "a.part")
    )
    for part in (old, new, other, foreign):
        part.touch()
    for part in (old, other, foreign):
        os.utime(part, (0, 0))
    detector.fit(X)
    # Another process may be at the new one.
    assert sorted(tmp_path.iterdir()) == sorted([new, foreign])


def test_checkpoints_are_written_now_and_then(problem, tmp_path, monkeypatch):
    X, _ = problem
    monkeypatch.setattr(skdeepad._checkpoint, "INTERVAL", 3600.0)
    interrupt(make(AutoencoderDetector, checkpoint_dir=tmp_path), X, 3)
    assert not list(tmp_path.iterdir())


SHAPES = {"batch_norm": [False, True], "learning_rate": [1e-3, 1e30, 3e-3]}
STOPS = {"early_stopping": [True], "n_iter_no_change": [2], "learning_rate": [3e-2]}


@pytest.mark.parametrize("interval", [0.0, 3600.0])
@pytest.mark.parametrize(
    ("grid", "epoch"), [(SHAPES, 4), (SHAPES, 7), (SHAPES, 19), (STOPS, 4)]
)
@pytest.mark.filterwarnings("ignore")  # of those that diverge
def test_a_resumed_search(
    grid, epoch, interval, problem, tmp_path, monkeypatch, epochs
):
    """Loops that ended are there; the one that was stopped goes on, or begins again."""
    monkeypatch.setattr(skdeepad._checkpoint, "INTERVAL", interval)
    X, y = problem
    grid = grid | {"max_epochs": [3, 6, 12]}

    def search(**params):
        epochs.n_begun = 0
        detector = make(AutoencoderDetector, random_state=0, **params)
        options = {"scoring": "roc_auc", "cv": OneClassKFold(3), "refit": False}
        results = BatchedGridSearchCV(detector, grid, **options).fit(X, y).cv_results_
        return {k: v for k, v in results.items() if k.startswith("split")}

    scores, n_epochs = search(), epochs.n_begun
    epochs.stop_at = epoch
    with pytest.raises(KeyboardInterrupt):
        search(checkpoint_dir=tmp_path)
    epochs.stop_at = None
    n_whole = len(list(tmp_path.iterdir())) - (interval == 0)
    resumed, n_after = search(checkpoint_dir=tmp_path), epochs.n_begun
    np.testing.assert_equal(resumed, scores)
    assert not list(tmp_path.iterdir())
    if interval:
        assert n_after == n_epochs - 12 * n_whole
    else:
        assert n_after == n_epochs - (epoch - 1)


def trained_together(detectors, X):
    """Each detector fitted, or the error of its fit."""
    requests = Requests()
    for detector in detectors:
        requests.note(partial(clone(detector).fit, X))
    outcomes = []
    parts = [part for group in requests.groups() for part in group.parts(1)]
    with serving(Trained.of(*parts)):
        for detector in detectors:
            try:
                outcomes.append(clone(detector).fit(X))
            except ValueError as error:
                outcomes.append(str(error))
    return outcomes


@every_deep
@pytest.mark.parametrize(
    "params",
    [
        HARD,
        {"early_stopping": True, "n_iter_no_change": 1, "learning_rate": 0.05},
        {"early_stopping": True, "n_iter_no_change": 3},
    ],
    ids=["hard", "stops soon", "stops late"],
)
@pytest.mark.parametrize("epoch", [1, 4, 7])
@pytest.mark.filterwarnings("ignore")  # of those that diverge or go on
def test_networks_of_a_resumed_loop(cls, params, epoch, problem, tmp_path, epochs):
    """Those that ended before, those that diverged and those that were on the way."""
    X, _ = problem
    base = make(cls, checkpoint_dir=tmp_path, **params)
    detectors = [
        clone(base).set_params(max_epochs=n, random_state=seed, **rate)
        for n in (2, 5, 8)
        for seed, rate in ((0, {}), (1, {}), (2, {"learning_rate": 1e30}))
    ]
    whole = trained_together(
        [clone(d).set_params(checkpoint_dir=None) for d in detectors], X
    )
    epochs.stop_at = epochs.n_begun + epoch
    for _ in range(2):  # interrupted, unless it stopped before; then to the end
        with suppress(KeyboardInterrupt):
            resumed = trained_together(detectors, X)
    epochs.stop_at = epochs.n_begun + 1  # a third time nothing is trained
    again = trained_together(detectors, X)
    for outcomes in (resumed, again):
        for one, other in zip(whole, outcomes, strict=True):
            if isinstance(one, str):
                assert one == other
            else:
                assert_equal_states(one, other)
    failed = [isinstance(one, str) for one in whole]
    assert failed == [False, False, True] * 3


@pytest.mark.parametrize("rest", [{}, {"refit": True}, {"n_jobs": 2}], ids=str)
def test_files_of_a_search_are_removed(rest, problem, tmp_path):
    X, y = problem
    seen = tmp_path / "seen"
    seen.mkdir()

    def scoring(detector, X, y):
        for file in detector.checkpoint_dir.glob("search-*.npz"):
            (seen / file.name).touch()
        return 1.0

    folder = tmp_path / "checkpoints"
    # On a GPU there is one loop, whatever the number of jobs.
    detector = make(AutoencoderDetector, checkpoint_dir=folder, device="cpu")
    options = {"scoring": scoring, "cv": OneClassKFold(2), "refit": False} | rest
    grid = {"learning_rate": np.geomspace(1e-3, 1e-2, 12)}
    BatchedGridSearchCV(detector, grid, **options).fit(X, y)
    assert len(list(seen.iterdir())) == options.get("n_jobs", 1)
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_stops_no_search(problem, tmp_path):
    X, y = problem
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "folder"
    options = {"scoring": "roc_auc", "cv": OneClassKFold(2), "refit": False}
    grid = {"dropout": [0.1, 0.2]}
    plain = BatchedGridSearchCV(make(AutoencoderDetector), grid, **options).fit(X, y)
    detector = make(AutoencoderDetector, checkpoint_dir=folder)
    with pytest.warns(RuntimeWarning, match="could not be written"):
        search = BatchedGridSearchCV(detector, grid, **options).fit(X, y)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(search.cv_results_[name], plain.cv_results_[name])


def test_no_checkpoints_of_searches_among_processes(problem, tmp_path, monkeypatch):
    X, y = problem
    monkeypatch.setattr("skdeepad._processes.check_group", lambda: None)
    monkeypatch.setattr("skdeepad._processes.same_for_all", lambda seeds: seeds)
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path, distributed=True)
    options = {"scoring": "roc_auc", "cv": OneClassKFold(2), "error_score": "raise"}
    with pytest.raises(ValueError, match="do not go together"):
        BatchedGridSearchCV(detector, {"dropout": [0.1]}, **options).fit(X, y)


def test_a_search_over_other_rows_has_other_files(problem, tmp_path):
    X, y = problem
    detector = make(AutoencoderDetector, random_state=0, checkpoint_dir=tmp_path)
    options = {"scoring": "roc_auc", "cv": OneClassKFold(2), "error_score": "raise"}
    names = set()

    def stop(detector, X, y):
        names.update(file.name for file in tmp_path.iterdir())
        raise KeyboardInterrupt

    for rows, estimator in ((X, detector), (X**2, detector), (X, clone(detector))):
        search = BatchedGridSearchCV(estimator, {"dropout": [0.1]}, **options)
        with pytest.raises(KeyboardInterrupt):
            search.set_params(scoring=stop).fit(rows, y)
    assert len(names) == 2


def test_a_killed_process_goes_on(tmp_path):
    """SIGKILL while the 41st checkpoint is written, then the same script again."""
    script = textwrap.dedent(
        """
        import itertools, os, signal, sys
        import numpy as np
        import skdeepad._checkpoint
        from skdeepad import AutoencoderDetector

        def replace_or_die(*paths, replace=os.replace, n_written=itertools.count()):
            if next(n_written) == 40:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(*paths)

        if "die" in sys.argv:
            os.replace = replace_or_die
        skdeepad._checkpoint.INTERVAL = 0.0
        X = np.random.default_rng(0).normal(size=(300, 5))
        detector = AutoencoderDetector(
            max_epochs=100, random_state=0, checkpoint_dir=sys.argv[1]
        )
        print(repr(detector.fit(X).score_samples(X[:5]).tolist()))
        """
    )

    def run(folder, *how):
        return subprocess.run(
            [sys.executable, "-c", script, tmp_path / folder, *how],
            stdout=subprocess.PIPE,
            text=True,
        )

    assert run("killed", "die").returncode == -signal.SIGKILL
    (file,) = (tmp_path / "killed").glob("*.npz")
    with np.load(file) as checkpoint:
        assert checkpoint["epoch"] == 40
    resumed, other = run("killed"), run("other")
    assert resumed.stdout == other.stdout != ""


def test_a_relative_folder_stays_where_it_is(problem, tmp_path, monkeypatch):
    X, _ = problem
    monkeypatch.chdir(tmp_path)
    path = make(AutoencoderDetector, checkpoint_dir="here")._checkpoint(X).path
    assert path.parent == (tmp_path / "here").resolve()


def test_an_interval_begins_at_each_write(tmp_path, monkeypatch):
    clock = {"epoch": torch.tensor(0)}

    class Progress:
        def state_dict(self):
            return clock

    monkeypatch.setattr(skdeepad._checkpoint, "INTERVAL", 10.0)
    monkeypatch.setattr(skdeepad._checkpoint, "monotonic", lambda: int(clock["epoch"]))
    written, checkpoint = set(), Checkpoint(tmp_path, "fit")
    for _ in range(30):
        clock["epoch"] += 1
        checkpoint.save(Progress())
        if checkpoint.path.exists():
            written.add(int(Checkpoint(tmp_path, "fit").load()["epoch"]))
    assert written == {10, 20, 30}


def test_a_file_that_is_gone_is_none(tmp_path, monkeypatch):
    """Another fit, of the same, has ended in between."""
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert not Checkpoint(tmp_path, "fit").has_begun


def test_folders_are_made_where_they_are_missing(problem, tmp_path):
    folder = tmp_path / "one" / "other"
    interrupt(make(AutoencoderDetector, checkpoint_dir=folder), problem[0], 3)
    assert len(list(folder.iterdir())) == 1


def test_what_another_fit_removed_first_is_no_matter(problem, tmp_path, monkeypatch):
    gone = tmp_path / f"fit.{'a' * 32}.part"
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [gone])
    make(AutoencoderDetector, checkpoint_dir=tmp_path).fit(problem[0])
    assert not list(tmp_path.iterdir())


def file_of(fits):
    """The name of the file of one loop."""
    requests = Requests()
    for detector, X in fits:
        requests.note(partial(detector.fit, X))
    (group,) = requests.groups()
    (path,) = Trained.of(*group.parts(1)).checkpoints
    return path.name


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto is the GPU")
def test_a_search_on_the_same_device_has_the_same_file(problem, tmp_path):
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path)
    one, other = (clone(detector).set_params(device=d) for d in ("auto", "cpu"))
    assert file_of([(one, problem[0])]) == file_of([(other, problem[0])])


def test_other_rows_of_one_of_three_fits_have_another_file(problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, checkpoint_dir=tmp_path, device="cpu")
    one, two, three = (clone(detector).set_params(random_state=i) for i in range(3))
    assert file_of([(one, X), (two, 2 * X), (three, X)]) != file_of(
        [(one, X), (two, 2 * X), (three, 2 * X)]
    )
