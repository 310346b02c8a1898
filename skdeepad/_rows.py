"""Where the rows of a fit are: on the network's device, or still in the user's array.

Importing this imports torch.
"""

from hashlib import sha1

import numpy as np
import torch
from sklearn import get_config

from skdeepad._base import chunked

# Bytes of rows that are scaled at once, in float64.
SCALE_BYTES = 2**25


def fits_in_memory(shape, device):
    """Whether a float32 copy of an array may be held on a device.

    On the CPU up to scikit-learn's ``working_memory`` (in MiB), on a GPU up to half of
    the memory that is free.
    """
    n_bytes = 4 * int(np.prod(shape))
    if device.type == "cuda":
        return n_bytes <= torch.cuda.mem_get_info(device)[0] // 2
    return n_bytes <= _working_memory()


def _working_memory():
    """Bytes that a copy may take on the CPU."""
    return get_config()["working_memory"] * 2**20


def chunk_size(n_features):
    """Rows that take SCALE_BYTES in float64."""
    return max(1, SCALE_BYTES // (8 * n_features))


def chunks(X):
    """Slices of so many rows."""
    return chunked(len(X), chunk_size(X.shape[1]))


def rows_digest(X):
    """What tells rows from others, however they are held."""
    digest = sha1(usedforsecurity=False)
    for rows in chunks(X):
        # In parts: rows that do not lie one after the other are copied.
        digest.update(np.ascontiguousarray(X[rows]))
    return X.shape, X.dtype.str, digest.digest()


def place(X, scale, device):
    """Scaled rows: a float32 tensor on the device, or :class:`Streamed`."""
    if not fits_in_memory(X.shape, device):
        return Streamed(X, scale, device)
    x = torch.empty(X.shape, dtype=torch.float32, device=device)
    for chunk in chunks(X):
        x[chunk] = torch.as_tensor(scale(X[chunk]), device="cpu").to(x)
    return x


class Streamed:
    """Rows of an array too large to copy, which are scaled when they are asked for.

    Has what a tensor has, as far as training needs it.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        Maybe memory-mapped.
    scale : callable
        Maps rows to float64 rows.
    device : torch.device
    """

    def __init__(self, X, scale, device):
        self._X, self._scale, self.device = X, scale, device
        self.shape = X.shape
        self._copied = self._pinned = None

    def __len__(self):
        return self.shape[0]

    def split(self, n_rows):
        """Yield all rows, so many at once, float32 on the device."""
        for chunk in chunked(len(self), n_rows):
            x = torch.as_tensor(self._scale(self._X[chunk]), device="cpu")
            yield x.to(self.device, torch.float32)

    def gather(self, rows, out):
        """Copy rows to a float32 tensor on the device."""
        rows = rows.cpu().numpy()
        # Ascending: a file is read forwards, and each of its pages once.
        ascending = np.argsort(rows)
        host = self._host(out.shape)
        host.numpy()[ascending] = self._scale(self._X[rows[ascending]])
        if self.device.type == "cpu":
            out.copy_(host)
            return
        out.copy_(host, non_blocking=True)
        self._copied.record(torch.cuda.current_stream(self.device))

    def _host(self, shape):
        """Memory to fill on the CPU; pinned for a GPU, and free again."""
        if self.device.type == "cpu":
            return torch.empty(shape, dtype=torch.float32, device="cpu")
        if self._copied is None:
            self._copied = torch.cuda.Event()
        self._copied.synchronize()
        if self._pinned is None or len(self._pinned) < shape[0]:
            self._pinned = torch.empty(
                shape, dtype=torch.float32, device="cpu", pin_memory=True
            )
        return self._pinned[: shape[0]]


def gather(x, rows, out):
    """Copy rows of a tensor or of :class:`Streamed`, ``(n,)`` integers, to ``out``."""
    if isinstance(x, Streamed):
        x.gather(rows, out)
    else:
        # It copies whole rows, several times quicker than x[rows].
        torch.index_select(x, 0, rows, out=out)


def subset(X, indices):
    """Some rows of an array, a copy; where it would be large, :class:`RowSubset`."""
    n_bytes = len(indices) * X.shape[1] * X.itemsize
    if n_bytes > min(SCALE_BYTES, _working_memory()):
        return RowSubset(X, indices)
    return X[indices]


class RowSubset:
    """Some rows of an array, copied only as far as they are asked for."""

    def __init__(self, X, indices):
        self._X, self._indices = X, indices
        self.shape, self.dtype = (len(indices), X.shape[1]), X.dtype

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return self._X[self._indices[rows]]
