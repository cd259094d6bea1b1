"""The records of jobs on clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from slurmscale.states import JOB_ENDED
from slurmscale.store.notices import Change, Kind
from slurmscale.store.tables import job_of_row, jobs, row_of_job

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import ColumnElement

    from slurmscale.models import SlurmJob
    from slurmscale.store.engine import Database


class JobRecords:
    """Jobs that were submitted from here; each method is one transaction.

    Args:
        database: Where they are.

    Raises:
        StoreError: From every method, when the database can't be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job: SlurmJob) -> None:
        """Record a job."""
        with self._database.explained("write"), self._database.begin() as connection:
            connection.execute(insert(jobs).values(**row_of_job(job)))
            self._database.notices.add(connection, Change(Kind.JOBS))

    def update(self, changed: Iterable[SlurmJob]) -> None:
        """Write how jobs stand, unless somebody else wrote something newer."""
        with self._database.explained("write"), self._database.begin() as connection:
            for job in changed:
                mine = jobs.c.id == job.id, jobs.c.asked_at <= job.asked_at
                connection.execute(update(jobs).where(*mine).values(**row_of_job(job)))
            self._database.notices.add(connection, Change(Kind.JOBS))

    def like(self, text: str, cluster: str | None = None) -> list[SlurmJob]:
        """Return the jobs of an id, the newest first: Slurm's, ours, or the beginning of ours or of its last part.

        Args:
            text: The id.
            cluster: Only jobs of this cluster.
        """
        if text.isdigit():
            return self._select(jobs.c.job_id == text, cluster=cluster)
        ids = jobs.c.id
        begins = ids.startswith(text, autoescape=True) | ids.contains(f"-{text}", autoescape=True)
        found = self._select(begins, cluster=cluster)
        exact = [one for one in found if one.id == text]
        return exact or [one for one in found if one.id.startswith(text) or one.id.rpartition("-")[2].startswith(text)]

    def newest(
        self,
        limit: int | None = 20,
        cluster: str | None = None,
        *,
        clusters: Iterable[str] | None = None,
        before: tuple[float, str] | None = None,
    ) -> list[SlurmJob]:
        """Return the newest jobs, the newest first.

        Args:
            limit: How many at most.
            cluster: Only those of a cluster.
            clusters: Only those of these clusters.
            before: Only those that come after a job in this order, given by when it was submitted and its id.
        """
        conditions: list[ColumnElement[bool]] = []
        if clusters is not None:
            conditions.append(jobs.c.cluster.in_(list(clusters)))
        if before is not None:
            submitted, job_id = before
            same = (jobs.c.submitted_at == submitted) & (jobs.c.id < job_id)
            conditions.append((jobs.c.submitted_at < submitted) | same)
        return self._select(*conditions, cluster=cluster, limit=limit)

    def live(self, cluster: str) -> list[SlurmJob]:
        """Return the jobs of a cluster that have not ended as far as is known."""
        return self._select(jobs.c.state.not_in(JOB_ENDED), jobs.c.lost.is_(False), cluster=cluster)

    def _select(
        self, *conditions: ColumnElement[bool], cluster: str | None, limit: int | None = None
    ) -> list[SlurmJob]:
        query = select(jobs).where(*conditions).order_by(jobs.c.submitted_at.desc(), jobs.c.id.desc()).limit(limit)
        if cluster is not None:
            query = query.where(jobs.c.cluster == cluster)
        with self._database.explained("read"), self._database.engine.connect() as connection:
            return [job_of_row(row) for row in connection.execute(query).mappings()]
