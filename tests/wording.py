"""Draw docstrings and error messages at random, as they were at a commit and as they are now.

python -m tests.wording 0003cf9 --seed 14
"""

import argparse
import ast
import difflib
import random
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house import Module, read_modules

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Text:
    module: str
    place: str
    """The dotted name of what holds the text, in its module."""
    code: str
    """What surrounds the text: it finds the same place after a rename."""
    words: str


def docstrings(module: Module) -> Iterator[Text]:
    for name, node in module.definitions():
        if words := ast.get_docstring(node):
            code = "\n".join(ast.unparse(each) for each in node.body[1:])
            yield Text(module.name, name, f"{name}\n{code}", words)


def error_messages(module: Module) -> Iterator[Text]:
    """The first argument of each error that is raised, where it is a text."""
    for name, node in module.definitions():
        for each in ast.walk(node):
            if not (isinstance(each, ast.Raise) and isinstance(each.exc, ast.Call) and each.exc.args):
                continue
            first = each.exc.args[0]
            if isinstance(first, ast.JoinedStr) or (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                yield Text(module.name, name, f"{name}\n{ast.unparse(each.exc)}", ast.unparse(first))


def counterpart(text: Text, now: list[Text], renamed: dict[str, str]) -> Text | None:
    """The text at the same place now; of a renamed place the one whose code is most alike, None below half."""
    module = renamed.get(text.module, text.module)
    candidates = [each for each in now if each.module == module and each.place == text.place]
    candidates = candidates or [each for each in now if each.module == module] or now
    likeness = {
        index: difflib.SequenceMatcher(None, text.code, each.code).ratio() for index, each in enumerate(candidates)
    }
    best = max(likeness, key=likeness.__getitem__)
    return candidates[best] if likeness[best] >= 0.5 else None


def renames(commit: str) -> dict[str, str]:
    lines = _git("diff", "--find-renames=40%", "--diff-filter=R", "--name-status", commit, "HEAD").splitlines()
    pairs = [line.split("\t")[1:] for line in lines]
    return {_module(old): _module(new) for old, new in pairs if old.endswith(".py")}


def modules_at(commit: str) -> dict[str, Module]:
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, check=True, capture_output=True)
        subprocess.run(["tar", "--extract", "--directory", folder], input=archive.stdout, check=True)
        return read_modules(Path(folder))


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="compare with the texts at this commit")
    parser.add_argument("--count", type=int, default=20, help="how many of each kind (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn (default: 0)")
    options = parser.parse_args()
    before, now, renamed = modules_at(options.commit), read_modules(REPOSITORY), renames(options.commit)
    for title, collect in (("docstrings", docstrings), ("error messages", error_messages)):
        old = [text for module in before.values() for text in collect(module)]
        new = [text for module in now.values() for text in collect(module)]
        print(f"# {options.count} of {len(old)} {title}\n")
        for text in random.Random(options.seed).sample(old, options.count):
            match = counterpart(text, new, renamed)
            print(f"## {text.module}.{text.place}")
            print(f"before: {text.words}")
            print(f"now:    {match.words if match else '(no longer there)'}\n")


if __name__ == "__main__":
    main()
