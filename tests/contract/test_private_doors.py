"""Private names of other packages: which ones the product uses, through which module, and that the pin has them."""

import ast
import importlib
import importlib.resources
import re
import sys
from collections.abc import Iterator
from functools import reduce
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = ("fgd_core", "workers", "service", "migrations")


class Door(NamedTuple):
    """Holds undocumented names of a module that one of our modules uses."""

    package: str
    module: str
    names: tuple[str, ...]
    used_by: str
    """The only module that may use them."""


DOORS = (
    Door(
        "torchvision",
        "torchvision.models._meta",
        ("_COCO_CATEGORIES",),
        "fgd_core/detectors/parts/torchvision_private.py",
    ),
    Door("torchvision", "torchvision.models.resnet", ("ResNet._make_layer",), "fgd_core/detectors/parts/backbones.py"),
    Door("torch", "torch.nn", ("Conv2d._conv_forward",), "fgd_core/detectors/parts/small_maps.py"),
    Door(
        "torch",
        "torch.distributed.distributed_c10d",
        ("_get_default_store",),
        "fgd_core/ranks.py",
    ),
    Door("torch", "torch.nn.modules._functions", ("SyncBatchNorm",), "fgd_core/batch_norm.py"),
    Door("torch", "torch._dynamo.utils", ("is_compile_supported", "get_optimize_ddp_mode"), "fgd_core/no_compiler.py"),
    Door("torch", "torch.nn.parallel", ("DistributedDataParallel._run_ddp_forward",), "fgd_core/no_compiler.py"),
    Door("torch", "torch._dynamo.exc", ("TorchDynamoException",), "fgd_core/no_compiler.py"),
    Door(
        "pycocotools",
        "pycocotools.cocoeval",
        ("COCOeval.computeIoU", "COCOeval.evaluateImg"),
        "fgd_core/evaluation/pycocotools_engine.py",
    ),
    Door(
        "uvicorn",
        "uvicorn.protocols.http.h11_impl",
        ("H11Protocol.connection_lost", "H11Protocol.pause_writing", "H11Protocol.resume_writing"),
        "service/api/slow_readers.py",
    ),
)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.module)
def test_the_pinned_release_has_every_private_name(door: Door) -> None:
    assert missing_names(door) == []


def test_the_pinned_release_of_fastapi_offline_has_swagger_ui() -> None:
    folder = importlib.resources.files("fastapi_offline") / "static"
    missing = [name for name in ("swagger-ui-bundle.js", "swagger-ui.css") if not (folder / name).is_file()]
    assert missing == [], (
        f"fastapi-offline {version('fastapi-offline')} no longer has static/{missing}; pinned is "
        f"{pinned('fastapi-offline')}; change service/api/routes/docs.py"
    )


def test_a_missing_name_is_reported_with_the_release_and_the_pin() -> None:
    door = Door("torchvision", "torchvision.models.detection._utils", ("Matcher", "Gone.method"), "a.py")
    (message,) = missing_names(door)
    installed, pin = version("torchvision"), pinned("torchvision")
    assert message == (
        f"torchvision {installed} no longer has models.detection._utils.Gone.method; pinned is {pin}; change a.py"
    )
    assert missing_names(Door("torchvision", "torchvision._gone", ("a",), ""))


@pytest.mark.parametrize("root", SOURCES)
def test_only_the_listed_modules_import_private_names(root: str) -> None:
    allowed = {(door.used_by, door.module) for door in DOORS}
    found = [
        f"{path}:{line}: {name}"
        for path in sorted((REPOSITORY / root).rglob("*.py"))
        for line, name in private_imports(ast.parse(path.read_text(encoding="utf-8")))
        if (str(path.relative_to(REPOSITORY)), name.rpartition(".")[0]) not in allowed
    ]
    assert found == [], "import these through one module, and list it in DOORS"


def test_a_private_import_is_recognised() -> None:
    code = "import a._b, a.b as c, os\nfrom a import _b, b\nfrom a._b import d\nfrom os import _exit\na._x = c._y\n"
    assert [name for _, name in private_imports(ast.parse(code))] == ["a._b", "a._b", "a._b.d", "a.b._y"]


def missing_names(door: Door) -> list[str]:
    """Report each name that the installed release lacks."""
    missing = []
    for name in door.names:
        try:
            reduce(getattr, name.split("."), importlib.import_module(door.module))
        except (ImportError, AttributeError):
            missing.append(
                f"{door.package} {version(door.package)} no longer has "
                f"{door.module.partition('.')[2] or door.module}.{name}; pinned is {pinned(door.package)}; "
                f"change {door.used_by}"
            )
    return missing


def pinned(package: str) -> str:
    match = re.search(rf"^{package}==(\S+)", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    assert match is not None, f"requirements.txt does not pin {package}"
    return match[1]


def private_imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Find the private names of other packages that a module imports, or reads from an imported name."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(alias.name, alias.asname) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [(f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names]
        else:
            continue
        for name, bound_to in names:
            if is_of_another_package(name):
                imported[bound_to or name.partition(".")[0]] = name if bound_to else name.partition(".")[0]
                if any(is_private(part) for part in name.split(".")):
                    yield node.lineno, name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and isinstance(node.ctx, ast.Load):
            owner = ast.unparse(node.value)
            start, _, rest = owner.partition(".")
            if start in imported and owner.replace(".", "").isidentifier():
                yield node.lineno, ".".join(filter(None, (imported[start], rest, node.attr)))


def is_of_another_package(name: str) -> bool:
    root = name.partition(".")[0]
    return root not in SOURCES and root not in sys.stdlib_module_names


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
