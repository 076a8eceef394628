"""`fgd resume`"""

from service.client.asking import Ids, ask
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server


def resume(ids: Ids, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Queue paused jobs again. Each goes on from the very step at which it was paused.

    **Example**

    `fgd resume 3f2a`
    """
    ask(server, ids, FgdClient.resume, as_json=as_json)
