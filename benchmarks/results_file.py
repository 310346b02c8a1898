"""A CSV file that grows by a row a finished unit, so that a stopped run resumes."""

import csv
import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path


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
        """Add a row and have it on the disk before returning."""
        row = {name: str(row[name]) for name in self._columns}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists() or self.path.stat().st_size == 0
        with open(self.path, "a", newline="") as file:
            writer = csv.DictWriter(file, self._columns, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)

    def _read(self):
        if not self.path.exists():
            return []
        content = self.path.read_text()
        whole = content[: content.rfind("\n") + 1]
        if whole != content:
            # A run was stopped in the middle of a row: that unit runs again.
            self.path.write_text(whole)
        rows = list(csv.DictReader(whole.splitlines()))
        if rows and list(rows[0]) != self._columns:
            raise ValueError(
                f"{self.path} has other columns than this version writes. Move it "
                "away, or give another file."
            )
        return rows
