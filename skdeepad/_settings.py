"""What torch keeps for the process, set in training and undone after it.

Importing this imports torch.
"""

from contextlib import contextmanager
from threading import Lock, local
from typing import Any

import torch

# Multiply-adds of a step that pay for one more thread.
THREAD_WORK = 6e6

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
