# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
RUN    ?=

.PHONY: run test check bench fuzz setup lock proto fix clean

run: setup
	@$(BIN)/prosumer-wallet demo $(RUN)

test: setup
	@$(BIN)/python -m pytest $$($(BIN)/python -m wallet_app.gui.libraries || echo -p no:pytest-qt) $(TEST)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m tests.benchmarks $(BENCH)

# FUZZ="--inputs 10000000": of each parser and reader. Then the search by coverage, where atheris is
# installed, for FUZZ_SECONDS each.
FUZZ_SECONDS ?= 20
fuzz: setup
	$(BIN)/python -m tests.fuzz.fuzz_meter $(FUZZ)
	$(BIN)/python -m tests.fuzz.fuzz_node $(FUZZ)
	for p in dlms dlt645 dlt698 dsmr_p1 iec62056_21 modbus_rtu sml; do \
		$(BIN)/python -m tests.fuzz.fuzz_meter_guided $$p -max_total_time=$(FUZZ_SECONDS) -max_len=400 \
			|| exit 1; done
	for t in $$($(BIN)/python -m tests.fuzz.fuzz_node --list); do \
		$(BIN)/python -m tests.fuzz.fuzz_node_guided $$t -max_total_time=$(FUZZ_SECONDS) \
			-max_len=20000 || exit 1; done

setup: $(STAMP)

# --no-deps: the lock names every package with its hash, so nothing is resolved or fetched beside it.
$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install python3 and python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "cannot make $(VENV): on Debian and Ubuntu run 'apt-get install python3-venv'"; rm -rf $(VENV); exit 1; }
	@echo "Installing the locked dependencies into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock:
	$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra wallet --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements.lock $(LOCK)

proto: setup
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. light_node/fabric/pb/*.proto

fix: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo-output
