# WebOps. `make help` lists what can be asked.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready

##@ Use it
.PHONY: help setup run demo demo-stop
help: ## This list
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*##/ {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv and fetch the pinned requirements and collections

$(STAMP): requirements.txt requirements-dev.txt requirements-collections.txt requirements.yml bin/setup
	@bin/setup

demo: ## The main job on embedded defaults: panel, a sandbox server, two sites on HTTPS
	@bin/demo

demo-stop: ## End and remove all that `make demo` started
	@bin/demo stop

run: setup ## The panel alone on http://127.0.0.1:8009, for servers of your own
	@$(VENV)/bin/webops up

##@ Prove it
.PHONY: test test-unit test-llm lint bench soak
test: ## All tests: unit, real servers (Debian 12 and 13), Chromium
	@bin/test

test-unit: setup ## The tests that need no server
	@$(PY) -m pytest -q tests/unit

test-llm: setup ## The tests of language models, with a real vLLM on processors (a quarter of an hour)
	@bin/test -v -s tests/llm && $(PY) -m tests.llm.digest --write

lint: setup ## ruff, mypy, import-linter, ansible-lint
	@bin/lint

bench: setup ## Measure; writes docs/performance.md
	@$(PY) -m tests.bench

soak: ## Long proofs with many repetitions, and the tests of servers on every release of Debian
	@WEBOPS_SOAK=1 bin/test -v -s tests/soak tests/sandbox/roles
	@WEBOPS_RELEASE=trixie bin/test -v tests/whole/test_{adopt,fleet,no_request_is_lost,plans_and_drift,releases,variables}.py

##@ Keep it
.PHONY: lock
lock: setup ## Pin requirements.txt and requirements-dev.txt anew
	@$(VENV)/bin/uv pip compile -q --generate-hashes --python-version 3.11 --no-emit-index-url --no-header requirements.in -o requirements.txt
	@$(VENV)/bin/uv pip compile -q --generate-hashes --python-version 3.11 --no-emit-index-url --no-header requirements-dev.in -o requirements-dev.txt
