"""`fgd retry`"""

from service.client.asking import Ids, ask
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server


def retry(ids: Ids, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Queue failed or cancelled jobs again, on from their newest checkpoint and with whole budgets of retries.

    **Examples**

    `fgd retry 3f2a`

    `fgd jobs --state failed --json | jq -r '.[].job_id' | xargs fgd retry`
    """
    ask(server, ids, FgdClient.retry, as_json=as_json)
