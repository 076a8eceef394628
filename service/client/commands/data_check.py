"""`fgd data check`"""

from typing import Annotated

from rich.text import Text
from typer import Argument, Exit, Option

from service.client import dataset_tables
from service.client.client import FgdClient
from service.client.console import SERVER, AsJson, Server, errors_to, output, print_answer, print_json
from service.client.exits import EXIT_REFUSED, guarded, interruptible
from service.client.watching import watch

Name = Annotated[str, Argument(metavar="NAME", help="The name or id of a data set.")]
Project = Annotated[
    str | None, Option("--project", metavar="NAME", help="The project, if several have a data set of this name.")
]


@guarded
def check(
    name: Name,
    project: Project = None,
    no_wait: Annotated[
        bool, Option("--no-wait", help="Start the check and return; `fgd data show` shows the result.")
    ] = False,
    *,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Check a data set on the cluster: count its images and boxes, list faults, store its fingerprint, draw samples.

    Exits with 0 if jobs can train on it, else with 1. Jobs compare the data with the stored fingerprint from then on;
    check the data set again after you change it.

    **Example**

    `fgd data check blood`
    """
    with FgdClient(server) as client:
        if not no_wait:
            check_and_show(client, name, project, as_json=as_json)
            return
        job = client.datasets.check(name, project=project)
    print_answer(job, lambda: f"{job.name} {job.job_id} is {job.state}", as_json=as_json)


def check_and_show(client: FgdClient, name: str, project: str | None, *, as_json: bool) -> None:
    """Check a data set, and show the progress and the result.

    Raises:
        Exit: with 1 if jobs cannot train on it, with 130 on Ctrl-C; the check then continues.
    """
    job = client.datasets.check(name, project=project)
    with interruptible(f"stopped watching; the check continues. See the result: fgd data show {name}"):
        if as_json:
            for _ in client.events(job.job_id):
                pass
        else:
            watch(client, [job], errors_to())
    dataset = client.datasets.get(name, project=project)
    if as_json:
        print_json(dataset)
    elif dataset.outcome is not None:
        for part in dataset_tables.outcome(dataset.outcome):
            output().print(part)
        output().print()
        output().print(Text.assemble((dataset.name, "bold"), " is ", dataset_tables.state(dataset)))
    if dataset.state != "checked":
        if dataset.error is not None and not as_json:
            errors_to().print(Text(dataset.error.message, style="red"), soft_wrap=True)
        raise Exit(EXIT_REFUSED)
