"""What torch keeps for the process, set in training and undone after it.

Importing this imports torch.
"""

from contextlib import contextmanager
from functools import cache
from math import ceil
from multiprocessing import parent_process
from threading import Lock, active_count, current_thread, local, main_thread
from typing import Any

import torch

# Multiply-adds of a step that pay for one more thread.
THREAD_WORK = 6e6

# Multiply-adds a thread of a product from which oneDNN, with 10 us a call, is quicker.
ONEDNN_WORK = 1.5e6
# Sides of a product's matrices with which its result is MKL's to the last bit.
ONEDNN_SIDES = range(12, 193)

_limits = {"lock": Lock(), "holders": set(), "threads": 0}
_in_this_thread = local()


@contextmanager
def limit_threads(device, work):
    """Use few threads where a pass is too small to share, and undo it after.

    torch keeps the number for the process: of several fits in threads of one
    process, the first notes it and each one puts that number back. A pass within a
    limited one (scores for a callback) changes nothing.
    """
    nested = getattr(_in_this_thread, "limited", False)
    if nested or device.type != "cpu":
        yield
        return
    holder = object()
    try:  # from here on, or Ctrl-C would leave the limit
        with _limits["lock"]:
            if not _limits["holders"]:
                _limits["threads"] = torch.get_num_threads()
            _limits["holders"].add(holder)
            # A thread that begins now has the others' limit, unless it sets its own.
            torch.set_num_threads(min(1 + int(work // THREAD_WORK), _limits["threads"]))
        _in_this_thread.limited = True
        yield
    finally:
        _in_this_thread.limited = False
        with _limits["lock"]:
            if holder in _limits["holders"]:
                _limits["holders"].remove(holder)
                torch.set_num_threads(_limits["threads"])


_gpu: dict[str, Any] = {"lock": Lock(), "holders": {}, "before": None}


@contextmanager
def gpu_settings(device, tf32=None):
    """Let a GPU repeat its results, take float32 in TF32 or not, and undo it after.

    torch keeps that for the process. By default it allows TF32 in convolutions only,
    and such as do not give the same numbers twice. None leaves TF32 as it is. Of
    several fits in threads the last to begin of those that go on decides, and the last
    to end undoes it.
    """
    if device.type != "cuda":
        yield
        return
    holder = object()
    try:  # from here on, or Ctrl-C would leave it as it is set
        with _gpu["lock"]:
            if not _gpu["holders"]:
                _gpu["before"] = torch.backends.cudnn.deterministic, None
            if tf32 is not None and _gpu["before"][1] is None:
                _gpu["before"] = _gpu["before"][0], _tf32_settings()
            _gpu["holders"][holder] = tf32
            _set_for_gpu()
        yield
    finally:
        with _gpu["lock"]:
            if holder in _gpu["holders"]:
                del _gpu["holders"][holder]
                _set_for_gpu()


def _set_for_gpu():
    """Set what the fits that go on ask for, or what was before the first of them."""
    deterministic, tf32 = _gpu["before"]
    torch.backends.cudnn.deterministic = deterministic or bool(_gpu["holders"])
    asked = [allowed for allowed in _gpu["holders"].values() if allowed is not None]
    if asked:
        _set_tf32(*(_TF32 if asked[-1] else _FLOAT32))
    elif tf32 is not None:
        _set_tf32(*tf32)


# torch 2.9 renamed these settings, and refuses to tell the older ones once these were
# set.
if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
    _TF32: tuple[Any, Any] = ("tf32", "tf32")
    _FLOAT32: tuple[Any, Any] = ("ieee", "ieee")
    _CPU_FLOAT32: tuple[Any, ...] = _FLOAT32
    _mkldnn: Any = torch.backends.mkldnn
    _CPU_BACKENDS = _mkldnn.matmul, _mkldnn.conv

    def _tf32_settings():
        backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
        return [backend.fp32_precision for backend in backends]

    def _set_tf32(products, convolutions):
        torch.backends.cuda.matmul.fp32_precision = products
        torch.backends.cudnn.conv.fp32_precision = convolutions

    def _cpu_settings():
        return tuple(backend.fp32_precision for backend in _CPU_BACKENDS)

    def _set_cpu(settings):
        for backend, precision in zip(_CPU_BACKENDS, settings, strict=True):
            backend.fp32_precision = "none"
            if backend.fp32_precision != precision:  # inherited, it goes by others
                backend.fp32_precision = precision

else:
    _TF32, _FLOAT32 = ("high", True), ("highest", False)
    _CPU_FLOAT32 = _FLOAT32[:1]

    def _tf32_settings():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    def _set_tf32(products, convolutions):
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions

    def _cpu_settings():
        return (torch.get_float32_matmul_precision(),)

    def _set_cpu(settings):
        torch.set_float32_matmul_precision(*settings)


_cpu: dict[str, Any] = {"lock": Lock(), "holders": set(), "before": None}
# What torch calls it where float32 is taken as it is.
_UNLOWERED = {"none", "ieee", "highest"}


@contextmanager
def exact_float32():
    """Take float32 on the CPU as it is, and undo it after.

    ``torch.set_float32_matmul_precision("medium")``, which is meant for GPUs as a rule,
    lets a process take products of float32 in bfloat16.
    """
    holder = object()
    try:  # from here on, or Ctrl-C would leave it as it is set
        with _cpu["lock"]:
            is_first = not _cpu["holders"]
            if is_first:
                before = _cpu_settings()
                _cpu["before"] = None if _UNLOWERED.issuperset(before) else before
            _cpu["holders"].add(holder)
            if is_first and _cpu["before"] is not None:
                _set_cpu(_CPU_FLOAT32)
        yield
    finally:
        with _cpu["lock"]:
            if _cpu["holders"] == {holder} and _cpu["before"] is not None:
                _set_cpu(_cpu["before"])
            _cpu["holders"].discard(holder)


_onednn = {"allowed": False, "in_use": False}


@contextmanager
def allow_onednn(device):
    """Let :func:`use_onednn` have an effect, where that is of use and harms nobody.

    MKL leaves AVX-512 to Intel's processors. torch hands float32 to oneDNN only where
    bfloat16 is allowed, of which oneDNN makes use on processors with AMX alone.

    torch keeps that for the process: other threads would get other last bits.
    """
    before = _onednn["allowed"]
    is_alone = device.type == "cpu" and _is_alone()
    _onednn["allowed"] = is_alone and _is_quicker() and _is_unset() and _is_exact()
    try:
        yield
    finally:
        use_onednn(False)
        _onednn["allowed"] = before


def onednn_rows(weight):
    """Rows of a batch with which a weight's products are to be taken by oneDNN.

    Parameters
    ----------
    weight : Tensor of shape (k, n_in, n_out)

    Returns
    -------
    rows : range
    """
    if not (_onednn["allowed"] and all(n in ONEDNN_SIDES for n in weight.shape[1:])):
        return range(0)
    rows = ceil(ONEDNN_WORK * torch.get_num_threads() / weight.numel())
    return range(max(rows, ONEDNN_SIDES.start), ONEDNN_SIDES.stop)


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


@cache
def _is_quicker():
    """Whether this is a processor of AMD's with AVX-512, and torch can tell."""
    has = getattr(torch.cpu, "get_capabilities", dict)()
    wide = has.get("sse4a") and has.get("avx512_bf16")  # the first is AMD's alone
    return bool(wide and not has.get("amx_tile") and torch.backends.mkldnn.enabled)


def _is_unset():
    """Whether there is no setting to come back to, the caller's or an inherited one."""
    return torch.backends.mkldnn.matmul.fp32_precision == "none"


@cache
def _is_exact():
    """Whether a product of oneDNN's is MKL's, which a user may have told otherwise."""
    generator = torch.Generator("cpu").manual_seed(0)
    x, weight = torch.randn(
        2, 8, 64, 64, generator=generator, dtype=torch.float32, device="cpu"
    )
    expected = torch.bmm(x, weight)
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        return torch.equal(torch.bmm(x, weight), expected)
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"
