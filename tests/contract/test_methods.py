"""The contract of distillation methods: a new row of the table is tested here without another line."""

import ast
import copy
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import TypeAdapter
from torch import Tensor

from fgd_core.data.loading import Batch
from fgd_core.detectors import build_detector
from fgd_core.detectors.base import Detector
from fgd_core.methods import METHODS
from fgd_core.methods.base import Moment, Terms
from fgd_core.spec.base import field_docstrings
from fgd_core.spec.detectors import AnyDetector, DetectorSpec
from fgd_core.spec.kinds.sweep import SweepSpec
from fgd_core.spec.loss_names import Role, read_loss_name
from fgd_core.spec.methods import METHOD_TYPES, PRESETS, AnyMethod, Fgd, MethodSpec
from fgd_core.spec.training import AdamW
from fgd_core.training.distiller import Distiller
from fgd_core.training.optimizers import ParameterGroup, build_optimizer
from tests.library import TINY, TINY_DETECTOR

EXAMPLES = Path(__file__).parents[2] / "examples"
DETECTOR: TypeAdapter[DetectorSpec] = TypeAdapter(DetectorSpec)
METHOD: TypeAdapter[MethodSpec] = TypeAdapter(MethodSpec)
KINDS = ("retinanet", "gfl", "faster_rcnn")
SIZE = 128
"""At this size the coarsest level of a dense detector has a single cell."""
MOMENT = Moment(step=3, steps=30, epochs=3)


@pytest.fixture(params=METHODS, ids=lambda kind: kind.name())
def method(request: pytest.FixtureRequest) -> AnyMethod:
    kind: type[AnyMethod] = request.param
    return kind()


def settings(kind: str, **fields: Any) -> AnyDetector:
    two_stage = {"rois_per_image": 16} if kind == "faster_rcnn" else {}
    return DETECTOR.validate_python(TINY_DETECTOR | two_stage | fields | {"type": kind})


def suited(method: AnyMethod) -> str:
    """Return a kind of detector that can be student and teacher of the method."""
    return next(kind for kind in KINDS if not any(method.unmet(settings(kind), settings(kind))))


def pair(method: AnyMethod, width: int = 8) -> tuple[Detector, Detector]:
    torch.manual_seed(0)
    kind = suited(method)
    student, teacher = build_detector(settings(kind), 3), build_detector(settings(kind, fpn_width=width), 3)
    return student.train(), teacher


def batch(num_boxes: int, size: int = SIZE, method: AnyMethod | None = None) -> Batch:
    """Return a batch with the pictures that the method compares."""
    boxes = torch.tensor([[8.0, 8, 40, 48], [30, 20, 100, 90], [4, 60, 20, 76]])[:num_boxes]
    return Batch(
        images=torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)),
        image_sizes=[(size, size - 8)] * 2,
        boxes=[boxes, boxes[:0]],
        labels=[torch.arange(num_boxes) % 3, torch.zeros(0, dtype=torch.int64)],
        image_ids=[1, 2],
        original_sizes=[(size, size)] * 2,
        pictures={
            name: torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))
            for seed, name in enumerate(method.pictures if method is not None else ())
        },
    )


def distilled(distiller: Distiller, student: Detector, given: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
    return distiller(student.features(given.images), given, MOMENT)


def role(curve: str) -> Role:
    found = read_loss_name(curve)
    assert found is not None
    return found.role


class TestLoss:
    @pytest.mark.parametrize("width", [8, 12], ids=["same width", "wider teacher"])
    @pytest.mark.parametrize("num_boxes", [0, 1, 3])
    def test_is_finite_and_reaches_the_student_and_every_own_parameter_only(
        self, method: AnyMethod, num_boxes: int, width: int
    ) -> None:
        student, teacher = pair(method, width)
        distiller = Distiller(method, student, teacher)
        total, parts = distilled(distiller, student, batch(num_boxes, method=method))
        total.backward()
        assert total.ndim == 0 and all(value.isfinite() for value in parts.values())
        assert all(each.grad is None for each in teacher.parameters())
        assert all(each.grad is None or each.grad.isfinite().all() for each in student.parameters())
        assert all(each.grad is not None for each in distiller.parameters())
        if num_boxes == 3:
            assert any(each.grad is not None and each.grad.norm() > 0 for each in student.parameters())

    def test_is_the_sum_of_the_places_that_it_reports(self, method: AnyMethod) -> None:
        student, teacher = pair(method)
        distiller = Distiller(method, student, teacher)
        total, parts = distilled(distiller, student, batch(2, method=method))
        assert parts["distill/total"] == total.detach()

    def test_is_the_sum_of_the_curves_of_places(self, method: AnyMethod) -> None:
        student, teacher = pair(method)
        total, parts = distilled(Distiller(method, student, teacher), student, batch(2, method=method))
        places = [value.item() for curve, value in parts.items() if role(curve) == "place"]
        assert sum(places) == pytest.approx(total.item(), rel=1e-5)

    @pytest.mark.parametrize("kind", KINDS)
    def test_has_the_weighted_terms_that_its_spec_names(self, method: AnyMethod, kind: str) -> None:
        if any(method.unmet(settings(kind), settings(kind))):
            pytest.skip(f"{method.name()} does not suit {kind}")
        student, teacher = (build_detector(settings(kind), 3) for _ in range(2))
        distiller, found = Distiller(method, student.train(), teacher), dict[str, Terms]()
        distiller.losses.register_forward_hook(lambda _, given, places: found.update(places))
        distilled(distiller, student, batch(2, method=method))
        weighed = {name for terms in found.values() for name in terms.parts if terms.weights[name] > 0}
        assert weighed == {part.prefix + term.name for part in method.parts_for(settings(kind)) for term in part.terms}

    def test_doubles_with_the_scale(self, method: AnyMethod) -> None:
        student, teacher = pair(method)
        totals = []
        for scale in (0.5, 1.0):
            torch.manual_seed(1)
            distiller = Distiller(method.model_copy(update={"scale": scale}), student, teacher)
            totals.append(distilled(distiller, student, batch(2, method=method))[0].item())
        assert totals[1] == pytest.approx(2 * totals[0], rel=1e-5)

    def test_of_one_image_of_one_cell_is_finite(self, method: AnyMethod) -> None:
        student, teacher = pair(method)
        given = batch(1, 64, method)
        pictures = {name: picture[:1] for name, picture in given.pictures.items()}
        sizes = given.image_sizes[:1]
        one = Batch(given.images[:1], sizes, given.boxes[:1], given.labels[:1], [1], [(64, 64)], pictures=pictures)
        total, _ = distilled(Distiller(method, student.eval(), teacher), student, one)
        assert total.isfinite()

    def test_in_bfloat16_is_close_to_the_loss_in_float32(self, method: AnyMethod) -> None:
        student, teacher = pair(method)
        totals = []
        for is_enabled in (False, True):
            torch.manual_seed(1)
            distiller = Distiller(method, student.eval(), teacher)
            with torch.autocast("cpu", torch.bfloat16, enabled=is_enabled):
                totals.append(distilled(distiller, student, batch(2, method=method))[0])
        assert totals[1].dtype == torch.float32
        assert totals[1].item() == pytest.approx(totals[0].item(), rel=0.1)


class TestScaleZero:
    def test_runs_no_teacher_and_costs_nothing(self, method: AnyMethod) -> None:
        student, teacher = pair(method)
        distiller = Distiller(method.model_copy(update={"scale": 0.0}), student, teacher)
        total, parts = distilled(distiller, student, batch(2, method=method))
        assert total.item() == 0 and not total.requires_grad and set(parts) == {"distill/total"}


class TestState:
    def test_a_restored_method_continues_to_the_bit(self, method: AnyMethod) -> None:
        """The parameters, the buffers (such as queues) and the place in the training are the whole state."""
        student, teacher = pair(method)

        def steps(distiller: Distiller, optimizer: torch.optim.Optimizer, indices: range) -> list[float]:
            losses = []
            for index in indices:
                moment = Moment(step=index, steps=4, epochs=2)
                torch.manual_seed(index)
                given = batch(3, method=method)
                total, _ = distiller(student.eval().features(given.images), given, moment)
                optimizer.zero_grad(set_to_none=True)
                total.backward()
                optimizer.step()
                losses.append(total.item())
            return losses

        def fresh(seed: int) -> tuple[Distiller, torch.optim.Optimizer]:
            torch.manual_seed(seed)
            distiller = Distiller(method, student, teacher)
            own = list(distiller.parameters()) or [torch.nn.Parameter(torch.zeros(1))]
            return distiller, build_optimizer(AdamW(), [ParameterGroup(own)])

        whole, optimizer = fresh(1)
        steps(whole, optimizer, range(2))
        restored, other = fresh(2)
        restored.load_state_dict(whole.state_dict())
        other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        assert steps(whole, optimizer, range(2, 4)) == steps(restored, other, range(2, 4))


class TestSpec:
    def test_knows_its_type_and_has_a_scale(self, method: AnyMethod) -> None:
        assert METHOD_TYPES[method.name()] is type(method)
        assert METHOD.validate_python({"type": method.name()}) == method
        assert type(method).model_fields["scale"].default == 1.0

    def test_has_published_values_for_every_detector(self, method: AnyMethod) -> None:
        kinds = [*DETECTOR.json_schema()["discriminator"]["mapping"]]
        for student, teacher in itertools.product(kinds, [None, *kinds]):
            published = method.published(settings(student), None if teacher is None else settings(teacher))
            assert METHOD.validate_python(published.model_dump(mode="json")) == published

    def test_has_a_search_space_around_the_published_values(self, method: AnyMethod) -> None:
        assert f"{method.name()}-scale" in [name for name, owner in PRESETS.items() if owner == method.name()]

    def test_what_it_needs_and_a_detector_lacks_is_named_once_with_its_field(self, method: AnyMethod) -> None:
        kinds = [*DETECTOR.json_schema()["discriminator"]["mapping"]]
        for student, teacher in itertools.product(kinds, kinds):
            lacking = [
                loc
                for loc, kind, needs in (
                    ("student", student, method.student_needs),
                    ("teacher", teacher, method.teacher_needs),
                )
                if needs - settings(kind).offers
            ]
            found = [*method.unmet(settings(student), settings(teacher))]
            assert set(lacking) <= {each.loc for each in found}
            assert len(found) == len(set(found))


class TestSweep:
    @pytest.fixture
    def sweep(self, method: AnyMethod) -> SweepSpec:
        kind = suited(method)
        base = {
            "kind": "distill",
            "student": settings(kind).model_dump(mode="json"),
            "teacher": {"checkpoint": "/teacher.pt", "detector": settings(kind).model_dump(mode="json")},
            "method": {"type": method.name()},
            **TINY,
            "data": TINY["data"] | {"pictures": {name: {"train": f"/{name}"} for name in method.pictures}},
        }
        return SweepSpec.model_validate({"name": "searched", "space": f"{method.name()}-scale", "base": base})

    def test_over_its_scale_has_valid_trials_and_baselines(self, sweep: SweepSpec, method: AnyMethod) -> None:
        assert set(sweep.dimensions()) == {"method.scale"}
        plain = sweep.trial({"method.scale": 0.0}, seed=1)
        assert plain.kind == "distill" and plain.method.weighs_nothing
        assert sweep.trial({"method.scale": 0.3}, seed=1) == sweep.trial({"method.scale": 0.3}, seed=1)

    def test_over_all_methods_offers_it_and_brings_its_published_values(
        self, sweep: SweepSpec, method: AnyMethod
    ) -> None:
        other = Fgd() if not isinstance(method, Fgd) else METHOD.validate_python({"type": "pkd"})
        across = sweep.model_copy(update={"space": "methods", "base": sweep.base.model_copy(update={"method": other})})
        types = across.dimensions()["method.type"]
        assert types.type == "choice" and method.name() in types.values
        trial = across.trial({"method.type": method.name(), "method.scale": 0.5}, seed=0)
        assert trial.kind == "distill"
        kind = settings(suited(method))
        found = {name: value for name, value in method.without_recipe.items() if name != "scale"}
        assert trial.method == method.published(kind, kind).model_copy(update={"scale": 0.5, **found})


def test_the_catalogue_advises_the_scale_of_the_demo() -> None:
    """It distils a small network without pretrained weights, and has no time to let the scale find itself."""
    scale = yaml.safe_load((EXAMPLES / "demo/distilled.yaml").read_text())["method"]["scale"]
    assert f"Small networks without pretrained weights need about {scale}." in field_docstrings(Fgd)["scale"]


@pytest.mark.parametrize("example", ["bccd", "nuclei"])
def test_on_real_data_the_examples_leave_scale_and_temperature_to_the_method(example: str) -> None:
    method = yaml.safe_load((EXAMPLES / example / "distilled.yaml").read_text())["method"]
    assert method == {"type": "fgd"}


def test_a_method_without_a_type_is_fgd() -> None:
    """Specs that were stored before there was a second method do not name it."""
    assert METHOD.validate_python({"alpha": 2e-3}) == Fgd(alpha=2e-3)


def test_nothing_outside_the_folders_of_methods_names_one() -> None:
    """A new method must not need a line in admission, sweeps, reports or the trainer."""
    root = Path(__file__).parents[2]
    names = {node: kind.name() for kind in METHODS for node in (kind.__name__, f"build_{kind.name()}")}
    found = [
        f"{path.relative_to(root)}: {names[word]}"
        for folder in ("fgd_core", "service", "workers")
        for path in sorted((root / folder).rglob("*.py"))
        if not path.relative_to(root).as_posix().startswith(("fgd_core/methods/", "fgd_core/spec/methods/"))
        for word in _names(ast.parse(path.read_text()))
        if word in names
    ]
    assert found == []


def _names(tree: ast.Module) -> set[str]:
    """Return every name that a module imports or reads."""
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return imported | read | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
