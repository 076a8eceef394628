"""What every page is made of: templates beside this file, styles, and plotly's script, all of it in one file."""

import importlib.resources
import json
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_HERE = Path(__file__).parent


@cache
def template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def trusted(name: str) -> Markup:
    """A style or a script of ours, to stand in a page as it is."""
    return Markup((_HERE / name).read_text("utf-8"))


@cache
def plotly_js() -> Markup:
    # Read as a file: importing plotly takes a second, and all we want of it is the script it carries.
    script = importlib.resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    return Markup(script.replace("</script", "<\\/script"))


def in_script(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, whatever a job is called."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
