"""Files from which an interrupted fit goes on."""

import os
from contextlib import suppress
from pathlib import Path
from time import monotonic, time
from uuid import uuid4

import joblib
import numpy as np

from skdeepad._warnings import warn

# Seconds between writes: short epochs are quicker trained again than written.
INTERVAL = 10.0

# Seconds after which a file that is being written no longer is: its process was killed.
ABANDONED = 600.0


class Checkpoint:
    """The file of one fit, written after an epoch and removed when the fit has ended.

    Parameters
    ----------
    folder : path-like
        Made where it is missing.
    name : str
        Says which fit it is: what is fitted, its parameters and rows.

    Attributes
    ----------
    has_begun : bool
        Whether there was a state to go on from.
    """

    def __init__(self, folder, name):
        try:
            # Whoever goes on with it or removes it may be in another folder.
            self.path = Path(folder).expanduser().resolve() / f"{name}.npz"
            if self.path.parent.is_file():
                raise ValueError(
                    f"checkpoint_dir={str(folder)!r} is a file: give a folder, which "
                    "is made where it is missing."
                )
            self._state = self._read()
            self.has_begun = self._state is not None
        except OSError as error:
            raise ValueError(
                f"checkpoint_dir={str(folder)!r} cannot be looked into ({error}): give "
                "another folder."
            ) from error
        self._written = monotonic()

    def load(self):
        """The state to go on from, a dict of tensors; None where there is none."""
        import torch

        state, self._state = self._state, None  # it may be large, and is kept no longer
        if state is None:
            return None
        return {name: torch.from_numpy(array) for name, array in state.items()}

    def save(self, progress):
        """Write the state of an object with ``state_dict()``, unless it is too soon."""
        if monotonic() - self._written >= INTERVAL:
            self.write(progress)

    def write(self, progress):
        """Write it now; where that fails, warn and leave the file as it is."""
        state = {k: v.detach().cpu().numpy() for k, v in progress.state_dict().items()}
        # Another thread or machine may train the same: each writes a file of its own.
        part = self.path.with_name(f"{self.path.stem}.{uuid4().hex}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                np.savez(file, **state)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        except BaseException as error:
            with suppress(OSError):
                part.unlink()
            if not isinstance(error, OSError):  # Ctrl-C
                raise
            warn(
                f"The checkpoint could not be written ({error}); training goes on, and "
                "the one before it, if any, is kept.",
                RuntimeWarning,
            )
        self._written = monotonic()

    def remove(self):
        """The fit has ended."""
        try:
            remove_files(self.path)
        except OSError as error:
            warn(
                f"The checkpoint of a fit that ended could not be removed ({error}).",
                RuntimeWarning,
            )

    def _read(self):
        """The state, None where there is no file."""
        if not self.path.exists():
            return None
        try:
            with open(self.path, "rb") as file, np.load(file) as arrays:
                state = dict(arrays)
            if "epoch" not in state:
                raise ValueError("no epoch in it")
            return state
        except FileNotFoundError:  # another fit, of the same, has just ended
            return None
        except Exception as error:  # NumPy's and zipfile's, of many kinds
            raise ValueError(
                f"{self.path} is no checkpoint that can be read ({error}). Delete it "
                "to train from the start."
            ) from error


def qualified_name(detector):
    """The name that a class has among those of all modules."""
    return f"{type(detector).__module__}.{type(detector).__qualname__}"


def hashed(params):
    """A hash of each parameter: one of all would tell which are one object."""
    return {name: joblib.hash(value) for name, value in params.items()}


def remove_files(path):
    """Remove a checkpoint, and what killed processes were writing in its folder."""
    for part in path.parent.glob(f"*.{32 * '[0-9a-f]'}.part"):
        with suppress(OSError):
            if time() - part.stat().st_mtime > ABANDONED:
                part.unlink()
    path.unlink(missing_ok=True)
