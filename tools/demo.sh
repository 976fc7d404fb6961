#!/usr/bin/env bash
# The main job: elastic constants of silicon by real DFT, through a LaunchPad, in a folder of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p demo
cd demo
exec ../.venv/bin/mlip-auto run ../workflows/si_elastic.yaml --out results
