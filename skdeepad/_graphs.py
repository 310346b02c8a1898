"""Training steps recorded as CUDA graphs; importing this imports torch.

A step of a small network is dozens of kernels that take less time than their launches.
Recorded, they are launched by one call.
"""

from threading import Lock

import torch

# A recording begins by waiting for the GPU, which another one does not allow.
_recording = Lock()

# Steps before the recording, in which libraries set themselves up.
WARM_UP_STEPS = 3


class ReplayedStep:
    """A training step that is recorded after its first few calls, and then replayed.

    What a recording reads and writes stays where it was: rows and random numbers are
    copied there before each replay. A batch smaller than the first is not replayed.

    Parameters
    ----------
    step : callable
        Maps rows ``(k, batch, features)`` to numbers that depend on their shape alone.
        All else it does is done on the device, in the same way each time.
    layers : list of Stochastic
        The layers whose random numbers a step takes.
    """

    def __init__(self, step, layers):
        self._step, self._layers = step, layers
        self._rows = self._replay = None
        self._n_calls = 0

    def __call__(self, x):
        if self._rows is None:
            self._rows = x.new_zeros(x.shape)  # seen where a recording runs the step
        if x.shape != self._rows.shape:
            return self._step(x)
        self._n_calls += 1
        if self._n_calls <= WARM_UP_STEPS:
            return warm_up(self._step, x)
        if self._replay is None:
            self._record()
        self._fill(x)
        self._replay()
        return self._outcome

    def _fill(self, x):
        self._rows.copy_(x)
        for layer, numbers in zip(self._layers, self._numbers, strict=True):
            numbers.copy_(layer.fresh_noise_like(numbers))

    def _record(self):
        self._numbers = [layer.memory_of_a_step() for layer in self._layers]
        for layer, numbers in zip(self._layers, self._numbers, strict=True):
            layer.given = numbers

        def step():
            self._outcome = self._step(self._rows)

        try:
            self._replay = capture(step, self._rows.device)
        finally:
            for layer in self._layers:
                layer.given = None


def warm_up(step, x):
    """A step on a stream of its own, as CUDA asks for before a recording."""
    with torch.cuda.device(x.device):
        current, other = torch.cuda.current_stream(), torch.cuda.Stream()
        other.wait_stream(current)
        with torch.cuda.stream(other):
            outcome = step(x)
        current.wait_stream(other)
    return outcome


def capture(function, device):
    """Record the kernels that a function launches, without running them.

    Returns
    -------
    replay : callable
        Runs them.
    """
    graph = torch.cuda.CUDAGraph()
    with _recording, torch.cuda.device(device):
        # torch's own one is of the device that it was first made on.
        stream = torch.cuda.Stream()
        # Other threads may go on using the GPU.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            function()
    return graph.replay
