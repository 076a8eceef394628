"""`fgd whoami`"""

from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, output, print_json


def whoami(server: Server = SERVER, as_json: AsJson = False) -> None:
    """Who the server takes you for, by the token in FGD_TOKEN, and what you may do.

    **Example**

    `fgd whoami`
    """
    with FgdClient(server) as client:
        me = client.administration.who_am_i()
    if as_json:
        print_json(me.model_dump(mode="json"))
        return
    scope = f"in the project {me.project}" if me.project else "in all projects"
    output().print(f"{me.name}, of the role {me.role} {scope}", markup=False)
