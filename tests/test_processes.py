"""Two processes of torch.distributed train one network (gloo, on the CPU)."""

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from skdeepad import DAGMM, DSEBM, OCGAN, AnoGAN, AutoencoderDetector, VAEDetector
from tests.conftest import DEEP, LOWERING, STOP, lowered, make

SCRIPT = textwrap.dedent(
    """
    import pickle, sys
    import torch
    from torch import distributed

    folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/group", rank=rank, world_size=size
    )
    with open(f"{folder}/in.pkl", "rb") as file:
        detectors, X = pickle.load(file)
    for detector in detectors:
        detector.set_params(distributed=True).fit(X)
    with open(f"{folder}/out{rank}.pkl", "wb") as file:
        pickle.dump(detectors, file)
    distributed.destroy_process_group()
    """
)


def fit_together(detectors, X, folder, size=2):
    """What each process makes of the same detectors and rows."""
    (folder / "in.pkl").write_bytes(pickle.dumps((detectors, X)))
    processes = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, folder, str(rank), str(size)])
        for rank in range(size)
    ]
    assert [process.wait(120) for process in processes] == [0] * size
    return [
        pickle.loads((folder / f"out{rank}.pkl").read_bytes()) for rank in range(size)
    ]


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_two_processes_train_what_one_does(problem, tmp_path):
    """Gradients of a batch's shares add up to the batch's; 180 rows end in a batch
    that is smaller.
    """
    X, y = problem
    X = X[y == 1][:161]
    shared = {"max_epochs": 8, "batch_size": 32, "learning_rate": 3e-3}
    # Noise, points or a mixture of each process's own share.
    own = VAEDetector, DSEBM, DAGMM, OCGAN, AnoGAN
    without_noise = [cls for cls in DEEP if cls not in own]
    exact = [make(cls, **shared) for cls in without_noise]
    exact.append(
        make(AutoencoderDetector, early_stopping=True, n_iter_no_change=3, **shared)
    )
    exact.append(make(AutoencoderDetector, **STOP, **shared))
    exact += [make(cls, n_estimators=3, **shared) for cls in without_noise[::2]]
    exact.append(make(AutoencoderDetector, support_fraction=0.8, **shared))
    # Each process draws noise and norms its rows by itself: equal in all processes,
    # but not what one process would do.
    own = [
        make(cls, dropout=0.2, batch_norm=True, random_state=None, **shared)
        for cls in DEEP
    ]
    calibrated = make(
        AutoencoderDetector, threshold="conformal", random_state=None, **shared
    )
    own.append(calibrated)
    first, second = fit_together(exact + own, X, tmp_path)
    np.testing.assert_array_equal(
        first[-1].calibration_scores_, second[-1].calibration_scores_
    )
    np.testing.assert_array_equal(first[-1].scaler_.mean_, second[-1].scaler_.mean_)
    for one, other in zip(first, second, strict=True):
        for name, value in one._state.items():
            np.testing.assert_array_equal(value, other._state[name])
        np.testing.assert_array_equal(one.history_["loss"], other.history_["loss"])
        assert one.offset_ == other.offset_
    for detector, alone in zip(first, exact, strict=False):
        alone.set_params(distributed=False).fit(X)
        for name, value in alone._state.items():
            np.testing.assert_allclose(
                detector._state[name], value, rtol=1e-3, atol=1e-4
            )
        np.testing.assert_allclose(
            detector.history_["loss"], alone.history_["loss"], rtol=1e-4
        )
    for detector in first[len(exact) :]:
        if type(detector) in LOWERING:
            assert lowered(detector)[-1] < lowered(detector)[0]


def test_without_a_group_it_is_refused(problem):
    X, _ = problem
    with pytest.raises(ValueError, match="torchrun"):
        make(AutoencoderDetector, distributed=True).fit(X)


def test_no_checkpoints_among_processes(problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, distributed=True, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="do not go together"):
        detector.fit(X)


class StopsInTheFirst:
    """A callback that ends training after two epochs, in the first process alone."""

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        from torch import distributed

        n_epochs = len(fitted_estimator.history_["loss"])
        return distributed.get_rank() == 0 and n_epochs == 2


def test_the_first_process_says_when_to_stop(problem, tmp_path):
    X, _ = problem
    detector = make(AutoencoderDetector, max_epochs=5).set_callbacks(StopsInTheFirst())
    outcomes = fit_together([detector], X, tmp_path)
    assert [detector.n_iter_ for (detector,) in outcomes] == [2, 2]


class Disagreeing(AutoencoderDetector):
    """Held-out rows go on to improve in the first process, and never in another."""

    def _loss(self, network, x):
        from torch import distributed

        losses = super()._loss(network, x)
        if not network.training and distributed.get_rank():
            losses["loss"] = losses["loss"] * 0 + 1
        return losses


@pytest.mark.filterwarnings("ignore:.*still improved")
def test_the_first_process_says_how_good_networks_are(problem, tmp_path):
    X, _ = problem
    params = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 8}
    outcomes = fit_together([make(Disagreeing, **params)], X, tmp_path)
    (first,), (second,) = outcomes
    assert first.n_iter_ == second.n_iter_ > 3
    np.testing.assert_array_equal(
        first.history_["validation_loss"], second.history_["validation_loss"]
    )
