"""`fgd cancel`"""

from service.client.asking import Ids, Wait, ask
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server


def cancel(ids: Ids, wait: Wait = False, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Ask jobs to stop. A running one saves a checkpoint first; one that still waits ends at once.

    **Examples**

    `fgd cancel 3f2a`

    `fgd cancel 3f2a 77c0 --wait`
    """
    ask(server, ids, FgdClient.cancel, wait=wait, as_json=as_json)
