# Three commands, each doing all of its own set-up: make run, make test, make lab.
# The machine needs Python 3.11 or newer, and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Certificates of the machine, as pip takes them; pip itself, slower, where uv finds no way to the index.
UV := $(BIN)/uv --system-certs
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONUTF8 = 1
# Hundreds of processes start Python here: with nothing kept, each compiles what it imports, half of all the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test thorough measure lowest lab notebooks site screenshots lock check lint types unit coverage nbval bench dist test-wheel clean

run: $(VENV)/lab.installed  ## every notebook at every isolation level, the matrix, build/index.html
	$(BIN)/zephyr-lab notebooks notebooks --into build

# What is only read takes a minute: a job of its own in CI, beside the tests.
test: lint unit nbval  ## what CI asks beside `make check`

lab: $(VENV)/lab.installed  ## JupyterLab on the first notebook, on loopback, with a token
	$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00-start.ipynb

check: lint types

lint: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(VENV)/dev.installed  ## mypy --strict and pyright, both at a time; pyright needs Node
	$(BIN)/mypy & mypy=$$!; $(BIN)/pyright --pythonpath $(BIN)/python; pyright=$$?; wait $$mypy && exit $$pyright

# A test and its server take turns: with as many workers as processors a sixth of these is idle.
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# On all processors; kernels of notebooks begin with everything imported. What measures comes after, alone.
PYTEST := $(BIN)/python -m zephyr_lab.warm $(BIN)/python -m pytest
MEASURED := tests/notebooks/test_measured.py
unit: $(VENV)/dev.installed
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m "not thorough and not alone" $(MORE) tests
	$(PYTEST) -m "not thorough" $(MEASURED)

# Those that mirror the package; whole programs, the course and other people's oracles are in the other folders.
MIRRORS := $(addprefix tests/,anomalies check explore functions hunt lab load orders pytest_plugin project runbook schedule servers share site sql suite views wire workers)
coverage: $(VENV)/dev.installed  ## which lines of the package the tests without a server run
	mkdir -p build
	$(BIN)/coverage run --source zephyr_lab --branch --data-file build/.coverage -m pytest -q -m "not server and not thorough" tests
	$(BIN)/coverage report --data-file build/.coverage --skip-covered --sort cover

thorough: $(VENV)/dev.installed  ## the tests that take minutes: more histories, more programs, three sessions, sixty kills
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m "thorough and not alone" tests
	$(PYTEST) -m thorough $(MEASURED)

# What relies on names that its libraries do not promise, and a part of everything else.
LOWEST := tests/functions/test_elsewhere.py tests/functions/test_frameworks.py tests/lab/test_lab.py \
  tests/views/test_stepper.py tests/acceptance/test_cli.py tests/orders/test_grpc.py
lowest: $(VENV)/dev.installed  ## the oldest versions that pyproject.toml admits, in build/lowest; needs Python 3.11
	$(UV) venv --quiet --clear --python $(BIN)/python build/lowest
	$(UV) pip install --quiet --python build/lowest --only-binary :all: --no-binary zephyr-lab \
	  --resolution lowest-direct --editable '.[dev]'
	build/lowest/bin/python -m pytest -n 2 --dist loadgroup -m "not server and not thorough and not slow" $(MIRRORS)
	build/lowest/bin/python -m pytest -n 2 --dist loadgroup -m "server and not thorough and not slow" $(LOWEST)

measure: $(VENV)/lab.installed  ## every notebook that measures, one after another, with nothing beside; build/measured.html
	$(BIN)/zephyr-lab notebooks notebooks --into build --measured

# One notebook's cells belong to one worker: loadfile. NBVAL=--nbval-lax executes without comparing outputs. Notebooks
# that measure (3...) have nothing to compare, and are executed by tests/notebooks/test_measured.py.
NBVAL ?= --nbval
nbval: $(VENV)/dev.installed
	ZEPHYR_LAB_WITHOUT_PNG=1 $(PYTEST) -p zephyr_lab.warm.managers $(NBVAL) --nbval-cell-timeout=180 --timeout=200 \
	  --nbval-sanitize-with tests/sanitize.cfg -n $(WORKERS) --dist loadfile $(filter-out notebooks/3%,$(wildcard notebooks/*.ipynb))

notebooks: $(VENV)/dev.installed  ## execute the notebooks in place and store them
	$(BIN)/zephyr-lab store notebooks/*.ipynb

site: $(VENV)/dev.installed  ## the course as pages in build/site; executed are the notebooks of which something has changed
	$(BIN)/zephyr-lab site notebooks --into build/site --cache build/executed

screenshots: site  ## pictures of its pages and of the notebooks' figures, to look at; needs Chromium
	$(BIN)/python -m tests.browser.screenshots build/site build/screenshots

bench: $(VENV)/dev.installed  ## speeds, as ratios of one run
	$(BIN)/python -m tests.bench

lock: $(VENV)/dev.installed  ## resolve the pinned dependencies anew
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --upgrade requirements/build.in -o requirements/build.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --upgrade --extra course --extra cluster -c requirements/constraints.in --override requirements/overrides.in \
	  pyproject.toml -o requirements/lab.lock
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --upgrade --extra dev -c requirements/lab.lock --override requirements/overrides.in \
	  pyproject.toml -o requirements/dev.lock

$(VENV)/%.installed: requirements/%.lock requirements/build.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "zephyr_lab needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@# The machine's own pip, where it can install elsewhere, is there at once; one of the venv's own takes 6 s to come.
	test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --require-hashes -r requirements/build.lock 2>/dev/null || \
	  { $(BIN)/python -m ensurepip && $(BIN)/python -m pip install --quiet --require-hashes -r requirements/build.lock; }
	@# --no-deps: the lock holds them all, but for what requirements/overrides.in leaves out.
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r $< || \
	  $(BIN)/python -m pip install --quiet --no-deps --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

dist: $(VENV)/dev.installed  ## the sdist, and the wheel from it, in dist/, looked at as a package index would
	rm -rf dist
	$(UV) build --quiet --no-build-isolation --python $(BIN)/python
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist

# The checkout's package is behind the wheel's on the path: an editable install is replaced, and pytest appends.
test-wheel: $(VENV)/dev.installed  ## these tests on a wheel: make test-wheel WHEEL=dist/zephyr_lab-0.1.0-py3-none-any.whl
	@# --no-deps: the lock holds them all, but for what requirements/overrides.in leaves out.
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --reinstall-package zephyr-lab $(WHEEL)
	$(BIN)/python -P -c 'import zephyr_lab; print(zephyr_lab.__file__); assert "site-packages" in zephyr_lab.__file__'
	$(BIN)/pytest --import-mode=append -o pythonpath= -n 2 --dist loadgroup -m "not thorough" \
	  $(filter-out tests/load,$(MIRRORS)) tests/exercises

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache
