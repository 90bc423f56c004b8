# Everything runs inside .venv, with the versions pinned in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data/mvtec-mini
BACKBONE ?= ../shared/weights/deit-tiny-clip
STAMP := $(VENV)/.installed

.PHONY: setup demo test test-all lint benchmark clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clipada needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/clipada demo

# Each file in a process of its own (5: nothing to run in it): all in one, the kernel ends the process when a child of it
# ends some time after the command line's or the exports' tests.
EACH = for file in $$(find tests -name 'test_*.py' | sort); do $(BIN)/python -m pytest $(1) $$file || [ $$? = 5 ] || exit 1; done

test: $(STAMP)
	@$(call EACH)

test-all: $(STAMP)
	@$(call EACH,-m "slow or not slow")

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(STAMP)
	$(BIN)/python benchmarks/loader.py $(DATA) --backbone $(BACKBONE)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
