"""Speed against PyOD, DeepOD, scikit-learn and a bare PyTorch loop.

``python -m benchmarks.speed`` runs all sections, ``python -m benchmarks.speed steps
scale`` two of them; nothing else may run. Each section is a module, and its docstring
the protocol:

- ``steps``: cost of a training step;
- ``defaults``: detectors as they come, fit time and AUROC;
- ``scoring``: rows scored in a second;
- ``memory``: memory that a file larger than memory takes;
- ``precision``: bfloat16 against float32 training;
- ``scale``: cost against rows, features and members.

A section has ``run(measurements, options)``, which measures, ``report(table)``, which
prints, and maybe ``draw(table, path)``.

The subjects take turns within a round, since the machine's own speed drifts: only
ratios within one run mean anything. "best" is the ratio of each one's shortest time
over the rounds, which a busy neighbour can not lengthen; "median" is that of the ratios
within each round. A fit of a few rows precedes each that is timed, so that imports and
start-up do not count.

A measurement is a row of the results file as soon as it is made, and a run that was
stopped goes on from there; a round that was interrupted is then one of two times.
``--subjects`` and ``--max-rows`` make a run smaller.

PyOD comes with the extra ``speed``. DeepOD 0.4.1 asks for a torch below 1.13.1, so that
``pip install --no-deps deepod==0.4.1`` alone installs it (``make speed`` does); it runs
with torch 2.13 and scikit-learn 1.9 as it is. What is not installed is left out.
"""
