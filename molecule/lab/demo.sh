#!/usr/bin/env bash
# Shows the product on real hosts in containers: a controller with one node and a job on it, then four bare machines join.
# Usage: demo.sh [service]     with service they join through its API: on PostgreSQL, with two workers, and it goes on serving its page.
set -euo pipefail
cd "$(dirname "$0")/../.."
lab=inventories/${LAB_PREFIX:-lab}
# The record of the demo's runs goes when the lab goes.
export SLURMSCALE_DATA_DIR=$PWD/$lab/slurmscale
existing=ubuntu1
new=rocky1,rocky2,ubuntu2,ubuntu3

service=http://127.0.0.1:${DEMO_PORT:-8765}
token_file=$lab/service/token

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
quiet() { # COMMAND...: shows its output only when it fails
    local log
    log=$(mktemp)
    if ! "$@" > "$log" 2>&1; then cat "$log"; rm -f "$log"; exit 1; fi
    rm -f "$log"
}
play() { ansible-playbook --inventory "$lab/hosts.yml" "$@"; }
login() { # prints how to log in to the controller
    local address
    address=$(sed -n 's/.*ctl1: { ansible_host: \([^ ]*\) }.*/\1/p' "$lab/hosts.yml")
    echo "ssh -i $lab/id_ed25519 -o UserKnownHostsFile=$lab/known_hosts -o ConnectTimeout=10 root@$address"
}
controller() { $(login) "$@"; } # COMMAND: run on the controller
api() { # PATH [CURL OPTION...]: the token stays out of the list of processes
    local path=$1
    shift
    curl --silent --show-error --fail-with-body --header @<(echo "Authorization: Bearer $(< "$token_file")") "$@" "$service$path"
}
scale_up() {
    if [ "${1:-}" != service ]; then
        slurmscale up "$new" --inventory "$lab/hosts.yml" --yes
        return
    fi
    say 'Start the service: PostgreSQL, two workers and one that answers'
    quiet molecule/lab/demo_service.sh up
    # shellcheck source=/dev/null # just written
    . "$lab/service/env"
    echo "$service/ with the token $(< "$token_file")"
    say "Scale up through its API: $new"
    local run
    run=$(api /api/slurm/scale-up --header 'Content-Type: application/json' \
        --data "{\"cluster\": \"lab\", \"nodes\": \"$new\"}" | sed -n 's/.*"run":{"id":"\([^"]*\)".*/\1/p')
    echo "The service has recorded run $run, and a worker takes it up. The command shows it as well:"
    slurmscale attach "$run"
}

if [ "$(id -u)" != 0 ]; then
    echo 'make demo makes containers with systemd of their own, which needs root. Run it as root or with sudo.' >&2
    exit 1
fi
say 'Make the hosts: a package server, a controller and five bare machines'
quiet ansible-playbook molecule/lab/create.yml -e lab_rocky_nodes=2 -e lab_ubuntu_nodes=3
say 'Publish Slurm on the package server (AppHub)'
quiet play playbooks/publish_apphub.yml
say "Set up a controller with one node, $existing"
quiet play playbooks/setup_controller.yml
quiet play playbooks/scale_up.yml -e nodes=$existing
controller scancel --name demo-old-job
job=$(controller sbatch --parsable --job-name demo-old-job --nodelist "$existing" --output /dev/null --chdir / --wrap "'sleep 3600'")
controller "for i in 1 2 3 4 5 6 7 8 9 10; do squeue --noheader --job $job --states RUNNING | grep -q . && break; sleep 0.5; done"
say 'Before: one node, and a job runs on it'
controller 'sinfo; squeue'
if [ "${1:-}" != service ]; then say "Scale up: $new"; fi
scale_up "$@"
say 'After: five nodes, and the old job still runs'
controller 'sinfo; squeue'
controller "squeue --noheader --job $job --states RUNNING" | grep -q "$existing" || { echo "The old job $job did not survive." >&2; exit 1; }
say 'A job over all five nodes'
controller "srun --chdir / --nodes 5 --ntasks-per-node 1 --overlap hostname" | sort
environment="export SLURMSCALE_DATA_DIR=$SLURMSCALE_DATA_DIR"
if [ "${1:-}" = service ]; then environment=". $lab/service/env"; fi
cat <<END

The cluster is yours to look at:
  $(login)
Look back at the run, or run the same again, and nothing changes:
  $environment
  .venv/bin/slurmscale status; .venv/bin/slurmscale log rocky1
  .venv/bin/slurmscale up $new --inventory $lab/hosts.yml
Take it down: make demo-down
END
if [ "${1:-}" = service ]; then
    cat << END

The page of the service: $service/
Sign in as demo with the password $(< "$lab/service/password")
Programs send the token: $(< "$token_file")
END
fi
