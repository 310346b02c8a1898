"""The command: ``python -m benchmarks.speed --help``."""

import argparse
from pathlib import Path

from benchmarks.results_file import LOCAL, ResultsFile
from benchmarks.speed import defaults, memory, precision, scale, scoring, steps
from benchmarks.speed.measurements import COLUMNS, KEY, Measurements, installed
from benchmarks.speed.subjects import NEEDED

SECTIONS = {
    "steps": steps,
    "defaults": defaults,
    "scoring": scoring,
    "memory": memory,
    "precision": precision,
    "scale": scale,
}


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description="Time the detectors against others; nothing else may run.",
    )
    add = parser.add_argument
    add("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; or all")
    rounds = ", ".join(f"{name} {module.ROUNDS}" for name, module in SECTIONS.items())
    add("--rounds", type=int, help=f"default: {rounds}")
    add(
        "--subjects",
        nargs="+",
        metavar="NAME",
        help="beginnings of names, such as skdeepad PyOD; default: all installed",
    )
    add("--max-rows", type=int, help="cut all data to so many rows")
    add("--file-gigabytes", type=float, default=4.0, help="memory: default 4")
    add("--folder", type=Path, help="memory: folder for the file")
    add("--epochs", type=int, default=50, help="precision: of AUROC; default 50")
    add("--limit", type=float, default=60.0, help="scale: seconds; default 60")
    add("--results", type=Path, help="CSV file to append to")
    add("--no-plots", action="store_true")
    args = parser.parse_args(arguments)
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no such section: {sorted(unknown)}; there are {list(SECTIONS)}")
    args.sections = args.sections or list(SECTIONS)
    args.results = args.results or LOCAL / "speed.csv"
    return args


def main(arguments=None):
    """Run the sections: measure what is missing, print ratios, draw pictures."""
    options = parse(arguments)
    for name, package in NEEDED.items():
        if not installed(package):
            print(f"{name} is not installed, and left out.")
    results = ResultsFile(options.results, COLUMNS, KEY)
    for name in options.sections:
        print(f"\n{name}\n{'-' * len(name)}")
        section, measurements = SECTIONS[name], Measurements(results, name)
        section.run(measurements, options)
        if measurements.found:
            print(
                f"Of an earlier run, not measured now: {measurements.found} unit(s). "
                "Give another file of --results to measure all."
            )
        table = measurements.table()
        if table.empty:
            print("Nothing was measured.")
            continue
        section.report(table)
        if hasattr(section, "draw") and not options.no_plots:
            picture = options.results.with_name(f"{options.results.stem}_{name}.png")
            section.draw(table, picture)
            print(f"\nPicture: {picture}")
    print(f"\nRows: {options.results}")


if __name__ == "__main__":
    main()
