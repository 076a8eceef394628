"""The name of a data set in a spec, and what it stands for in the project of the job."""

from fgd_core.spec.data import Fingerprints, Registered, Resolved
from fgd_core.spec.jobs import JobSpec, data_of, with_data
from fgd_core.spec.results import ErrorReport
from fgd_core.spec.views import ProblemReason
from service.api.deps import Services
from service.jobs.admission import NamedData
from service.store import datasets


async def look_up(services: Services, spec: JobSpec) -> tuple[JobSpec, NamedData | None]:
    """The spec with all that a run needs of the data that it names, and what there is to say about the name.

    Whatever a spec brings along is overwritten: it comes from a client, or was true when the spec was written.
    """
    _, data = data_of(spec)
    if not isinstance(data, Registered):
        return spec, None
    async with services.database.reading() as session:
        row = await datasets.named(session, spec.project, data.name)
        known = [] if row is not None else await datasets.names(session, spec.project)
    if row is None:
        return with_data(spec, data.model_copy(update={"resolved": None})), NamedData(known=known)
    fingerprints = Fingerprints.model_validate(row.fingerprints) if row.fingerprints is not None else None
    resolved = Resolved.model_validate({"dataset_id": row.id, "data": row.data, "fingerprints": fingerprints})
    error = ErrorReport.model_validate(row.check_error) if row.check_error is not None else None
    is_refused = error is not None and error.code == "data"
    named = NamedData(refused_for=error.message if error is not None and is_refused else None)
    return with_data(spec, data.model_copy(update={"resolved": resolved})), named


def removed_meanwhile(spec: JobSpec) -> ProblemReason:
    loc, _ = data_of(spec)
    return ProblemReason(loc=f"{loc}.name", code="unknown_dataset", message="the data set was removed just now")
