"""What every page is made of: templates beside this file, styles, and plotly's script, all of it in one file."""

import base64
import hashlib
import importlib.resources
import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
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


PLOTLY_STYLE = Markup("/* plotly looks for this element before it makes one of its own */")


@cache
def plotly_js() -> Markup:
    # Read as a file: importing plotly takes a second, and all we want of it is the script it carries.
    script = importlib.resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    return Markup(script.replace("</script", "<\\/script"))


@cache
def plotly_styles() -> Markup:
    """The style elements that plotly would add and the policy would refuse; its own rules it writes into the first."""
    ids = ["plotly.js-style-global", *re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly_js())]
    return Markup("\n").join(Markup('<style id="{}">{}</style>').format(each, PLOTLY_STYLE) for each in ids)


def policy(*, styles: Sequence[str], scripts: Sequence[str] = ()) -> Markup:
    """A page's own security policy: these very styles and scripts, pictures within the page, and nothing else.

    It stands in the page, for a report is also opened from a disk.
    """
    parts = ["default-src 'none'", "img-src data: blob:", f"style-src {_sources(styles)}"]
    if scripts:
        parts.append(f"script-src {_sources(scripts)}")
    return Markup("; ".join([*parts, "base-uri 'none'", "form-action 'none'"]))


def _sources(texts: Sequence[str]) -> str:
    return " ".join(map(_hash, texts))


@lru_cache(maxsize=64)
def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def in_script(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, whatever a job is called."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
