"""Products go to the library that is quickest at them, and give the same numbers."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from skdeepad import DASVDD, _products
from skdeepad._products import (
    allow_onednn,
    onednn_rows,
    openblas_product,
    openblas_rows,
    use_onednn,
)
from skdeepad._settings import limit_threads

IS_ONEDNN_EXACT = _products._is_onednn_exact  # before a test replaces it
CPU = torch.device("cpu")
WIDE = torch.empty(60, 64, 32)


@pytest.fixture
def quicker(monkeypatch):
    """As in a program of one thread on a processor where oneDNN is quicker."""
    if not hasattr(torch.backends.mkldnn, "matmul"):
        pytest.skip("this torch has no setting for oneDNN alone")
    monkeypatch.setattr(_products, "_is_zen", lambda generation: True)
    monkeypatch.setattr(_products, "_is_onednn_exact", lambda: True)
    monkeypatch.setattr(_products, "_is_alone", lambda: True)
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
        assert IS_ONEDNN_EXACT.__wrapped__() in (True, False)
    assert products() == "none"


@pytest.mark.parametrize(
    "why",
    ["_is_zen", "_is_onednn_exact", "_is_alone", "a GPU", "a setting", "disabled"],
)
def test_onednn_is_left_alone(why, quicker, monkeypatch):
    device = torch.device("cuda" if why == "a GPU" else "cpu")
    before = "tf32" if why == "a setting" else "none"
    torch.backends.mkldnn.matmul.fp32_precision = before
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", why != "disabled")
    if hasattr(_products, why):
        monkeypatch.setattr(_products, why, lambda *_: False)
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
        assert not _products._onednn["in_use"]


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
    monkeypatch.setattr(_products, "active_count", lambda: 1)
    assert _products._is_alone()
    monkeypatch.setattr(_products, "active_count", lambda: 2)
    assert not _products._is_alone()
    monkeypatch.setattr(_products, "parent_process", object)
    assert _products._is_alone()
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(_products._is_alone).result()


@pytest.mark.parametrize(
    "other, generation",
    [
        ({}, 4),
        ({"avx_vnni": True}, 5),
        ({"sse4a": False}, 0),  # Intel's
        ({"avx512_bf16": False}, 0),
        ({"avx_vnni": True, "amx_tile": True}, 0),
    ],
)
def test_amds_processors_are_told_by_what_they_have(other, generation, monkeypatch):
    has = {"sse4a": True, "avx512_bf16": True, "avx_vnni": False} | other
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    for asked in (4, 5):
        assert _products._is_zen.__wrapped__(asked) == (generation >= asked)


@pytest.fixture
def by_openblas(monkeypatch):
    """As on a processor where OpenBLAS is quicker, in one thread."""
    monkeypatch.setattr(_products, "_is_openblas_quicker", lambda: True)
    with limit_threads(CPU, work=1):
        yield


def test_openblas_is_for_products_that_gain_by_it_and_stay_the_same(
    by_openblas, monkeypatch
):
    assert openblas_rows(WIDE) == range(17, 193)  # 2e6 / (60 * 64 * 32)
    assert openblas_rows(WIDE.repeat(2, 1, 1)) == range(12, 193)
    assert not openblas_rows(WIDE[:1])
    assert openblas_rows(WIDE.new_empty(60, 192, 96)) == range(12, 55)  # 1e6 / ...
    for other in (
        WIDE.new_empty(60, 64, 11),
        WIDE.new_empty(60, 193, 32),
        WIDE.to(torch.bfloat16),
        WIDE.to("meta"),
    ):
        assert not openblas_rows(other)
    monkeypatch.setattr(_products, "_is_openblas_quicker", lambda: False)
    assert not openblas_rows(WIDE)
    monkeypatch.setattr(_products, "_is_openblas_quicker", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not openblas_rows(WIDE)


@pytest.mark.parametrize("why", ["_is_zen", "_is_exact", "another library"])
def test_openblas_is_asked_where_it_is_quicker_and_exact(why, monkeypatch):
    blas = {"name": "mkl" if why == "another library" else "scipy-openblas"}
    config = {"Build Dependencies": {"blas": blas}}
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    for name in ("_is_zen", "_is_exact"):
        monkeypatch.setattr(_products, name, lambda *_, value=name != why: value)
    assert not _products._is_openblas_quicker.__wrapped__()
    blas["name"] = "openblas64"
    monkeypatch.setattr(_products, "_is_zen", lambda *_: True)
    monkeypatch.setattr(_products, "_is_exact", lambda *_: True)
    assert _products._is_openblas_quicker.__wrapped__()


def test_a_product_that_rounds_otherwise_is_not_exact():
    assert _products._is_exact(torch.bmm)
    assert not _products._is_exact(lambda a, b: torch.bmm(a, b).nextafter(a[:1]))
    with torch.device("meta"):
        assert _products._is_exact(openblas_product) in (True, False)


def test_openblas_gives_the_product(by_openblas):
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 20, 30, generator=generator)
    b = torch.randn(3, 40, 30, generator=generator).mT
    torch.testing.assert_close(openblas_product(a, b), a @ b)
    out = torch.empty(3, 40, 20).mT
    openblas_product(a, b, out)
    torch.testing.assert_close(out, a @ b)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_numpy_tells_nothing_of_losses(early_stopping, monkeypatch):
    monkeypatch.setattr(_products, "_is_openblas_quicker", lambda: True)
    monkeypatch.setattr(_products, "OPENBLAS_WORK", 0)
    taken = []

    def take(*operands):
        taken.append(openblas_product(*operands))
        return taken[-1]

    monkeypatch.setattr("skdeepad._nn._layers.openblas_product", take)
    X, _ = make_blobs(n_samples=60, n_features=16, random_state=0)
    detector = DASVDD(
        hidden_layer_sizes=(16,),
        gamma=1.0,
        batch_size=20,
        max_epochs=2,
        early_stopping=early_stopping,
        learning_rate=1e18,
        device="cpu",
        random_state=0,
    )
    with np.errstate(all="raise"), pytest.raises(ValueError, match="diverged"):
        detector.fit(X)
    assert not all(map(torch.all, map(torch.isfinite, taken)))
