# make test       set up .venv and run the tests
# make benchmark  set up .venv and compare the detectors on the embedded data
# make speed      set up .venv and time the detectors against other packages'
# make docs       set up .venv and build the site in docs/build/html
# make check      lint, types and the packages that would be released

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: test benchmark speed docs check clean

test: .venv/dev
	$(BIN)/python -m pytest

benchmark: .venv/dev
	$(BIN)/python -m benchmarks.tabular

speed: .venv/speed
	$(BIN)/python -m benchmarks.speed

docs: .venv/docs
	rm -rf docs/build docs/api docs/examples
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/build/html

check: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy skdeepad
	$(BIN)/python -m build --outdir dist .

.venv/dev: pyproject.toml setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable ".[dev]"
	touch $@

# DeepOD asks for a torch of 2022, but works with this one.
.venv/speed: .venv/dev
	$(PIP) --editable ".[speed]"
	$(PIP) --no-deps deepod==0.4.1
	touch $@

.venv/docs: .venv/dev
	$(PIP) --editable ".[docs]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info docs/build docs/api docs/examples
