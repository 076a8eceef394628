"""Responses that several routes build alike: long lists as JSON, HTML pages, and the choice between formats."""

import asyncio
import re
from collections.abc import Mapping
from typing import TypeVar

from fastapi import Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

Form = TypeVar("Form", bound=str)

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def html_page(html: str) -> HTMLResponse:
    """Return a page with the content policy that it states for readers who open it from a disk."""
    found = _POLICY.search(html)
    assert found is not None, "every page states its policy"
    return HTMLResponse(html, headers={"Content-Security-Policy": f"{found[1]}; frame-ancestors 'none'"})


async def json_response(model: BaseModel, field: str) -> Response:
    """Return `model` as JSON, serialised in a thread.

    Args:
        field: names the model's long list of models. Each entry is serialised in a separate call, because one call
            into pydantic lets no other thread run: thousands of trials would block the event loop.
    """
    return Response(await asyncio.to_thread(as_json, model, field), media_type="application/json")


def as_json(model: BaseModel, field: str) -> str:
    """Serialise `model` as `json_response` does, in the calling thread."""
    rest = model.model_dump_json(exclude={field})
    entries = ",".join(entry.model_dump_json() for entry in getattr(model, field))
    return f'{{"{field}":[{entries}]{"," if rest != "{}" else ""}{rest[1:]}'


def preferred(accept: str, forms: Mapping[str, Form], *, default: Form) -> Form:
    """Return the form of the first media type in an Accept header that `forms` knows, else `default`."""
    media_types = (part.partition(";")[0].strip().lower() for part in accept.split(","))
    return next((forms[media_type] for media_type in media_types if media_type in forms), default)
