#!/bin/sh
# Removes what install.sh of a bundle made, and nothing else. It keeps to POSIX sh and to tools that busybox has.
set -eu
LC_ALL=C
export LC_ALL

prefix=
root=
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

usage() {
    cat <<'EOF'
Usage: uninstall.sh [--prefix DIR] [--root DIR]

Removes the Slurm commands that install.sh put on this machine, and all that it made with them.

  --prefix DIR  where they are (default: where this script is installed, else /usr/local/slurm)
  --root DIR    they are in an image below DIR
EOF
}

die() {
    printf 'uninstall.sh: %s\n' "$*" >&2
    exit 1
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --prefix=* | --root=*) option=${1%%=*} argument=${1#*=} ;;
            --prefix | --root)
                [ $# -ge 2 ] || die "$1 needs a value; see uninstall.sh --help"
                option=$1 argument=$2
                shift
                ;;
            -h | --help) usage && exit 0 ;;
            *) die "'$1' is unknown; see uninstall.sh --help" ;;
        esac
        shift
        case $option in
            --prefix) prefix=${argument%/} ;;
            --root) root=${argument%/} ;;
        esac
    done
    if [ -z "$prefix" ] && [ -f "$here/MANIFEST" ]; then prefix=$(sed -n 's/^p //p' "$here/MANIFEST"); fi
    prefix=${prefix:-/usr/local/slurm}
    if [ -n "$root" ]; then
        [ -d "$root" ] || die "--root '$root' is not a directory"
        root=$(cd -- "$root" && pwd)
    fi
}

remove_links() {
    sed -n 's/^l //p' "$top/MANIFEST" | while read -r path target; do
        if [ "$(readlink "$root$path")" = "$target" ]; then rm "$root$path"; fi
    done
}

remove_files() {
    sed -n 's/^f //p' "$top/MANIFEST" | while read -r path sum; do
        [ -f "$root$path" ] || continue
        if [ -n "$sum" ] && [ "$(sha256sum <"$root$path" | cut -d ' ' -f 1)" != "$sum" ]; then
            echo "Left $root$path, which was changed after the installation."
        else
            rm "$root$path"
        fi
    done
}

remove_tree() {
    directories=$(sed -n 's/^d //p' "$top/MANIFEST" | sort -r)
    (cd "$top" && sed 's/^[^ ]*  //' SHA256SUMS | while read -r file; do rm -f "$file"; done)
    # The manifest goes last: an interrupted run finds it again.
    (cd "$top" && find . -depth -type d ! -name . -exec rmdir {} + 2>/dev/null) || :
    rm -f "$top/SHA256SUMS"
    rm "$top/MANIFEST"
    for directory in "$prefix" $directories; do
        if [ -d "$root$directory" ] && ! rmdir "$root$directory" 2>/dev/null; then
            echo "Left $root$directory, which holds files that are not from the bundle."
        fi
    done
}

main() {
    read_options "$@"
    top=$root$prefix
    if [ ! -f "$top/MANIFEST" ]; then
        echo "Nothing to do: there is no slurm-client in $top."
        return
    fi
    [ -w "$top" ] || die "root is needed to remove $top"
    version=$(sed -n 's/^version=//p' "$top/BUNDLE" 2>/dev/null) || version=
    remove_links
    remove_files
    remove_tree
    echo "Removed slurm-client $version from $top."
}

# On one line: by then this file may be gone.
main "$@"; exit
