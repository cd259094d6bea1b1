#!/bin/sh
# Makes sure that this Python can make a virtual environment; on Debian that is a package of its own.
set -eu
python=${1:-python3}
if ! command -v "$python" >/dev/null; then
    echo "$python is missing. Install Python 3.11, 3.12 or 3.13, or name it: make PYTHON=/usr/bin/python3.12 ..." >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    echo "Python 3.11 to 3.13 is needed, found $("$python" --version). Name another one: make PYTHON=python3.12 ..." >&2
    exit 1
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "$python can't make virtual environments. Install its venv package (Debian, Ubuntu: apt-get install python3-venv), as root." >&2
    exit 1
fi
apt-get update -q && apt-get install -qy --no-install-recommends python3-venv
