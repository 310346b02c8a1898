"""What the sections share: rows of the results file, costs and their ratios."""

import time
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.results_file import versions

PEERS = ["pyod", "deepod"]
KEY = ["section", "data", "subject", "variant", "rows", "features", "members"]
KEY += ["batch_size", "epochs", "round", "measure"]
NUMBERS = ["rows", "features", "members", "batch_size", "epochs", "round", "value"]
COLUMNS = [*KEY, "value", "threads", *versions(), *PEERS]


def installed(package):
    """Whether a package can be imported."""
    return find_spec(package) is not None


def seconds_of(function, *args):
    """Seconds that a call takes."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


class Measurements:
    """What a section measures, or finds in the results file.

    Parameters
    ----------
    results : ResultsFile
    section : str

    Attributes
    ----------
    found : int
        Units that the file had.
    """

    def __init__(self, results, section):
        self._results, self._section, self._rows = results, section, []
        self.found = 0

    def take(self, measures, call, **unit):
        """Values of a unit, which are measured unless the file has them.

        Parameters
        ----------
        measures : list of str
            Names of the numbers that ``call()`` returns.
        call : callable
        **unit : str or int
            Of the columns ``KEY`` those that apply.

        Returns
        -------
        values : list of float
        """
        unit = dict.fromkeys(KEY, "") | {"section": self._section} | unit
        units = [unit | {"measure": measure} for measure in measures]
        if all(map(self._results.has, units)):
            self.found += 1
        else:
            values = dict(zip(measures, call(), strict=True))
            _print_line(unit, values)
            for one in units:
                if not self._results.has(one):
                    self._append(one, values[one["measure"]])
        rows = [self._results.rows_of([one])[0] for one in units]
        self._rows += rows
        return [float(row["value"]) for row in rows]

    def table(self):
        """All values so far, a row each."""
        table = pd.DataFrame(self._rows, columns=COLUMNS)
        return table.assign(**{name: pd.to_numeric(table[name]) for name in NUMBERS})

    def _append(self, unit, value):
        row = unit | versions() | {"value": f"{value:.6g}"}
        row |= {peer: version(peer) if installed(peer) else "" for peer in PEERS}
        self._results.append(row | {"threads": torch.get_num_threads()})


def _print_line(unit, values):
    words = [unit["subject"], unit["variant"], unit["data"]]
    words += [f"{unit['rows']:,} x {unit['features']}"]
    words += [f"{n} {unit[n]}" for n in ("members", "epochs") if unit[n] not in ("", 1)]
    text = ", ".join(word for word in words if word)
    outcome = ", ".join(f"{measure} {value:.4g}" for measure, value in values.items())
    print(f"[{unit['round']}] {text}: {outcome}", flush=True)


@dataclass
class Cost:
    """What something takes.

    Attributes
    ----------
    best : float
        The least over the rounds.
    by_round : Series
        Indexed by the round.
    """

    best: float
    by_round: Any

    @property
    def median(self):
        return self.by_round.median()

    def __truediv__(self, number):
        return Cost(self.best / number, self.by_round / number)


def cost(table):
    """Cost of the rows of a table, one a round."""
    by_round = table.set_index("round")["value"]
    return Cost(by_round.min(), by_round)


def difference(more, less):
    """Cost of what the first does beyond the second; best minus best."""
    return Cost(more.best - less.best, more.by_round - less.by_round)


def costs_by(table, columns):
    """``{values of the columns: Cost}``, in the table's order."""
    return {key: cost(rows) for key, rows in table.groupby(columns, sort=False)}


def ratio(above, below):
    """Ratio of the best, and the median of the ratios within rounds."""
    return above.best / below.best, (above.by_round / below.by_round).median()


def print_ratios(lines):
    """Print ratios and their goals.

    Parameters
    ----------
    lines : list of tuple
        Text, the cost above and the one below (None where it was not measured), goal.
    """
    print(f"\n{'ratio':<56}{'best':>9}{'median':>9}   goal")
    for text, above, below, goal in lines:
        if above is None or below is None:
            best, median = "-", "-"
        else:
            best, median = (f"{value:.3f}" for value in ratio(above, below))
        print(f"{text:<56}{best:>9}{median:>9}   {goal}".rstrip())


def slope(sizes, values):
    """Exponent of the power law nearest to the values, on logarithmic axes."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
