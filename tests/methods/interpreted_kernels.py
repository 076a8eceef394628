"""Compares the loss by Triton's kernels with the loss as written in the paper; run with TRITON_INTERPRET=1.

Triton reads the variable when it is imported, so this runs in a process of its own.
"""

import itertools

import torch
from torch import Tensor

from fgd_core.methods.fgd import EagerFGDLoss, FGDLoss
from fgd_core.methods.parts import map_kernels, map_sums

CHANNELS, GRID = 70, (9, 11)
"""They fill no whole number of tiles."""
INPUT_SIZE = 72, 88
BOXES = [torch.tensor([[4.0, 4, 40, 60], [10, 0, 30, 20]]), torch.zeros(0, 4)]
DIGITS = {torch.float64: 1e-10, torch.bfloat16: 1e-2}


def loss(kind: type[FGDLoss], sums: torch.dtype) -> FGDLoss:
    torch.manual_seed(0)
    built = kind(CHANNELS, CHANNELS, alpha=1e-3, beta=5e-4, gamma=5e-4, lambda_=5e-6, temperature=0.5)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter)
    return built.to(sums)


def computed(built: FGDLoss, student: Tensor, teacher: Tensor) -> list[Tensor]:
    """Return the gradients of the student and of the parameters, and the terms."""
    student = student.clone().requires_grad_()
    terms = built.compare(student, teacher, BOXES, [INPUT_SIZE] * 2, INPUT_SIZE)
    terms.total.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None and student.grad.stride() == student.stride()
    return [student.grad, *terms.parts.values(), *(each.grad for each in built.parameters() if each.grad is not None)]


def compare(kind: torch.dtype, layout: torch.memory_format) -> None:
    maps = torch.randn(2, 2, CHANNELS, *GRID, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    student, teacher = (each.to(kind).contiguous(memory_format=layout) for each in maps)
    sums = torch.promote_types(kind, torch.float32)
    expected = computed(loss(EagerFGDLoss, sums), student, teacher)
    for ours, theirs in zip(computed(loss(FGDLoss, sums), student, teacher), expected, strict=True):
        # The gradient of the bias of a pooling is 0 but for rounding.
        least = DIGITS[kind] * max(1e-3, float(theirs.detach().abs().max()))
        torch.testing.assert_close(ours, theirs, rtol=DIGITS[kind], atol=least)


if __name__ == "__main__":
    map_sums.passes_for = lambda *_: map_kernels  # type: ignore[assignment,return-value]
    for each in itertools.product(DIGITS, (torch.contiguous_format, torch.channels_last)):
        compare(*each)
