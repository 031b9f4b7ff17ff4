# Two commands do everything: `make demo` shows what unbuffer does, `make test` checks that it does it.
# Both install what they need into .venv, and the second one clients and applications to try into .venv-apps; nothing
# but Python 3.11+ and make is expected.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APPS := .venv-apps
SECONDS := 60
COMPILED := build/compiled
# Those of what is compiled; what the kernel does with a host that vanished is the same for both.
COMPILED_TESTS := tests/http tests/http2 tests/messages tests/relay \
	$(addprefix tests/observe/test_,access_log.py truth.py verdict.py causes.py) \
	$(addprefix tests/faults/test_,clients.py upstream.py) \
	$(addprefix tests/resume/test_,all_there.py coming_back.py cutter.py every_offset.py) \
	$(addprefix tests/resume/test_,http2.py memory.py readers.py whose.py) \
	$(addprefix tests/resume/test_,replicas.py store_start.py drain_replicas.py) \
	$(addprefix tests/e2e/test_,drain.py endings.py promptness.py websockets.py)

ONCE := tests/http tests/messages
# Most tests wait for something now and then.
WORKERS := $(shell expr $$(nproc 2>/dev/null || echo 2) + 1)
# It installs in seconds what takes pip minutes.
UV := $(shell grep '^uv==' tests/apps/requirements.txt)

.PHONY: help demo test check apps unit compiled build-compiled test-compiled fuzz format bench bench-check audit dist site clean

help:
	@echo "make demo    the same streams, direct and through unbuffer, live in this terminal"
	@echo "make test    lint, types and all tests"
	@echo "make check   lint, types, workflows and documents only"
	@echo "make apps    installs clients and applications for the tests that run them (1 GB, in $(APPS))"
	@echo "make unit    the tests only (ARGS='-k name' selects)"
	@echo "make compiled  the relay's tests, with the relay compiled (in $(COMPILED))"
	@echo "make fuzz    looks for messages that break the relay (SECONDS=60 for each side)"
	@echo "make audit   known vulnerabilities of what it needs at run time"
	@echo "make dist    what a release has for this machine, built twice and tried (in dist)"
	@echo "make site    the documents as a site, with search (in build/site/html)"
	@echo "make format  rewrite the sources in the house's format"
	@echo "make bench-check  instructions of a request, a chunk and a log line, against recorded figures"
	@echo "make bench   unbuffer beside nginx, HAProxy, Envoy and Caddy"

demo: $(VENV)/.demo
	$(BIN)/unbuffer demo $(ARGS)

# What keeps one core busy, side by side; compiling takes minutes of one, so the tests do not wait for it. The catalogue
# of messages and the pure functions run once, compiled, as they are shipped; `make unit` runs them as they are written.
test:
	$(MAKE) --jobs=2 --output-sync=target check apps
	$(MAKE) --jobs=2 unit build-compiled ARGS='$(addprefix --ignore=,$(ONCE)) $(ARGS)'
	$(MAKE) test-compiled

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	if [ -n "$$CI" ] || [ -x $(BIN)/actionlint ]; then $(BIN)/actionlint; else echo 'no actionlint for this machine'; fi
	$(BIN)/zizmor --quiet --offline --persona=pedantic .github
	$(BIN)/python .ci/site.py

apps: $(APPS)/.made $(APPS)/.sources tests/clients/node_modules/.made

unit: $(VENV)/.dev
	.ci/system-packages
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

compiled: build-compiled
	$(MAKE) test-compiled

build-compiled: $(VENV)/.dev
	rm -rf $(COMPILED)
	UNBUFFER_COMPILE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(COMPILED) .

# Beside the tests, so that both they and the programs that they start find the compiled modules and not the sources.
test-compiled:
	cp -r tests benchmarks config docs deploy pyproject.toml *.md $(COMPILED)
	cd $(COMPILED) && $(CURDIR)/$(BIN)/python -c 'from unbuffer.compiled import COMPILED; assert COMPILED, "it is not"'
	cd $(COMPILED) && $(CURDIR)/$(BIN)/python -m pytest -n $(WORKERS) -p no:cacheprovider $(COMPILED_TESTS) $(ARGS)

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Of the compiled relay, as it is shipped.
bench-check:
	test -d $(COMPILED) || $(MAKE) build-compiled
	cp -r benchmarks $(COMPILED)
	cd $(COMPILED) && $(CURDIR)/$(BIN)/python -m benchmarks.instructions \
	  --figures $(CURDIR)/benchmarks/instructions.json $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ARGS)

audit: $(VENV)/.audit
	$(BIN)/python .ci/audit.py

dist: $(VENV)/.release
	$(BIN)/python .ci/dist.py

site: $(VENV)/.dev
	$(BIN)/python .ci/site.py

clean:
	rm -rf $(VENV) $(APPS) tests/clients/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "unbuffer needs Python 3.11 or newer; say which one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

$(VENV)/.audit: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[audit]'
	touch $@

$(VENV)/.release: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --only-binary atheris --editable '.[fuzz]' || \
	  { echo "make fuzz: atheris is not to be had for this Python (for 3.11 it is); nothing was fuzzed"; exit 1; }
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev]'
	touch $@

$(APPS)/.made: tests/apps/requirements.txt
	$(PYTHON) -m venv --clear $(APPS)
	$(APPS)/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(APPS)/bin/uv pip install --quiet --compile-bytecode --python $(APPS)/bin/python --requirement tests/apps/requirements.txt
	touch $@

$(APPS)/.sources: $(APPS)/.made tests/apps/sources.txt
	$(APPS)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
	  --dest $(APPS)/sources --requirement tests/apps/sources.txt
	touch $@

tests/clients/node_modules/.made: $(APPS)/.made tests/clients/package-lock.json
	cd tests/clients && PATH="$(CURDIR)/$(APPS)/bin:$$PATH" npm ci --silent
	touch $@
