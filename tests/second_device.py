"""A second device on a machine that has none, to see where every tensor is.

Its tensors are computed on the CPU, but say that they are elsewhere, and refuse to meet
those that are on the CPU: as on a GPU, but for one. Values are real, so that a fit runs
as it is, to the end, and may be compared with one on the CPU.
"""

from contextlib import ExitStack, contextmanager, nullcontext
from typing import ClassVar
from unittest.mock import patch

import torch
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

import skdeepad._training
from skdeepad._deep import BaseDeepDetector

# Of the torch that the constraints pin and later ones; some before have it too.
setup = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
DEVICE = None
# Beside a GPU autograd would take it for the process's accelerator, and fail.
if setup is not None and not torch.cuda.is_available():
    setup("second")
    DEVICE = torch.device("second", 0)
CPU = torch.device("cpu")
COPY = torch.ops.aten.copy_.default


class Elsewhere(torch.Tensor):
    """A tensor on the second device; its values are on the CPU."""

    @staticmethod
    def __new__(cls, values):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
            requires_grad=values.requires_grad,
        )

    def __init__(self, values):
        self.values_here = values

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, other):
        torch.Tensor.data.__set__(self, other)
        self.values_here = other.values_here

    def tolist(self):
        return self.values_here.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError("The second device is not on.")


class _Dispatch(TorchDispatchMode):
    """Computes every operation on the CPU, where its operands are on one device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        flat, spec = pytree.tree_flatten((args, kwargs or {}))
        tensors = [value for value in flat if isinstance(value, torch.Tensor)]
        target = [value for value in flat if isinstance(value, torch.device)]
        if func is COPY:
            target = [args[0].device]
        if not target:
            # A number may be on the CPU, as a GPU allows, but not in a fused kernel.
            strict = "_fused" in str(func) or "_foreach" in str(func)
            target = [t.device for t in tensors if strict or t.dim() or _elsewhere(t)]
            if len(set(target)) > 1:
                places = ", ".join(f"{tuple(t.shape)} on {t.device}" for t in tensors)
                raise RuntimeError(f"{func}: operands on two devices, {places}")
        known = {id(t.values_here): t for t in tensors if _elsewhere(t)}
        args, kwargs = pytree.tree_unflatten([_here(value) for value in flat], spec)
        kwargs.pop("pin_memory", None)  # there is nothing to pin it for
        result = func(*args, **kwargs)
        to_second = bool(target) and target[0].type == DEVICE.type

        def placed(value):
            if not isinstance(value, torch.Tensor):
                return value
            same = known.get(id(value))  # an operation in place
            if to_second:
                return Elsewhere(value) if same is None else same
            return value if same is None else value.clone()

        return pytree.tree_map(placed, result)


def _elsewhere(value):
    return isinstance(value, Elsewhere)


def _here(value):
    if isinstance(value, torch.device):
        return CPU
    return value.values_here if _elsewhere(value) else value


def _made_here(function):
    """Of torch.tensor and torch.as_tensor, which evade a dispatch mode."""

    def made(value, *, dtype=None, device=None):
        if isinstance(value, torch.Tensor):
            return value.to(device=device, dtype=dtype)
        tensor = function(value, dtype=dtype)
        return tensor if device is None else tensor.to(device)

    return made


class Event:
    """Copies have always ended."""

    streams: ClassVar[list] = []

    def record(self, stream):
        self.streams.append(stream)

    def synchronize(self):
        pass


def _no_grad(mode=True):
    return torch.no_grad() if mode else nullcontext()


@contextmanager
def second_device():
    """Let detectors use it, unless they have ``device="cpu"``."""
    make_generators = skdeepad._training.make_generators

    def device(detector):
        return CPU if detector.device == "cpu" else DEVICE

    def on_the_cpu(seeds, device, *purpose):
        return make_generators(seeds, "cpu", *purpose)

    replaced = [
        (BaseDeepDetector, "_torch_device", device),
        (skdeepad._training, "make_generators", on_the_cpu),
        (torch, "tensor", _made_here(torch.tensor)),
        (torch, "as_tensor", _made_here(torch.as_tensor)),
        (torch, "inference_mode", _no_grad),  # it evades the mode too
        (torch.cuda, "Event", Event),
        (torch.cuda, "current_stream", lambda device: device),
    ]
    with ExitStack() as stack:
        for owner, name, value in replaced:
            stack.enter_context(patch.object(owner, name, value))
        stack.enter_context(_Dispatch())
        yield
