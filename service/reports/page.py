"""The parts of each page: templates from this folder, styles, and plotly's script."""

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
    """Load a template from this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def trusted(name: str) -> Markup:
    """Read a style or a script from this folder, to be inserted without escaping."""
    return Markup((_HERE / name).read_text("utf-8"))


PLOTLY_STYLE = Markup("/* plotly looks for this element before it creates its own */")


@cache
def plotly_js() -> Markup:
    """Read plotly's script from its package."""
    # Read as a file, because importing plotly takes a second.
    script = importlib.resources.files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")
    return Markup(script.replace("</script", "<\\/script"))


@cache
def plotly_styles() -> Markup:
    """The style elements that plotly would add itself, which the policy would refuse."""
    ids = ["plotly.js-style-global", *re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly_js())]
    return Markup("\n").join(Markup('<style id="{}">{}</style>').format(each, PLOTLY_STYLE) for each in ids)


def policy(*, styles: Sequence[str], scripts: Sequence[str] = ()) -> Markup:
    """Write the security policy of a page: it allows these styles and scripts, embedded pictures, and nothing else.

    The policy is part of the page, because people also open reports from disk.
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
    """Write JSON that cannot end its script element, whatever the name of a job."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
