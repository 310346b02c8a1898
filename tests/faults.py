"""Workers that die."""

import os


def arm(path):
    """Leave a file at which a worker, not this process, shall die."""
    path.write_text(str(os.getpid()))
    return path


def die_once(path):
    """Kill this process, as the kernel does where memory is short, the first time."""
    if path.exists():
        if path.read_text() == str(os.getpid()):
            raise RuntimeError("This is no worker.")
        path.unlink()
        os._exit(1)
