# Two commands do everything: `make demo` shows what unbuffer does, `make test` checks that it does it.
# Both install what they need into .venv; nothing but Python 3.11+ and make is expected.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check unit format bench clean

help:
	@echo "make demo    the same streams, direct and through unbuffer, live in this terminal"
	@echo "make test    lint, types and all tests"
	@echo "make check   lint and types only"
	@echo "make unit    the tests only (ARGS='-k name' selects)"
	@echo "make format  rewrite the sources in the house's format"
	@echo "make bench   unbuffer beside nginx, HAProxy, Envoy and Caddy"

demo: $(VENV)/.demo
	$(BIN)/unbuffer demo $(ARGS)

test: check unit

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev
	.ci/system-packages
	$(BIN)/python -m pytest -n auto $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "unbuffer needs Python 3.11 or newer; say which one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
