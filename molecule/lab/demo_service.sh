#!/usr/bin/env bash
# The service of the demo, as it is run for many: a PostgreSQL, a service that answers, and two workers.
# Usage: demo_service.sh up|down     up starts it anew, with the demo's cluster and a user; down ends and removes it.
set -euo pipefail
cd "$(dirname "$0")/../.."
lab=inventories/${LAB_PREFIX:-lab}
own=$lab/service
port=${DEMO_PORT:-8765}

postgresql() { # PROGRAM [ARGUMENT...]: run a program of PostgreSQL, which refuses to be run by root
    local programs=(/usr/lib/postgresql/*/bin)
    (cd / && PATH=$PATH:${programs[-1]} runuser --user postgres -- "$@")
}
start() { # NAME ARGUMENT...
    local name=$1
    shift
    setsid slurmscale "$@" > "$own/$name.log" 2>&1 < /dev/null &
    echo $! > "$own/$name.pid"
}
works() { grep --quiet --text slurmscale "/proc/$1/cmdline" 2> /dev/null; } # PID
stop() { # PID FILE
    local pid
    pid=$(< "$1")
    for signal in TERM KILL; do
        # the number may be another process's by now
        if ! works "$pid"; then return; fi
        kill -s "$signal" "$pid" 2> /dev/null || true
        for _ in $(seq 60); do
            if ! works "$pid"; then return; fi
            sleep 0.5
        done
    done
}
ready() { curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz"; }

down() {
    local database
    [ -e "$own" ] || return 0
    for pid_file in "$own"/*.pid; do
        if [ -e "$pid_file" ]; then stop "$pid_file"; fi
    done
    if [ -e "$own/database" ]; then
        database=$(< "$own/database")
        if [ -e "$database/data/postmaster.pid" ]; then
            postgresql pg_ctl --pgdata "$database/data" --mode fast --silent stop
        fi
        rm -rf "${database:?}"
    fi
    rm -rf "$own"
}

up() {
    local database
    down
    molecule/lab/install_tools.sh service
    mkdir -m 700 "$own"
    # not below the checkout, which PostgreSQL's user may not be able to enter
    database=$(mktemp -d /var/tmp/slurmscale-demo.XXXXXX)
    echo "$database" > "$own/database"
    chown postgres: "$database"
    # its socket lies in a directory that only root and PostgreSQL's user can enter
    postgresql initdb --pgdata "$database/data" --username slurmscale --auth trust --encoding UTF8 --no-locale --no-sync > "$own/initdb.log"
    postgresql pg_ctl --pgdata "$database/data" --log "$database/log" --silent --wait \
        --options "-k $database -c listen_addresses=''" start
    postgresql createdb --host "$database" --username slurmscale slurmscale
    (umask 077 && python3 -c 'import base64, secrets; print(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())' > "$own/keys")
    cat > "$own/env" << END
export SLURMSCALE_DATA_DIR='$PWD/$lab/slurmscale'
export SLURMSCALE_DATABASE_URL='postgresql+psycopg://slurmscale@/slurmscale?host=$database'
export SLURMSCALE_SECRET_KEY_FILE='$PWD/$own/keys'
export SLURMSCALE_STOP_SECONDS=10
END
    # shellcheck source=/dev/null # just written
    . "$own/env"
    slurmscale cluster add lab --inventory "$lab/hosts.yml"
    (umask 077 && python3 -c 'import secrets; print(secrets.token_urlsafe(16))' > "$own/password")
    slurmscale user add demo --role admin --password-stdin < "$own/password"
    (umask 077 && slurmscale token create demo --days 1 > "$own/token")
    start serve serve --port "$port"
    start worker1 worker --concurrency 2
    start worker2 worker --concurrency 2
    for _ in $(seq 120); do
        if ready; then return; fi
        sleep 0.5
    done
    tail --lines 20 "$own"/*.log >&2
    return 1
}

case "${1:-}" in
    up) up ;;
    down) down ;;
    *)
        sed -n '2,3s/^# //p' "$0" >&2
        exit 2
        ;;
esac
