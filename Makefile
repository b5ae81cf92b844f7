# make demo: pre-train, fine-tune and stream a small model, on synthetic speech
# make test: run all tests
# make bench: measure against peers, and write benchmarks/RESULTS.md
# make test-long, make soak: the long forms of some tests, up to hours
# Each sets up a virtual environment in .venv first.

PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
RECIPES := recipes/LibriSpeech

.PHONY: help install test test-fast test-long bench soak lint format demo \
	picture clean

help:
	@sed -n '1,5s/^# //p' Makefile

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.10 to 3.12 found: say make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[synthesis,test,bench]"
	$(BIN)/python -m pip install --quiet --editable ".[kenlm]" 2>/dev/null || \
		echo "KenLM could not be built (a C++ compiler?): its tests are skipped"
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(BIN)/python -m pytest -n auto

test-fast: install
	$(BIN)/python -m pytest -n auto -m "not slow and not long"

test-long: install
	$(BIN)/python -m pytest -n auto -m long

bench: install
	$(BIN)/python benchmarks/all.py

soak: install
	$(BIN)/python benchmarks/soak.py

picture: install
	$(BIN)/python -m speechbrain_llsa picture docs/dependencies.png

demo: install
	$(BIN)/python $(RECIPES)/synthesize.py $(DEMO)/digits --workers 2 \
		--digits 1 8 \
		--split train:voices=320:utterances=8000 \
		--split valid:voices=12:utterances=120 \
		--split test:voices=12:utterances=120
	$(BIN)/python $(RECIPES)/pretrain.py hparams/pretrain_small.yaml \
		--data_folder $(DEMO)/digits --output_folder $(DEMO)/pretrain \
		--optimizer_step_limit 500
	$(BIN)/python $(RECIPES)/finetune_ctc.py hparams/finetune_small.yaml \
		--data_folder $(DEMO)/digits --output_folder $(DEMO)/finetune \
		--pretrained_folder $(DEMO)/pretrain/pretrained \
		--units sentencepiece --output_units 28
	$(BIN)/python -m speechbrain_llsa transcribe \
		--model $(DEMO)/finetune/streaming \
		$$(find $(DEMO)/digits/test -name '*.flac' | sort | head -n 1)

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
