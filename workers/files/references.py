"""Checkpoints of other jobs, fetched through the control plane when a spec asks for them."""

import secrets
import threading
from pathlib import Path

from fgd_core import confined
from fgd_core.errors import ConflictError, StaleAttemptError, StorageError, WeightsError
from fgd_core.stopping import run_in_thread
from workers.files.node_cache import NodeCache
from workers.files.server_files import ServerFiles
from workers.reporting.backoff import until_answered
from workers.reporting.narration import say

_PATIENCE_S = 600.0


class References:
    """
    Args:
        folder: for links of this process's own to the files that it uses; gone with the process's scratch folder.
    """

    def __init__(self, files: ServerFiles, folder: Path) -> None:
        self._files, self._folder = files, folder
        self._cache = NodeCache()
        self._lock = threading.Lock()
        self._found: dict[str, Path] = {}

    def path(self, source: str) -> Path:
        """
        Args:
            source: `job:<id>/<name>`.
        Raises:
            WeightsError: that job has left no such checkpoint.
            StorageError: this node has no room for it.
            NetworkError: the control plane stays away.
            Stopped: the run has been asked to stop.
        """
        with self._lock:
            if source not in self._found:
                self._found[source] = run_in_thread(
                    lambda: until_answered(lambda: self._fetch(source), timeout_s=_PATIENCE_S, say=say)
                )
            return self._found[source]

    def _fetch(self, source: str) -> Path:
        job_id, _, name = source.removeprefix("job:").partition("/")
        # Not the place of one that was given up and may still be under way.
        target = self._folder / f"{job_id}-{name}-{secrets.token_hex(4)}.pt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            confined.allow(self._folder)
            with self._files.reading_checkpoint(job_id, name) as incoming:
                sha256 = incoming.sha256
                if sha256 is None or not self._cache.take(sha256, target):
                    incoming.save(target)
                    self._cache.give(incoming.sha256 or "", target)
        except StaleAttemptError:
            raise
        except ConflictError as error:
            raise WeightsError(
                "the job that is referred to has left no such checkpoint; name one that has succeeded",
                source=source,
                cause=str(error),
            ) from error
        except OSError as error:
            raise StorageError(
                "this node has no room for a checkpoint that the job refers to; free some, or set FGD_SCRATCH",
                source=source,
                cause=str(error),
            ) from error
        return target
