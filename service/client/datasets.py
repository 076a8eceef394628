"""Data sets by name, from Python: `client.datasets`."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from fgd_core.errors import NotFoundError
from fgd_core.spec.data import FileData
from fgd_core.spec.datasets import DatasetPage, DatasetSummary, DatasetView, NewDataset
from fgd_core.spec.views import JobView
from service.client.administration import Ask


class Datasets:
    """Each is named by its id or by its name; by a name that several projects have, `project` says whose is meant."""

    def __init__(self, ask: Ask, fetch: Callable[[str, dict[str, str]], bytes]) -> None:
        self._ask = ask
        self._fetch = fetch

    def add(self, name: str, data: FileData, *, project: str | None = None) -> DatasetView:
        asked = NewDataset(name=name, data=data, project=project)
        return self._ask(DatasetView, "POST", "/v1/datasets", json=asked.model_dump(mode="json"))

    def every(self, *, project: str | None = None, text: str | None = None) -> Iterator[DatasetSummary]:
        """Newest first, a page at a time."""
        query: dict[str, Any] = {"limit": 100}
        query |= {name: value for name, value in (("project", project), ("q", text)) if value is not None}
        while True:
            page = self._ask(DatasetPage, "GET", "/v1/datasets", params=query)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def get(self, dataset: str, *, project: str | None = None) -> DatasetView:
        return self._ask(DatasetView, "GET", _path(dataset), params=_of(project))

    def check(self, dataset: str, *, project: str | None = None) -> JobView:
        """Have it looked through; the job that does so."""
        return self._ask(JobView, "POST", f"{_path(dataset)}/check", params=_of(project))

    def remove(self, dataset: str, *, project: str | None = None) -> DatasetView:
        """Forget it; its files stay."""
        return self._ask(DatasetView, "DELETE", _path(dataset), params=_of(project))

    def page(self, dataset: str, *, project: str | None = None) -> bytes:
        """Counts, findings and drawn samples as one HTML file."""
        return self._fetch(f"{_path(dataset)}/page", _of(project))


def _of(project: str | None) -> dict[str, str]:
    return {"project": project} if project is not None else {}


def _path(dataset: str) -> str:
    """Raises NotFoundError for an empty name, whose path would be that of all of them."""
    if not dataset:
        raise NotFoundError("an empty name names no data set; `fgd data list` lists them")
    return f"/v1/datasets/{quote(dataset, safe='')}"
