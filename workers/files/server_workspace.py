"""A workspace in a scratch folder of this node: files that must outlive the run go through the control plane."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fgd_core.errors import FgdError, NetworkError, StorageError
from fgd_core.spec.attempts import UploadedFile
from fgd_core.spec.chains import STAGES, stage_folder
from fgd_core.spec.events import RunFinished, Warned
from fgd_core.spec.results import ErrorReport
from workers.control_plane import retry_until_reachable
from workers.files.folders import CHECKPOINTS, REPORT, is_continued_from
from workers.files.references import References
from workers.files.server_files import CorruptFileError, ServerFiles
from workers.files.shared_workspace import local_path
from workers.files.uploads import Uploads
from workers.files.workspace import FileSaved, IsOver, local_checkpoint

_CUT_SHORT_S = 2.0
"""For the last files of a process that is about to be killed."""
_MAX_CORRUPT = 3
_POLL_S = 0.1


class ServerWorkspace:
    """Fetches checkpoints from the control plane, and uploads files to it while training continues.

    Args:
        root: the scratch folder; it has the same structure as the job's folder.
        number: of the attempt.
        within: the part of the attempt's folder to work in: all of it (""), or a trial's segment (`trials/3/0`).
        goes_on_from: the segment whose checkpoints to take if `within` has none.
        warn: called with warnings, from another thread.
        on_stale: as for `Uploads`.
    """

    def __init__(
        self,
        files: ServerFiles,
        references: References,
        root: Path,
        *,
        number: int,
        within: str = "",
        goes_on_from: str | None = None,
        warn: Callable[[Warned], None],
        on_stale: Callable[[], None],
    ) -> None:
        self._files, self._references, self._root, self._number = files, references, root, number
        self._origins = [within, *([goes_on_from] if goes_on_from is not None else [])]
        self._warn = warn
        self._known: dict[str, UploadedFile] = {}
        """Files that came from the control plane, by SHA-256: they need no upload."""
        self.folder = root / "attempts" / str(number) / within
        self._uploads = Uploads(files, warn=warn, on_stale=on_stale)

    def fetch_checkpoints(self, is_over: IsOver) -> bool:
        own = self.folder / CHECKPOINTS
        try:
            own.mkdir(parents=True, exist_ok=True)
            listing = retry_until_reachable(self._files.listing, is_over=is_over)
            self._fetch_newest(listing, self._origins, own, is_over)
            for stage in _stages(listing, self._origins[0]):
                self._fetch_newest(listing, [stage], self.folder / stage / CHECKPOINTS, is_over)
        except NetworkError:
            if is_over():
                return False
            raise
        except OSError as error:
            raise _no_space(own, error) from error
        return not is_over()

    def store(self, event: FileSaved, report: Callable[[FileSaved], None]) -> None:
        def report_stored(stored: UploadedFile) -> None:
            report(event.model_copy(update={"uri": stored.uri}))

        known = self._known.get(event.sha256)
        if known is not None:
            report_stored(known)
            return
        local = local_path(event.uri)
        if local is None or not local.is_relative_to(self._root):
            report(event)  # for example a trial's file, which its actor has uploaded
        else:
            self._upload(local, report_stored, sha256=event.sha256)

    def store_file(self, path: Path) -> None:
        self._upload(path.resolve(), lambda stored: None)

    def flush(self, is_over: IsOver) -> None:
        while not self._uploads.wait(_POLL_S) and not is_over():
            pass

    def finish(self, event: RunFinished, *, timeout_s: float, is_cut_short: IsOver) -> RunFinished:
        deadline_s = time.monotonic() + timeout_s
        while not (is_done := self._uploads.wait(_POLL_S)) and time.monotonic() < deadline_s:
            if is_cut_short():
                deadline_s = min(deadline_s, time.monotonic() + _CUT_SHORT_S)
        if event.outcome != "succeeded":
            return event
        if not is_done and is_cut_short():
            return RunFinished(outcome="stopped")
        if refused := self._uploads.refused:
            return _failed(StorageError("the control plane rejected files of the result", refused={**refused}))
        if not is_done:
            return _failed(
                NetworkError(f"the result's files could not be uploaded within {timeout_s:.0f} s; retry the job later")
            )
        return event

    def checkpoint(self, source: str) -> Path:
        if source.startswith("job:"):
            return self._references.path(source)
        return local_checkpoint(source, Path(source).expanduser())

    def close(self) -> None:
        """Stop uploads and free the disk."""
        self._uploads.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _upload(self, local: Path, on_stored: Callable[[UploadedFile], None], *, sha256: str | None = None) -> None:
        path = local.relative_to(self._root).as_posix()
        try:
            self._uploads.add(path, local, on_stored, sha256=sha256)
        except OSError as error:
            message = f"{path} was saved but cannot be read again, so it is lost: {error}"
            self._warn(Warned(code="file_unreadable", message=message, details={"path": path}))

    def _fetch_newest(
        self, listing: Sequence[UploadedFile], origins: Sequence[str], own: Path, is_over: IsOver
    ) -> None:
        """Fetch the newest files that are not corrupt."""
        own.mkdir(parents=True, exist_ok=True)
        number = self._number
        while number > 0:
            found = newest_checkpoints(listing, origins, up_to=number)
            corrupt = self._fetch(found, own, is_over)
            if corrupt is None:
                break
            # Take older files only: a newer one may depend on the corrupt one.
            number = int(corrupt.split("/")[1]) - 1

    def _fetch(self, found: Sequence[UploadedFile], own: Path, is_over: IsOver) -> str | None:
        """Fetch all these files or none; returns the path of a corrupt file, or None after success."""
        incoming = own.with_name(f".{own.name}.incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        for file in found:
            target = incoming / file.path.rpartition("/")[2]
            try:
                self._fetch_one(file, target, is_over)
            except CorruptFileError as error:
                message = f"{file.path} is corrupt in the storage; the run continues from an older checkpoint"
                self._warn(Warned(code="checkpoint_torn", message=message, details=error.details))
                return file.path
        shutil.rmtree(own)
        incoming.rename(own)
        return None

    def _fetch_one(self, file: UploadedFile, target: Path, is_over: IsOver) -> None:
        num_corrupt = 0

        def fetch() -> None:
            nonlocal num_corrupt
            try:
                with self._files.reading(file.path) as incoming:
                    incoming.save(target)
                    if incoming.sha256 is not None:
                        self._known[incoming.sha256] = file
            except CorruptFileError:
                num_corrupt += 1
                if num_corrupt < _MAX_CORRUPT:
                    raise

        retry_until_reachable(fetch, is_over=is_over)
        if num_corrupt >= _MAX_CORRUPT:
            raise CorruptFileError("a stored file does not match its digest", file=file.path)


def newest_checkpoints(listing: Sequence[UploadedFile], origins: Sequence[str], *, up_to: int) -> list[UploadedFile]:
    """Return the files from which a run continues: the newest of each name, from the first origin that has any.

    The newest file is chosen for each name separately, because an attempt that died early has uploaded only some of its
    files. An older `last.pt` and a newer `best.pt` fit together (see `uploads`).

    Args:
        origins: folders within an attempt's folder.
        up_to: ignore attempts after this one.
    """
    for origin in origins:
        newest: dict[str, tuple[int, UploadedFile]] = {}
        for file in listing:
            top, number, *within, name = file.path.split("/") if file.path.count("/") >= 3 else ("", "0", "")
            if top != "attempts" or not number.isdecimal() or "/".join(within) != f"{origin}/{CHECKPOINTS}".lstrip("/"):
                continue
            if is_continued_from(name) and newest.get(name, (0, None))[0] < int(number) <= up_to:
                newest[name] = (int(number), file)
        if any(name != REPORT for name in newest):
            return [file for _, file in newest.values()]
    return []


def _stages(listing: Sequence[UploadedFile], within: str) -> list[str]:
    """Return the folders of a chain's stages within an attempt's folder; empty for a trial."""
    paths = [file.path.split("/") for file in listing] if not within else []
    return sorted({stage_folder(path[3]) for path in paths if path[2:3] == [STAGES] and len(path) > 4})


def _failed(error: FgdError) -> RunFinished:
    return RunFinished(outcome="failed", error=ErrorReport.of(error))


def _no_space(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        "this node has no space for the checkpoints from which the run continues; free some space, or set FGD_SCRATCH "
        "to a folder on another disk",
        path=str(folder),
        cause=str(error),
    )
