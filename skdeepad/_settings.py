"""What torch keeps for the process, set in training and undone after it.

Importing this imports torch.
"""

from contextlib import contextmanager
from threading import Lock, local

import torch

# Multiply-adds of a step below which a second thread costs more than it brings.
SINGLE_THREAD_WORK = 6e6

_limits = {"lock": Lock(), "holders": set(), "threads": 0}
_in_this_thread = local()


@contextmanager
def limit_threads(device, work):
    """Use one thread where a pass is too small to share, and undo it after.

    torch keeps the number for the process: of several fits in threads of one
    process, the first notes it and each one puts that number back. A pass within a
    limited one (scores for a callback) changes nothing.
    """
    nested = getattr(_in_this_thread, "limited", False)
    if nested or device.type != "cpu" or work >= SINGLE_THREAD_WORK:
        yield
        return
    holder = object()
    try:  # from here on, or Ctrl-C would leave the limit
        with _limits["lock"]:
            if not _limits["holders"]:
                _limits["threads"] = torch.get_num_threads()
            _limits["holders"].add(holder)
            torch.set_num_threads(1)
        _in_this_thread.limited = True
        yield
    finally:
        _in_this_thread.limited = False
        with _limits["lock"]:
            if holder in _limits["holders"]:
                _limits["holders"].remove(holder)
                torch.set_num_threads(_limits["threads"])


_tf32 = {"lock": Lock(), "holders": set(), "before": None}


@contextmanager
def allow_tf32(device, allowed):
    """Let a GPU take products of float32 in TF32 or not, and undo it after.

    torch keeps that for the process, and by default allows it in convolutions only. Of
    several fits in threads the last to begin decides, and the last to end undoes it.
    """
    if device.type != "cuda":
        yield
        return
    holder = object()
    try:  # from here on, or Ctrl-C would leave it as it is set
        with _tf32["lock"]:
            if not _tf32["holders"]:
                _tf32["before"] = (
                    torch.get_float32_matmul_precision(),
                    torch.backends.cudnn.allow_tf32,
                )
            _tf32["holders"].add(holder)
            _set_tf32("high" if allowed else "highest", allowed)
        yield
    finally:
        with _tf32["lock"]:
            if holder in _tf32["holders"]:
                _tf32["holders"].remove(holder)
                if not _tf32["holders"]:
                    _set_tf32(*_tf32["before"])


def _set_tf32(products, convolutions):
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
