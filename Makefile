# make demo   set up and run the main job
# make test   set up and run every test
# make test-integrations  run the tests with agent frameworks, MCP SDKs and servers of other people
# make check  style, types, structure, and that the tests of the core reach every line of it
# make client make the types of the TypeScript client from the schema, and the client of the console, anew
# make screenshots   the pictures of the console in docs/, made anew
# make bench  measure it beside its peers; WORKS=fanout,paced PEERS=nchan ROUNDS=1 choose a part

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SET_UP := $(VENV)/.set-up

# What the tests beside it must reach every line of.
CORE := notifier_service/core/*,notifier_service/calls/*
CORE_TESTS := tests/core tests/calls

# The TypeScript client. Where there is no node, what is in the repository is used as it is.
CLIENT := clients/typescript
CLIENT_SET_UP := $(CLIENT)/node_modules/.set-up
EXAMPLE_SET_UP := $(CLIENT)/example/node_modules/.set-up
CONSOLE_CLIENT := notifier_service/web/console/client
NODE := $(shell node --version 2>/dev/null | grep -E '^v(2[0-9]|[3-9][0-9])')

.PHONY: demo test test-python test-client test-integrations browsers screenshots check check-python check-client client bench clean

demo: $(SET_UP)
	@exec $(BIN)/notifier-service demo

test: test-client test-python

test-python: $(SET_UP) browsers
	$(BIN)/pytest

# Environments of their own, kept between runs; what cannot be installed is told, and its tests are skipped.
test-integrations: $(SET_UP)
	@echo 'Setting up environments in tests/integrations/.environments; the first time takes some minutes.' >&2
	@$(BIN)/python -m tests.integrations.environments
	$(BIN)/pytest -m integration -rs tests/integrations

# Not pip's to install: the tests that need one are left out, and say so, where it is missing or cannot be driven.
browsers: $(SET_UP)
	@scripts/browsers
	@$(BIN)/python -m tests.browser.engines

screenshots: $(SET_UP) browsers
	$(BIN)/python -m tests.browser.screenshots

check: check-python check-client

check-python: $(SET_UP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --quiet --cov --cov-report= $(CORE_TESTS)
	$(BIN)/coverage report --fail-under=100 --include='$(CORE)'

ifdef NODE
# What is made must be what is there: the types and the console's copy of the client are committed.
check-client: $(SET_UP) $(CLIENT_SET_UP)
	cd $(CLIENT) && npm run --silent check
	$(BIN)/notifier-service schema | (cd $(CLIENT) && node scripts/generate.mjs) | diff $(CLIENT)/src/wire.ts - \
		|| { echo 'The schema has changed: run make client.' >&2; exit 1; }
	cd $(CLIENT) && npm run --silent build:console -- --outDir build
	diff -r $(CONSOLE_CLIENT) $(CLIENT)/build || { echo 'The client has changed: run make client.' >&2; exit 1; }

client: $(SET_UP) $(CLIENT_SET_UP)
	$(BIN)/notifier-service schema | (cd $(CLIENT) && node scripts/generate.mjs) > $(CLIENT)/wire.new
	mv $(CLIENT)/wire.new $(CLIENT)/src/wire.ts
	rm -rf $(CONSOLE_CLIENT)
	cd $(CLIENT) && npm run --silent build:console

test-client: $(SET_UP) $(CLIENT_SET_UP)
	cd $(CLIENT) && PYTHON=$(CURDIR)/$(BIN)/python npm test --silent

# A test in a browser builds and serves the example.
test-python: $(EXAMPLE_SET_UP)
else
check-client client test-client:
	@echo 'The TypeScript client is left out: it wants node 20 or newer, and npm.' >&2
endif

$(CLIENT_SET_UP) $(EXAMPLE_SET_UP): %/node_modules/.set-up: %/package.json %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# An environment of its own: what it measures with is nothing that the service or its tests need.
BENCH_VENV := benchmarks/.venv
BENCH_SET_UP := $(BENCH_VENV)/.set-up

bench: $(BENCH_SET_UP)
	@$(BENCH_VENV)/bin/python -m benchmarks --works '$(WORKS)' --peers '$(PEERS)' --rounds $(or $(ROUNDS),5)

clean:
	rm -rf $(VENV) $(CLIENT)/node_modules $(CLIENT)/dist $(CLIENT)/build $(CLIENT)/example/node_modules $(CLIENT)/example/dist $(BENCH_VENV) benchmarks/.node benchmarks/results tests/integrations/.environments build dist *.egg-info .coverage .hypothesis .*_cache

# An environment for everything but the benchmarks, made anew when what it installs has changed.
$(SET_UP): EXTRA := check
$(BENCH_SET_UP): EXTRA := bench
$(SET_UP) $(BENCH_SET_UP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA)]'
	@touch $@
