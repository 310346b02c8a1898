"""A CSV file that grows by a row a finished unit, so that a stopped run resumes."""

import csv
import hashlib
import io
import os
import platform
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where a file is for one run at a time
    fcntl = None


# Where runs append by default; what is committed lies a folder higher.
LOCAL = Path(__file__).parent / "results" / "local"


def versions():
    """Versions that a result depends on."""
    packages = ("numpy", "scikit-learn", "torch", "skdeepad")
    return {"python": platform.python_version()} | {p: version(p) for p in packages}


def params_id(detector):
    """Short name of a detector's parameters: results of other ones are not reused."""
    params = sorted(detector.get_params().items())
    return hashlib.sha256(repr(params).encode()).hexdigest()[:8]


class ResultsFile:
    """Rows of a CSV file, told apart by key columns.

    Parameters
    ----------
    path : path-like
        Made at the first append, with its folder.
    columns : list of str
    key : list of str
        Columns that say which unit a row is of.
    """

    def __init__(self, path, columns, key):
        self.path, self._columns, self._key = Path(path), columns, key
        self.rows = self._read()

    def has(self, unit):
        """Whether a row of this unit (a dict that holds the key) is there."""
        return bool(self.rows_of([unit]))

    def rows_of(self, units):
        """The rows of these units, in the file's order."""
        wanted = {tuple(str(unit[name]) for name in self._key) for unit in units}
        return [row for row in self.rows if tuple(row[k] for k in self._key) in wanted]

    def append(self, row):
        """Add a row and have it on the disk before returning.

        Raises
        ------
        OSError
            When it can't be written, as on a full disk: the file has the rows it had.
        """
        row = {name: str(row[name]) for name in self._columns}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _open_alone(self.path, "ab+") as file:
                size = _cut_to_whole_rows(file)
                lines = [row.values()] if size else [self._columns, row.values()]
                _write_or_undo(file, size, lines)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: a row could not be written and was left out. All "
                "rows before it are kept; put this right and run the same command "
                "again, which goes on from there",
                str(self.path),
            ) from error
        self.rows.append(row)

    def _read(self):
        """The rows, of which a last one in which a run was stopped is none.

        The file is left as it is: it may be one that was named by mistake.
        """
        if not self.path.exists():
            return []
        with _open_alone(self.path, "rb") as file:
            content = file.read()
        header = ",".join(self._columns).encode() + b"\n"
        if not content.startswith(header[: len(content)]):
            raise ValueError(
                f"{self.path} has other columns than this version writes. Move it "
                "away, or give another file."
            )
        return list(
            csv.DictReader(io.StringIO(_whole_rows(content).decode(), newline=""))
        )


@contextmanager
def _open_alone(path, mode):
    """An unbuffered file; another process that opens it waits until it is closed."""
    with open(path, mode, buffering=0) as file:
        if fcntl:
            with suppress(OSError):  # a file system without locks: one run at a time
                fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _whole_rows(content):
    """Bytes without a last row in which a run was stopped."""
    return content[: content.rfind(b"\n") + 1]


def _cut_to_whole_rows(file):
    """Remove a last row in which a run was stopped; the file's size."""
    file.seek(0)
    content = file.read()
    size = len(_whole_rows(content))
    if size != len(content):
        file.truncate(size)
    return size


def _write_or_undo(file, size, lines):
    """Append lines and have them on the disk, or cut the file to its former size."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    content = text.getvalue().encode()
    try:
        while content:
            # A disk that fills up takes a part first.
            content = content[file.write(content) :]
        os.fsync(file.fileno())
    except BaseException:
        file.truncate(size)
        raise
