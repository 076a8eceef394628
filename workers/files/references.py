"""Checkpoints of other jobs, fetched through the control plane when a spec refers to them."""

import secrets
import threading
from pathlib import Path

from fgd_core import confined
from fgd_core.errors import ConflictError, StaleAttemptError, StorageError, WeightsError
from fgd_core.stopping import run_in_thread
from workers.control_plane import retry_until_reachable
from workers.files.node_cache import NodeCache
from workers.files.server_files import ServerFiles


class References:
    """Resolves `job:<id>/<name>` references to local files, fetching each one once.

    Args:
        folder: for this process's links to the files that it uses; removed with the process's scratch folder.
    """

    def __init__(self, files: ServerFiles, folder: Path) -> None:
        self._files, self._folder = files, folder
        self._cache = NodeCache()
        self._lock = threading.Lock()
        self._found: dict[str, Path] = {}

    def path(self, source: str) -> Path:
        """Return the local file of a reference.

        Args:
            source: `job:<id>/<name>`.
        Raises:
            WeightsError: that job has left no such checkpoint.
            StorageError: this node has no space for the checkpoint.
            NetworkError: the control plane could not be reached for 10 minutes.
            Stopped: the run was asked to stop.
        """
        with self._lock:
            if source not in self._found:
                self._found[source] = run_in_thread(lambda: retry_until_reachable(lambda: self._fetch(source)))
            return self._found[source]

    def _fetch(self, source: str) -> Path:
        job_id, _, name = source.removeprefix("job:").partition("/")
        # A random part, because a fetch that was abandoned may still write to its own file.
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
                "the job has left no such checkpoint; refer to a job that has succeeded",
                source=source,
                cause=str(error),
            ) from error
        except OSError as error:
            raise StorageError(
                "this node has no space for a checkpoint to which the job refers; free some space, or set FGD_SCRATCH "
                "to a folder on another disk",
                source=source,
                cause=str(error),
            ) from error
        return target
