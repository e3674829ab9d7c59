#!/usr/bin/env bash
# The unit tests on the lowest versions that requirements.txt admits; CI runs all tests on the newest.
# About 10 minutes on one core, and 9 GB that are given back. Arguments replace the tests:
# tests/scripts/lowest.sh tests/unit/test_studio.py
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# = 0 ] && set -- tests/unit
venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
source "$venv/bin/activate"
pip install -q "uv>=0.5"
export UV_CACHE_DIR="$venv/cache"  # beside the environment: files are linked, not copied
uv pip install -q --resolution lowest-direct -r requirements.txt -r tests/requirements.txt
names=$(sed -E 's/[^A-Za-z0-9_-].*//; /^$/d' requirements.txt tests/requirements.txt | tr _ - | paste -sd "|")
uv pip freeze -q | grep -E "^($names)=="
python -m pytest -p no:cacheprovider "$@"
