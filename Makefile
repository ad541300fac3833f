# make demo   set up and run the main job
# make test   set up and run every test
# make test-integrations  run the tests with agent frameworks, MCP SDKs and servers of other people, and the longest others
# make environment  only set up what the tests need, in tests/.venv; make environments: what test-integrations, test-lowest
#             and test-on-3.13 need, too
# make test-lowest  run the quick tests with the lowest releases that setup.cfg promises
# make test-on-3.13 run the quick tests on another Python
# make test-image   build the container image and try it
# make check  style, types, structure, and that the tests of the core reach every line of it
# make lock   choose anew the releases that the tests and the image have: requirements/
# make dist   build sdist and wheel, and see the wheel serve; make release asks first whether all say one version
# make descriptions   docs/openapi.json and docs/asyncapi.json, made anew
# make client make the types of the TypeScript client from the schema, and the client and the bundle of the console, anew
# make screenshots   the pictures of the console in docs/, made anew
# make bench  measure it beside its peers; WORKS=fanout,paced PEERS=nchan ROUNDS=1 choose a part

PYTHON ?= python3
export PYTHON
# The tests start hundreds of processes, which need not compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# Two environments: what a user has, and what the tests and checks need besides, four times as much.
DEMO := .venv
DEMO_SET_UP := $(DEMO)/.set-up
VENV := tests/.venv
BIN := $(VENV)/bin
SET_UP := $(VENV)/.set-up

# A process for each core: worth it for many tests, while a single file is four times slower so.
PARALLEL := --numprocesses=auto --dist=worksteal
# Many tests wait for a clock or for another process: others have the cores meanwhile.
WAITING := --numprocesses=$(shell expr `getconf _NPROCESSORS_ONLN` '*' 2) --dist=worksteal
# What is of this package alone, whichever Python and releases it has: commands and rules by the thousand, pages, words,
# and what is large or long only to be so.
OWN := $(filter-out tests/core/policy/test_policy%.py %/test_matching.py %/test_regex.py, \
	$(wildcard tests/core/policy/test_*.py)) \
	$(patsubst %,tests/core/test_%.py,large_parameters reading_machine) \
	$(patsubst %,tests/web/test_%.py,budgets console_words durable_questions long_body one_voice pages)
# What a release of a dependency, or of Python, could break, but for what takes processes and waiting.
QUICK := tests/core tests/calls tests/mcp tests/storage tests/web tests/test_chat.py tests/test_cost.py tests/test_demo_agent.py \
	tests/test_package.py tests/test_secrets.py tests/test_settings.py $(addprefix --ignore=,$(OWN))

# What the tests beside it must reach every line of.
CORE := notifier_service/core/*,notifier_service/calls/*
CORE_TESTS := tests/core tests/calls

# The TypeScript client. Where there is no node, what is in the repository is used as it is.
CLIENT := clients/typescript
CLIENT_SET_UP := $(CLIENT)/node_modules/.set-up
EXAMPLE_SET_UP := $(CLIENT)/example/node_modules/.set-up
CONSOLE_CLIENT := notifier_service/web/console/client
NODE := $(shell node --version 2>/dev/null | grep -E '^v(2[0-9]|[3-9][0-9])')

.PHONY: demo environment environments test test-python test-client test-integrations test-lowest test-quick test-image browsers \
	proxies screenshots check check-style check-python check-client client descriptions bench lock dist release clean

environment: $(SET_UP)

demo: $(DEMO_SET_UP)
	@exec $(DEMO)/bin/notifier-service demo

# Both at the same time, and to their end though one fails.
test:
	@$(MAKE) --no-print-directory --jobs=2 --keep-going test-client test-python

# CHECKED=yes where make check has just run its part of them: the same tests in the same environment.
test-python: $(SET_UP) browsers proxies
	$(BIN)/pytest $(WAITING) $(if $(CHECKED),$(addprefix --ignore=,$(CORE_TESTS)))

# Environments of their own, kept between runs; what cannot be installed is told, and its tests are skipped.
test-integrations: $(SET_UP)
	@echo 'Setting up environments in tests/integrations/.environments; the first time takes some minutes.' >&2
	@$(BIN)/python -m tests.browser.engines firefox
	@$(BIN)/python -m tests.integrations.environments
	$(BIN)/pytest $(WAITING) -m integration -rs tests/integrations tests/deploy tests/browser

LOWEST := tests/.venv-lowest
test-lowest: $(LOWEST)/.set-up
	$(LOWEST)/bin/pytest $(WAITING) --quiet $(QUICK)

$(LOWEST)/.set-up: setup.cfg pyproject.toml scripts/requirements
	@mkdir -p $(@D)
	@scripts/requirements --lowest cli fast jwt mcp metrics proof push test > $(@D)/lowest.txt
	@scripts/environment $(@D) --constraint $(@D)/lowest.txt --editable '.[test]'
	@touch $@

# The environment is that of make test, but for the Python.
ON = @PYTHON=$$(scripts/python $*) || { echo 'left out: the tests on Python $*, which is not here' >&2; exit 0; }; \
	$(MAKE) --no-print-directory VENV=tests/.venv-$* PYTHON=$$PYTHON
test-on-%:
	$(ON) test-quick

environment-on-%:
	$(ON) environment

environments: $(SET_UP) environment-on-3.13 $(LOWEST)/.set-up
	@$(BIN)/python -m tests.integrations.environments

test-quick: $(SET_UP)
	$(BIN)/pytest $(WAITING) --quiet $(QUICK)

test-image: $(SET_UP)
	@scripts/programs image
	$(BIN)/pytest -m image -rs tests/image

# Not pip's to install: the tests that need one are left out, and say so, where it is missing or cannot be driven.
browsers: $(SET_UP)
	@scripts/programs browsers
	@$(BIN)/python -m tests.browser.engines chromium

# The same for the proxies before the service.
proxies:
	@scripts/programs proxies

descriptions: $(SET_UP)
	$(BIN)/notifier-service schema --openapi > docs/openapi.json
	$(BIN)/notifier-service schema --asyncapi > docs/asyncapi.json

screenshots: $(SET_UP) browsers
	$(BIN)/python -m tests.browser.screenshots

check: check-style check-python check-client

# .pre-commit-config.yaml has the same, for what a commit changes.
check-style: $(SET_UP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-python: $(SET_UP)
	$(BIN)/pytest $(PARALLEL) --quiet --cov --cov-report= $(CORE_TESTS)
	$(BIN)/coverage report --fail-under=100 --include='$(CORE)'

ifdef NODE
# What is made must be what is there: the types, the console's copy of the client and its bundle are committed.
check-client: $(SET_UP) $(CLIENT_SET_UP)
	cd $(CLIENT) && npm run --silent check
	$(BIN)/notifier-service schema | (cd $(CLIENT) && node scripts/generate.mjs) | diff $(CLIENT)/src/wire.ts - \
		|| { echo 'The schema has changed: run make client.' >&2; exit 1; }
	cd $(CLIENT) && npm run --silent build:console -- --outDir build
	diff -r $(CONSOLE_CLIENT) $(CLIENT)/build || { echo 'The client has changed: run make client.' >&2; exit 1; }
	cd $(CLIENT) && npm run --silent bundle:console -- --check \
		|| { echo 'The console has changed: run make client.' >&2; exit 1; }

client: $(SET_UP) $(CLIENT_SET_UP)
	$(BIN)/notifier-service schema | (cd $(CLIENT) && node scripts/generate.mjs) > $(CLIENT)/wire.new
	mv $(CLIENT)/wire.new $(CLIENT)/src/wire.ts
	rm -rf $(CONSOLE_CLIENT)
	cd $(CLIENT) && npm run --silent build:console && npm run --silent bundle:console

# It says everything at its end, for it may run beside others that talk.
test-client: $(SET_UP) $(CLIENT_SET_UP)
	@said=$$(cd $(CLIENT) && PYTHON=$(CURDIR)/$(BIN)/python npm test --silent 2>&1); ended=$$?; \
		printf '\n%s\n' "$$said"; exit $$ended

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

lock:
	@scripts/lock

dist: $(SET_UP)
	@$(BIN)/python scripts/release.py dist

release: $(SET_UP)
	@$(BIN)/python scripts/release.py consistent
	@$(BIN)/python scripts/release.py dist

clean:
	rm -rf $(DEMO) tests/.venv* $(CLIENT)/node_modules $(CLIENT)/dist $(CLIENT)/build $(CLIENT)/example/node_modules $(CLIENT)/example/dist $(BENCH_VENV) benchmarks/.node benchmarks/results tests/integrations/.environments tests/image/.kept build dist *.egg-info .coverage .hypothesis .*_cache

# Environments are brought up to date when what they install has changed.
$(DEMO_SET_UP): setup.cfg pyproject.toml
	@scripts/environment $(@D) --no-compile --editable '.[cli,fast]'
	@touch $@

$(SET_UP): setup.cfg pyproject.toml requirements/tests.txt
	@scripts/environment $(@D) --no-deps --requirement requirements/tests.txt --editable .
	@touch $@

$(BENCH_SET_UP): setup.cfg pyproject.toml
	@scripts/environment $(@D) --editable '.[bench]'
	@touch $@
