"""torchvision's weights from this machine or from their server, and why not."""

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
"""Answers of a server that may be another one a little later."""


def fetch(weights: WeightsEnum, name: str) -> Mapping[str, Tensor]:
    """
    Raises:
        UnreachableError: they are not on this machine, and their server is out of reach.
        NetworkError: the download broke off, or the server is in trouble: another try may help.
        StorageError: they cannot be kept.
        WeightsError: they came, or lay here, damaged.
    """
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    cure = f"connect this machine to the network, or put the file {place.name} into {place.parent}"
    was_here = place.is_file()
    try:
        # A download asks nobody whether to stop, and may wait long for a server that does not answer.
        state: Mapping[str, Tensor] = run_in_thread(
            lambda: weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        )
    except (TimeoutError, ConnectionResetError, ConnectionAbortedError, HTTPException) as error:
        raise NetworkError(f"the download of {name} broke off; {cure}", url=weights.url, cause=str(error)) from error
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
        if was_here:
            message = f"the file of {name} on this machine is damaged; delete {place}, and it is fetched anew"
            raise WeightsError(message, path=str(place), cause=cause) from error
        raise NetworkError(f"{name} came damaged; {cure}", url=weights.url, cause=cause) from error
    except OSError as error:
        raise StorageError(
            f"{name} cannot be kept in {place.parent}: {error.strerror}; give it room and rights, or set TORCH_HOME to "
            "another folder",
            path=str(place),
        ) from error
    return state
