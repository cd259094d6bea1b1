#!/usr/bin/env bash
# Ends the service of the demo, if it runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
pid_file=inventories/lab/service.pid
if [ -e "$pid_file" ] && grep --quiet --text slurmscale "/proc/$(< "$pid_file")/cmdline" 2> /dev/null; then
    kill "$(< "$pid_file")"
fi
rm -f "$pid_file"
