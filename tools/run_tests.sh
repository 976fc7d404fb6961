#!/usr/bin/env bash
# Run the tests with coverage; fail when one fails or when none ran (pytest exits with 5 then).
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
rm -f .coverage .coverage.*
exec .venv/bin/python -m pytest --cov --cov-report=term:skip-covered --durations=15 "$@"
