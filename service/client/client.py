"""The control plane, from Python.

with FgdClient() as client:
    job = client.submit(spec)
    for event in client.events(job.job_id):
        print(event.sequence, event.kind)
    print(client.report(job.job_id).jobs[0].result)
"""

from collections.abc import Mapping

from fgd_core.spec.catalogue import Catalogue
from fgd_core.spec.housekeeping import HousekeepingView
from fgd_core.spec.views import Ready
from service.client.administration import Administration
from service.client.datasets import Datasets
from service.client.job_events import JobEvents
from service.client.job_files import JobFiles
from service.client.models import Models
from service.client.sweeps import Sweeps
from service.client.transport import LONG_TIMEOUT_S


class FgdClient(JobEvents, JobFiles):
    """Sends requests to one server.

    Every method raises UnreachableError if the server does not answer, and the error of the server's code if it
    refuses.

    Args:
        base_url: the server's URL; default: the one in FGD_SERVER, else http://127.0.0.1:8321.
        token: an API token; default: the one in FGD_TOKEN or in the file that FGD_TOKEN_FILE names.
        timeout_s: the most that one answer may take; streams of events have their own limit.
    Raises:
        UsageError: the URL, the token, or the environment's certificates or proxy cannot be used.
    """

    @property
    def administration(self) -> Administration:
        """Tokens, projects, webhooks and the audit log."""
        return Administration(self._read)

    @property
    def sweeps(self) -> Sweeps:
        """The trials of sweeps."""
        return Sweeps(self._read, self._fetch)

    @property
    def datasets(self) -> Datasets:
        """Registered data sets."""
        return Datasets(self._read, self._fetch)

    @property
    def models(self) -> Models:
        """Names and versions of models."""
        return Models(self._read)

    def catalogue(self) -> Catalogue:
        """Return what specs may contain on this server; `service.catalogue` holds the same for this installation."""
        return self._read(Catalogue, "GET", "/v1/catalogue")

    def ready(self) -> Ready:
        """Return whether the server's database and cluster are available."""
        return self._read(Ready, "GET", "/readyz")

    def housekeeping(self, *, dry_run: bool = False) -> HousekeepingView:
        """Delete what the server's retention rules no longer keep; call again until `is_complete`.

        Args:
            dry_run: only return what the server would delete.
        """
        query = {"dry_run": "true"} if dry_run else {}
        return self._read(HousekeepingView, "POST", "/v1/housekeeping", params=query, timeout_s=LONG_TIMEOUT_S)

    def _fetch(self, path: str, query: Mapping[str, str | None]) -> bytes:
        return self._send("GET", path, params=query).content
