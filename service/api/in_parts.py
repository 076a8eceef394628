"""JSON of models that hold a long list."""

import asyncio

from fastapi import Response
from pydantic import BaseModel


async def json_response(model: BaseModel, field: str) -> Response:
    """`model` as JSON, made on a thread.

    Args:
        field: names its long list, of models. They are written one by one, because pydantic writes a model in one call
            that lets no other thread run: with thousands of trials the event loop stood still meanwhile.
    """
    return Response(await asyncio.to_thread(as_json, model, field), media_type="application/json")


def as_json(model: BaseModel, field: str) -> str:
    rest = model.model_dump_json(exclude={field})
    entries = ",".join(entry.model_dump_json() for entry in getattr(model, field))
    return f'{{"{field}":[{entries}]{"," if rest != "{}" else ""}{rest[1:]}'
