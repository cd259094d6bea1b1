#!/bin/sh
# Installs the Debian packages that the lab and the tests need, when one of their programs is missing.
# Usage: install_tools.sh lab|service|test     service is the demo's with its database, test adds what the tests need
set -eu
packages='' programs=''
need() { programs="$programs $1"; packages="$packages $2"; }
for program in podman runc mmdebstrap iptables; do need $program $program; done
need ssh-keyscan openssh-client
need newuidmap uidmap
need /usr/lib/podman/netavark netavark
need /usr/lib/podman/aardvark-dns aardvark-dns
if [ "${1:-lab}" != lab ]; then
    need '/usr/lib/postgresql/*/bin/initdb' postgresql
    need curl curl
fi
if [ "${1:-lab}" = test ]; then
    need apt-ftparchive apt-utils
    need busybox busybox
    need createrepo_c createrepo-c
    need dnf 'dnf dnf-plugins-core'
    need gpg gnupg
    need nginx nginx-light
    need promtool prometheus
    need sqlite3 sqlite3
    need rpmbuild rpm
    need shellcheck shellcheck
    need chromium 'chromium fonts-dejavu-core'
fi
missing=''
for program in $programs; do command -v "$program" > /dev/null || missing="$missing $program"; done
[ -z "$missing" ] && exit 0
if ! command -v apt-get > /dev/null; then
    echo "Missing:$missing. Install what your system calls$packages, then try again." >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "Missing:$missing. Run this once as root or with sudo: apt-get install --no-install-recommends$packages" >&2
    exit 1
fi
echo "Installing$packages"
export DEBIAN_FRONTEND=noninteractive
# Tests and demo start a PostgreSQL of their own; the package shall not start one for the machine.
if [ ! -e /etc/postgresql-common/createcluster.conf ] && [ "${1:-lab}" != lab ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
fi
# Likewise a Prometheus and an nginx, unless somebody has set one up.
for service in prometheus nginx; do
    if [ ! -e /etc/$service ] && [ ! -e /etc/systemd/system/$service.service ] && [ "${1:-lab}" = test ]; then
        mkdir -p /etc/systemd/system
        ln -s /dev/null /etc/systemd/system/$service.service
    fi
done
apt-get -qq update
# shellcheck disable=SC2086 # a list of words
apt-get -qq install -y --no-install-recommends $packages > /dev/null
