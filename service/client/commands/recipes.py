"""`fgd recipes`"""

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from fgd_core.spec.recipes import Publication, Recipe
from service.catalogue.recipes import recipe_text
from service.catalogue.recipes import recipes as every
from service.client.console import AsJson, output, print_json, print_json_models
from service.client.exits import guarded

recipes = typer.Typer(
    rich_markup_mode="markdown",
    help="""Published pairs of teacher and student, ready to be handed in. Without a command, list them.

**Examples**

`fgd recipes show retinanet_r50_from_x101`

`fgd submit recipe:retinanet_r50_from_x101 --under /data`
""",
)

_WIDE = 120
_NONE = "–"


@recipes.callback(invoke_without_command=True)
@guarded
def list_(
    context: typer.Context,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the table of examples/paper/README.md.")] = False,
    as_json: AsJson = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    known = every().values()
    if as_json:
        print_json_models(list(known))
    elif markdown:
        output().print(as_markdown(known), markup=False, soft_wrap=True, end="")
    else:
        output().print(recipe_table(known, width=output().width))
        output().print("AP on COCO val2017, in percent, of boxes / masks, as published", style="dim")


@recipes.command()
@guarded
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `fgd recipes` lists it.")], as_json: AsJson = False
) -> None:
    """Print a recipe as YAML, to be changed and handed in.

    **Example**

    `fgd recipes show fcos_r50_from_r101 > mine.yaml`
    """
    text = recipe_text(name)
    if as_json:
        print_json(every()[name].model_dump(mode="json"))
    else:
        output().print(text, markup=False, soft_wrap=True, end="")


def recipe_table(known: Iterable[Recipe], *, width: int = _WIDE) -> Table:
    """
    Args:
        width: of the terminal in columns; only a wide one has room for the pair in words.
    """
    is_wide = width >= _WIDE
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("recipe", no_wrap=True, style="bold")
    if is_wide:
        table.add_column("student")
        table.add_column("teacher")
    for heading in ("alone", "distilled", "teacher"):
        table.add_column(heading, justify="right", no_wrap=True)
    if is_wide:
        table.add_column("figures")
    for recipe in known:
        said = recipe.publication
        words = [Text(said.student), Text(said.teacher)] if is_wide else []
        table.add_row(Text(recipe.name), *words, *_figures(said), *([Text(said.source)] if is_wide else []))
    return table


def as_markdown(known: Iterable[Recipe]) -> str:
    lines = [
        "| recipe | student, taught by | alone | distilled | teacher | figures | verified here |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe in known:
        said = recipe.publication
        alone, distilled, teacher = _figures(said)
        pair = f"{said.student}, {said.teacher}"
        verified = f"settings, {said.levels[0]} to {said.levels[-1]}, loss, checkpoint, run"
        cells = (f"`{recipe.name}`", pair, alone, distilled, teacher, said.source, verified)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _figures(said: Publication) -> tuple[str, str, str]:
    """AP of the student alone, distilled, and of the teacher; of boxes, and of masks where there are any."""
    printed = [said.boxes] if said.masks is None else [said.boxes, said.masks]

    def both(values: Iterable[float | None]) -> str:
        return " / ".join(_NONE if value is None else f"{value:.1f}" for value in values)

    return both(ap.student for ap in printed), both(ap.distilled for ap in printed), both(ap.teacher for ap in printed)
