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
import yaml
from markupsafe import Markup
from pydantic import BaseModel

from service.reports.drawing import Chart

_HERE = Path(__file__).parent


@cache
def template(name: str, folder: Path = _HERE) -> jinja2.Template:
    """Load a template, from this folder unless given another."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
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
    parts = ["default-src 'none'", "img-src data: blob:", f"style-src {' '.join(map(source_of, styles))}"]
    if scripts:
        parts.append(f"script-src {' '.join(map(source_of, scripts))}")
    return Markup("; ".join([*parts, "base-uri 'none'", "form-action 'none'"]))


@lru_cache(maxsize=64)
def source_of(text: str) -> str:
    """Return the source of a content security policy that allows exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render_charts(
    name: str, charts: Sequence[Chart], *, styles: Sequence[str], scripts: Sequence[str], **values: object
) -> str:
    """Render a page with charts that opens offline. Its security policy forbids every request to the network.

    Args:
        name: of the template.
        styles, scripts: names of files in this folder.
        values: what else the template needs.
    """
    style, code = Markup().join(map(trusted, styles)), [trusted(script) for script in scripts]
    return template(name).render(
        policy=policy(styles=[style, PLOTLY_STYLE], scripts=[plotly_js(), *code]),
        plotly_styles=plotly_styles(),
        plotly_js=plotly_js(),
        charts=charts,
        figures=in_script({chart.name: chart.figure for chart in charts}),
        scripts=code,
        style=style,
        **values,
    )


def as_yaml(spec: BaseModel) -> str:
    """Write a spec as YAML."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def in_script(value: Any) -> Markup:
    """Write JSON that cannot end its script element, whatever the name of a job."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
