#!/usr/bin/env bash
# Runs Molecule scenarios, each on Slurm 24.11 or on what its molecule.yml names in a line "# generations: ...",
# and never on another than in a line "# only: ...".
# Two lanes run side by side, each with a lab of its own: a scenario alone waits half of its time.
# Scenarios of one lane and generation share an AppHub with what it has published; a molecule.yml can ask for one of its own by
# LAB_KEEP_APPHUB: "".
# Usage: run_scenarios.sh [SCENARIO ...]   (all of them when none is named; LAB_SLURM=22.05 limits it to one generation)
# LAB_LIMIT=7200 lets a scenario take longer than 1500 seconds.
# Logs go to .cache/molecule/. Everything that was started is removed, also when a scenario fails or the run is interrupted.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
export LAB_PREFIX=${LAB_PREFIX:-lab-test} LAB_LANES=${LAB_LANES:-2} LAB_KEEP_APPHUB=true
export logs=.cache/molecule
mkdir -p "$logs"

destroy() { # PREFIX
    LAB_KEEP_APPHUB='' LAB_PREFIX=$1 ansible-playbook molecule/lab/destroy.yml > "$logs/destroy-$1.log" 2>&1 || cat "$logs/destroy-$1.log"
}

# Runs one scenario in the lane that xargs gives it.
scenario() { # NAME GENERATION
    local begun=$SECONDS log=$logs/$1-$2.log end=passed
    export LAB_PREFIX=$LAB_PREFIX-$LANE LAB_SLURM=$2 MOLECULE_EPHEMERAL_DIRECTORY=$PWD/$logs/lane-$LANE/state
    # timeout makes a process group of its own, which an end of the lane's does not reach.
    COLUMNS=300 timeout --kill-after 60 "${LAB_LIMIT:-1500}" molecule test --no-command-borders --scenario-name "$1" > "$log" 2>&1 < /dev/null &
    trap 'kill $!; wait $!; exit 143' TERM
    if ! wait $!; then
        end=FAILED
        destroy "$LAB_PREFIX"
    fi
    printf '%-24s Slurm %s  %s in %d s\n' "$1" "$2" "$end" $((SECONDS - begun)) | tee -a "$logs/results"
}
export -f destroy scenario

clean_up() {
    # Lanes have a process group of their own, so that an interrupt ends them and nothing else.
    if [ "${lanes:-}" ]; then kill -- "-$lanes" && wait "$lanes"; fi 2> /dev/null
    for lane in $(seq "$LAB_LANES"); do destroy "$LAB_PREFIX-$((lane - 1))"; done
}

if [ "$(id -u)" != 0 ]; then
    echo "Molecule's hosts are containers with systemd of their own, which needs root. Run it as root or with sudo." >&2
    exit 1
fi
if [ $# = 0 ]; then
    for file in molecule/*/molecule.yml; do set -- "$@" "$(basename "$(dirname "$file")")"; done
fi
trap clean_up EXIT
trap 'exit 130' INT TERM
# What an interrupted run left would be taken for ours.
clean_up
rm -f "$logs/results"

wanted=() builds=()
for generation in ${LAB_SLURM:-22.05 24.11}; do
    for name; do
        theirs=$(sed -n 's/^# generations: //p' "molecule/$name/molecule.yml")
        only=$(sed -n 's/^# only: //p' "molecule/$name/molecule.yml")
        if [[ " ${only:-${LAB_SLURM:-${theirs:-24.11}}} " = *" $generation "* ]]; then wanted+=("$name $generation"); fi
    done
    if [[ "${wanted[*]}" = *" $generation"* ]]; then builds+=("$generation"); fi
done
# Before the lanes begin, as both would build the same ones.
for generation in "${builds[@]}"; do
    LAB_SLURM=$generation ansible-playbook molecule/lab/create.yml --tags images > "$logs/images-$generation.log" 2>&1 &
done
wait

set -m
printf '%s\n' "${wanted[@]}" | xargs --no-run-if-empty --max-procs="$LAB_LANES" --process-slot-var=LANE --max-lines=1 bash -c 'scenario "$@"' lane &
lanes=$!
set +m
wait "$lanes"
lanes=

while read -r name _ generation _; do
    printf '\nthe last lines of %s:\n' "$logs/$name-$generation.log"
    tail -n 150 "$logs/$name-$generation.log"
done < <(grep FAILED "$logs/results")
# Once more in short, as the end is what a CI server shows.
while read -r name _ generation rest; do
    printf '\n%s on Slurm %s %s\n' "$name" "$generation" "$rest"
    grep -E '^(FAILED|ERROR|fatal:|failed:) ' "$logs/$name-$generation.log" | cut --characters=-300 | tail -n 5
done < <(grep FAILED "$logs/results")
passed=$(grep -c passed "$logs/results")
echo "$passed of ${#wanted[@]} passed"
[ "$passed" = ${#wanted[@]} ]
