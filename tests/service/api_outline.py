"""The outline of the API that clients rely on: a line for each operation with its statuses, and for each schema.

`make api` writes it to `api_outline.txt`. A test compares the two, so that the API changes only on purpose.
"""

import tempfile
from pathlib import Path
from typing import Any

from service.server.app import create_app
from service.settings import Settings
from tests.service.memory_cluster import MemoryCluster

FILE = Path(__file__).with_suffix(".txt")


def outline(schema: dict[str, Any]) -> str:
    """Return the outline of an OpenAPI description."""
    operations = [
        f"{method.upper()} {path} {operation['operationId']} -> {' '.join(sorted(operation['responses']))}"
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]
    schemas = [f"{name}: {' '.join(_fields(model))}" for name, model in schema["components"]["schemas"].items()]
    return "\n".join([*sorted(operations), "", *sorted(schemas)]) + "\n"


def _fields(model: dict[str, Any]) -> list[str]:
    """Return a schema's fields, required ones with a star; for an enumeration, its values."""
    required = model.get("required", ())
    fields = [f"{name}*" if name in required else name for name in model.get("properties", {})]
    return sorted(fields) or sorted(map(str, model.get("enum", ())))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        FILE.write_text(outline(create_app(Settings(home=Path(home)), MemoryCluster()).openapi()))
