"""`fgd recipes`"""

from collections.abc import Iterable
from typing import Annotated

from rich.table import Table
from rich.text import Text
from typer import Argument, Context, Option, Typer

from fgd_core.spec.recipes import Publication, Recipe
from service.catalogue.recipes import recipe_text
from service.catalogue.recipes import recipes as all_recipes
from service.client.console import AsJson, output, print_json
from service.client.exits import guarded

recipes = Typer(
    rich_markup_mode="markdown",
    help="""List and show published pairs of teacher and student, ready to submit. Without a subcommand, list them.

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
    context: Context,
    markdown: Annotated[bool, Option("--markdown", help="Print the table of examples/paper/README.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the recipes if no subcommand follows."""
    known = list(all_recipes().values())
    if as_json:
        print_json(known)
    elif markdown:
        output().print(as_markdown(known), markup=False, soft_wrap=True, end="")
    else:
        output().print(recipe_table(known, width=output().width))
        output().print("published AP on COCO val2017 in percent: boxes / masks", style="dim")


@recipes.command()
@guarded
def show(
    name: Annotated[str, Argument(metavar="NAME", help="A name from `fgd recipes`.")], as_json: AsJson = False
) -> None:
    """Print a recipe as YAML, ready to edit and submit.

    **Example**

    `fgd recipes show fcos_r50_from_r101 > mine.yaml`
    """
    text = recipe_text(name)
    if as_json:
        print_json(all_recipes()[name].model_dump(mode="json"))
    else:
        output().print(text, markup=False, soft_wrap=True, end="")


def recipe_table(known: Iterable[Recipe], *, width: int = _WIDE) -> Table:
    """Return a table with a row per recipe.

    Args:
        width: of the terminal, in columns; a narrow table omits the names of student and teacher.
    """
    is_wide = width >= _WIDE
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("recipe", no_wrap=True, style="bold")
    table.add_column("method", no_wrap=True)
    if is_wide:
        table.add_column("student")
        table.add_column("teacher")
    for heading in ("alone", "distilled", "teacher"):
        table.add_column(heading, justify="right", no_wrap=True)
    if is_wide:
        table.add_column("figures")
    for recipe in known:
        published = recipe.publication
        pair = [Text(published.student), Text(published.teacher)] if is_wide else []
        source = [Text(published.source)] if is_wide else []
        table.add_row(Text(recipe.name), Text(_method(recipe)), *pair, *_figures(published), *source)
    return table


def as_markdown(known: Iterable[Recipe]) -> str:
    """Return the table of examples/paper/README.md."""
    lines = [
        "| recipe | method | student, taught by | alone | distilled | teacher | figures | verified here |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for recipe in known:
        published = recipe.publication
        alone, distilled, teacher = _figures(published)
        pair = f"{published.student}, {published.teacher}"
        cells = (
            f"`{recipe.name}`",
            _method(recipe),
            pair,
            alone,
            distilled,
            teacher,
            published.source,
            _verified(published),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _method(recipe: Recipe) -> str:
    return str(recipe.spec["method"]["type"])


def _verified(published: Publication) -> str:
    """Return what the tests verify about a recipe."""
    found = ["settings"]
    if published.levels:
        found.append(f"{published.levels[0]} to {published.levels[-1]}")
    if published.is_loss_compared:
        found.append("loss")
    return ", ".join([*found, "checkpoint", "run"])


def _figures(published: Publication) -> tuple[str, str, str]:
    """Return the AP of the student alone, of the distilled student, and of the teacher: boxes, and masks if any."""
    groups = [published.boxes] if published.masks is None else [published.boxes, published.masks]

    def both(name: str) -> str:
        values = [getattr(ap, name, None) for ap in groups]
        return " / ".join(_NONE if value is None else f"{value:.1f}" for value in values)

    return both("student"), both("distilled"), both("teacher")
