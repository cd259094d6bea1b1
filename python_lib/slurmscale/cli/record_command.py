"""The command record, which the callback slurm_record starts beside a run of ansible-playbook."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from slurmscale.cli import output
from slurmscale.errors import ClusterError, RefusedError
from slurmscale.models import RunOptions
from slurmscale.operations import of_playbook
from slurmscale.runner.recorded import RecordedJob
from slurmscale.scaling import Scaling
from slurmscale.states import RunStatus

if TYPE_CHECKING:
    from slurmscale.runner.protocol import Launch


def record() -> None:
    """Record a run of ansible-playbook whose events come from standard input.

    Started by the callback: export ANSIBLE_CALLBACKS_ENABLED=ai_infra.slurm.slurm_record
    """
    request = _request(sys.stdin.readline())
    job = RecordedJob(sys.stdin, request["pid"])
    variables = dict(request["variables"])
    operation = of_playbook(request["playbook"], variables)
    if operation is None:
        raise RefusedError(f"The run is not recorded: {request['playbook']} is no operation of slurmscale.")
    if len(request["inventory"]) != 1:
        raise ClusterError("The run is not recorded: it has more than one inventory.", "Put them into one directory.")
    variables.pop("nodes", None)

    def make_job(_launch: Launch) -> RecordedJob:
        return job

    with Scaling(make_job=make_job) as scaling:
        run_options = RunOptions(extra_vars=variables, forks=request["forks"], check=request["check"])
        handle = scaling.run(operation, request["inventory"][0], request["nodes"], run_options)
        typer.echo(f"slurmscale: recorded as run {handle.id}", err=True)
        run = handle.wait()
    raise typer.Exit(0 if run.status is RunStatus.COMPLETED else 1)


def _request(line: str) -> dict[str, Any]:
    try:
        request: dict[str, Any] = json.loads(line)
        _ = request["pid"], request["playbook"], request["inventory"], request["nodes"], request["variables"]
    except (ValueError, KeyError, TypeError) as exc:
        raise RefusedError(
            "Standard input holds no events of ansible-playbook.",
            "Switch the callback on: export ANSIBLE_CALLBACKS_ENABLED=ai_infra.slurm.slurm_record",
        ) from exc
    return request


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=output.epilog(
            ("ANSIBLE_CALLBACKS_ENABLED=ai_infra.slurm.slurm_record ansible-playbook playbooks/scale_up.yml ...",)
        )
    )(record)
