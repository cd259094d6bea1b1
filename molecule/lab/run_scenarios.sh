#!/usr/bin/env bash
# Runs Molecule scenarios in turn, each on the Slurm generations that its molecule.yml names in a line "# generations: ...".
# Scenarios of one generation share an AppHub with what it has published; a molecule.yml can ask for one of its own by LAB_KEEP_APPHUB: "".
# Usage: run_scenarios.sh [SCENARIO ...]   (all of them when none is named; LAB_SLURM=22.05 limits it to one generation)
# Logs go to .cache/molecule/. Everything that was started is removed, also when a scenario fails or the run is interrupted.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
export LAB_PREFIX=${LAB_PREFIX:-lab-test}
logs=.cache/molecule
mkdir -p "$logs"
passed=0 failed=()

destroy() { LAB_KEEP_APPHUB='' ansible-playbook molecule/lab/destroy.yml > "$logs/destroy.log" 2>&1 || cat "$logs/destroy.log"; }
trap destroy EXIT
trap 'exit 130' INT TERM

if [ "$(id -u)" != 0 ]; then
    echo "Molecule's hosts are containers with systemd of their own, which needs root. Run it as root or with sudo." >&2
    exit 1
fi
if [ $# = 0 ]; then
    for scenario in molecule/*/molecule.yml; do set -- "$@" "$(basename "$(dirname "$scenario")")"; done
fi
# What an interrupted run left would be taken for ours.
destroy
export LAB_KEEP_APPHUB=true
for generation in ${LAB_SLURM:-24.11 22.05}; do
    for scenario; do
        wanted=$(sed -n 's/^# generations: //p' "molecule/$scenario/molecule.yml")
        [[ " ${LAB_SLURM:-${wanted:-24.11}} " = *" $generation "* ]] || continue
        log=$logs/$scenario-$generation.log
        begun=$SECONDS
        printf '%-24s Slurm %s  ' "$scenario" "$generation"
        if LAB_SLURM=$generation timeout --kill-after 60 1500 molecule test --scenario-name "$scenario" > "$log" 2>&1 < /dev/null; then
            passed=$((passed + 1))
            printf 'passed in %d s\n' $((SECONDS - begun))
        else
            failed+=("$scenario on Slurm $generation")
            printf 'FAILED after %d s; the last lines of %s:\n' $((SECONDS - begun)) "$log"
            tail -n 150 "$log"
            destroy
        fi
    done
done
for name in "${failed[@]}"; do echo "failed: $name"; done
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} = 0 ]
