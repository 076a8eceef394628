"""Measure the source: sizes, import cycles, docstrings, `Any`. `python -m tests.house --help` says how."""

import argparse
import ast
import math
import re
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import networkx

SOURCE = ("fgd_core", "workers", "service", "migrations")
_SMALL_MODULE_LINES = 25
_LONG_FUNCTION_LINES = 40
_SIZE = r"(…|\.\.\.|[A-Za-z]\w?|\d+|height|width|channels|bins|locations)([*+/× -]+\w+)*"
_SHAPE = re.compile(rf"\({_SIZE}(,\s*{_SIZE})+\)|\({_SIZE},\)|\bshapes?\b|\b[Ss]calar")
"""(N, 4), (B, C, H, W), (N,), (2 * k, H, W), or a sentence about the shape."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass(frozen=True)
class Module:
    name: str
    text: str
    tree: ast.Module

    @property
    def num_lines(self) -> int:
        return len(self.text.splitlines())

    def definitions(self) -> Iterator[tuple[str, Definition]]:
        """Each class and function with its dotted name inside the module, at any depth."""
        yield from _definitions(self.tree, "")


def read_modules(root: Path, folders: Iterable[str] = SOURCE) -> dict[str, Module]:
    """Parse every Python file below `folders`, by its dotted name."""
    modules = {}
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text()
            modules[name] = Module(name, text, ast.parse(text))
    return modules


def file_imports(modules: dict[str, Module]) -> networkx.DiGraph:
    """Draw an edge from each module to each module of ours that it imports, at any place in the file."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(modules)
    for module in modules.values():
        for imported in _imported(module.tree):
            target = imported if imported in modules else imported.rpartition(".")[0]
            if target in modules and target != module.name:
                graph.add_edge(module.name, target)
    return graph


def folder_cycles(imports: networkx.DiGraph) -> list[list[str]]:
    """Find the sets of sibling folders (and files beside them) that import each other in a circle, at every depth."""
    parents = {name.rpartition(".")[0] for name in imports} | {""}
    parents |= {parent.rpartition(".")[0] for parent in parents}
    cycles = []
    for parent in sorted(parents):
        siblings = networkx.DiGraph()
        for importer, imported in imports.edges:
            first, second = _child(parent, importer), _child(parent, imported)
            if first and second and first != second:
                siblings.add_edge(first, second)
        cycles += cycles_of(siblings)
    return cycles


def num_code_lines(module: Module) -> int:
    """Count the lines with code: no blank line, no comment, no docstring."""
    texts: set[int] = set()
    for node in ast.walk(module.tree):
        # A string that stands alone documents what is before it.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(module.text.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") and n not in texts for n, line in lines)


def cycles_of(graph: networkx.DiGraph) -> list[list[str]]:
    return [sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1]


def except_exceptions(modules: Iterable[Module]) -> list[str]:
    """Name the place of each handler that catches `Exception` or everything."""
    return [
        f"{module.name}:{node.lineno}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or _names(node.type) & {"Exception"})
    ]


def uses_of_any(modules: Iterable[Module]) -> list[str]:
    return [
        f"{module.name}:{node.lineno}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name) and node.id == "Any"
    ]


def without_docstring(modules: dict[str, Module]) -> tuple[list[str], int]:
    """List the public classes and module-level functions that have no docstring, and count all of them."""
    documented = [
        (f"{module.name}.{name}", ast.get_docstring(node))
        for module in modules.values()
        for name, node in module.definitions()
        if _is_public(name) and "<locals>" not in name and (isinstance(node, ast.ClassDef) or "." not in name)
    ]
    return [name for name, docstring in documented if not docstring], len(documented)


def without_shape(modules: dict[str, Module]) -> tuple[list[str], int]:
    """List the public functions and methods on tensors whose docstring names no shape, and count all of them.

    A shape is a bracket such as "(N, 4)" or "(B, C, H, W)", or the word "shape" or "scalar". A method that overrides
    another counts as documented where the method of a base class is.
    """
    classes = _classes(modules)
    missing, total = [], 0
    for module in modules.values():
        for name, node in module.definitions():
            if isinstance(node, ast.ClassDef) or not _is_public(name) or "<locals>" in name or not _on_tensors(node):
                continue
            total += 1
            if not any(_SHAPE.search(docstring) for docstring in _docstrings(name, node, classes)):
                missing.append(f"{module.name}.{name}")
    return missing, total


def table(root: Path) -> list[tuple[str, str]]:
    """The figures of the source at `root`, each with its name."""
    modules = read_modules(root)
    tests = read_modules(root, ("tests",))
    lines = [module.num_lines for module in modules.values()]
    files = [module.num_lines for module in modules.values() if module.text.strip()]
    functions = [
        _num_lines(node)
        for module in modules.values()
        for _, node in module.definitions()
        if isinstance(node, Function)
    ]
    imports = file_imports(modules)
    small = [name for name, module in modules.items() if _is_small(name, module, modules)]
    undocumented, public = without_docstring(modules)
    shapeless, of_tensors = without_shape(modules)
    source_lines, test_lines = sum(lines), sum(module.num_lines for module in tests.values())
    return [
        ("lines of source", f"{source_lines:,}"),
        ("of these without docstrings, comments, blank lines", f"{sum(map(num_code_lines, modules.values())):,}"),
        ("modules", f"{len(files)}"),
        ("lines of a module: median, longest", f"{statistics.median(files):.0f}, {max(files)}"),
        (
            "lines of a function: median, p90, longest",
            f"{_percentile(functions, 0.5)}, {_percentile(functions, 0.9)}, {max(functions)}",
        ),
        (
            f"functions above {_LONG_FUNCTION_LINES} lines",
            f"{sum(count > _LONG_FUNCTION_LINES for count in functions)}",
        ),
        (f"modules below {_SMALL_MODULE_LINES} lines", f"{len(small)}"),
        ("import cycles of files", f"{len(cycles_of(imports))}"),
        ("import cycles of folders", f"{len(folder_cycles(imports))}"),
        ("except Exception", f"{len(except_exceptions(modules.values()))}"),
        ("Any", f"{len(uses_of_any(modules.values()))}"),
        ("public classes and functions with a docstring", _share(public - len(undocumented), public)),
        ("tensor functions whose docstring names a shape", _share(of_tensors - len(shapeless), of_tensors)),
        ("lines of tests", f"{test_lines:,} ({test_lines / source_lines:.2f} per line of source)"),
    ]


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            name = f"{prefix}{child.name}"
            yield name, child
            inner = f"{name}." if isinstance(child, ast.ClassDef) else f"{name}.<locals>."
            yield from _definitions(child, inner)
        else:
            yield from _definitions(child, prefix)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _child(parent: str, name: str) -> str | None:
    """The file or folder directly below `parent` that `name` lies in; None: it lies elsewhere."""
    prefix = f"{parent}." if parent else ""
    if not name.startswith(prefix):
        return None
    return prefix + name.removeprefix(prefix).split(".")[0]


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


def _is_small(name: str, module: Module, modules: dict[str, Module]) -> bool:
    is_package = any(other.startswith(f"{name}.") for other in modules)
    return not is_package and module.num_lines < _SMALL_MODULE_LINES


def _num_lines(node: Definition) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _on_tensors(node: Function) -> bool:
    arguments = node.args
    annotations = [each.annotation for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return any("Tensor" in _names(each) for each in (*annotations, node.returns) if each is not None)


def _classes(modules: dict[str, Module]) -> dict[str, ast.ClassDef]:
    return {
        node.name: node
        for module in modules.values()
        for _, node in module.definitions()
        if isinstance(node, ast.ClassDef)
    }


def _docstrings(name: str, node: Definition, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    """The docstring of a definition, and those of the methods that it overrides."""
    yield ast.get_docstring(node) or ""
    pending = [name.split(".")[-2]] if "." in name else []
    seen = set(pending)
    while pending:
        holder = classes.get(pending.pop())
        for base in [] if holder is None else holder.bases:
            for base_name in _names(base) - seen:
                seen.add(base_name)
                pending.append(base_name)
        for child in [] if holder is None else holder.body:
            if isinstance(child, Function) and child.name == node.name:
                yield ast.get_docstring(child) or ""


def _percentile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, math.floor(share * len(values)))]


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the figures of the source as a table.")
    parser.add_argument("root", nargs="*", type=Path, default=[Path(__file__).resolve().parents[1]])
    columns = [table(root) for root in parser.parse_args().root]
    for rows in zip(*columns, strict=True):
        print(f"{rows[0][0]:<50}", *(f"{value:>32}" for _, value in rows))


if __name__ == "__main__":
    main()
