"""Which library takes a product of float32 on AMD's processors.

MKL, which torch asks as a rule, leaves AVX-512 to Intel's. OpenBLAS, which is NumPy's,
and oneDNN, torch's second one, do not. Each is asked for products of many members that
it is quicker at, and that it gives to MKL's last bit. Importing this imports torch.
"""

from contextlib import contextmanager
from functools import cache
from math import ceil
from multiprocessing import parent_process
from threading import active_count, current_thread, main_thread

import numpy as np
import torch

# Sides of matrices with which the libraries round alike.
SIDES = range(12, 193)
# Multiply-adds a thread of a product from which oneDNN, with 10 us a call, is quicker.
ONEDNN_WORK = 1.5e6
# Multiply-adds of a product from which OpenBLAS is quicker, and those of a member up to
# which it has kernels for small matrices.
OPENBLAS_WORK, OPENBLAS_MEMBER_WORK = 2e6, 10**6


def openblas_rows(weight):
    """Rows of a batch with which OpenBLAS is to take a weight's products.

    It takes one member after the other, in one thread.

    Parameters
    ----------
    weight : Tensor of shape (k, n_in, n_out)

    Returns
    -------
    rows : range
    """
    n_in, n_out = weight.shape[1:]
    is_suited = (
        weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and n_in in SIDES
        and n_out in SIDES
        and torch.get_num_threads() == 1
        and _is_openblas_quicker()
    )
    if not is_suited:
        return range(0)
    least = ceil(OPENBLAS_WORK / weight.numel())
    most = OPENBLAS_MEMBER_WORK // (n_in * n_out)
    return range(max(least, SIDES.start), min(most + 1, SIDES.stop))


def openblas_product(a, b, out=None):
    """``a @ b``, by NumPy; float32 on the CPU, without gradients."""
    if out is None:
        out = b.new_empty(len(b), a.shape[1], b.shape[2])
    np.matmul(a.numpy(), b.numpy(), out=out.numpy())
    return out


_onednn = {"allowed": False, "in_use": False}


@contextmanager
def allow_onednn(device):
    """Let :func:`use_onednn` have an effect, where that is of use and harms nobody.

    torch hands float32 to oneDNN only where bfloat16 is allowed, of which oneDNN makes
    use on processors with AMX alone. torch keeps that for the process: other threads
    would get other last bits.
    """
    before = _onednn["allowed"]
    _onednn["allowed"] = (
        device.type == "cpu"
        and torch.backends.mkldnn.enabled
        and _is_alone()
        and _is_zen(5)
        and _is_unset()
        and _is_onednn_exact()
    )
    try:
        yield
    finally:
        use_onednn(False)
        _onednn["allowed"] = before


def onednn_rows(weight):
    """Rows with which oneDNN is to take them, as :func:`openblas_rows`."""
    if not (_onednn["allowed"] and all(n in SIDES for n in weight.shape[1:])):
        return range(0)
    rows = ceil(ONEDNN_WORK * torch.get_num_threads() / weight.numel())
    return range(max(rows, SIDES.start), SIDES.stop)


def use_onednn(wanted):
    """Take the products that come by oneDNN, where that is allowed, or by MKL."""
    if wanted == _onednn["in_use"] or (wanted and not _onednn["allowed"]):
        return
    # In this order Ctrl-C in between leaves something to undo.
    if wanted:
        _onednn["in_use"] = True
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    else:
        torch.backends.mkldnn.matmul.fp32_precision = "none"
        _onednn["in_use"] = False


def _is_alone():
    """Whether no other thread is at work: none is there, or it is of a worker."""
    is_worker = parent_process() is not None
    return current_thread() is main_thread() and (is_worker or active_count() == 1)


def _is_unset():
    """Whether there is no setting to come back to, the caller's or an inherited one."""
    return torch.backends.mkldnn.matmul.fp32_precision == "none"


@cache
def _is_onednn_exact():
    """Whether a product of oneDNN's is MKL's, which a user may have told otherwise."""

    def product(x, weight):
        try:
            torch.backends.mkldnn.matmul.fp32_precision = "bf16"
            return torch.bmm(x, weight)
        finally:
            torch.backends.mkldnn.matmul.fp32_precision = "none"

    return _is_exact(product)


@cache
def _is_openblas_quicker():
    """Whether NumPy's products are OpenBLAS's, with AVX-512, and MKL's to the bit."""
    if not _is_zen(4):
        return False
    library = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    return "openblas" in library and _is_exact(openblas_product)


@cache
def _is_zen(generation):
    """Whether this is a processor of AMD's, of generation 4 or 5 or later."""
    has = getattr(torch.cpu, "get_capabilities", dict)()
    # The first is AMD's alone, the last not Zen 4's: its vector units are half as wide
    # as AVX-512, and oneDNN gains nothing.
    marks = ["sse4a", "avx512_bf16"] + ["avx_vnni"] * (generation >= 5)
    return all(map(has.get, marks)) and not has.get("amx_tile")


def _is_exact(product):
    """Whether a product of float32 is MKL's."""
    generator = torch.Generator("cpu").manual_seed(0)
    x, weight = torch.randn(
        2, 8, 64, 64, generator=generator, dtype=torch.float32, device="cpu"
    )
    expected = torch.bmm(x, weight)
    return torch.equal(product(x, weight), expected)
