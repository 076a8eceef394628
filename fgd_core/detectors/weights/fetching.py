"""Gets torchvision's weights from this machine or from their server."""

import pickle
import zipfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

import torch
from torch import Tensor
from torchvision.models import WeightsEnum

from fgd_core.errors import NetworkError, StorageError, UnreachableError, WeightsError
from fgd_core.stopping import run_in_thread

_BUSY = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status codes for which a retry may succeed."""


def fetch(weights: WeightsEnum, name: str) -> Mapping[str, Tensor]:
    """Load weights from torch.hub's cache, downloading them first if necessary.

    Raises:
        UnreachableError: the weights are not on this machine, and their server cannot be reached.
        NetworkError: the download failed or was damaged; a retry may succeed.
        StorageError: the weights cannot be stored.
        WeightsError: the file on this machine is damaged.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    cure = f"connect this machine to the network, or put the file {path.name} into {path.parent}"
    was_cached = path.is_file()
    try:
        # In a thread: a download does not check for a stop, and a server that does not respond blocks it for long.
        return run_in_thread(lambda: weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except (TimeoutError, ConnectionResetError, ConnectionAbortedError, HTTPException) as error:
        raise NetworkError(f"the download of {name} failed; {cure}", url=weights.url, cause=str(error)) from error
    except HTTPError as error:
        kind = NetworkError if error.code in _BUSY else UnreachableError
        raise kind(f"the server refused {name}; {cure}", url=weights.url, cause=str(error)) from error
    except (URLError, ConnectionError) as error:
        raise UnreachableError(
            f"{name} is not on this machine and could not be downloaded; {cure} (set TORCH_HOME for another folder)",
            url=weights.url,
            cause=str(error),
        ) from error
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        cause = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if was_cached:
            message = f"the file of {name} on this machine is damaged; delete {path} to download it again"
            raise WeightsError(message, path=str(path), cause=cause) from error
        raise NetworkError(f"the download of {name} is damaged; {cure}", url=weights.url, cause=cause) from error
    except OSError as error:
        raise StorageError(
            f"{name} cannot be stored in {path.parent}: {error.strerror}; free space and allow writing there, or set "
            "TORCH_HOME to another folder",
            path=str(path),
        ) from error
