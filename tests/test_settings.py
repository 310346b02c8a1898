"""What torch keeps for the process is as it was after a fit."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from skdeepad._settings import allow_tf32, limit_threads


def test_threads_are_limited_for_small_work_only_and_restored():
    cpu, before = torch.device("cpu"), torch.get_num_threads()
    with limit_threads(cpu, work=1):
        assert torch.get_num_threads() == 1
        with limit_threads(cpu, work=1):
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with limit_threads(cpu, work=1e12):
        assert torch.get_num_threads() == before


def test_a_thread_limit_that_is_interrupted_is_undone(monkeypatch):
    before, set_number = torch.get_num_threads(), torch.set_num_threads

    def interrupted(number):
        set_number(number)
        if number == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "set_num_threads", interrupted)
    with pytest.raises(KeyboardInterrupt), limit_threads(torch.device("cpu"), work=1):
        pass
    monkeypatch.undo()
    assert torch.get_num_threads() == before
    test_threads_are_limited_for_small_work_only_and_restored()


def test_thread_limits_of_concurrent_fits_are_undone():
    before = torch.get_num_threads()

    def limited(i):
        with limit_threads(torch.device("cpu"), work=1):
            time.sleep(0.01 * (i % 3))
            return torch.get_num_threads()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(limited, range(12))) == {1}
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before


@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_is_set_in_training_and_undone(allowed):
    def settings():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = settings()
    with (
        pytest.raises(KeyboardInterrupt),
        allow_tf32(torch.device("cuda"), allowed),
    ):
        assert settings() == ("high" if allowed else "highest", allowed)
        raise KeyboardInterrupt
    assert settings() == before
    with allow_tf32(torch.device("cpu"), True):
        assert settings() == before


def test_tf32_of_fits_that_overlap_is_undone_by_the_last():
    before = torch.get_float32_matmul_precision()
    first, second = (allow_tf32(torch.device("cuda"), True) for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_float32_matmul_precision() == "high"
    second.__exit__(None, None, None)
    assert torch.get_float32_matmul_precision() == before
