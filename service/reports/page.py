"""The parts of each page: templates from this folder, the styles and the charts of the live page."""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup
from pydantic import BaseModel

from service.reports.drawing import Chart
from service.web import assets

_HERE = Path(__file__).parent
_SCRIPTS = ("packed.js", "report.js")
_CHARTS = "ui/figure.js"
_SHARED_STYLES = ("style/0_colours.css", "style/4_figure.css")


@cache
def template(name: str, folder: Path = _HERE) -> jinja2.Template:
    """Load a template of a page."""
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


def style_of(*names: str) -> Markup:
    """Read the styles that reports share with the live page, and these of this folder."""
    return Markup("".join(map(assets.text, _SHARED_STYLES))) + Markup().join(map(trusted, names))


def packed(text: str) -> Markup:
    """Compress a text for a script element of another type, which `packed.js` reads: gzip in base64."""
    return Markup(base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode())


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
    name: str,
    charts: Sequence[Chart],
    *,
    styles: Sequence[str],
    scripts: Sequence[str] = (),
    labels: Mapping[int, str] | None = None,
    **values: object,
) -> str:
    """Render a page with charts that opens offline. Its security policy forbids every request to the network.

    Args:
        name: of the template.
        styles, scripts: names of files in this folder; a script that the charts need is there already.
        labels: texts under the pointer, by the values in `customdata` of traces that have no text of their own.
        values: what else the template needs.
    """
    style = style_of(*styles)
    code = [Markup(assets.bundle(_CHARTS)), *(trusted(script) for script in (*_SCRIPTS, *scripts))]
    content = {"charts": {chart.name: chart.figure for chart in charts}, "labels": labels or {}}
    return template(name).render(
        policy=policy(styles=[style], scripts=code),
        charts=charts,
        figures=packed(as_json(content)),
        scripts=code,
        style=style,
        **values,
    )


def as_yaml(spec: BaseModel) -> str:
    """Write a spec as YAML."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def as_json(value: Any) -> str:
    """Write JSON that each browser can read."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
