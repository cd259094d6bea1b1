#!/usr/bin/env bash
# The yardstick: what a plain parallel ssh script needs to bring the same nodes to the same state from the same AppHub.
# Usage: install_over_ssh.sh INVENTORY_DIR APPHUB_URL CONTROLLER_ADDRESS NAME=ADDRESS ...
set -euo pipefail
dir=$1 hub=$2 controller=$3
shift 3
options=(-i "$dir/id_ed25519" -o UserKnownHostsFile="$dir/known_hosts" -o ConnectTimeout=10
    -o ControlMaster=auto -o ControlPersist=60 -o ControlPath="$dir/cm-%C")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
on() { local host=$1; shift; timeout 120 ssh "${options[@]}" "root@$host" "$@"; }

on "$controller" 'base64 -w0 /etc/munge/munge.key' > "$work/key"
on "$controller" 'id -u munge; id -g munge; id -u slurm; id -g slurm; scontrol show config | grep -oP "ClusterName += \K.*"' > "$work/ids"
mapfile -t ids < "$work/ids"

install_one() { # NAME ADDRESS: prints the node's line for slurm.conf
    on "$2" sh -s -- "$hub" "$(cat "$work/key")" "${ids[@]:0:4}" << 'REMOTE'
set -e
hub=$1 key=$2 munge_uid=$3 munge_gid=$4 slurm_uid=$5 slurm_gid=$6
groupadd -g "$munge_gid" munge; useradd -r -u "$munge_uid" -g munge -s /usr/sbin/nologin -M munge
groupadd -g "$slurm_gid" slurm; useradd -r -u "$slurm_uid" -g slurm -s /usr/sbin/nologin -M slurm
mkdir -p -m 0700 /etc/munge /etc/slurm /var/spool/slurmd /var/log/slurm
echo "$key" | base64 -d > /etc/munge/munge.key
chown -R munge:munge /etc/munge; chmod 0400 /etc/munge/munge.key
. /etc/os-release
fetch() { python3 -c 'import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())' "$1"; }
if command -v apt-get > /dev/null; then
    mkdir -p /etc/apt/keyrings; fetch "$hub/pkgs/apphub.asc" > /etc/apt/keyrings/apphub.asc
    echo "deb [signed-by=/etc/apt/keyrings/apphub.asc] $hub/pkgs/deb/ubuntu $VERSION_CODENAME main" > /etc/apt/sources.list.d/apphub.list
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends munge slurmd slurm-client > /dev/null
    rm /usr/sbin/policy-rc.d
    options=/etc/default/slurmd
else
    printf '[apphub]\nname=AppHub\nbaseurl=%s/pkgs/rpm/el%s/x86_64\ngpgcheck=1\ngpgkey=%s/pkgs/apphub.asc\n' \
        "$hub" "${VERSION_ID%%.*}" "$hub" > /etc/yum.repos.d/apphub.repo
    dnf -q -y install munge slurm slurm-slurmd > /dev/null
    options=/etc/sysconfig/slurmd
fi
mkdir -p /etc/systemd/system/slurmd.service.d
printf '[Unit]\nConditionPathExists=\n[Service]\nRestart=on-failure\n' > /etc/systemd/system/slurmd.service.d/bench.conf
echo 'SLURMD_OPTIONS="--conf-server ctl1:6817"' > "$options"
systemctl daemon-reload
systemctl enable --quiet munge slurmd
systemctl restart munge
slurmd -C | head -n 1
REMOTE
}

pids=()
for node; do
    install_one "${node%%=*}" "${node##*=}" > "$work/${node%%=*}.line" &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
sed 's/ UpTime.*//; s/$/ State=UNKNOWN/' "$work"/*.line | on "$controller" 'cat >> /etc/slurm/slurmscale-nodes.conf; scontrol reconfigure'
pids=()
for node; do
    on "${node##*=}" systemctl start slurmd &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
names=$(printf '%s,' "${@%%=*}")
on "$controller" "for i in \$(seq 60); do [ \$(sinfo -h -N -t idle -n ${names%,} -o %N | wc -l) = $# ] && break; sleep 0.5; done
    for node in $(printf '%s ' "${@%%=*}"); do srun --chdir / -w \$node true & done; wait"
