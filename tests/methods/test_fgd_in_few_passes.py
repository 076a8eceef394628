"""Compares the FGD loss in few passes with the one that is written as the paper writes it."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fgd_core.methods.fgd import EagerFGDLoss, FGDLoss
from fgd_core.methods.parts import blocks, cpu_passes

WEIGHTS: dict[str, float] = {"alpha": 1.0, "beta": 0.7, "gamma": 0.5, "lambda_": 0.2}
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


class Case(NamedTuple):
    """Two maps with objects of any number and place."""

    student: Tensor
    teacher: Tensor
    boxes: list[Tensor]
    sizes: list[tuple[int, int]]
    input_size: tuple[int, int]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut maps into blocks that a test fills quickly."""
    monkeypatch.setattr(blocks, "_BLOCK_VALUES", 65536)


def drawn(seed: int) -> Case:
    """Draw shapes from one cell to several blocks, offsets of channels, and boxes within and beyond the borders."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    # Every fourth map has several blocks.
    channels, side = ((2, 18), (7, 18), (300, 18), (64, 50))[seed % 4]
    num_images, stride = whole(1, 4), 2 ** whole(0, 6)
    height, width = whole(side - 17, side), whole(side - 17, side)
    maps = [torch.randn(num_images, channels, height, width, generator=generator).double() for _ in range(2)]
    offset = torch.randn(channels, 1, 1, generator=generator).double() * 3
    input_size = height * stride, width * stride
    boxes = []
    for _ in range(num_images):
        first = (torch.rand(whole(0, 90), 2, generator=generator).double() * 1.6 - 0.3) * max(input_size)
        boxes.append(torch.cat([first, first + torch.rand(first.shape, generator=generator) * max(input_size)], 1))
    sizes = [(whole(1, input_size[0] + 1), whole(1, input_size[1] + 1)) for _ in range(num_images)]
    return Case(maps[0] + offset, maps[1].relu(), boxes, sizes, input_size)


def trained(kind: type[FGDLoss], case: Case, **settings: Any) -> FGDLoss:
    """Return the loss with parameters as after a training: no context is 0."""
    channels = case.student.shape[1]
    loss = kind(channels, channels, **WEIGHTS, **settings).double()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
    return loss


def results(loss: FGDLoss, case: Case) -> dict[str, Tensor]:
    """Return the terms and all gradients; the terms have different factors, as gradients in a sum have."""
    student = case.student.clone(memory_format=torch.preserve_format).requires_grad_()
    terms = loss.compare(student, case.teacher, case.boxes, case.sizes, case.input_size)
    terms.total.backward()
    assert student.grad is not None
    gradients = {name: each.grad for name, each in loss.named_parameters() if each.grad is not None}
    return {**{name: each.detach() for name, each in terms.parts.items()}, "student": student.grad, **gradients}


@pytest.mark.parametrize("seed", range(24))
def test_terms_and_gradients_equal_the_paper_in_float64(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = drawn(seed)
    if seed >= 12:  # PyTorch's operations, as on a machine without a C compiler
        monkeypatch.setattr(cpu_passes, "library", lambda _: None)
    temperatures: tuple[Any, ...] = (0.5, "auto", 2.0)
    settings = {"temperature": temperatures[seed % 3], "mask": ("geometric", "official")[seed % 2]}
    few, many = (results(trained(kind, case, **settings), case) for kind in (FGDLoss, EagerFGDLoss))
    assert few.keys() == many.keys() and len(few) == 4 + 1 + 2 * 8
    for name, expected in many.items():
        torch.testing.assert_close(few[name], expected, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")


def test_channels_last_maps_give_the_same_and_a_gradient_of_their_layout() -> None:
    case = drawn(11)
    last = case._replace(
        student=case.student.contiguous(memory_format=torch.channels_last),
        teacher=case.teacher.contiguous(memory_format=torch.channels_last),
    )
    plain, found = (results(trained(FGDLoss, case, temperature=0.5), each) for each in (case, last))
    assert found["student"].is_contiguous(memory_format=torch.channels_last)
    for name, expected in plain.items():
        torch.testing.assert_close(found[name], expected, **CLOSE)


def test_is_one_graph_for_a_compiler_with_the_same_gradients() -> None:
    case = drawn(1)
    plain, compiled = (trained(FGDLoss, case, temperature=0.5) for _ in range(2))
    compiled.compile_sums(backend="aot_eager")
    expected, found = results(plain, case), results(compiled, case)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **CLOSE)


def test_maps_that_cannot_be_flattened_in_place_have_the_same_gradient() -> None:
    case = drawn(11)
    turned = case._replace(student=case.student.mT.contiguous().mT)
    plain, found = (results(trained(FGDLoss, case, temperature=0.5), each) for each in (case, turned))
    torch.testing.assert_close(found["student"], plain["student"], **CLOSE)


def test_the_gradient_of_an_image_does_not_depend_on_the_other_images() -> None:
    """Ranks share a batch: each must compute what one process computes."""
    case = drawn(3)
    num_images = len(case.student)
    assert num_images > 1
    one = Case(case.student[:1], case.teacher[:1], case.boxes[:1], case.sizes[:1], case.input_size)
    together, alone = (results(trained(FGDLoss, each, temperature=0.5), each)["student"] for each in (case, one))
    # The loss is divided by the number of images; products of matrices with more rows are rounded otherwise.
    torch.testing.assert_close(together[:1] * num_images, alone, rtol=1e-13, atol=1e-14)


def test_saves_no_tensor_of_the_size_of_a_map_but_the_two_maps() -> None:
    case = drawn(7)
    student = case.student.requires_grad_()
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.shape == student.shape:
            saved[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trained(FGDLoss, case, temperature=0.5).compare(student, case.teacher, *case[2:])
    assert saved.keys() == {student.data_ptr(), case.teacher.data_ptr()}


def test_all_terms_of_a_level_have_one_node_in_the_graph() -> None:
    """Nodes for small tensors cost a CPU 3 of 67 ms."""
    case = drawn(1)
    terms = trained(FGDLoss, case, temperature=0.5).compare(case.student.requires_grad_(), *case[1:])
    (node,) = {each.grad_fn for each in terms.parts.values()}
    assert node is not None
    assert {each.name() for each, _ in node.next_functions if each} == {"torch::autograd::AccumulateGrad"}


def test_a_student_that_equals_its_teacher_has_the_gradient_of_the_paper() -> None:
    case = drawn(1)._replace(student=drawn(1).teacher)
    few, many = (results(trained(kind, case, temperature=0.5), case) for kind in (FGDLoss, EagerFGDLoss))
    assert few["attention"] == 0
    torch.testing.assert_close(few["student"], many["student"], **CLOSE)


class Copies(TorchDispatchMode):
    """Counts the values that the host reads from tensors, and the copies to and from other devices."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name() in {"aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh", "aten::masked_select"}:
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_a_step_reads_no_value_and_makes_no_tensor_of_a_list() -> None:
    """On a GPU the host would wait for each: constants are made in the first step."""
    case = drawn(5)
    loss = trained(FGDLoss, case, temperature="auto")
    results(loss, case)
    with Copies() as copies:
        results(loss, case)
    assert copies.names == []


def test_half_precision_maps_are_compared_in_float32() -> None:
    case = drawn(6)
    half = case._replace(student=case.student.bfloat16(), teacher=case.teacher.bfloat16())
    exact = half._replace(student=half.student.float(), teacher=half.teacher.float())
    loss = trained(FGDLoss, case, temperature=0.5).float()
    expected = results(loss, exact)
    loss.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        found = results(loss, half)
    assert found["student"].dtype == torch.bfloat16
    for name, value in expected.items():
        close = {"rtol": 1e-2, "atol": 1e-4} if name == "student" else {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(found[name].float(), value, **close)
