# make test   everything, on a machine that has only Python 3.11+, make and Chromium
# make check  lint, types, import contracts, unit tests: under a minute
# make demo   the main job in a real Airflow against an org on this machine
# make try    an Airflow that stays, beside a sandbox org, for the tutorial; Ctrl-C ends it
# make docs   the documentation as pages, in build/docs
# make lock   pin the dependencies anew

# Airflow starts many processes, and each would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PACKAGE := airflow_provider_apiusage

.PHONY: env check lint unit test demo try docs lock bench clean

env: $(READY)

# pip brings uv with its hash checked; uv brings the rest likewise, many times faster.
$(READY): requirements/tools.lock requirements/dev.lock pyproject.toml
	@echo "==> Making the environment in $(VENV) (pinned names, versions and hashes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

check: lint unit

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/python -m pytest -q -n 2 tests/usage tests/quota tests/salesforce

# What starts a whole Airflow runs apart from the rest, two at a time: most of it waits for a scheduler's next round.
test: lint
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m "not e2e"
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m e2e

demo: $(READY)
	@$(BIN)/python -m example_dags.demo

try: $(READY)
	@$(BIN)/python -m example_dags.demo.trial

docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs build/docs

bench: $(READY)
	$(BIN)/python -m benchmarks

COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
  --no-emit-index-url --quiet

lock:
	$(COMPILE) --output-file requirements/tools.lock requirements/tools.in
	$(COMPILE) --all-extras --output-file requirements/dev.lock pyproject.toml requirements/dev.in
	$(COMPILE) --extra sandbox --exclude-newer 2026-03-20 --output-file requirements/airflow-3.1.lock \
	  pyproject.toml requirements/airflow-3.1.in
	$(COMPILE) --extra sandbox --exclude-newer 2026-06-15 --output-file requirements/airflow-3.2.lock \
	  pyproject.toml requirements/airflow-3.2.in

clean:
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
