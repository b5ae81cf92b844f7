# make demo: pre-train, fine-tune and stream a small model, on synthetic speech
# make test: run all tests
# make serve: a live server of the English model, with a page, at port 8000
# make bench: measure against peers, and write results/benchmarks/measured.md
# make docs: build the documentation as a site, in build/docs
# make test-long, make soak: the long forms of some tests, up to hours
# make bench-peers DATA=FOLDER: the English model beside other recognisers,
#     which it installs, on splits in LibriSpeech layout
# make newest, make oldest: the fast tests with the newest and the oldest
#     versions that setup.cfg allows, in folders of their own
# make lock: write requirements/ anew, with the newest versions
# Each sets up a virtual environment first, in .venv with the versions of
# requirements/.

PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 \
	--upgrade --generate-hashes --no-annotate \
	--find-links build/runtime --no-emit-package speechbrain-llsa-runtime \
	--custom-compile-command "make lock" setup.cfg
# a lock for what is installed after requirements/development.txt
BESIDE_DEVELOPMENT = --constraint requirements/development.txt \
	$$(sed -n 's/^\([a-z0-9.-]*\)==.*/--no-emit-package \1/p' \
	requirements/development.txt)
DEMO := demo

define CHECK_PYTHON
@test -n "$(PYTHON)" || { echo "No Python 3.10 to 3.12 found: \
say make PYTHON=/path/to/python" >&2; exit 1; }
endef

.PHONY: help install lock newest oldest test test-fast test-long \
	bench bench-peers soak lint format demo serve docs \
	picture clean

help:
	@sed -n '/^#/!q; s/^# //p' Makefile

install: $(VENV)/installed

$(VENV)/installed: setup.cfg runtime/setup.cfg pyproject.toml $(wildcard requirements/*.txt)
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --requirement requirements/development.txt
	$(PIP) --no-deps --no-build-isolation --editable runtime --editable .
	$(PIP) --no-build-isolation --require-hashes \
		--requirement requirements/kenlm.txt 2>/dev/null || \
		echo "KenLM could not be built (a C++ compiler?): its tests are skipped"
	touch $@

lock: install
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation \
		--wheel-dir build/runtime ./runtime
	$(LOCK) --extra develop --output-file requirements/development.txt
	$(LOCK) --extra kenlm --output-file requirements/kenlm.txt \
		$(BESIDE_DEVELOPMENT)
	$(LOCK) --extra docs --output-file requirements/docs.txt \
		$(BESIDE_DEVELOPMENT)
	$(LOCK) --extra transformers --output-file requirements/transformers.txt \
		$(BESIDE_DEVELOPMENT)
	$(LOCK) --extra peers --output-file requirements/peers.txt \
		$(BESIDE_DEVELOPMENT)

newest:
	$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear .newest
	.newest/bin/python -m pip install --quiet --upgrade pip
	.newest/bin/python -m pip install --quiet --editable runtime --editable ".[test]"
	.newest/bin/python -m pip list
	.newest/bin/python -m pytest -n auto -m "not slow and not long"

oldest: install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .oldest
	$(BIN)/uv pip install --quiet --python .oldest/bin/python \
		--resolution lowest-direct --editable runtime --editable ".[test]"
	$(BIN)/uv pip list --python .oldest/bin/python
	.oldest/bin/python -m pytest -n auto -m "not slow and not long"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(PIP) --require-hashes --requirement requirements/transformers.txt
	$(BIN)/python -m pytest -n auto

test-fast: install
	$(BIN)/python -m pytest -n auto -m "not slow and not long"

test-long: install
	$(BIN)/python -m pytest -n auto -m long

bench: install
	$(BIN)/python benchmarks/all.py

DATA := data/english
SPLITS := dev-other-mini
bench-peers: install
	$(PIP) --require-hashes --requirement requirements/kenlm.txt \
		--requirement requirements/peers.txt
	$(BIN)/python benchmarks/peers.py --data $(DATA) --splits $(SPLITS)

soak: install
	$(BIN)/python benchmarks/soak.py

docs: install
	$(PIP) --require-hashes --requirement requirements/docs.txt
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet \
		docs build/docs
	@echo "The site begins at build/docs/index.html"

picture: install
	$(BIN)/python -m speechbrain_llsa picture docs/dependencies.png
	$(BIN)/python -m speechbrain_llsa picture docs/llsa-layout.png \
		--layout --look_back 4 --look_ahead 2 --hop 3

demo: install
	$(BIN)/python recipes/Synthetic/synthesize.py $(DEMO)/digits --workers 2 \
		--digits 1 8 \
		--split train:voices=320:utterances=8000 \
		--split valid:voices=12:utterances=120 \
		--split test:voices=12:utterances=120
	$(BIN)/python recipes/LibriSpeech/pretrain.py hparams/pretrain_small.yaml \
		--data_folder $(DEMO)/digits --output_folder $(DEMO)/pretrain \
		--optimizer_step_limit 500
	$(BIN)/python recipes/LibriSpeech/finetune_ctc.py hparams/finetune_small.yaml \
		--data_folder $(DEMO)/digits --output_folder $(DEMO)/finetune \
		--pretrained_folder $(DEMO)/pretrain/pretrained \
		--units sentencepiece --output_units 28
	$(BIN)/python -m speechbrain_llsa transcribe \
		--model $(DEMO)/finetune/streaming \
		$$(find $(DEMO)/digits/test -name '*.flac' | sort | head -n 1)

serve: install
	$(BIN)/python -m speechbrain_llsa serve

clean:
	rm -rf $(VENV) .newest .oldest $(DEMO) build *.egg-info
