"""Stores admitted jobs: the job of a request, and the runs of a study, which are jobs as well."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fgd_core.spec.data import Registered
from fgd_core.spec.jobs import JOB_SPEC, JobSpec, data_by_path
from fgd_core.spec.kinds.check_data import CheckDataSpec
from fgd_core.spec.kinds.study import StudySpec
from service.api.access import Principal
from service.api.deps import Services
from service.jobs import checkpoint_admission
from service.jobs.admission_facts import Facts
from service.store import datasets, jobs, study_runs
from service.store.study_runs import StudyRun
from service.store.tables import Job
from service.store.write_session import WriteSession


class Asked(NamedTuple):
    """What a request says besides the spec."""

    spec_sha256: str
    """SHA-256 in hex of the spec as the client sent it."""
    idempotency_key: str | None
    parent_id: str | None
    """The job from whose spec this one was made."""


@dataclass(frozen=True)
class Admitted:
    """Stores the jobs of an admitted request."""

    services: Services
    principal: Principal
    facts: Facts
    traceparent: str | None

    async def runs(self, session: WriteSession, study: StudySpec) -> list[StudyRun]:
        """Store the runs of a study."""
        return [StudyRun(run.arm, await self.insert(session, run.spec)) for run in study.runs()]

    async def insert(
        self, session: WriteSession, spec: JobSpec, *, asked: Asked | None = None, runs: Sequence[StudyRun] = ()
    ) -> Job:
        """Store a job, and link it with its runs and its data sets.

        Args:
            asked: None for a run of a study, which nobody has requested by itself.
        """
        needs = [reference for _, reference in checkpoint_admission.references(spec)]
        if asked is None:
            asked = Asked(hashlib.sha256(JOB_SPEC.dump_json(spec)).hexdigest(), None, None)
        job = await jobs.insert_job(
            session,
            job_id=secrets.token_hex(6),
            spec=spec,
            spec_sha256=asked.spec_sha256,
            idempotency_key=asked.idempotency_key,
            submitted_by=self.principal.name,
            traceparent=self.traceparent,
            parent_id=asked.parent_id,
            needs=list(dict.fromkeys(needs)),
            waits_for=[*checkpoint_admission.waits_for(spec, self.facts.jobs), *(run.job.id for run in runs)],
            waits_because=f"waits for its {len(runs)} runs" if runs else "",
            now=self.services.clock(),
        )
        if runs:
            await study_runs.link(session, job.id, runs)
        for dataset_id in {*dataset_ids(spec).values()}:
            await datasets.note_use(session, job.id, dataset_id)
            if isinstance(spec, CheckDataSpec):
                await datasets.begin_check(session, dataset_id, job.id)
        return job


def dataset_ids(spec: JobSpec) -> dict[str, str]:
    """Return the ids of the registered data sets of a job, by the path of the field."""
    return {
        loc: data.resolved.dataset_id
        for loc, data in data_by_path(spec).items()
        if isinstance(data, Registered) and data.resolved is not None
    }
