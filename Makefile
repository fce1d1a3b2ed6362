# Three commands, each doing all of its own set-up: make run, make test, make lab.
# The machine needs Python 3.11 or newer, and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Certificates of the machine, as pip takes them; pip itself, slower, where uv finds no way to the index.
UV := $(BIN)/uv --system-certs
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONUTF8 = 1

.PHONY: run test thorough measure lab notebooks site screenshots lock check unit nbval bench clean

run: $(VENV)/lab.installed  ## every notebook at every isolation level, the matrix, build/index.html
	$(BIN)/zephyr-lab notebooks notebooks --into build

test: check unit nbval  ## all that CI asks

lab: $(VENV)/lab.installed  ## JupyterLab on the first notebook, on loopback, with a token
	$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00-start.ipynb

check: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

# On all processors; kernels of notebooks begin with everything imported. What measures comes after, alone.
PYTEST := $(BIN)/python -m zephyr_lab.warm $(BIN)/python -m pytest
MEASURED := tests/notebooks/test_measured.py
unit: $(VENV)/dev.installed
	$(PYTEST) -n logical --dist loadgroup -m "not thorough and not alone" tests
	$(PYTEST) -m "not thorough" $(MEASURED)

thorough: $(VENV)/dev.installed  ## the tests that take minutes: more histories, more programs, three sessions, sixty kills
	$(PYTEST) -n logical --dist loadgroup -m "thorough and not alone" tests
	$(PYTEST) -m thorough $(MEASURED)

measure: $(VENV)/lab.installed  ## every notebook that measures, one after another, with nothing beside; build/measured.html
	$(BIN)/zephyr-lab notebooks notebooks --into build --measured

# One notebook's cells belong to one worker: loadfile. NBVAL=--nbval-lax executes without comparing outputs. Notebooks
# that measure (3...) have nothing to compare, and are executed by tests/notebooks/test_measured.py.
NBVAL ?= --nbval
nbval: $(VENV)/dev.installed
	$(PYTEST) $(NBVAL) --nbval-current-env --nbval-cell-timeout=60 --nbval-sanitize-with tests/sanitize.cfg \
	  -n logical --dist loadfile $(filter-out notebooks/3%,$(wildcard notebooks/*.ipynb))

notebooks: $(VENV)/dev.installed  ## execute the notebooks in place and store them
	$(BIN)/zephyr-lab store notebooks/*.ipynb

site: $(VENV)/dev.installed  ## the course as pages in build/site, executed now
	$(BIN)/zephyr-lab site notebooks --into build/site

screenshots: site  ## pictures of its pages and of the notebooks' figures, to look at; needs Chromium
	$(BIN)/python -m tests.browser.screenshots build/site build/screenshots

bench: $(VENV)/dev.installed  ## speeds, as ratios of one run
	$(BIN)/python -m tests.bench

lock: $(VENV)/dev.installed  ## resolve the pinned dependencies anew
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --upgrade requirements/build.in -o requirements/build.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --upgrade -c requirements/constraints.in --override requirements/overrides.in pyproject.toml -o requirements/lab.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --upgrade --extra dev --extra site -c requirements/lab.lock --override requirements/overrides.in pyproject.toml -o requirements/dev.lock

$(VENV)/%.installed: requirements/%.lock requirements/build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "zephyr_lab needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/build.lock
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r $< || \
	  $(BIN)/python -m pip install --quiet --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

clean:
	rm -rf build dist .pytest_cache .ruff_cache
