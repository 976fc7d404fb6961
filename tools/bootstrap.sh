#!/usr/bin/env bash
# Make or reuse .venv with everything that `make demo` (run) or `make test` (test) needs.
# Needs Python >= 3.11 and a C++ compiler; as root on Debian what is missing is installed with apt.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-run}
minimum="import sys; sys.exit(sys.version_info < (3, 11))"

say() { printf '==> %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

apt_install() { # apt_install REASON PACKAGE...
    local reason=$1; shift
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        fail "$reason; install with your package manager (Debian: sudo apt-get install $*) and run this again"
    fi
    say "$reason: installing $*"
    [ -n "$(ls /var/lib/apt/lists/*_Packages* 2>/dev/null)" ] || apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 \
        || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
             apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
}

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && "$candidate" -c "$minimum" 2>/dev/null; then
            echo "$candidate"; return
        fi
    done
}

python=$(find_python || true)
if [ -z "$python" ]; then
    apt_install "Python 3.11 or newer is missing" python3 python3-venv python3-dev
    python=$(find_python || true)
    [ -n "$python" ] || fail "Python 3.11 or newer is needed; this system offers an older one"
fi

if [ "$mode" = test ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    # the queue tests submit through a real SLURM on this machine, the web tests look through a real browser
    command -v slurmctld >/dev/null && command -v munged >/dev/null \
        || apt_install "SLURM for the queue tests is missing" slurm-wlm munge
    command -v chromium >/dev/null \
        || apt_install "Chromium for the web interface tests is missing" chromium
fi

stamp=.venv/.installed
wanted=$(cat pyproject.toml tools/bootstrap.sh tools/gpaw_siteconfig.py | sha256sum | cut -d' ' -f1)-$mode
if [ -x .venv/bin/mlip-auto ] && grep -qs "^$wanted$" "$stamp"; then
    exit 0
fi

command -v g++ >/dev/null || apt_install "a C++ compiler is missing" g++
"$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install "Python's venv module is missing" python3-venv
header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
[ -f "$header" ] || apt_install "Python's C headers are missing" python3-dev

if ! [ -x .venv/bin/python ] || ! .venv/bin/python -c "$minimum" 2>/dev/null; then
    say "making .venv with $($python --version)"
    "$python" -m venv --clear .venv
fi
extras=embedded,gpaw
if [ "$mode" = test ]; then extras=$extras,dev,alloys,mace,phonons,polymlp; fi
say "installing mlip-autopipe[$extras] into .venv (a few minutes the first time)"
export GPAW_CONFIG="$PWD/tools/gpaw_siteconfig.py" PIP_DISABLE_PIP_VERSION_CHECK=1
.venv/bin/python -m pip install -qq --upgrade pip
if [ "$mode" = test ]; then
    # pypolymlp is built from source and needs the Eigen headers, which come as a wheel, too
    .venv/bin/python -m pip install -qq cmeel-eigen
    CMAKE_PREFIX_PATH=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/cmeel.prefix
    export CMAKE_PREFIX_PATH
    # the release that the tests were written with; on its own, so that pip settles on nothing else for mace-torch
    .venv/bin/python -m pip install -qq torch==2.13.0
fi
.venv/bin/python -m pip install -qq -e ".[$extras]"
.venv/bin/mlip-auto --version >/dev/null
# one line per installed mode; test contains run
if [ "$mode" = test ]; then
    printf '%s\n' "${wanted%-test}-run" "$wanted" >"$stamp"
else
    printf '%s\n' "$wanted" >"$stamp"
fi
say "ready"
