# Everything a newcomer, a developer and CI do with this repository. `make` alone prints the list.
# Each target sets up what it needs first; locks/install.sh makes that free when nothing changed.

VENV   := .venv
# For flake8-async: what runs on our event loops. Not the shim, the examples, the loader, the runner, locust, and the trigger
# host, whose streams have Airflow's shape: async generators; nor files in which nothing is async.
ASYNC_FILES = $(shell find leoflowd agent sensors loadtests -name '*.py' \
	-not -path '*/airflow_shim/*' -not -path '*/examples/*' -not -path '*/runner/*' -not -path '*/trigger_host/*' -not -path '*/locustfiles/*' -not -name loader.py \
	-exec grep -lE 'async|trio' {} +)
ASYNC_CHANGED = $(if $(filter Makefile locks/dev.txt,$?),$(ASYNC_FILES),$?)
UV_COMPILE = $(VENV)/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --universal --python-version 3.11 $(if $(UPGRADE),--upgrade)
# Off: 127 wants another HTTP library than the one that was measured: a decision, not a lint. 124: Quart runs what is not
# async in a thread, so handlers without an await stay async. 910-912: an early return without a checkpoint is accepted;
# a loop without one (913) is not.
ASYNC_OFF := ASYNC127,ASYNC124,ASYNC910,ASYNC911,ASYNC912
# Functions that are started with `await nursery.start(...)`; flake8-async asks for their names to check the calls.
STARTABLE := run,running,keeping,_keep_agent,_wait_signal

CORES := $(shell getconf _NPROCESSORS_ONLN)
# Side by side, the slow ones first.
CHECKS := check-async check-types check-format check-lint check-imports check-house

# The whole suite in one process more than there are cores: end-to-end tests mostly wait. A file stays with one worker,
# in the order of collection, so that the long ones come first. ADR 0027.
WORKERS ?= $(if $(ARGS),,$(shell expr $(CORES) + 1))
# `make check` has the house rules, which look at the files alone.
ALL_TESTS = $(if $(ARGS),,--ignore=tests/house)
IN_WORKERS = $(if $(WORKERS),-n $(WORKERS) --dist loadfile --no-loadscope-reorder)

# Set on some build machines; it would make every start import from source.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev lite test crashes postgres-releases corpus oracle contract image image-daemon e2e-kube check $(CHECKS) bench load lock release audit smoke pin-migrations docs clean programs

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: ## make .venv and install what users need (locks/lite.txt)
	@locks/install.sh lite

setup-dev: ## the same, plus tests and linters (locks/dev.txt)
	@locks/install.sh dev

lite: setup ## run Leoflow Lite; ARGS="--workspace DIR --port N --data-dir DIR"
	@exec $(VENV)/bin/leoflow lite $(ARGS)

test: setup-dev programs ## run all tests; ARGS="tests/unit -k word" for some, in one process unless WORKERS=3
	$(VENV)/bin/python -m pytest --junitxml=tests/artifacts/junit.xml $(IN_WORKERS) $(ALL_TESTS) $(ARGS)

crashes: setup-dev ## break every statement and hint of each journey once (ADR 34); ARGS="-k retry" for some
	LEOFLOW_CRASHES=all $(VENV)/bin/python -m pytest tests/crashes -n $(shell expr $(CORES) + 1) $(ARGS)

postgres-releases: setup-dev programs ## the tests that talk to a database on PostgreSQL 14 to 17; RELEASES="14", ARGS="tests/integration/store"
	@set -e; for release in $(or $(RELEASES),14 15 16 17); do \
	    package=$$($(VENV)/bin/python -m tests.postgres_releases $$release); \
	    echo "PostgreSQL $$release"; \
	    LEOFLOW_TEST_POSTGRES=$$package $(VENV)/bin/python -m pytest $(IN_WORKERS) \
	        $(or $(ARGS),$(addprefix tests/,crashes conformance security) $(addprefix tests/integration/,api api_ui cheap_tasks cluster scheduler store)); \
	done

corpus: setup-dev ## compile other people's DAG files as they are, write docs/compatibility.md; ARGS="FOLDER" for a folder of your own
	$(VENV)/bin/python -m tests.corpus $(ARGS)

oracle: setup-dev ## generated DAGs and Airflow's examples end as in Airflow; ARGS="--first 0 --count 300"
	$(VENV)/bin/python -m tests.oracle $(ARGS)
	$(VENV)/bin/python -m tests.oracle --first 1000 --count 100
	$(VENV)/bin/python -m tests.oracle.examples

contract: setup-dev ## a real Lite against Airflow's OpenAPI documents, some minutes; ARGS="--examples 10 --seed 7 --only public-reads"
	$(VENV)/bin/python -m tests.contract $(ARGS)

image: setup ## build the base image of task pods (docs/kubernetes.md); ARGS="--tag NAME --python 3.12 --push"
	$(VENV)/bin/python agent/image/build.py $(ARGS)

image-daemon: setup-dev ## build the image of the daemon, for the chart; the same ARGS
	$(VENV)/bin/python helm/image/build.py $(ARGS)

# Needs root, and installs builders and a runtime from Debian; not part of `make test`.
e2e-kube: setup-dev ## runs of pods of a real image on a real API server; the first time it builds that for minutes
	root=$$(tests/e2e_kube/prepare.sh) && LEOFLOW_E2E_KUBE=1 LEOFLOW_E2E_KUBE_BASE=$$root \
		$(VENV)/bin/python -m pytest tests/e2e_kube -s $(ARGS)

check: setup-dev ## the whole gate besides tests: format, lint, types, import contracts, house rules
	@$(MAKE) --no-print-directory --keep-going --jobs=$(CORES) $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(CHECKS)

check-async: .cache/checked-async
# It takes minutes of CPU, and looks at each file alone: only at what changed since it was content.
.cache/checked-async: $(ASYNC_FILES) Makefile locks/dev.txt
	@mkdir -p $(@D) && touch $@.begun
	@echo "flake8-async, $(words $(ASYNC_CHANGED)) of $(words $(ASYNC_FILES)) files"
	@echo $(ASYNC_CHANGED) | xargs -n 40 -P $(CORES) \
		$(VENV)/bin/flake8-async --enable=ASYNC --disable=$(ASYNC_OFF) --startable-in-context-manager=$(STARTABLE)
	@mv $@.begun $@
check-types:
	$(VENV)/bin/mypy
check-format:
	$(VENV)/bin/ruff format --check .
check-lint:
	$(VENV)/bin/ruff check .
check-imports:
	$(VENV)/bin/lint-imports --no-cache
check-house:
	$(VENV)/bin/python -m pytest -q tests/house

bench: setup-dev ## measure latency and throughput on this machine; raw results go to loadtests/results/
	$(VENV)/bin/python -m loadtests.latency --json --save $(ARGS)

load: setup-dev ## run the locust scenarios headless (locust in an environment of its own, .cache/load)
	@locks/install-apart.sh load
	$(VENV)/bin/python -m loadtests.locust_headless --locust .cache/load/bin/locust $(ARGS)

lock: | $(VENV)/bin/uv ## resolve the locks again from pyproject.toml; UPGRADE=1 takes the newest versions
	$(UV_COMPILE) pyproject.toml --extra lite --extra cluster --extra mcp --extra top --group dev --output-file locks/dev.txt
	$(UV_COMPILE) pyproject.toml --extra lite --extra mcp --extra top --group build --constraints locks/dev.txt --output-file locks/lite.txt
	echo uv | $(UV_COMPILE) - --constraints locks/dev.txt --output-file locks/uv.txt
	$(subst 3.11,3.10,$(UV_COMPILE)) locks/task-default.in --constraints locks/dev.txt --output-file locks/task-default.txt
	$(UV_COMPILE) locks/agent.in --constraints locks/dev.txt --output-file locks/agent.txt
	$(UV_COMPILE) pyproject.toml --extra cluster --constraints locks/dev.txt --output-file locks/daemon.txt
	$(UV_COMPILE) --group load --output-file locks/load.txt
	$(UV_COMPILE) --group release --output-file locks/release.txt

$(VENV)/bin/uv:
	@locks/install.sh lite

release: setup-dev ## build what a release consists of into dist/, the same bytes for the same commit; KEY=FILE signs it
	@locks/release.sh $(KEY)

audit: setup-dev ## known vulnerabilities of what the locks pin, asked of the index's advisory service; ARGS="--vulnerability-service osv"
	@locks/audit.sh $(ARGS)

# Minutes, needs root on Debian; not part of `make test`.
smoke: setup-dev ## a release in clean roots of Debian 12 and 13, and the release before upgraded with work underway
	tests/release/smoke.sh
	$(VENV)/bin/python -m tests.release.upgrade $(ARGS)

pin-migrations: ## pin the checksums of new migrations; part of a release
	@locks/pin-migrations.sh

docs: setup-dev ## write docs/pictures/*.svg, docs/cli.md, docs/api-compatibility.md and the stubs for editors again
	$(VENV)/bin/python docs/pictures/draw.py
	$(VENV)/bin/python docs/cli_reference.py
	$(VENV)/bin/python docs/author_stubs.py
	$(VENV)/bin/python docs/api_compatibility.py

programs:
	@tests/e2e/install-programs.sh

clean: ## remove .venv, caches and test output
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache tests/artifacts dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
