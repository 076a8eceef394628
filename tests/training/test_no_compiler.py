"""Runs do without PyTorch's compiler, which takes a third of the time in which they start."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fgd_core.no_compiler import without_compiler

RUNS = """
import sys
from pathlib import Path

import torch

from fgd_core.runs import execute
from tests.library import RecordingContext, distill_spec, evaluate_spec, train_spec
from tests.ranks.processes import on_ranks

folder = Path(sys.argv[1])


def loaded_by(spec):
    finished = execute(spec, RecordingContext(folder / spec.name / spec.kind))
    assert finished.outcome == "succeeded", finished.error
    return sorted(name for name in sys.modules if name.startswith(("torch._dynamo", "torch._inductor", "sympy")))


assert on_ranks(2, loaded_by, train_spec(name="by two ranks")) == [[], []]
best = folder / "plain/train/checkpoints/best.pt"
for spec in (train_spec(), distill_spec(best, teacher={"gate": "keys"}), evaluate_spec(best)):
    assert loaded_by(spec) == [], spec.kind
assert torch.compile(torch.neg, backend="eager")(torch.ones(1)) == -1
roi_align = sys.modules["torchvision.ops.roi_align"]
assert roi_align.is_compile_supported("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
"""


def test_no_kind_of_run_loads_the_compiler_and_code_that_asks_for_it_gets_it(tmp_path: Path) -> None:
    repository = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", RUNS, str(tmp_path)], cwd=repository, check=True)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimiser_without_the_compiler_takes_the_same_steps(kind: type[torch.optim.Optimizer]) -> None:
    ours, theirs = (torch.nn.Parameter(torch.arange(4.0)) for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 0.01, "fused": True}
    plain, usual = without_compiler(kind)([ours], **options), kind([theirs], **options)
    for _ in range(3):
        for parameter, optimizer in ((ours, plain), (theirs, usual)):
            optimizer.zero_grad(set_to_none=True)
            parameter.square().sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, torch.arange(4.0))
    assert str(plain.state_dict()) == str(usual.state_dict())


def test_a_step_without_the_compiler_records_no_gradients() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = without_compiler(torch.optim.SGD)([weight], lr=0.5)
    (2 * weight).sum().backward()
    assert torch.is_grad_enabled()
    optimizer.step()
    assert torch.is_grad_enabled()
    assert weight.is_leaf and weight.item() == 0
