"""What torch keeps for the process is as it was after a fit."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from skdeepad import AutoencoderDetector, _settings
from skdeepad._settings import exact_float32, gpu_settings, limit_threads


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


@pytest.mark.parametrize("work, threads", [(0, 1), (6e6, 2), (5e7, 9), (1e9, 16)])
def test_a_thread_for_each_part_of_the_work(work, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(16)
    try:
        with limit_threads(torch.device("cpu"), work):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 16
    finally:
        torch.set_num_threads(before)


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


def test_a_thread_that_begins_in_a_limited_fit_has_its_own():
    before, cpu = torch.get_num_threads(), torch.device("cpu")
    torch.set_num_threads(16)

    def threads(work):
        with limit_threads(cpu, work):
            return torch.get_num_threads()

    try:
        with limit_threads(cpu, 5e7), ThreadPoolExecutor(1) as pool:
            assert pool.submit(threads, 1e9).result() == 16
            assert pool.submit(threads, 1.3e7).result() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 16
        assert torch.get_num_threads() == 16
    finally:
        torch.set_num_threads(before)


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


GPU = torch.device("cuda")


def settings_of_a_gpu():
    return (*_settings._tf32_settings(), torch.backends.cudnn.deterministic)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_gpus_settings_are_undone(allowed):
    before = settings_of_a_gpu()
    of_a_fit = (*(_settings._TF32 if allowed else _settings._FLOAT32), True)
    with pytest.raises(KeyboardInterrupt), gpu_settings(GPU, allowed):
        assert settings_of_a_gpu() == of_a_fit
        with gpu_settings(GPU):  # scores, of an epoch or in another thread
            assert settings_of_a_gpu() == of_a_fit
        with gpu_settings(GPU, not allowed):
            assert settings_of_a_gpu() != of_a_fit
        assert settings_of_a_gpu() == of_a_fit
        raise KeyboardInterrupt
    assert settings_of_a_gpu() == before
    with gpu_settings(torch.device("cpu"), True):
        assert settings_of_a_gpu() == before
    with gpu_settings(GPU):
        assert settings_of_a_gpu() == (*before[:2], True)
    assert settings_of_a_gpu() == before


def test_a_gpus_settings_go_by_the_fits_that_go_on():
    before = settings_of_a_gpu()
    first, second = gpu_settings(GPU, True), gpu_settings(GPU, False)
    first.__enter__()
    second.__enter__()
    assert settings_of_a_gpu() == (*_settings._FLOAT32, True)
    second.__exit__(None, None, None)
    assert settings_of_a_gpu() == (*_settings._TF32, True)
    second = gpu_settings(GPU, False)
    second.__enter__()
    first.__exit__(None, None, None)
    assert settings_of_a_gpu() == (*_settings._FLOAT32, True)
    second.__exit__(None, None, None)
    assert settings_of_a_gpu() == before


def test_a_users_settings_of_a_gpu_come_back():
    names = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    if names is None:
        pytest.skip("this torch has no such setting")
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with gpu_settings(GPU, False):
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = names


@pytest.fixture
def lowered():
    """A process that takes products of float32 in bfloat16; its settings."""
    before = _settings._cpu_settings()
    lowered = {2: ("bf16", "tf32"), 1: ("medium",)}[len(before)]
    _settings._set_cpu(lowered)
    yield lowered
    _settings._set_cpu(before)


def test_float32_is_exact_until_the_last_fit_ends(lowered):
    exact = _settings._CPU_FLOAT32
    first, second = exact_float32(), exact_float32()
    first.__enter__()
    second.__enter__()
    assert _settings._cpu_settings() == exact
    first.__exit__(None, None, None)
    assert _settings._cpu_settings() == exact
    second.__exit__(None, None, None)
    assert _settings._cpu_settings() == lowered
    with pytest.raises(KeyboardInterrupt), exact_float32():
        raise KeyboardInterrupt
    assert _settings._cpu_settings() == lowered


def test_an_inherited_setting_stays_inherited():
    mkldnn = torch.backends.mkldnn
    if len(_settings._cpu_settings()) == 1:
        pytest.skip("this torch inherits none")
    before = mkldnn.fp32_precision
    try:
        mkldnn.fp32_precision = "bf16"
        with exact_float32():
            assert mkldnn.matmul.fp32_precision == "ieee"
        assert mkldnn.matmul.fp32_precision == "bf16"
        mkldnn.fp32_precision = "ieee"
        assert mkldnn.matmul.fp32_precision == "ieee"
    finally:
        mkldnn.fp32_precision = before


def test_exact_float32_leaves_settings_that_are():
    before = _settings._cpu_settings()
    with exact_float32():
        assert _settings._cpu_settings() == before
    assert _settings._cpu_settings() == before


def test_fits_do_not_go_by_what_a_process_lowers(lowered):
    X = np.random.default_rng(0).normal(size=(200, 40))
    detector = AutoencoderDetector(random_state=0, max_epochs=2, precision="float32")
    scores = detector.fit(X).score_samples(X)
    assert _settings._cpu_settings() == lowered
    _settings._set_cpu(_settings._CPU_FLOAT32)
    np.testing.assert_array_equal(scores, detector.fit(X).score_samples(X))


def test_a_users_deterministic_convolutions_stay():
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with gpu_settings(GPU):
            pass
        assert torch.backends.cudnn.deterministic
    finally:
        torch.backends.cudnn.deterministic = before
