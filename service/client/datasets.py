"""Registered data sets, from Python: `client.datasets`."""

from collections.abc import Callable, Iterator, Mapping

from fgd_core.spec.data import FileData
from fgd_core.spec.datasets import DatasetPage, DatasetSummary, DatasetView, NewDataset
from fgd_core.spec.views import JobView
from service.client.transport import Read, pages, segment


class Datasets:
    """Registers, checks and removes data sets.

    A data set is named by its id or its name; `project` selects one if several projects use the same name.
    """

    def __init__(self, read: Read, fetch: Callable[[str, Mapping[str, str | None]], bytes]) -> None:
        self._read = read
        self._fetch = fetch

    def add(self, name: str, data: FileData, *, project: str | None = None) -> DatasetView:
        """Register a data set under a name; its files stay where they are."""
        body = NewDataset(name=name, data=data, project=project).model_dump(mode="json")
        return self._read(DatasetView, "POST", "/v1/datasets", json=body)

    def every(self, *, project: str | None = None, text: str | None = None) -> Iterator[DatasetSummary]:
        """Yield the data sets, newest first; the server sends them page by page.

        Args:
            text: a part of the name.
        """
        query = {"limit": 100, "project": project, "q": text}
        for page in pages(self._read, DatasetPage, "/v1/datasets", query):
            yield from page.items

    def get(self, dataset: str, *, project: str | None = None) -> DatasetView:
        """Return one data set with the outcome of its newest check."""
        return self._read(DatasetView, "GET", _path(dataset), params={"project": project})

    def check(self, dataset: str, *, project: str | None = None) -> JobView:
        """Start a job that checks the data set, and return the job."""
        return self._read(JobView, "POST", f"{_path(dataset)}/check", params={"project": project})

    def remove(self, dataset: str, *, project: str | None = None) -> DatasetView:
        """Remove a data set's registration; its files stay."""
        return self._read(DatasetView, "DELETE", _path(dataset), params={"project": project})

    def page(self, dataset: str, *, project: str | None = None) -> bytes:
        """Return counts, findings and sample images as one HTML file."""
        return self._fetch(f"{_path(dataset)}/page", {"project": project})


def _path(dataset: str) -> str:
    return f"/v1/datasets/{segment(dataset, what='data set', listing='fgd data list')}"
