# make demo   set up and run the main job
# make test   set up and run every test
# make check  style, types, structure, and that the tests of the core reach every line of it
# make bench  measure it beside its peers; WORKS=fanout,paced PEERS=nchan ROUNDS=1 choose a part

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SET_UP := $(VENV)/.set-up

# The core: what knows no HTTP, no environment and no terminal.
CORE_MODULES := broker chat delivery errors event_log events limits metrics notifier parameters permissions policy reading results \
	session tool_wrapper
comma := ,
space := $(subst ,, )
CORE := $(subst $(space),$(comma),$(CORE_MODULES:%=notifier_service/%.py))
CORE_TESTS := $(wildcard $(CORE_MODULES:%=tests/test_%.py))

.PHONY: demo test check bench clean

demo: $(SET_UP)
	@exec $(BIN)/notifier-service demo

test: $(SET_UP)
	$(BIN)/pytest

check: $(SET_UP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --quiet --cov --cov-report= $(CORE_TESTS)
	$(BIN)/coverage report --fail-under=100 --include='$(CORE)'

# An environment of its own: what it measures with is nothing that the service or its tests need.
BENCH_VENV := benchmarks/.venv
BENCH_SET_UP := $(BENCH_VENV)/.set-up

bench: $(BENCH_SET_UP)
	@$(BENCH_VENV)/bin/python -m benchmarks --works '$(WORKS)' --peers '$(PEERS)' --rounds $(or $(ROUNDS),5)

clean:
	rm -rf $(VENV) $(BENCH_VENV) benchmarks/.node benchmarks/results build dist *.egg-info .coverage .hypothesis .*_cache

# An environment for everything but the benchmarks, made anew when what it installs has changed.
$(SET_UP): EXTRA := check
$(BENCH_SET_UP): EXTRA := bench
$(SET_UP) $(BENCH_SET_UP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA)]'
	@touch $@
