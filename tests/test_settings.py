"""What torch keeps for the process is as it was after a fit."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from skdeepad import AutoencoderDetector, _settings
from skdeepad._settings import (
    allow_onednn,
    exact_float32,
    gpu_settings,
    limit_threads,
    onednn_rows,
    use_onednn,
)

IS_EXACT = _settings._is_exact  # before a test replaces it


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


CPU = torch.device("cpu")
WIDE = torch.empty(60, 64, 32)


@pytest.fixture
def quicker(monkeypatch):
    """As in a program of one thread on a processor where oneDNN is quicker."""
    if not hasattr(torch.backends.mkldnn, "matmul"):
        pytest.skip("this torch has no setting for oneDNN alone")
    monkeypatch.setattr(_settings, "_is_quicker", lambda: True)
    monkeypatch.setattr(_settings, "_is_exact", lambda: True)
    monkeypatch.setattr(_settings, "_is_alone", lambda: True)
    before = products()
    torch.backends.mkldnn.matmul.fp32_precision = "none"
    yield
    torch.backends.mkldnn.matmul.fp32_precision = before


def products():
    return torch.backends.mkldnn.matmul.fp32_precision


def test_onednn_takes_what_it_is_asked_to_and_is_undone(quicker):
    use_onednn(True)  # outside of a fit it has no effect
    assert products() == "none"
    with pytest.raises(KeyboardInterrupt), allow_onednn(CPU):
        for _ in range(2):
            use_onednn(True)
            assert products() == "bf16"
            use_onednn(False)
            assert products() == "none"
        with allow_onednn(CPU):  # a fit within a fit
            use_onednn(True)
        assert products() == "none"
        use_onednn(True)
        assert products() == "bf16"
        raise KeyboardInterrupt
    assert products() == "none"
    use_onednn(True)
    assert products() == "none"


def test_exactness_is_tried_on_the_cpu(quicker):
    with torch.device("meta"):
        assert IS_EXACT.__wrapped__() in (True, False)
    assert products() == "none"


@pytest.mark.parametrize(
    "why", ["_is_quicker", "_is_exact", "_is_alone", "a GPU", "a setting"]
)
def test_onednn_is_left_alone(why, quicker, monkeypatch):
    device = torch.device("cuda" if why == "a GPU" else "cpu")
    before = "tf32" if why == "a setting" else "none"
    torch.backends.mkldnn.matmul.fp32_precision = before
    if hasattr(_settings, why):
        monkeypatch.setattr(_settings, why, lambda: False)
    with allow_onednn(device):
        use_onednn(True)
        assert products() == before
        assert not onednn_rows(WIDE)
    assert products() == before


def test_an_interrupted_use_of_onednn_is_undone(quicker, monkeypatch):
    class Interrupted(type(torch.backends.mkldnn.matmul)):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "fp32_precision" and value in interrupts:
                interrupts.remove(value)
                raise KeyboardInterrupt

    matmul = Interrupted("mkldnn", "matmul")
    monkeypatch.setattr(torch.backends.mkldnn, "matmul", matmul, raising=False)
    for value in ("bf16", "none"):
        interrupts = [value]
        with pytest.raises(KeyboardInterrupt), allow_onednn(CPU):
            use_onednn(True)
            use_onednn(False)
        assert products() == "none"
        assert not _settings._onednn["in_use"]


def test_onednn_is_for_products_that_gain_by_it_and_stay_the_same(quicker, monkeypatch):
    with limit_threads(CPU, work=1), allow_onednn(CPU):
        assert onednn_rows(WIDE) == range(13, 193)  # 1.5e6 / (60 * 64 * 32)
        assert onednn_rows(WIDE.repeat(2, 1, 1)) == range(12, 193)
        assert not onednn_rows(WIDE[:1])
        assert not onednn_rows(WIDE.new_empty(60, 64, 11))
        assert not onednn_rows(WIDE.new_empty(60, 193, 32))
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        assert onednn_rows(WIDE) == range(25, 193)
    assert not onednn_rows(WIDE)


def test_a_process_is_its_only_threads_or_a_workers_main_threads(monkeypatch):
    monkeypatch.setattr(_settings, "active_count", lambda: 1)
    assert _settings._is_alone()
    monkeypatch.setattr(_settings, "active_count", lambda: 2)
    assert not _settings._is_alone()
    monkeypatch.setattr(_settings, "parent_process", object)
    assert _settings._is_alone()
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(_settings._is_alone).result()


def test_a_users_deterministic_convolutions_stay():
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with gpu_settings(GPU):
            pass
        assert torch.backends.cudnn.deterministic
    finally:
        torch.backends.cudnn.deterministic = before


@pytest.mark.parametrize(
    "other, expected",
    [
        ({}, True),
        ({"sse4a": False}, False),  # Intel's
        ({"avx512_bf16": False}, False),
        ({"amx_tile": True}, False),
        ({"enabled": False}, False),
    ],
)
def test_onednn_is_quicker_on_amds_processors(other, expected, monkeypatch):
    has = {"sse4a": True, "avx512_bf16": True} | other
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", has.pop("enabled", True))
    assert _settings._is_quicker.__wrapped__() == expected
