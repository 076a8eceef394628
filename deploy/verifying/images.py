"""Builds both images, builds them again after a change of the code, and measures their size."""

import shutil
import tempfile
import time
from pathlib import Path

from deploy.verifying.engine import ROOT, image_size_bytes, run
from deploy.verifying.results import Results

TARGETS = {"service": "FGD_IMAGE", "ray": "FGD_RAY_IMAGE"}
SECOND_BUILD_S = 120.0


def build(results: Results, tags: dict[str, str], *, base: str) -> None:
    results.begin("images")
    with tempfile.TemporaryDirectory() as folder:
        changed = copy_of_context(Path(folder))
        with (changed / "service" / "clock.py").open("a") as file:
            file.write(f"\n# changed at {time.time()}\n")
        for target, variable in TARGETS.items():
            tag = tags[variable]
            first_s = build_one(target, tag, base=base)
            second_s = build_one(target, f"{tag}-changed", base=base, context=changed)
            size = f"{image_size_bytes(tag) / 1e6:.0f} MB, of which the base image {image_size_bytes(base) / 1e6:.0f}"
            results.check(f"the image {target} is built", True, f"{first_s:.0f} s; {size}")
            quick = second_s < SECOND_BUILD_S
            results.check(f"{target} is rebuilt quickly after a change of the code", quick, f"{second_s:.0f} s")
            user = run("docker", "image", "inspect", "--format", "{{.Config.User}}", tag).strip()
            results.check(f"{target} does not run as root", user not in ("", "root", "0"), f"user {user}")
    heavy = "import importlib.util as u; print(*(n for n in ('torch', 'torchvision', 'ray') if u.find_spec(n)))"
    found = run("docker", "run", "--rm", "--entrypoint", "/opt/fgd/bin/python", tags["FGD_IMAGE"], "-c", heavy).strip()
    results.check("the control plane has neither torch nor ray", not found, found or "none of them")
    compiled = "import torch; from fgd_core.methods.parts.c_library import library; print(library(torch.float32))"
    found = run("docker", "run", "--rm", "--entrypoint", "/opt/fgd/bin/python", tags["FGD_RAY_IMAGE"], "-c", compiled)
    results.check("a node compiles the passes of the losses", found.startswith("<CDLL"), found.strip())


def build_one(target: str, tag: str, *, base: str, context: Path = ROOT) -> float:
    """Build one image; returns the seconds that it took."""
    began = time.monotonic()
    argument = f"PYTHON_IMAGE={base}"
    run("docker", "build", "--quiet", "--build-arg", argument, "--target", target, "--tag", tag, str(context))
    return time.monotonic() - began


def copy_of_context(folder: Path) -> Path:
    """Copy the build context, so that it can be changed without changing the checkout."""
    wanted = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for pattern in [*wanted, ".dockerignore", "Dockerfile"]:
        for path in ROOT.glob(pattern):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(path, target)
    return folder
