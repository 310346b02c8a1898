"""Workers that die, and fits that are interrupted."""

import os


def arm(path):
    """Leave a file at which a worker, not this process, shall die."""
    path.write_text(str(os.getpid()))
    return path


def die_once(path):
    """Kill this process, as the kernel does where memory is short, the first time."""
    try:
        armed_by = path.read_text()
        if armed_by == str(os.getpid()):
            raise RuntimeError("This is no worker.")
        path.unlink()
    except FileNotFoundError:  # never armed, or another worker was quicker
        return
    os._exit(1)


class Epochs:
    """Counts the epochs that begin, and presses Ctrl-C in one of them.

    Attributes
    ----------
    n_begun : int
    stop_at : int or None
        The one, counted from 1.
    """

    def __init__(self, run_epoch):
        self._run_epoch = run_epoch
        self.n_begun, self.stop_at = 0, None

    def __call__(self, *args):
        self.n_begun += 1
        if self.n_begun == self.stop_at:
            raise KeyboardInterrupt
        return self._run_epoch(*args)
