#!/usr/bin/env bash
# Runs the unit and contract tests, and scale-up in the lab, on each end of the range of ansible-core that pyproject.toml allows, and
# with it on each end of the range of Python. The virtual environments stay in .cache/core-VERSION.
# Usage: on_cores.sh [VERSION=PYTHON ...]     e.g. on_cores.sh 2.21.0=/opt/python3.13/bin/python3
# SCENARIOS names the scenarios (default: scale-up; empty: none).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# = 0 ]; then set -- 2.19.4=python3.11 2.20.0=python3.12 '2.21.*=python3.13'; fi

find_python() { # NAME: prints the path of a Python; those of pyenv count although its own python3.12 may refuse
    local candidate
    for candidate in "$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"${1#python}".*/bin/python; do
        if "$candidate" -c 'import venv' 2> /dev/null; then echo "$candidate"; return; fi
    done
    echo "$1 is missing. Install it, or name another one: $0 VERSION=PYTHON" >&2
    return 1
}

for pair; do
    version=${pair%%=*} python=$(find_python "${pair#*=}")
    venv=$PWD/.cache/core-${version%.\*}
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet --editable '.[test]' "ansible-core==$version"
    "$venv/bin/ansible" --version | sed -n 1p
    (
        export PATH=$venv/bin:$PATH
        pytest --quiet --timeout 300 tests/unit tests/events tests/contract tests/integration/test_installed.py tests/integration/test_runs.py
        # shellcheck disable=SC2086 # a list of words
        if [ "${SCENARIOS=scale-up}" ]; then molecule/lab/run_scenarios.sh $SCENARIOS; fi
    )
done
