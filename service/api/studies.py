"""Keeps the trials of the sweeps that were read last, and adds new events to them: a large sweep has 100,000 events."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from sqlalchemy.ext.asyncio import AsyncSession

from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.study_state import StudyFold, StudyRow
from fgd_core.spec.sweep_report import TrialView
from service.jobs.lifecycle import is_over
from service.store import studies
from service.store.tables import Job

_MAX_KEPT = 8


class Studies:
    """Returns the trials of sweeps."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Study] = OrderedDict()

    async def trials(self, session: AsyncSession, job: Job, spec: SweepSpec) -> list[TrialView]:
        """Return the trials of a sweep, by number, after all events that this session sees, or later ones."""
        study = self._kept.setdefault(job.id, _Study(spec))
        self._kept.move_to_end(job.id)
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        new = await studies.rows(session, job.id, after=study.last_sequence)
        # In a thread: the first time it takes a second, and the event loop must serve other requests meanwhile.
        return await asyncio.to_thread(study.continued, new, is_over=is_over(job.state))


class _Study:
    """The trials of one sweep, and the sequence of the last event that they contain."""

    def __init__(self, spec: SweepSpec) -> None:
        self.last_sequence = 0
        self._fold = StudyFold([objective.direction for objective in spec.objectives])
        # Of threads: the thread of a cancelled request still runs while the next request begins.
        self._turn = Lock()

    def continued(self, new: Sequence[StudyRow], *, is_over: bool) -> list[TrialView]:
        """Add events, of which another request may have added some, and return the trials."""
        with self._turn:
            self._fold.add_rows(row for row in new if row.sequence > self.last_sequence)
            self.last_sequence = max([self.last_sequence, *(row.sequence for row in new)])
            return self._fold.trials(is_over=is_over)
