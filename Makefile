# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What tools need to find the collection and the roles in the checkout when they don't read ansible.cfg.
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_ROLES_PATH := $(CURDIR)/roles
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections
export PATH := $(CURDIR)/$(BIN):$(PATH)
export CONTAINERS_CONF := $(CURDIR)/molecule/lab/containers.conf

.DEFAULT_GOAL := help
.PHONY: help demo demo-service demo-down test test-long test-cores lint unit molecule bench bench-large docs screenshots constraints clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/.run ## Scale a real Slurm cluster up, in containers on this machine (needs root)
	molecule/lab/demo.sh

demo-service: $(VENV)/.run ## The same through the API of a service with PostgreSQL and two workers, which then goes on serving its page
	$(BIN)/pip install --quiet --editable '.[service,postgresql]'
	molecule/lab/demo.sh service

demo-down: $(VENV)/.run ## Remove what `make demo` or `make demo-service` made; the images stay as a cache
	molecule/lab/demo_service.sh down
	$(BIN)/ansible-playbook molecule/lab/destroy.yml

test: lint unit molecule ## Everything that must pass: lint, unit and Molecule tests (needs root)

test-long: lint unit test-cores ## All that `make test` runs and what takes hours: long tests, all scenarios on both generations, both ends of ansible-core
	$(BIN)/pytest -m long --timeout 3600 tests
	LAB_KILLS=20 LAB_LIMIT=7200 LAB_SLURM='22.05 24.11' PYTEST_ADDOPTS="-m 'not timing'" molecule/lab/run_scenarios.sh
	LAB_CONFIGLESS=false molecule/lab/run_scenarios.sh foreign-cluster

test-cores: $(VENV)/.test ## Unit and contract tests and scale-up on the oldest and the newest ansible-core (needs Python 3.11 to 3.13)
	tests/on_cores.sh

lint: $(VENV)/.test ## ruff, mypy, import-linter, yamllint, ansible-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --strict

# A test that hangs fails, with the stacks of all threads. The tests of one file stay together: they share what is costly.
unit: $(VENV)/.test ## Tests without a lab
	$(BIN)/pytest --timeout 300 --numprocesses auto --maxprocesses 8 --dist loadfile tests

# Unless told otherwise, all but those that `make test-long` adds: library and faults-at-random cut off runs and machines at random
# moments, client-bundle and new-release need the distribution's packages, foreign-cluster, other-layout, conf-on-every-node,
# dynamic-nodes and two-controllers repeat the flows on clusters of another shape, gpu is scale-up with GPUs, accounting jobs and policies with the
# database of the distribution, shards takes ten nodes and PostgreSQL, moved-controller is mostly an administrator's work, cgroups
# needs a kernel that lets a container have them. Tests marked `long` run in `make test-long` alone, too.
# One of them: make molecule S=scale-up, all: make molecule S=, on the older Slurm: LAB_SLURM=22.05 make molecule S=
S ?= $(filter-out library faults-at-random new-release client-bundle foreign-cluster other-layout conf-on-every-node dynamic-nodes gpu two-controllers moved-controller accounting shards cgroups,$(notdir $(patsubst %/molecule.yml,%,$(wildcard molecule/*/molecule.yml))))
molecule: $(VENV)/.test ## Molecule scenarios against real daemons; S=NAME runs one of them, S= all
	molecule/lab/run_scenarios.sh $(S)

bench: $(VENV)/.test ## Tests that compare with the clock, then measure; prints a table and writes .bench/results.json
	$(BIN)/pytest -m timing tests
	$(BIN)/python tests/bench/run.py

bench-large: $(VENV)/.test ## Measure with 60 hosts in containers and 1,000 simulated ones (an hour, 12 GB of memory); adds to .bench/results.json
	$(BIN)/python tests/bench/run.py --large

docs: $(VENV)/.test ## Write the generated parts of the documentation anew
	$(BIN)/python docs/generate.py

screenshots: $(VENV)/.test ## Take the pictures of the page for docs/images, and the others for .cache/screenshots
	cd tests && ../$(BIN)/python -m browser.screenshots

# Needs uv (pip install uv). One file for all supported versions of Python.
constraints: ## Write constraints.txt anew, with the newest versions that pyproject.toml allows
	uv pip compile --upgrade --universal --python-version 3.11 --all-extras --generate-hashes --no-annotate --quiet \
	    --custom-compile-command 'make constraints' --output-file constraints.txt pyproject.toml

clean: ## Remove the virtual environment and the lab's images
	-podman images --quiet --filter reference='localhost/slurmscale-lab/*' | xargs --no-run-if-empty podman rmi --force
	rm -rf $(VENV) .bench .cache

# With LOCKED=1 the test tools and what the product needs are exactly those of constraints.txt, checked by their hashes.
# What the product itself needs is installed first, so that the demo doesn't wait for the test tools.
$(VENV)/.run: pyproject.toml
	@molecule/lab/check_python.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run
	molecule/lab/install_tools.sh test
ifdef LOCKED
	$(BIN)/pip install --quiet --require-hashes --no-deps --requirement constraints.txt
	$(BIN)/pip install --quiet --no-deps --editable .
else
	$(BIN)/pip install --quiet --editable '.[test]'
endif
	touch $@
