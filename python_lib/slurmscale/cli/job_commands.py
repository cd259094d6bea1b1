"""Commands for jobs on clusters: job submit, list, show, output, cancel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from slurmscale.clean_text import clean
from slurmscale.cli import option_values, output
from slurmscale.cli import shared_options as options
from slurmscale.documents import JobDocument, JobOutputDocument
from slurmscale.errors import RefusedError, SlurmscaleError
from slurmscale.models import JobSpec, SlurmJob, when
from slurmscale.operations import Operation
from slurmscale.scaling import Scaling

if TYPE_CHECKING:
    from collections.abc import Iterable

_LARGEST_SCRIPT = 1_048_576
_WHO = "A job belongs to the ordinary user whom the cluster's variable job_user names, e.g. -e job_user=alice."
_NOT_ALLOWED = "No line #SBATCH of its script may say --uid, --gid, --array, --clusters or --wait."
_LEFT = (
    "A job that left the queue is asked for in the accounting. Where there is none, what was seen last is shown, and"
    " that it was."
)
_WHERE = "It is read on the node where it ran when the inventory has this node, else on the controller."

app = typer.Typer(help="Submit jobs to clusters, and see how they stand.", no_args_is_help=True)


def _submit(given: dict[str, Any]) -> None:
    script = _script(given["script"], given["command"])
    wanted = {name: given.get(f"job_{name}") or "" for name in JobSpec.__dataclass_fields__ if name != "script"}
    run_options = option_values.run_options(given)
    with Scaling() as scaling:
        cluster = scaling.find_cluster(option_values.target(given["cluster"], given["inventory"]))
        job = scaling.jobs.submit(cluster, JobSpec(script, **wanted), run_options)
    if given["json"]:
        output.echo_json(JobDocument.of(job).as_json())
    else:
        typer.echo(job.id)
        typer.echo(f"Job {job.job_id} on cluster {job.cluster}: {_state(job)}", err=True)


def _script(path: str | None, command: str | None) -> str:
    if (path is None) == (command is None):
        raise RefusedError("A job is a script or a command.", "Name a file, - for standard input, or give --command.")
    if path is None:
        return f"#!/bin/sh\n{command}\n"
    try:
        with sys.stdin.buffer if path == "-" else Path(path).open("rb") as source:
            content = source.read(_LARGEST_SCRIPT + 1)
        text = content.decode()
    except (OSError, ValueError) as exc:
        raise RefusedError(f"The script can't be read: {getattr(exc, 'strerror', None) or exc}.") from exc
    if len(content) > _LARGEST_SCRIPT:
        raise RefusedError(f"The script has more than {_LARGEST_SCRIPT:,} bytes.", "Let it read its data from a file.")
    return text


def _list(given: dict[str, Any]) -> None:
    run_options = option_values.run_options(given)
    with Scaling() as scaling:
        target = option_values.target(given["cluster"], given["inventory"])
        cluster = scaling.find_cluster(target).name if target else None
        if not given["cached"]:
            _refresh(scaling, {job.cluster for job in scaling.jobs.newest(None, cluster) if not job.ended}, run_options)
        jobs = scaling.jobs.newest(given["limit"], cluster)
    if given["json"]:
        output.echo_json([JobDocument.of(job).as_json() for job in jobs])
        return
    rows = [
        (
            job.id, job.cluster, job.job_id, _state(job), job.exit_code if job.ended else "", output.iso(_moment(job)),
            job.name,
        )
        for job in jobs
    ]  # fmt: skip
    output.print_table(("id", "cluster", "job", "state", "exit", "submitted", "name"), rows)


def _refresh(scaling: Scaling, clusters: Iterable[str], run_options: Any) -> None:
    for cluster in sorted(clusters):
        try:
            scaling.jobs.refresh(cluster, run_options)
        except SlurmscaleError as exc:
            # what is known of the jobs is shown nevertheless
            typer.echo(output.fitted(f"{cluster} gave no answer: {clean(str(exc))}", sys.stderr), err=True)


def _moment(job: SlurmJob) -> Any:
    return when(job.submitted_at or None)


def _state(job: SlurmJob) -> str:
    if job.lost:
        return f"{job.state} when last seen"
    return f"{job.state} ({job.reason})" if job.state == "PENDING" and job.reason not in ("", "None") else job.state


def _show(given: dict[str, Any]) -> None:
    run_options = option_values.run_options(given)
    with Scaling() as scaling:
        job = scaling.jobs.find(given["job"]) if given["cached"] else scaling.jobs.show(given["job"], run_options)
    _print(job, json=given["json"])


def _cancel(given: dict[str, Any]) -> None:
    run_options = option_values.run_options(given)
    with Scaling() as scaling:
        job = scaling.jobs.cancel(given["job"], run_options)
    _print(job, json=given["json"])


def _print(job: SlurmJob, *, json: bool) -> None:
    document = JobDocument.of(job).as_json()
    if json:
        output.echo_json(document)
        return
    times = {"submitted_at": _moment(job), "seen_at": when(job.seen_at or None)}
    for name, value in document.items():
        text = output.iso(times[name]) if name in times else str(value)
        if text and not isinstance(value, bool):
            typer.echo(output.fitted(f"{name.removesuffix('_at').replace('_', ' ')}: {clean(text)}", sys.stdout))


def _output(given: dict[str, Any]) -> None:
    run_options = option_values.run_options(given)
    with Scaling() as scaling:
        found = scaling.jobs.output(given["job"], run_options, limit=given["limit"])
    if given["json"]:
        output.echo_json(JobOutputDocument.of(found).as_json())
        return
    if found.size > given["limit"]:
        typer.echo(f"The last {given['limit']:,} of {found.size:,} bytes of {found.path} on {found.host}:", err=True)
    for line in found.text.splitlines():
        typer.echo(clean(line))


_CACHED = options.parameter(
    "cached", Annotated[bool, typer.Option("--cached", help="Ask no cluster; show what was seen last.")], default=False
)


def _register() -> None:
    script = Annotated[
        Optional[str], typer.Argument(metavar="SCRIPT", help="File of its script, or - for standard input."),  # noqa: UP045 - made when this is read, which `|` with typer's marks is not
    ]  # fmt: skip
    command = Annotated[str | None, typer.Option("--command", help="What it runs, by sh, in place of a script.")]
    own = [one for one in options.own_options(Operation.SUBMIT_JOB.definition) if one.name != "job_script"]
    limit = Annotated[int, typer.Option("--limit", min=1, help="How many.")]
    most = Annotated[int, typer.Option("--limit", min=1, max=100_000_000, help="Bytes to show at most, from its end.")]
    login, target = options.LOGIN, options.TARGET
    for name, function, wanted, summary, examples in (
        (
            "submit", _submit,
            [options.parameter("script", script), options.parameter("command", command), *own, *target, *login],
            f"Submit a job, and print our id of it.\n\n{_WHO} {_NOT_ALLOWED}",
            ("slurmscale job submit train.sh --cluster lab --nodes 2 --time 1:00:00",
             "slurmscale job submit --command 'srun hostname' --cluster lab -e job_user=alice"),
        ),
        (
            "list", _list, [_CACHED, options.parameter("limit", limit, default=20), *target, *login],
            "List the newest jobs that were submitted from here; each cluster is asked once for each of their users.",
            ("slurmscale job list --cluster lab --json",),
        ),
        (
            "show", _show, [options.JOB, _CACHED, *login],
            f"Show a job as Slurm describes it: state, reason, exit code, nodes.\n\n{_LEFT}",
            ("slurmscale job show a1b2c3", "slurmscale job show lab:4711 --json"),
        ),
        (
            "output", _output, [options.JOB, options.parameter("limit", most, default=1_048_576), *login],
            f"Print the end of what a job wrote.\n\n{_WHERE}",
            ("slurmscale job output a1b2c3",),
        ),
        (
            "cancel", _cancel, [options.JOB, *login], "Cancel a job.", ("slurmscale job cancel lab:4711",),
        ),
    ):  # fmt: skip
        made = options.command(function, wanted, summary)
        app.command(name, epilog=output.epilog(examples))(made)


_register()
