"""A folder of this node's own, from which whatever must outlive the run goes through the control plane."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fgd_core.errors import FgdError, NetworkError, StorageError
from fgd_core.spec.attempts import UploadedFile
from fgd_core.spec.events import RunFinished, Warned
from fgd_core.spec.results import ErrorReport
from workers.files.home import FileSaved, local_checkpoint
from workers.files.references import References
from workers.files.server_files import ServerFiles, TornError
from workers.files.shared_home import local_path
from workers.files.uploads import Uploads
from workers.folders import CHECKPOINTS, REPORT
from workers.reporting.backoff import until_answered
from workers.reporting.narration import say

_PATIENCE_S = 600.0
_CUT_SHORT_S = 2.0
"""For the last files of a process that is about to be ended."""
_MAX_TORN = 3
_POLL_S = 0.1


class ServerHome:
    """
    Args:
        root: the scratch folder; files lie in it as they do in the job's folder.
        number: of the attempt.
        within: what of the attempt's folder is home: all of it, or a segment's (`trials/3/0`).
        goes_on_from: the segment whose checkpoints are taken where there are none of this one's own.
        tell: for warnings; called from another thread.
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
        tell: Callable[[Warned], None],
        on_stale: Callable[[], None],
    ) -> None:
        self._files, self._references, self._root, self._number = files, references, root, number
        self._origins = [within, *([goes_on_from] if goes_on_from is not None else [])]
        self._tell = tell
        self._known: dict[str, UploadedFile] = {}
        """What came from the control plane, by SHA-256: it need not go there again."""
        self.folder = root / "attempts" / str(number) / within
        self._uploads = Uploads(files, warn=tell, on_stale=on_stale)

    def bring(self, is_over: Callable[[], bool]) -> bool:
        own = self.folder / CHECKPOINTS
        try:
            own.mkdir(parents=True, exist_ok=True)
            listing = until_answered(self._files.listing, timeout_s=_PATIENCE_S, say=say, is_over=is_over)
            number = self._number
            while number > 0:
                found = newest_checkpoints(listing, self._origins, up_to=number)
                torn = self._fetch(found, own, is_over)
                if torn is None:
                    break
                # With all that is older, for a newer one may rest on this one.
                number = int(torn.split("/")[1]) - 1
        except NetworkError:
            if is_over():
                return False
            raise
        except OSError as error:
            raise _no_room(own, error) from error
        return not is_over()

    def keep(self, event: FileSaved, then: Callable[[FileSaved], None]) -> None:
        def told(kept: UploadedFile) -> None:
            then(event.model_copy(update={"uri": kept.uri}))

        known = self._known.get(event.sha256)
        if known is not None:
            told(known)
            return
        local = local_path(event.uri)
        if local is None or not local.is_relative_to(self._root):
            then(event)  # a trial's file, say, which its actor has sent
        else:
            self._give(local, told, sha256=event.sha256)

    def keep_file(self, path: Path) -> None:
        self._give(path.resolve(), lambda kept: None)

    def settle(self, is_over: Callable[[], bool]) -> None:
        while not self._uploads.wait(_POLL_S) and not is_over():
            pass

    def finish(self, event: RunFinished, *, timeout_s: float, is_cut_short: Callable[[], bool]) -> RunFinished:
        deadline_s = time.monotonic() + timeout_s
        while not (is_done := self._uploads.wait(_POLL_S)) and time.monotonic() < deadline_s:
            if is_cut_short():
                deadline_s = min(deadline_s, time.monotonic() + _CUT_SHORT_S)
        if event.outcome != "succeeded":
            return event
        if not is_done and is_cut_short():
            return RunFinished(outcome="stopped")
        if refused := self._uploads.refused:
            return _failed(StorageError("the control plane does not take what the run has made", refused={**refused}))
        if not is_done:
            message = f"what the run has made could not be handed over within {timeout_s:.0f} s; try again later"
            return _failed(NetworkError(message))
        return event

    def checkpoint(self, source: str) -> Path:
        if source.startswith("job:"):
            return self._references.path(source)
        return local_checkpoint(source, Path(source).expanduser())

    def close(self) -> None:
        """Free the disk."""
        self._uploads.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _give(self, local: Path, then: Callable[[UploadedFile], None], *, sha256: str | None = None) -> None:
        path = local.relative_to(self._root).as_posix()
        try:
            self._uploads.give(path, local, then, sha256=sha256)
        except OSError as error:
            message = f"{path} was saved and cannot be read again, so it is lost: {error}"
            self._tell(Warned(code="file_unreadable", message=message, details={"path": path}))

    def _fetch(self, found: Sequence[UploadedFile], own: Path, is_over: Callable[[], bool]) -> str | None:
        """All of them or none; the path of one that does not come whole."""
        incoming = own.with_name(f".{own.name}.incoming")
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir()
        for file in found:
            target = incoming / file.path.rpartition("/")[2]
            try:
                self._fetch_one(file, target, is_over)
            except TornError as error:
                message = f"{file.path} does not come as it was kept; going on from an older one"
                self._tell(Warned(code="checkpoint_torn", message=message, details=error.details))
                return file.path
        shutil.rmtree(own)
        incoming.rename(own)
        return None

    def _fetch_one(self, file: UploadedFile, target: Path, is_over: Callable[[], bool]) -> None:
        torn = 0

        def fetch() -> None:
            nonlocal torn
            try:
                with self._files.reading(file.path) as incoming:
                    incoming.save(target)
                    if incoming.sha256 is not None:
                        self._known[incoming.sha256] = file
            except TornError:
                torn += 1
                if torn < _MAX_TORN:
                    raise

        until_answered(fetch, timeout_s=_PATIENCE_S, say=say, is_over=is_over)
        if torn >= _MAX_TORN:
            raise TornError("a kept file is not what it was", file=file.path)


def newest_checkpoints(listing: Sequence[UploadedFile], origins: Sequence[str], *, up_to: int) -> list[UploadedFile]:
    """The files that a run goes on from: of each name the newest attempt's, from the first origin that has any.

    That of each name is taken by itself, for an attempt that dies early has sent some of its own and not all; an older
    `last.pt` beside a newer `best.pt` fits together (see `uploads`).

    Args:
        origins: folders within an attempt's.
        up_to: no attempt after this one.
    """
    for origin in origins:
        newest: dict[str, tuple[int, UploadedFile]] = {}
        for file in listing:
            top, number, *within, name = file.path.split("/") if file.path.count("/") >= 3 else ("", "0", "")
            if top != "attempts" or not number.isdecimal() or "/".join(within) != f"{origin}/{CHECKPOINTS}".lstrip("/"):
                continue
            is_wanted = name.endswith(".pt") or name == REPORT
            if is_wanted and newest.get(name, (0, None))[0] < int(number) <= up_to:
                newest[name] = (int(number), file)
        if any(name.endswith(".pt") for name in newest):
            return [file for _, file in newest.values()]
    return []


def _failed(error: FgdError) -> RunFinished:
    report = ErrorReport(code=error.code, message=error.message, details=error.details, retryable=error.retryable)
    return RunFinished(outcome="failed", error=report)


def _no_room(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        "this node has no room for the checkpoints that the run goes on from; free some, or set FGD_SCRATCH",
        path=str(folder),
        cause=str(error),
    )
