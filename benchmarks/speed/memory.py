"""Memory that a file larger than memory takes, beyond the file.

Protocol: a memory-mapped ``.npy`` file of 4 GB of standard normal float64 numbers
(5,000,000 x 100), layers 100-64-32-64-100. In a fresh process, which has fitted and
scored the file's first 2,000 rows, one call is made: ``score_samples`` on all of it, or
``fit`` for one epoch with batches of 8,192. Its memory is the peak of ``RssAnon`` in
``/proc/self/status``, read every 5 ms, minus the value before.

RssAnon is memory that the process made. The mapped file's pages, which it has read, are
counted elsewhere (RssFile): they are the kernel's cache, which keeps them as long as
nobody needs the place and drops them without a write.
"""

import gc
import multiprocessing
import shutil
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.utils import gen_batches

from benchmarks.speed.measurements import costs_by, seconds_of
from benchmarks.speed.subjects import is_available, make_ours

ROUNDS = 1
FEATURES, BATCH_SIZE, FEW = 100, 8192, 2000
CALLS = ["score_samples", "fit"]
STATUS = Path("/proc/self/status")
GOAL = 300e6


def run(measurements, options):
    """Measure each call, on Linux."""
    if not is_available("skdeepad", options.subjects):
        return
    if not STATUS.exists():
        print(f"There is no {STATUS} on this system.")
        return
    n_rows = int(options.file_gigabytes * 1e9 / (8 * FEATURES))
    n_rows = min(n_rows, options.max_rows or n_rows)
    measure(measurements, n_rows, options.rounds or ROUNDS, options.folder)


def measure(measurements, n_rows, rounds, folder=None):
    """Bytes and seconds of each call; the file is made only if one is to be made."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "rows.npy"
        for number in range(rounds):
            for name in CALLS:
                measurements.take(
                    ["bytes", "seconds"],
                    partial(_in_fresh_process, path, n_rows, name),
                    data="normal",
                    subject="skdeepad",
                    variant=name,
                    rows=n_rows,
                    features=FEATURES,
                    members=1,
                    batch_size=BATCH_SIZE,
                    epochs=1,
                    round=number,
                )


def _in_fresh_process(path, n_rows, name):
    if not path.exists():
        write_rows(path, n_rows)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(extra_memory, path, name).result()


def write_rows(path, n_rows, n_features=FEATURES):
    """Write a file of standard normal numbers; OSError where the disk is too full."""
    n_bytes, free = 8 * n_rows * n_features, shutil.disk_usage(path.parent).free
    if free < 1.2 * n_bytes:
        raise OSError(
            f"{path.parent} has {free / 1e9:.1f} GB left, and the file takes "
            f"{n_bytes / 1e9:.1f} GB. Give another --folder, or fewer --file-gigabytes."
        )
    shape = n_rows, n_features
    rows = np.lib.format.open_memmap(path, "w+", dtype=np.float64, shape=shape)
    rng = np.random.default_rng(0)
    for chunk in gen_batches(n_rows, 2**14):
        rows[chunk] = rng.standard_normal(rows[chunk].shape)
    rows.flush()


def extra_memory(path, name):
    """Bytes and seconds of a call on the rows of a file."""
    X = np.load(path, mmap_mode="r")
    few = np.array(X[:FEW])
    make = partial(make_ours, epochs=1, batch_size=BATCH_SIZE)
    fitted = make().fit(few)
    fitted.score_samples(few)
    call = fitted.score_samples if name == "score_samples" else make().fit
    gc.collect()
    with PeakMemory() as peak:
        seconds = seconds_of(call, X)
    return peak.extra, seconds


def anonymous_bytes():
    """Memory of this process that no file backs."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{STATUS} has no line RssAnon: Linux 4.5 or later is needed.")


class PeakMemory:
    """Watches the memory of this process, from a thread.

    Attributes
    ----------
    extra : int
        Bytes of the peak, beyond those at the beginning.
    """

    interval = 0.005

    def __enter__(self):
        self._before, self.extra = anonymous_bytes(), 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()

    def _watch(self):
        while not self._over.wait(self.interval):
            self.extra = max(self.extra, anonymous_bytes() - self._before)


def report(table):
    """Print what each call takes."""
    n_bytes, seconds = (
        costs_by(table[table["measure"] == measure], "variant")
        for measure in ("bytes", "seconds")
    )
    size = 8 * table["rows"].iloc[0] * table["features"].iloc[0] / 1e6
    print(f"\n{f'a file of {size:,.0f} MB':<28}{'seconds':>9}{'extra MB':>10}   goal")
    for name in CALLS:
        most = n_bytes[name].by_round.max() / 1e6
        print(f"{name:<28}{seconds[name].best:>9.1f}{most:>10.0f}   < {GOAL / 1e6:.0f}")
