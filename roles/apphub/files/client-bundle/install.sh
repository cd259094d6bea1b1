#!/bin/sh
# Installs the Slurm commands of this bundle. It keeps to POSIX sh and to tools that busybox has, for Alpine.
set -eu
LC_ALL=C
export LC_ALL
umask 022
# The trial is of the bundle, not of the configuration that the caller happens to use.
unset SLURM_CONF

prefix=/usr/local/slurm
root=
controller=
made=
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

usage() {
    cat <<'EOF'
Usage: install.sh [--prefix DIR] [--root DIR] [--controller HOST[:PORT]]

Installs the Slurm commands of this bundle, or upgrades to them. A second run has nothing to do.

  --prefix DIR            where to put them (default /usr/local/slurm); links to them go to /usr/bin
  --root DIR              install below DIR, into the image of a machine that is like this one
  --controller HOST:PORT  write a small slurm.conf for this controller when there is none; an existing one is left alone
EOF
}

die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

value() {
    sed -n "s/^$1=//p" "$here/BUNDLE"
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --prefix=* | --root=* | --controller=*) option=${1%%=*} argument=${1#*=} ;;
            --prefix | --root | --controller)
                [ $# -ge 2 ] || die "$1 needs a value; see install.sh --help"
                option=$1 argument=$2
                shift
                ;;
            -h | --help) usage && exit 0 ;;
            *) die "'$1' is unknown; see install.sh --help" ;;
        esac
        shift
        case $option in
            --prefix) prefix=${argument%/} ;;
            --root) root=${argument%/} ;;
            --controller) controller=$argument ;;
        esac
    done
    case $prefix in
        *[!A-Za-z0-9/._-]* | *//* | */../* | */..) die "--prefix '$prefix' must be a plain path without spaces" ;;
        /?*) ;;
        *) die "--prefix '$prefix' must be an absolute path" ;;
    esac
    case $controller in
        *[!A-Za-z0-9.:_-]* | :* | *:) die "--controller '$controller' must be a name or address, or HOST:PORT" ;;
    esac
    if [ -n "$root" ]; then
        [ -d "$root" ] || die "--root '$root' is not a directory"
        root=$(cd -- "$root" && pwd)
    fi
}

check_download() {
    for file in BUNDLE SHA256SUMS; do
        [ -s "$here/$file" ] || die "the bundle is incomplete, $file is missing: download and unpack it again"
    done
    said=$(cd "$here" && sha256sum -c SHA256SUMS 2>&1) || die "the bundle is damaged: download and unpack it again.
$(printf '%s\n' "$said" | grep -v ': OK$' | head -n 5)"
}

check_machine() {
    machine=$(uname -m)
    case $machine in
        x86_64) found=amd64 ;;
        aarch64) found=arm64 ;;
        ppc64le) found=ppc64el ;;
        *) found=$machine ;;
    esac
    [ "$found" = "$arch" ] || die "this bundle is for $arch, but this machine is $found ($machine): take one for $found"
    if [ -n "$loader" ] && [ ! -e "$loader" ]; then
        have=another
        [ ! -e /lib64/ld-linux-x86-64.so.2 ] && [ ! -e /lib/ld-linux-aarch64.so.1 ] || have=glibc
        ls /lib/ld-musl-* >/dev/null 2>&1 && have=musl
        die "this bundle is for the C library $libc, but this machine has $have ($loader is missing):" \
            "take slurm-client-VERSION-alpine.tar.gz on Alpine and slurm-client-VERSION-linux-$arch.tar.gz elsewhere"
    fi
    [ "$libc" = glibc ] || return 0
    # Where it can't be asked for its version, the trial tells.
    have=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //') || have=
    if [ -n "$have" ] && is_older "$have" "$glibc"; then
        die "this bundle needs glibc $glibc or newer, but this machine has $have:" \
            "take a bundle that was made from packages of an older release, or an older version of Slurm"
    fi
}

is_older() {
    [ "${1%%.*}" -lt "${2%%.*}" ] && return 0
    [ "${1%%.*}" -eq "${2%%.*}" ] || return 1
    one=${1#*.} two=${2#*.}
    [ "${one%%.*}" -lt "${two%%.*}" ]
}

# Everything outside the prefix, one line each: d is a directory, l a link and its target, f a file.
wanted() {
    for command in "$here"/usr/local/slurm/bin/*; do
        echo "l /usr/bin/${command##*/} $prefix/bin/${command##*/}"
    done
    # Slurm looks for its plugins where it was built to; a slurm.conf that all machines share can't say otherwise.
    if [ -n "$plugins" ] && [ "$plugins" != "$prefix/lib/slurm" ]; then
        echo "l $plugins $prefix/lib/slurm"
    fi
    echo "f /etc/profile.d/slurm-client.sh"
}

is_ours() {
    [ -f "$root$prefix/MANIFEST" ] && sed -n 's/^[lf] \([^ ]*\).*/\1/p' "$root$prefix/MANIFEST" | grep -qxF -- "$1"
}

check_place() {
    # An upgrade was interrupted in the moment of the exchange.
    if [ -d "$old" ] && [ ! -e "$root$prefix" ]; then mv "$old" "$root$prefix"; fi
    if [ -e "$root$prefix" ] && [ ! -f "$root$prefix/MANIFEST" ]; then
        die "$root$prefix is there already, and not from a bundle: remove it or choose another --prefix"
    fi
    in_the_way=$(wanted | while read -r _ path target; do
        if [ -e "$root$path" ] || [ -L "$root$path" ]; then
            is_ours "$path" || [ "$(readlink "$root$path")" = "${target:-none}" ] || echo "$root$path"
        fi
    done)
    [ -z "$in_the_way" ] || die "these are there already, and not from this bundle:
$in_the_way
Remove the Slurm packages (apt-get remove slurm-client, dnf remove slurm, apk del slurm), or run the uninstall.sh of the
other bundle, then try again. Nothing was changed."
    strangers=$(foreign_files)
    [ -z "$strangers" ] || die "$root$prefix holds files that are not from a bundle, move them away: $strangers"
}

foreign_files() {
    [ -f "$root$prefix/MANIFEST" ] || return 0
    (cd "$root$prefix" && { sed 's/^[^ ]*  //' SHA256SUMS && printf '%s\n' ./SHA256SUMS ./MANIFEST; } >"$work/known")
    (cd "$root$prefix" && find . ! -type d | grep -vxF -f "$work/known") || :
}

needs_config() {
    [ -n "$controller" ] && [ ! -e "$root/etc/slurm/slurm.conf" ] && [ ! -L "$root/etc/slurm/slurm.conf" ]
}

is_installed() {
    cmp -s "$here/SHA256SUMS" "$root$prefix/BUNDLE.sha256" || return 1
    (cd "$root$prefix" && sha256sum -c SHA256SUMS) >/dev/null 2>&1 || return 1
    wanted | while read -r _ path target; do
        is_ours "$path" || exit 1
        if [ -n "$target" ]; then
            [ "$(readlink "$root$path")" = "$target" ] || exit 1
        else
            profile | cmp -s - "$root$path" || exit 1
        fi
    done || return 1
    ! needs_config
}

profile() {
    echo "# Made by the install.sh of slurm-client; its uninstall.sh removes it."
    # shellcheck disable=SC2016  # the login shell expands it
    printf 'case ":$PATH:" in *:%s/bin:*) ;; *) PATH=$PATH:%s/bin ;; esac\n' "$prefix" "$prefix"
}

# Notes the parents of a path that are missing, and makes them.
make_parents() {
    parent=${1%/*}
    missing=
    while [ -n "$parent" ] && [ ! -d "$root$parent" ]; do
        missing="$parent $missing"
        parent=${parent%/*}
    done
    made="$made $missing"
    mkdir -p "$root${1%/*}"
}

tidy() {
    status=$?
    rm -rf "$new" "$work"
    if [ "$status" -ne 0 ]; then
        # shellcheck disable=SC2086  # a list of paths without spaces
        for directory in $(printf '%s\n' $made | sort -r); do rmdir "$root$directory" 2>/dev/null || :; done
    fi
    exit "$status"
}

stage() {
    rm -rf "$new" "$old"
    make_parents "$prefix"
    mkdir "$new"
    cp -R "$here/usr/local/slurm/." "$new/"
    for file in "$new"/bin/* "$new/lib/version.conf"; do
        sed "s|/usr/local/slurm|$prefix|" "$file" >"$work/edited"
        cat "$work/edited" >"$file"
    done
    cp "$here/BUNDLE" "$here/README.md" "$here/uninstall.sh" "$new/"
    cp "$here/SHA256SUMS" "$new/BUNDLE.sha256"
    chmod -R u=rwX,go=rX "$new"
    (cd "$new" && find . -type f -exec sha256sum {} +) >"$work/sums"
    cp "$work/sums" "$new/SHA256SUMS"
}

# Runs a command of an installed tree as its wrapper does, also when that lies elsewhere for the moment.
run() {
    sed "s|^PluginDir=.*|PluginDir=$1/lib/slurm|" "$1/lib/version.conf" >"$work/slurm.conf"
    set -- "$1" "$1/lib/commands/$2"
    if [ -n "$loader" ]; then
        set -- "$1" "$loader" --library-path "$1/lib:$1/lib/slurm" "$2"
    fi
    shift
    said=$(SLURM_CONF="$work/slurm.conf" "$@" --version 2>&1)
}

try() {
    for command in "$new"/lib/commands/*; do
        run "$new" "${command##*/}" || die "${command##*/} does not run on this machine; nothing was changed:
$said
Install the library that is missing, or take a bundle that has it: the AppHub puts in what its packages hold."
        case $said in
            *" $version"*) ;;
            *) die "${command##*/} says '$said', but the bundle is $version; nothing was changed" ;;
        esac
    done
}

remember() {
    for path in $(wanted | cut -d ' ' -f 2) /etc/slurm/slurm.conf; do make_parents "$path"; done
    {
        echo "p $prefix"
        wanted
        for directory in $made; do echo "d $directory"; done
        # What an earlier install made is still ours to remove.
        [ ! -f "$root$prefix/MANIFEST" ] || sed -n '/^d /p' "$root$prefix/MANIFEST"
        if needs_config; then
            echo "f /etc/slurm/slurm.conf $(config | sha256sum | cut -d ' ' -f 1)"
        elif [ -f "$root$prefix/MANIFEST" ]; then
            sed -n '/^f \/etc\/slurm\/slurm.conf /p' "$root$prefix/MANIFEST"
        fi
    } | sort -u >"$new/MANIFEST"
}

config() {
    host=${controller%:*} port=6817
    [ "$host" = "$controller" ] || port=${controller##*:}
    sed -e "s|^SlurmctldHost=.*|SlurmctldHost=$host|" -e "s|^SlurmctldPort=.*|SlurmctldPort=$port|" \
        "$here/etc/slurm/slurm.conf.example"
}

exchange() {
    if [ -e "$root$prefix" ]; then mv "$root$prefix" "$old"; fi
    mv "$new" "$root$prefix"
    if [ -d "$old" ]; then
        # Links that the other version made and this one does not.
        sed -n 's/^l //p' "$old/MANIFEST" | while read -r path target; do
            if ! is_ours "$path" && [ "$(readlink "$root$path")" = "$target" ]; then rm "$root$path"; fi
        done
        rm -rf "$old"
    fi
}

link() {
    wanted | while read -r _ path target; do
        if [ -n "$target" ]; then
            [ "$(readlink "$root$path")" = "$target" ] || ln -sfn "$target" "$root$path"
        else
            profile >"$root$path"
        fi
    done
    if needs_config; then config >"$root/etc/slurm/slurm.conf"; fi
}

verify() {
    if [ -n "$root" ]; then
        run "$root$prefix" sinfo
    else
        said=$(/usr/bin/sinfo --version 2>&1)
    fi || die "sinfo --version fails after the installation: $said"
}

main() {
    read_options "$@"
    check_download
    version=$(value version) arch=$(value arch) libc=$(value libc) loader=$(value loader)
    glibc=$(value glibc) plugins=$(value plugins)
    check_machine
    if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
        die "root is needed, because links go to /usr/bin; to prepare an image, use --root"
    fi
    new=$root$prefix.new old=$root$prefix.old
    work=$(mktemp -d)
    trap tidy EXIT
    trap 'exit 1' HUP INT TERM
    check_place
    if is_installed; then
        verify
        echo "Nothing to do: slurm-client $version is installed in $root$prefix ($said)."
        return
    fi
    before=
    [ ! -f "$root$prefix/BUNDLE" ] || before=" in place of $(sed -n 's/^version=//p' "$root$prefix/BUNDLE")"
    stage
    try
    remember
    exchange
    link
    verify
    echo "Installed slurm-client $version in $root$prefix$before ($said)."
}

main "$@"
