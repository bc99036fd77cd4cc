# Two commands on a fresh machine: `make demo` and `make test`. Each makes .venv and installs what it needs the first time.
# Needs Python 3.11 or newer, pip and make. Another Python: make install PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
TUNELOOP := $(VENV)/bin/tuneloop

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench-train bench-profile bench-labels bench-generate bench-scaling bench-near bench-noise \
        bench-json bench-augment bench-effect bench-memory bench-relevance clean

help:
	@echo "make demo     install, then tune and score the shipped example; ends with runs/customer_service/report.html"
	@echo "make test     install, then run the tests"
	@echo "make check    install, then format, lint, types, layers, docstrings"
	@echo "make bench-train  the training speed of tuneloop and its peers; hours, on an idle machine, with TUNELOOP_DATA"
	@echo "make bench-profile  where the time of a training step goes, of tuneloop and of HF Trainer; minutes, the same way"
	@echo "make bench-labels  label scoring against each label by itself; hours, on an idle machine, with TUNELOOP_DATA"
	@echo "make bench-generate  the speed of greedy answers beside transformers' generate, the same way"
	@echo "make bench-scaling  whether speed and memory stay flat from short to long documents, from few to many rows"
	@echo "make bench-near  near duplicates: speed, memory and quality beside four peers, with TUNELOOP_DATA"
	@echo "make bench-noise  whether planted noise and flipped labels are found; minutes, with TUNELOOP_DATA"
	@echo "make bench-relevance  whether rows of other sets are found; minutes, with TUNELOOP_DATA"
	@echo "make bench-augment  what other words do to accuracy and robustness; hours, with TUNELOOP_DATA"
	@echo "make bench-effect  what dirt costs a tuned model, and what cleaning gives back; hours, with TUNELOOP_DATA"
	@echo "make bench-memory  whether 2 GB of rows are cleaned within 500 MB, to the same bytes; hours"
	@echo "make bench-json  whether broken JSON lines come back as the rows that they were; minutes, with TUNELOOP_DATA"
	@echo "make install  only the environment; the command is then $(TUNELOOP)"
	@echo "make clean    remove .venv, demo/ and caches (never runs/)"

install: $(STAMP)

# torch goes first and alone: everything else then settles on the version that is there.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>&1) || found='not to be found'; \
	  echo "tuneloop needs Python 3.11 or newer; '$(PYTHON)' is $$found." \
	       "Install one and say which: make install PYTHON=python3.12" >&2; exit 1; }
	@[ -x $(VENV)/bin/pip ] || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "'$(PYTHON) -m venv' did not work (message above). On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo 'Installing into $(VENV), once; some minutes, most of them for torch ...'
	$(VENV)/bin/python -m pip install torch -c constraints.txt
	$(VENV)/bin/python -m pip install -e '.[dev]' -c constraints.txt
	@touch $@

demo: install
	@[ -f demo/recipe.yaml ] || $(TUNELOOP) init customer_service --folder demo
	$(TUNELOOP) run demo/recipe.yaml

test: install
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

check: install
	scripts/check

bench-train: install
	$(VENV)/bin/python -m benchmarks.train_speed $(BENCH_ARGS)

bench-profile: install
	$(VENV)/bin/python -m benchmarks.step_profile $(BENCH_ARGS)

bench-labels: install
	$(VENV)/bin/python -m benchmarks.label_scoring $(BENCH_ARGS)

bench-generate: install
	$(VENV)/bin/python -m benchmarks.generation $(BENCH_ARGS)

bench-scaling: install
	$(VENV)/bin/python -m benchmarks.scaling $(BENCH_ARGS)

bench-near: install
	$(VENV)/bin/python -m benchmarks.near_duplicates $(BENCH_ARGS)

bench-noise: install
	$(VENV)/bin/python -m benchmarks.noise $(BENCH_ARGS)

bench-relevance: install
	$(VENV)/bin/python -m benchmarks.relevance $(BENCH_ARGS)

bench-augment: install
	$(VENV)/bin/python -m benchmarks.augmentation $(BENCH_ARGS)

bench-effect: install
	$(VENV)/bin/python -m benchmarks.effect $(BENCH_ARGS)

bench-memory: install
	$(VENV)/bin/python -m benchmarks.bounded_memory $(BENCH_ARGS)

bench-json: install
	$(VENV)/bin/python -m benchmarks.json_repair $(BENCH_ARGS)

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
