# Every target sets up what it needs: an environment in .venv, made once and renewed when the dependencies change.
#   make report   execute every notebook at its smoke preset, a small sweep, and render reports/index.html
#   make demo     the page of the reference records and one interactive notebook, without running anything else
#   make test     lint, the fast tests and every notebook at its smoke preset
# Variables: PYTHON (3.11 or later), VENV, WORKERS (processes at a time), PRESET (of the report).

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PRESET ?= smoke

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One thread a process: the tests already run as many processes as there are workers.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -q
# The notebooks, which take longest, begin first.
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Wheels of hundreds of megabytes: wait longer than uv's 30 seconds.
export UV_HTTP_TIMEOUT ?= 300

.PHONY: report demo test test-all lint format benchmark lab docs constraints lock clean clean-all
.DELETE_ON_ERROR:

report: $(STAMP)
	@$(BIN)/workbench report --preset $(PRESET) --workers $(WORKERS) --sweep notebooks/sweeps/report.yaml

demo: $(STAMP)
	@$(BIN)/workbench report --render-only && $(BIN)/workbench lab 100_transport

test: lint
	@$(PYTEST) $(PARALLEL) tests --ignore=tests/benchmarks -m "not slow and not browser"
	@echo "The unit and property tests again, with every shape checked at each call:"
	@WORKBENCH_TYPECHECK=1 $(PYTEST) $(PARALLEL) tests/unit tests/properties -m "not bad_input and not slow and not pipeline"

test-all: test
	@$(PYTEST) tests --ignore=tests/benchmarks -m "slow or browser"

lint: $(STAMP)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "error: make format rewrites these" >&2; exit 1; }
	@$(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

benchmark: $(STAMP)
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

lab: $(STAMP)
	@$(BIN)/workbench lab

docs: $(STAMP)
	@$(BIN)/python -m sphinx --quiet --fail-on-warning -b html docs docs/build && echo "docs/build/index.html"

# Write down what is installed now; torch itself names the exact CUDA packages that it needs, on the systems that have them.
constraints: $(STAMP)
	@$(BIN)/python -m pip freeze --exclude-editable | grep -vE '^(nvidia-|cuda-|triton=)' > constraints.txt

# Every package of this system with the digests of its files.
lock: $(STAMP)
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --extra test -c constraints.txt \
		pyproject.toml -o requirements.lock && echo requirements.lock

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
		"error: %s is Python %d.%d, expected 3.11 or later: make PYTHON=python3.11 ..." % (sys.executable, v[0], v[1]))'
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || { echo "Making the environment in $(VENV)"; \
		$(PYTHON) -m venv $(VENV); } || { echo "error: no venv, on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV)"
	@$(BIN)/python -m pip install -qq -c constraints.txt uv \
		&& $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[test]' \
		|| { echo "uv could not install it, trying pip"; \
			$(BIN)/python -m pip install -qq -c constraints.txt -e '.[test]'; }
	@touch $@

clean:
	rm -rf build docs/build docs/reference docs/equations.rst reports/runs reports/index.html reports/site .pytest_cache .hypothesis .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

clean-all: clean
	rm -rf $(VENV)
