# The two commands of the README are `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
# Keeps torch a CPU build; CI hands in .ci/lock.txt, which pins all.
CONSTRAINTS ?= constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test lint site pages try try-test types package container clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed ## Make the virtual environment and install brainuad in it

# For another build of torch install it yourself first.
$(VENV)/installed: setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade -c $(CONSTRAINTS) pip
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) --build-constraint $(CONSTRAINTS) -e '.[dev,docs]'
	touch $@

demo: install ## Mark lesions in the head that comes with brainuad, then run the whole pipe on the embedded cohort
	$(BIN)/brainuad-predict demo $(RUN)/first_look
	$(BIN)/python train.py experiment=madad paths.output_dir=$(RUN) ckpt=last

test: install ## Run all tests (slow ones included)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-report=term --cov-fail-under=95

lint: install ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

site: install ## Build the documentation site in build/site, with its notebooks executed
	$(BIN)/python -m mkdocs build

pages: install ## Build the documentation site anew and check its pages
	$(BIN)/python -m pytest -m site tests/integration/test_site.py

# After `make site`, which empties its folder. The scripts of npm packages are not run.
try: install ## Build the page that finds lesions in a browser, in build/site/try
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	$(BIN)/python web/build.py build/site/try

try-test: install ## Test that page in Chromium
	$(BIN)/python -m pytest --timeout 3000 -m browser tests/browser

types: install ## Check types
	$(BIN)/mypy

package: install ## Build the wheel, install it in an empty environment and use it there
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) --build-constraint $(CONSTRAINTS) -e '.[dev,package]'
	CONSTRAINTS=$(CONSTRAINTS) $(BIN)/python -m pytest --timeout 3000 -m package tests/package

container: install ## Run the install script of the containers in a new Debian, as root
	$(BIN)/python -m pytest --timeout 3000 -m container tests/container

clean: ## Remove the virtual environment, caches and runs
	rm -rf $(VENV) cache runs
