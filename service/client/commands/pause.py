"""`fgd pause`"""

from service.client.asking import Ids, Wait, ask
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server


def pause(ids: Ids, wait: Wait = False, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Have jobs save where they are and stand still, holding nothing, until `fgd resume`.

    A resumed run ends with the weights of one that was never paused.

    **Examples**

    `fgd pause 3f2a`

    `fgd pause 3f2a 77c0 --wait`
    """
    ask(server, ids, FgdClient.pause, wait=wait, as_json=as_json)
