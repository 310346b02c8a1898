"""Where the units of a benchmark run: on this machine or on a Dask cluster."""

from contextlib import contextmanager

import joblib
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn


def add_arguments(parser):
    """The options that :func:`run_missing` takes."""
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="run on all workers of this Dask scheduler, as in tcp://host:8786",
    )


def run_missing(units, results, call, describe, n_jobs, scheduler):
    """Run the units that a results file lacks, and append a row for each.

    Parameters
    ----------
    units : list of dict
    results : ResultsFile
        With a column ``n_jobs``.
    call : callable
        Maps a unit to a delayed call, which returns a row.
    describe : callable
        Maps a row to a few words.
    n_jobs : int
    scheduler : str or None

    Returns
    -------
    rows : list of dict
        Those of all units.
    """
    todo = [unit for unit in units if not results.has(unit)]
    columns = (
        "{task.description:<40}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with _cluster(scheduler), Progress(*columns) as progress:
        if scheduler:
            n_jobs = joblib.effective_n_jobs(-1)
        parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
        done = len(units) - len(todo)
        task = progress.add_task("", total=len(units), completed=done)
        for row in parallel(call(unit) for unit in todo):
            results.append(row | {"n_jobs": n_jobs})
            progress.update(task, advance=1, description=describe(row))
    return results.rows_of(units)


def run_on_sets(run_unit, units, loaders, results, args):
    """As :func:`run_missing`, for ``run_unit(load, unit)`` and loaders by data set."""
    return run_missing(
        units,
        results,
        lambda unit: joblib.delayed(run_unit)(loaders[unit["dataset"]], unit),
        lambda row: f"{row['dataset']}, {row['method']}",
        args.n_jobs,
        args.scheduler,
    )


@contextmanager
def _cluster(scheduler):
    """Let joblib use a Dask cluster; this machine where it is None."""
    if scheduler is None:
        yield
    else:
        from distributed import Client

        with Client(scheduler), joblib.parallel_config("dask"):
            yield
