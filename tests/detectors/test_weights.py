"""Loading reports exactly what it loaded, and missing weights are errors."""

import argparse
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from pydantic import TypeAdapter
from torch import Tensor
from torchvision.models import ResNet18_Weights, WeightsEnum, get_model, get_model_builder, list_models, resnet18
from torchvision.models._api import Weights
from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights, retinanet_resnet50_fpn

from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights import inherit, load_torchvision, load_weights, match_state
from fgd_core.detectors.weights.classes import COCO_CLASSES, class_rows, match_classes
from fgd_core.detectors.weights.fetching import fetch
from fgd_core.detectors.weights.matching import SourceWeights
from fgd_core.detectors.weights.sources import load_teacher
from fgd_core.errors import NetworkError, SpecError, StorageError, UnreachableError, WeightsError
from fgd_core.runs import execute
from fgd_core.spec import pretrained
from fgd_core.spec.backbones import MobileNet, ResNet, Swin
from fgd_core.spec.detectors import AnyDetector, DetectorSpec, FasterRcnn, RetinaNet
from fgd_core.spec.events import WeightsLoaded
from fgd_core.spec.kinds.distill import Inheritance
from fgd_core.spec.kinds.teacher import Teacher
from fgd_core.spec.resources import RetryPolicy
from service.jobs.lifecycle import Reason
from service.jobs.retry import Budgets, Fail, after_failure
from tests.contract.test_detectors import SMALL
from tests.library import RecordingContext, train_spec

CLASSES = ("person", "unicorn", "Traffic_Light")
TINY = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's cache, which torchvision reads before it uses the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub/checkpoints"
    folder.mkdir(parents=True)
    return folder


def publish(hub: Path, weights: WeightsEnum, state: dict[str, Tensor]) -> None:
    torch.save(state, hub / Path(weights.url).name)


def load(settings: DetectorSpec, name: str) -> tuple[Detector, WeightsLoaded]:
    detector = build_detector(settings, len(CLASSES))
    return detector, load_torchvision(detector, name, settings=settings, classes=CLASSES, role="student")


def output_rows(state: dict[str, Tensor], key: str, label: int, num_outputs: int) -> Tensor:
    """Return the rows (anchors, …) of one output."""
    value = state[key]
    return value.reshape(-1, num_outputs, *value.shape[1:])[:, label]


class TestBackbones:
    def test_load_by_torchvisions_name(self, hub: Path) -> None:
        published = resnet18()
        publish(hub, ResNet18_Weights.IMAGENET1K_V1, published.state_dict())
        detector, loaded = load(
            RetinaNet(backbone=ResNet(name="resnet18"), fpn_width=16), "ResNet18_Weights.IMAGENET1K_V1"
        )
        assert loaded.num_matched == loaded.num_total == 100
        assert not loaded.missing and not loaded.unexpected
        assert torch.equal(
            detector.get_parameter("backbone.body.layer4.1.conv2.weight"), published.layer4[1].conv2.weight
        )

    def test_a_mobilenet_loads_without_its_classifier(self, hub: Path) -> None:
        weights = torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1
        published = get_model("mobilenet_v3_small")
        publish(hub, weights, published.state_dict())
        settings = RetinaNet(backbone=MobileNet(name="mobilenet_v3_small"), fpn_width=16)
        detector, loaded = load(settings, str(weights))
        assert loaded.num_matched == loaded.num_total > 100
        assert not loaded.missing and not loaded.unexpected
        assert torch.equal(detector.get_parameter("backbone.body.0.0.weight"), published.features[0][0].weight)

    def test_a_swin_transformer_loads_without_its_classifier(self, hub: Path) -> None:
        weights = torchvision.models.Swin_T_Weights.IMAGENET1K_V1
        published = get_model("swin_t")
        publish(hub, weights, published.state_dict())
        detector, loaded = load(RetinaNet(backbone=Swin(), fpn_width=16), str(weights))
        # The norms of the maps are new, as in mmdetection.
        assert loaded.missing == [
            f"backbone.body.norm{stage}.{each}" for stage in (1, 2, 3) for each in ("weight", "bias")
        ]
        assert loaded.num_matched == loaded.num_total - 6
        assert not loaded.unexpected
        assert torch.equal(
            detector.get_parameter("backbone.body.7.1.mlp.0.weight"), published.features[7][1].mlp[0].weight
        )

    def test_a_narrow_swin_transformer_is_refused_with_the_cure(self) -> None:
        settings = RetinaNet(backbone=Swin(embed_dim=24, window_size=4), fpn_width=16)
        with pytest.raises(SpecError) as caught:
            load(settings, "Swin_T_Weights.IMAGENET1K_V1")
        assert (caught.value.details["backbone.embed_dim"], caught.value.details["backbone.window_size"]) == (96, 7)

    def test_deformable_stages_load_all_but_the_offsets(self, hub: Path) -> None:
        weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
        publish(hub, weights, get_model("resnet50").state_dict())
        _, loaded = load(RetinaNet(backbone=ResNet(deformable_stages=(5,)), fpn_width=16), str(weights))
        assert loaded.missing == [
            f"backbone.body.layer4.{block}.conv2.conv_offset.{kind}"
            for block in range(3)
            for kind in ("weight", "bias")
        ]

    def test_an_unknown_name_is_refused_with_the_nearest_name(self) -> None:
        with pytest.raises(SpecError, match=r"did you mean ResNet18_Weights\.IMAGENET1K_V1"):
            load(RetinaNet(backbone=TINY, fpn_width=8), "ResNet18_Weights.IMAGENET")

    def test_a_missing_network_is_reported_with_the_cure(self, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port without a listener
        with pytest.raises(UnreachableError, match=r"hub/checkpoints.*TORCH_HOME") as caught:
            load(RetinaNet(backbone=ResNet(name="resnet18"), fpn_width=16), "ResNet18_Weights.IMAGENET1K_V1")
        assert "resnet18" in str(caught.value.details["url"])

    def test_a_run_without_its_weights_is_not_retried(self, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        weights = {"weights": "ResNet18_Weights.IMAGENET1K_V1", "backbone": {"stem_width": 64, "blocks": None}}
        finished = execute(train_spec(detector=weights), RecordingContext(hub / "run"))
        assert finished.error is not None and not finished.error.retryable
        budgets = Budgets(policy=RetryPolicy(), failures=0, losses=0)
        assert after_failure(finished.error, budgets) == Fail(Reason.RUN_FAILED)


class StatusHandler(BaseHTTPRequestHandler):
    """Responds with the status in the path and damaged weights."""

    def do_GET(self) -> None:
        status = int(self.path.split("/")[1])
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"no weights")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), StatusHandler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


class TestFetching:
    def fetch(self, url: str) -> None:
        (published,) = WeightsEnum("Published", {"V1": Weights(url=url, transforms=lambda: None, meta={})})  # type: ignore[misc]
        fetch(published, "Published.V1")

    @pytest.mark.parametrize(("status", "is_retryable"), [(503, True), (429, True), (404, False), (403, False)])
    def test_only_temporary_errors_are_retried(self, status: int, is_retryable: bool, hub: Path, server: str) -> None:
        with pytest.raises(NetworkError, match=r"put the file x-12345678\.pth into") as caught:
            self.fetch(f"{server}/{status}/x-12345678.pth")
        assert caught.value.retryable == is_retryable
        assert isinstance(caught.value, UnreachableError) != is_retryable

    def test_a_damaged_download_is_not_stored(self, hub: Path, server: str) -> None:
        with pytest.raises(NetworkError, match="is damaged"):
            self.fetch(f"{server}/200/x-12345678.pth")
        assert list(hub.iterdir()) == []

    def test_a_damaged_local_file_is_named_with_the_cure(self, hub: Path, server: str) -> None:
        (hub / "x-12345678.pth").write_bytes(b"half a file")
        with pytest.raises(WeightsError, match=r"delete .*x-12345678\.pth"):
            self.fetch(f"{server}/200/x-12345678.pth")

    def test_an_unwritable_folder_is_named(self, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "hub").write_text("a file where the folder should be")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        with pytest.raises(StorageError, match="TORCH_HOME"):
            self.fetch(f"{server}/200/x-12345678.pth")


class TestNeededSettings:
    @pytest.mark.parametrize(
        ("name", "settings", "details"),
        [
            ("ResNet18_Weights.IMAGENET1K_V1", {"backbone": {"name": "resnet50"}}, {"backbone.name": "resnet18"}),
            (
                "ResNet18_Weights.IMAGENET1K_V1",
                {"backbone": {"name": "resnet18", "stem_width": 16, "blocks": [1, 1, 1, 1]}},
                {"backbone.stem_width": 64, "backbone.blocks": None},
            ),
            (
                "ResNet50_Weights.IMAGENET1K_V2",
                {"backbone": {"name": "resnet50", "stride_in": "1x1"}},
                {"backbone.stride_in": "3x3"},
            ),
            ("RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1", {}, {"version": "v2"}),
            (
                "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
                {"convention": "mmdetection", "fpn_width": 128, "head_norm": "group"},
                {"convention": "torchvision", "fpn_width": 256, "head_norm": "none"},
            ),
            ("FasterRCNN_ResNet50_FPN_Weights.COCO_V1", {}, {"type": "faster_rcnn"}),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_every_field_that_does_not_fit_is_named(
        self, name: str, settings: dict[str, object], details: dict[str, object]
    ) -> None:
        spec = RetinaNet.model_validate(settings)
        with pytest.raises(SpecError) as caught:
            load_torchvision(build_detector(spec, 3), name, settings=spec, classes=CLASSES, role="detector")
        assert caught.value.details == {"weights": name, **details}
        for field in details:
            assert f"set {field} to" in caught.value.message

    def test_every_known_family_exists_in_torchvision(self) -> None:
        known = {str(entry).partition(".")[0] for model in list_models() for entry in _weights_of(model)}
        assert set(pretrained.BACKBONES) | set(pretrained.DETECTORS) <= known

    def test_a_path_implies_no_detector(self) -> None:
        settings = RetinaNet()
        assert (
            pretrained.misfits(settings, "job:abc/best") == pretrained.misfits(settings, "/a/ResNet18_Weights.pt") == []
        )
        assert pretrained.implied_detector("ResNet18_Weights.IMAGENET1K_V1") is None
        assert not pretrained.is_torchvision_name("/a/ResNet18_Weights.pt")


class TestDetectors:
    def test_the_old_names_load_and_outputs_match_by_class(self, hub: Path) -> None:
        published = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
        state = published.state_dict()
        publish(hub, RetinaNet_ResNet50_FPN_Weights.COCO_V1, _as_first_published(state))
        detector, loaded = load(RetinaNet(), "RetinaNet_ResNet50_FPN_Weights.COCO_V1")
        assert loaded.num_matched == loaded.num_total
        assert not loaded.missing and not loaded.unexpected and not loaded.mismatched
        assert (loaded.classes_found, loaded.classes_fresh) == (["person", "Traffic_Light"], ["unicorn"])
        assert len(loaded.classes_unused) == 78 and "N/A" not in loaded.classes_unused
        assert loaded.about_classes().startswith("classes with initial weights: unicorn; classes that are not")
        own, key = detector.state_dict(), "head.classification_head.cls_logits.weight"
        categories = RetinaNet_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
        for label, name in ((0, "person"), (2, "traffic light")):
            taken = output_rows(state, key, categories.index(name), 91)
            assert torch.equal(output_rows(own, key, label, 3), taken)
        name = "head.regression_head.conv.3.0.weight"
        assert torch.equal(detector.get_parameter(name), published.get_parameter(name))

    @pytest.mark.parametrize("family", pretrained.DETECTORS)
    def test_every_published_detector_loads_completely(self, family: str, hub: Path) -> None:
        builder = next(name for name in list_models() if _weights_of(name)[0].__class__.__name__ == family)
        weights = _weights_of(builder)[0]
        settings: DetectorSpec = TypeAdapter(DetectorSpec).validate_python(pretrained.implied_detector(str(weights)))
        assert pretrained.misfits(settings, str(weights)) == []
        with torch.device("meta"):  # names and shapes without numbers
            published = get_model(builder, weights=None, weights_backbone=None)
            publish(hub, weights, published.state_dict())
            classes = ("person",) if settings.has_keypoints else COCO_CLASSES
            detector = build_detector(settings, len(classes))
            loaded = load_torchvision(detector, str(weights), settings=settings, classes=classes, role="teacher")
        assert loaded.num_matched == loaded.num_total
        assert not loaded.missing and not loaded.unexpected and not loaded.mismatched
        # Equal lists of classes need no matching: the output of Keypoint R-CNN is the only class.
        assert loaded.classes_found == ([] if settings.has_keypoints else [*classes]) and not loaded.classes_unused

    @pytest.mark.parametrize("family", pretrained.DETECTORS)
    def test_a_checkpoint_of_torchvisions_training_script_loads_completely(self, family: str, tmp_path: Path) -> None:
        builder = next(name for name in list_models() if _weights_of(name)[0].__class__.__name__ == family)
        implied = pretrained.implied_detector(str(_weights_of(builder)[0]))
        with torch.device("meta"):
            published = get_model(builder, weights=None, weights_backbone=None)
            content = {"model": published.state_dict(), "args": argparse.Namespace(model=builder), "lr_scheduler": {}}
            torch.save(content, tmp_path / "model_25.pth")
            # Only COCO's whole list of classes is known by its length.
            classes = ["person"] if family.startswith("Keypoint") else None
            fields = {"checkpoint": str(tmp_path / "model_25.pth"), "detector": implied, "classes": classes}
            loaded = load_teacher(Teacher.model_validate(fields), resolve=Path)
        assert loaded.classes == (COCO_CLASSES if classes is None else ("person",))
        assert loaded.event.num_matched == loaded.event.num_total and not loaded.event.unexpected

    def test_variances_compensate_for_torchvisions_missing_epsilon(self, hub: Path) -> None:
        published = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
        state = published.state_dict() | {"backbone.body.bn1.running_var": torch.full((64,), 2e-5)}
        publish(hub, RetinaNet_ResNet50_FPN_Weights.COCO_V1, state)
        detector, _ = load(RetinaNet(), "RetinaNet_ResNet50_FPN_Weights.COCO_V1")
        norm = detector.get_submodule("backbone.body.bn1").eval()
        published.load_state_dict(state)
        published.backbone.body.bn1.eps = 0.0
        values = torch.randn(1, 64, 4, 4)
        assert torch.allclose(norm(values), published.backbone.body.bn1.eval()(values), rtol=1e-4)


class TestClasses:
    def test_coco_has_80_classes(self) -> None:
        assert len(COCO_CLASSES) == 80
        assert (COCO_CLASSES[0], COCO_CLASSES[-1]) == ("person", "toothbrush")

    def test_a_name_that_occurs_twice_matches_nothing(self) -> None:
        matched = match_classes(("a", "b", "B"), (" b", "A"))
        assert matched.pairs == ((0, 1),)
        assert matched.fresh == (" b",)
        assert match_classes(("a", "b", "b"), ("b",)).pairs == ()

    def test_equal_names_match_before_names_that_differ_in_case(self) -> None:
        assert match_classes(("cat", "Cat", "dog"), ("Dog", "Cat", "cat")).pairs == ((2, 0), (1, 1), (0, 2))
        assert match_classes(("Cat",), ("cat", "Cat")).pairs == ((0, 1),)

    def test_equal_lists_match_completely(self) -> None:
        twins = ("cell", "Cell", "cell_", "dead cell", "dead_cell")
        matched = match_classes(twins, twins)
        assert matched.pairs == tuple((index, index) for index in range(5))
        assert matched.found == twins and not matched.fresh and not matched.unused

    @pytest.mark.parametrize("kind", DETECTORS, ids=lambda kind: kind.__name__)
    def test_every_tensor_with_class_rows_is_listed(self, kind: type[AnyDetector]) -> None:
        """A detector's new class-specific tensor needs a row in `CLASS_ROWS`."""
        few, more = (build_detector(SMALL[kind], n).state_dict() for n in (3, 5))
        growing = {key for key in few if few[key].shape != more[key].shape}
        assert growing
        for key in few:
            rows = class_rows(key)
            has_rows = rows is not None and few[key].dim() > 0 and rows.num_outputs(few[key], 3) is not None
            assert has_rows == (key in growing), key

    @pytest.mark.parametrize("kind", DETECTORS, ids=lambda kind: kind.__name__)
    def test_common_classes_are_copied_from_a_detector_of_other_classes(self, kind: type[AnyDetector]) -> None:
        given, own = build_detector(SMALL[kind], 4), build_detector(SMALL[kind], 3)
        fresh = {key: value.clone() for key, value in own.state_dict().items()}
        weights = SourceWeights(state=given.state_dict(), classes=("a", "b", "c", "d"))
        event = load_weights(own, weights, classes=("d", "x", "b"), role="student", source="here").event
        assert event.num_matched == event.num_total
        assert (event.classes_found, event.classes_fresh, event.classes_unused) == (["d", "b"], ["x"], ["a", "c"])
        theirs, ours = given.state_dict(), own.state_dict()
        for key in ours:
            rows = class_rows(key)
            outputs = rows.num_outputs(theirs[key], 4) if rows is not None else None
            if rows is None or outputs is None:
                assert torch.equal(ours[key], theirs[key])
                continue
            first = outputs - 4
            shape = (-1, first + 3, rows.values_per_class, *ours[key].shape[1:])
            mine, before = ours[key].reshape(shape), fresh[key].reshape(shape)
            given_rows = theirs[key].reshape(-1, outputs, rows.values_per_class, *theirs[key].shape[1:])
            assert torch.equal(mine[:, first], given_rows[:, first + 3])
            assert torch.equal(mine[:, first + 1], before[:, first + 1])
            assert torch.equal(mine[:, first + 2], given_rows[:, first + 1])
            assert torch.equal(mine[:, :first], given_rows[:, :first])

    def test_classes_of_other_names_are_not_copied(self) -> None:
        given, own = (build_detector(RetinaNet(backbone=TINY, fpn_width=8), 2) for _ in range(2))
        before = own.get_parameter("head.classification_head.cls_logits.bias").clone()
        weights = SourceWeights(state={k: v + 1 for k, v in given.state_dict().items()}, classes=("cat", "dog"))
        event = load_weights(own, weights, classes=("cell", "clump"), role="student", source="here").event
        assert [text.partition(":")[0] for text in event.mismatched] == [
            "head.classification_head.cls_logits.weight",
            "head.classification_head.cls_logits.bias",
        ]
        assert "no class in common" in event.mismatched[0]
        assert torch.equal(own.get_parameter("head.classification_head.cls_logits.bias"), before)

    def test_without_names_tensors_match_by_shape(self) -> None:
        given, own = (build_detector(RetinaNet(backbone=TINY, fpn_width=8), 2) for _ in range(2))
        loaded = match_state(own, given.state_dict(), role="detector", source="here")
        assert loaded.num_matched == loaded.num_total


def pair(**student: object) -> tuple[Detector, Detector]:
    """A student and a teacher with a deeper backbone."""
    teacher = build_detector(RetinaNet(backbone=ResNet(name="resnet50", stem_width=4), fpn_width=8), 3)
    settings = {"backbone": ResNet(name="resnet18", stem_width=4), "fpn_width": 8, **student}
    return build_detector(RetinaNet(**settings), 3), teacher


class TestInheritance:
    def test_copies_neck_and_head_and_reports_mismatches(self) -> None:
        student, teacher = pair()
        before = student.get_parameter("backbone.body.conv1.weight").clone()
        loaded = inherit(student, teacher, "neck_and_head", source="teacher.pt")
        # A bottleneck's stages are four times as wide, so the lateral convolutions stay random.
        assert [name.split(":")[0] for name in loaded.mismatched] == [
            f"backbone.fpn.inner_blocks.{level}.0.weight" for level in range(3)
        ]
        assert loaded.num_total - loaded.num_matched == 3
        assert not loaded.missing
        for name in ("backbone.fpn.extra_blocks.p7.weight", "head.classification_head.cls_logits.bias"):
            assert torch.equal(student.get_parameter(name), teacher.get_parameter(name))
        assert torch.equal(student.get_parameter("backbone.body.conv1.weight"), before)

    @pytest.mark.parametrize("is_finer", [True, False], ids=["from P3 to P2", "from P2 to P3"])
    def test_a_neck_of_another_detector_is_copied_by_stride(self, is_finer: bool) -> None:
        backbone = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
        retinanet = build_detector(RetinaNet(backbone=backbone, fpn_width=8), 3)
        faster_rcnn = build_detector(FasterRcnn(backbone=backbone, fpn_width=8), 3)
        student, teacher = (faster_rcnn, retinanet) if is_finer else (retinanet, faster_rcnn)
        inherit(student, teacher, "neck", source="t")
        for of_retinanet, of_faster_rcnn in ((0, 1), (1, 2), (2, 3)):
            for block in ("inner", "layer"):
                name = f"backbone.fpn.{block}_blocks.{{}}.0.weight"
                theirs = retinanet.get_parameter(name.format(of_retinanet))
                assert torch.equal(theirs, faster_rcnn.get_parameter(name.format(of_faster_rcnn)))

    @pytest.mark.parametrize(
        ("mode", "parts"),
        [
            ("neck_and_head", {"neck", "head"}),
            ("neck", {"neck"}),
            ("head", {"head"}),
            ("by_shape", {"body", "neck", "head"}),
            ("nothing", set()),
        ],
    )
    def test_every_mode_copies_only_its_part(self, mode: Inheritance, parts: set[str]) -> None:
        student, teacher = pair()
        probes = {
            "body": "backbone.body.conv1.weight",
            "neck": "backbone.fpn.extra_blocks.p7.weight",
            "head": "head.regression_head.bbox_reg.weight",
        }
        loaded = inherit(student, teacher, mode, source="teacher.pt")
        taken = {
            part
            for part, name in probes.items()
            if torch.equal(student.get_parameter(name), teacher.get_parameter(name))
        }
        assert taken == parts
        assert not loaded.unexpected or mode == "by_shape"
        assert (loaded.num_total == 0) == (mode == "nothing")

    def test_full_requires_every_key(self) -> None:
        student, teacher = pair()
        with pytest.raises(WeightsError, match="by_shape"):
            inherit(student, teacher, "full", source="teacher.pt")
        twin = build_detector(RetinaNet(backbone=ResNet(name="resnet50", stem_width=4), fpn_width=8), 3)
        loaded = inherit(twin, teacher, "full", source="teacher.pt")
        assert loaded.num_matched == loaded.num_total == sum("num_batches" not in key for key in twin.state_dict())

    def test_classes_are_copied_by_name(self) -> None:
        student, teacher = pair()
        loaded = inherit(
            student,
            teacher,
            "head",
            source="teacher.pt",
            student_classes=("bus", "cat", "zebu"),
            teacher_classes=("cat", "dog", "bus"),
        )
        assert loaded.classes_fresh == ["zebu"]
        key = "head.classification_head.cls_logits.weight"
        ours, theirs = student.state_dict(), teacher.state_dict()
        assert torch.equal(output_rows(ours, key, 0, 3), output_rows(theirs, key, 2, 3))
        assert torch.equal(output_rows(ours, key, 1, 3), output_rows(theirs, key, 0, 3))

    def test_nothing_in_common_is_an_error(self) -> None:
        teacher = build_detector(RetinaNet(backbone=ResNet(name="resnet18", stem_width=4), fpn_width=16), 3)
        student = build_detector(RetinaNet(backbone=ResNet(name="resnet18", stem_width=4), fpn_width=8), 5)
        # Weights that do not depend on the width are still copied: the biases of the box deltas.
        assert inherit(student, teacher, "neck_and_head", source="t").num_matched == 1
        del student.head, teacher.head
        with pytest.raises(WeightsError, match="inherit: nothing"):
            inherit(student, teacher, "neck_and_head", source="t")


def _weights_of(model: str) -> list[WeightsEnum]:
    builder = get_model_builder(model)
    return list(torchvision.models.get_model_weights(builder))


def _as_first_published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert a RetinaNet state dict to the names of the file of 2020."""
    old = {}
    for key, value in state.items():
        parts = key.split(".")
        if "_head.conv." in key:
            # The four convolutions of a head have the numbers 0, 2, 4, 6; activations have the others.
            parts = [*parts[:3], str(2 * int(parts[3])), parts[5]]
        elif "_blocks." in key and "extra" not in key:
            parts.pop(4)
        old[".".join(parts)] = value
    return old
