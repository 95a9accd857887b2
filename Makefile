# Everything a person does here. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := libs/common libs/tron_sandbox services/accounts services/deals services/payments \
            services/chat deploy/local
SOURCES := libs services deploy contracts tests bench

# `make run PYTHON=python3.13` builds the environment anew when it was built with another Python.
ifeq ($(origin PYTHON),command line)
ifneq ($(shell $(PYTHON) -c 'import sys; print(sys.version)' 2>&1),$(shell $(BIN)/python -c 'import sys; print(sys.version)' 2>/dev/null))
$(shell rm -f $(VENV)/.installed)
endif
endif

.DEFAULT_GOAL := help
.PHONY: help run demo images up down secrets test test-deep test-containers bench-ledger bench-payments \
        bench-sandbox bench-chat torture check fmt lock contracts clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
	  while IFS="$$(printf '\t')" read -r name text; do printf '  %-13s %s\n' "$$name" "$$text"; done

# The environment is whole only once the stamp is written; an interrupted install is done again.
# Other targets depend on the stamp, so that a newer lock rebuilds it.
$(VENV)/.installed: requirements.lock $(addsuffix /pyproject.toml,$(PACKAGES))
	@$(PYTHON) deploy/local/install.py $(VENV) requirements.lock $(PACKAGES)
	@touch $@

.venv: $(VENV)/.installed ## build the environment with the pinned packages

run: $(VENV)/.installed ## start the whole system on this machine (Ctrl-C stops it)
	@exec $(BIN)/python -m garant_local run

demo: $(VENV)/.installed ## play the whole story against `make run` or `make up`
	@exec $(BIN)/python -m garant_local demo

images: ## build the images and print their sizes
	@deploy/images/build

up: $(VENV)/.installed images ## start the whole system from images, with a chain of its own
	@exec $(BIN)/python -m garant_local up

down: $(VENV)/.installed ## stop what `make up` started (its data stays; make clean removes it)
	@exec $(BIN)/python -m garant_local down

secrets: $(VENV)/.installed ## make the secrets of docker-compose.yml that are missing, in deploy/secrets
	@exec $(BIN)/python -m garant_local secrets

test: $(VENV)/.installed ## run every test on embedded real servers
	@exec $(BIN)/python tests/run_suites.py

test-deep: $(VENV)/.installed ## run every test at length
	@exec $(BIN)/python tests/run_suites.py --deep

# Tests stop what they start, so the reaper, an image more, is not needed.
test-containers: $(VENV)/.installed ## run the tests on containers and on the images (SMOKE=1: the part that CI runs)
	@deploy/images/build
	@exec env TESTCONTAINERS_RYUK_DISABLED=true $(BIN)/python tests/run_suites.py --containers $(if $(SMOKE),--smoke)

bench-ledger: $(VENV)/.installed ## measure the ledger and the API beside pgbench (QUICK=1: briefly)
	@PYTHONPATH=tests $(BIN)/python -m bench $(if $(QUICK),--quick)

bench-sandbox: $(VENV)/.installed ## measure the sandbox node: transfers in blocks, calls meanwhile (QUICK=1: briefly)
	@PYTHONPATH=tests $(BIN)/python -m bench.sandbox $(if $(QUICK),--quick)

bench-payments: $(VENV)/.installed ## count what payments costs: node calls, rows, memory (QUICK=1: briefly)
	@PYTHONPATH=tests $(BIN)/python -m bench.paying $(if $(QUICK),--quick)

bench-chat: $(VENV)/.installed ## measure the chat beside Node servers (QUICK=1: briefly)
	@PYTHONPATH=tests $(BIN)/python -m bench.chatting $(if $(QUICK),--quick)

torture: $(VENV)/.installed ## kill and stop everything under live traffic (SECONDS=600, SEED=n)
	@PYTHONPATH=tests $(BIN)/python -m torture $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

check: $(VENV)/.installed ## format, lint, types, imports, contracts and unit tests
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy $(addsuffix /src,$(PACKAGES)) contracts conftest.py tests bench \
	  $(wildcard libs/*/tests services/*/tests deploy/local/tests)
	$(BIN)/lint-imports --config pyproject.toml
	@set -e; for package in $(PACKAGES); do echo "deptry $$package"; \
	  $(BIN)/deptry --config $$package/pyproject.toml $$package/src; done
	$(BIN)/python contracts/generate.py --check
	$(BIN)/pytest -q $(wildcard libs/*/tests/unit services/*/tests/unit deploy/local/tests/unit)

fmt: $(VENV)/.installed ## format the code and mend what the linter can
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

contracts: $(VENV)/.installed ## write the OpenAPI files and the API page from the code
	$(BIN)/python contracts/generate.py

lock: ## resolve requirements.lock anew (UPGRADE=1 takes newer versions)
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/pip install -q uv; }
	$(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-header --no-annotate \
	  --no-emit-index-url --quiet $(if $(UPGRADE),--upgrade) --output-file requirements.lock \
	  requirements.in $(addsuffix /pyproject.toml,$(PACKAGES))
	deploy/images/lock $(BIN)/uv

clean: ## remove the environment, the data and every cache
	@data="$${GARANT_DATA:-.garant}"; if [ -d "$$data/compose" ]; then \
	  docker compose --env-file deploy/sandbox.env down --volumes --remove-orphans; fi  # their passwords are in it
	@data="$${GARANT_DATA:-.garant}"; if [ -f "$$data/.garant-data" ]; then echo "rm -rf $$data"; rm -rf "$$data"; fi
	rm -rf $(VENV) .garant-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
