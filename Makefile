# `make help` tells what there is.
BIN := .venv/bin
ARGS :=

.PHONY: help setup demo lint test clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  */\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup:  ## system packages (apt-get) and .venv with esrffs in it
	@.ci/setup

demo: setup  ## make a small experiment, mount it, look around, unmount (KEEP=1 leaves it mounted)
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/demo.sh

lint: setup  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint  ## lint, then all tests (ARGS="-k names" chooses some)
	$(BIN)/pytest $(ARGS)

clean:  ## take away .venv and everything else that was made here
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
