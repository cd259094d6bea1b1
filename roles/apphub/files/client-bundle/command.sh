#!/bin/sh
# Runs Slurm's @COMMAND@ with the libraries of its bundle. The loader is told where they are, and not the environment:
# that would be handed on to the jobs.
prefix=/usr/local/slurm
loader=@LOADER@
case ${1-} in
    # Slurm wants a configuration even to tell its version.
    -V | --version) SLURM_CONF=${SLURM_CONF:-$prefix/lib/version.conf} && export SLURM_CONF ;;
esac
# Without a loader, the command is static.
exec ${loader:+"$loader" --library-path "$prefix/lib:$prefix/lib/slurm"} "$prefix/lib/commands/@COMMAND@" "$@"
