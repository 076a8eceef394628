"""Checkpoints of other tools: the right weights are chosen, and one line reports the choice."""

import argparse
import hashlib
import json
import pickle
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from fgd_core.data.samples import Category
from fgd_core.detectors import DETECTORS, build_detector
from fgd_core.detectors.base import Detector
from fgd_core.detectors.weights.checkpoint import Content, DetectorCheckpoint, Record, read_checkpoint, save_checkpoint
from fgd_core.detectors.weights.examining import examine
from fgd_core.detectors.weights.files.pickles import _STAND_INS
from fgd_core.detectors.weights.sources import LoadedTeacher, load_first_weights, load_teacher
from fgd_core.detectors.weights.torchvision import is_as_published, published_name
from fgd_core.errors import SpecError, WeightsError
from fgd_core.spec.backbones import ResNet
from fgd_core.spec.data import InputSpec
from fgd_core.spec.detectors import AnyDetector, FasterRcnn, RetinaNet
from fgd_core.spec.event_text import describe
from fgd_core.spec.kinds.teacher import Teacher
from tests.contract.test_detectors import SMALL
from tests.detectors.mmdetection_layouts import Sizes, filled
from tests.detectors.mmdetection_layouts import retinanet as retinanet_of_mmdetection
from tests.detectors.test_mmdetection_weights import a_class

State = dict[str, Tensor]

CLASSES = ("cat", "dog")
TINY = ResNet(name="resnet18", stem_width=4, blocks=(1, 1, 1, 1))
SETTINGS = RetinaNet(backbone=TINY, fpn_width=8)
OF_MMDETECTION = RetinaNet(backbone=TINY, fpn_width=8, convention="mmdetection")
SIZES = Sizes(blocks=(1, 1, 1, 1), stem=4, is_basic=True, width=8, classes=2)
PROBE = "head.regression_head.bbox_reg.bias"


def weights(value: float, settings: AnyDetector = SETTINGS, num_classes: int = 2) -> State:
    """Build a state dict with torchvision's names in which every value is `value`."""
    state = build_detector(settings, num_classes).state_dict()  # type: ignore[arg-type]
    return {key: torch.full_like(tensor, value) for key, tensor in state.items()}


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {prefix + key: value for key, value in state.items()}


def teacher_of(
    path: Path, settings: AnyDetector = SETTINGS, classes: tuple[str, ...] | None = CLASSES
) -> LoadedTeacher:
    return load_teacher(
        Teacher(checkpoint=str(path), detector=settings, classes=classes, gate="keys"),  # type: ignore[arg-type]
        resolve=Path,
    )


def saved(folder: Path, content: object, name: str = "file.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def value_of(detector: Detector) -> float:
    return float(detector.state_dict()[PROBE][0])


RIGHT, WRONG = 0.25, 0.75
AVERAGE = {"n_averaged": torch.tensor(7)}

# Checkpoints of trainers; their authors would evaluate the weights RIGHT.
LAYOUTS: dict[str, Callable[[], object]] = {
    "a bare state dict of torchvision": lambda: weights(RIGHT),
    "torchvision's references": lambda: {
        "model": weights(RIGHT),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": []},
        "lr_scheduler": {"last_epoch": 3},
        "args": argparse.Namespace(lr=0.02, model="retinanet_resnet50_fpn"),
        "epoch": 3,
    },
    "torchvision's references with an average": lambda: {
        "model": weights(WRONG),
        "model_ema": prefixed("module.", weights(RIGHT)) | AVERAGE,
        "optimizer": {},
        "args": argparse.Namespace(lr=0.02),
        "epoch": 3,
    },
    "DDP": lambda: prefixed("module.", weights(RIGHT)),
    "torch.compile": lambda: prefixed("_orig_mod.", weights(RIGHT)),
    "torch.compile of DDP": lambda: {"model": prefixed("_orig_mod.module.", weights(RIGHT))},
    "DDP of torch.compile": lambda: {"model_state_dict": prefixed("module._orig_mod.", weights(RIGHT))},
    "torch.compile of a part": lambda: {
        key.replace("backbone.body.", "backbone.body._orig_mod."): value for key, value in weights(RIGHT).items()
    },
    "FSDP": lambda: {"model": prefixed("_fsdp_wrapped_module.", weights(RIGHT))},
    "Lightning": lambda: {
        "state_dict": prefixed("model.", weights(RIGHT)) | {"criterion.class_weights": torch.ones(2)},
        "pytorch-lightning_version": "2.4.0",
        "optimizer_states": [{"state": {}}],
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.4)}},
    },
    "Lightning with a compiled model": lambda: {"state_dict": prefixed("net._orig_mod.", weights(RIGHT))},
    "Lightning's WeightAveraging": lambda: {
        "state_dict": prefixed("model.", weights(RIGHT)),
        "current_model_state": prefixed("model.", weights(WRONG)),
        "averaging_state": AVERAGE,
    },
    "a module that keeps an average beside the model": lambda: {
        "state_dict": prefixed("model.", weights(WRONG)) | prefixed("ema_model.module.", weights(RIGHT)) | AVERAGE
    },
    "DeepSpeed": lambda: {"module": weights(RIGHT), "ds_version": "0.15"},
    "an EMAHook without the raw weights": lambda: prefixed("ema_", weights(RIGHT)),
    "timm": lambda: {
        "arch": "detector",
        "state_dict": weights(WRONG),
        "state_dict_ema": weights(RIGHT),
        "args": argparse.Namespace(opt="sgd"),
        "version": 2,
    },
    "a wrapper like Ultralytics'": lambda: {
        "epoch": 3,
        "best_fitness": 0.4,
        "model": weights(WRONG),
        "ema": weights(RIGHT),
        "updates": 900,
        "optimizer": None,
        "train_args": {"imgsz": 640},
    },
    "RT-DETR's average": lambda: {"model": weights(WRONG), "ema": {"module": weights(RIGHT), "updates": 9}},
    "model_state_dict": lambda: {"model_state_dict": weights(RIGHT), "optimizer_state_dict": {}},
    "model_state_dict and ema_state_dict": lambda: {
        "model_state_dict": weights(WRONG),
        "ema_state_dict": weights(RIGHT),
    },
    "params": lambda: {"params": weights(RIGHT)},
    "params and params_ema": lambda: {"params": weights(WRONG), "params_ema": weights(RIGHT)},
    "net": lambda: {"net": weights(RIGHT), "acc": 0.9},
    "network": lambda: {"network": weights(RIGHT)},
    "weights": lambda: {"weights": weights(RIGHT)},
    "an unknown wrapper": lambda: {"run": {"brain": prefixed("detector.core.", weights(RIGHT))}},
    "the same weights twice": lambda: {"model": (state := weights(RIGHT)), "state_dict": state},
}


class TestLayouts:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_the_weights_that_the_author_would_evaluate_are_chosen(self, layout: str, tmp_path: Path) -> None:
        loaded = teacher_of(saved(tmp_path, LAYOUTS[layout]()))
        assert value_of(loaded.detector) == RIGHT
        assert loaded.event.num_matched == loaded.event.num_total
        assert not loaded.event.missing and not loaded.event.unexpected

    @pytest.mark.parametrize("layout", ["torchvision's references", "Lightning", "params and params_ema"])
    def test_a_student_starts_with_the_same_weights(self, layout: str, tmp_path: Path) -> None:
        path = saved(tmp_path, LAYOUTS[layout]())
        student = build_detector(SETTINGS, 2)
        settings = SETTINGS.model_copy(update={"weights": str(path)})
        load_first_weights(student, settings, CLASSES, role="student", resolve=Path)
        assert value_of(student) == RIGHT

    def test_one_line_reports_the_chosen_and_the_unused_weights(self, tmp_path: Path) -> None:
        path = saved(tmp_path, LAYOUTS["torchvision's references with an average"]())
        event = teacher_of(path).event
        total = event.num_total
        account = event.account()
        assert f"{total} of {total} keys from {path}, `model_ema` (averaged)" in account
        assert f"left {total} keys of `model`: the weights before averaging" in account
        assert "left 1 key (n_averaged): a counter of the weight averaging" in account
        assert "left optimizer, args, epoch: no weights" in account

    def test_keys_outside_the_prefix_are_counted_separately(self, tmp_path: Path) -> None:
        event = teacher_of(saved(tmp_path, LAYOUTS["Lightning"]())).event
        assert "`state_dict.model`" in event.taken
        assert any("1 key (criterion.class_weights): is outside `model.`" in text for text in event.left)

    def test_the_check_reports_the_same(self, tmp_path: Path) -> None:
        path = saved(tmp_path, LAYOUTS["params and params_ema"]())
        examined = examine(str(path), SETTINGS, CLASSES)
        assert examined.loaded.is_complete
        event = teacher_of(path).event
        assert examined.loaded.event.account() == event.account()
        assert describe(event) == f"teacher weights: {event.account()}"


class TestMmdetection:
    def state(self, value: float) -> State:
        return {key: torch.full_like(tensor, value) for key, tensor in filled(retinanet_of_mmdetection(SIZES)).items()}

    @pytest.mark.parametrize(
        ("content", "left"),
        [
            (lambda own, other: {"state_dict": prefixed("module.", own(RIGHT))}, ""),
            (
                lambda own, other: {
                    "state_dict": own(RIGHT) | {"ema_" + k.replace(".", "_"): v for k, v in own(WRONG).items()},
                    "meta": {"mmdet_version": "2.28.0"},
                },
                "EMAHook",
            ),
            (
                lambda own, other: {
                    "state_dict": own(RIGHT),
                    "ema_state_dict": prefixed("module.", own(WRONG)) | {"steps": torch.tensor(9)},
                    "meta": {"mmengine_version": "0.10.4", "mmdet_version": "3.3.0"},
                    "message_hub": {},
                },
                "mmengine stores the weights before averaging there",
            ),
            (
                lambda own, other: {
                    "state_dict": prefixed("architecture.", own(RIGHT))
                    | prefixed("teacher.", own(WRONG))
                    | {"distiller.connectors.neck.weight": torch.ones(2)}
                },
                "the teacher of the distillation",
            ),
            (
                lambda own, other: {
                    "state_dict": prefixed("student.", own(RIGHT))
                    | prefixed("teacher.", own(WRONG))
                    | {"distill_losses.loss_fgd_fpn_0.conv_mask_s.weight": torch.ones(2)}
                },
                "the teacher of the distillation",
            ),
            (
                lambda own, other: {
                    "state_dict": prefixed("student.", own(WRONG)) | prefixed("teacher.", own(RIGHT)),
                    "meta": {"cfg": "semi_test_cfg = dict(predict_on='teacher')"},
                },
                "the student, which is not evaluated",
            ),
        ],
        ids=["DDP", "mmcv's EMAHook", "mmengine's EMAHook", "mmrazor", "FGD's authors", "semi-supervised"],
    )
    def test_the_weights_that_the_author_would_evaluate_are_chosen(
        self, content: Callable[..., object], left: str, tmp_path: Path
    ) -> None:
        loaded = teacher_of(saved(tmp_path, content(self.state, None)), OF_MMDETECTION)
        assert value_of(loaded.detector) == RIGHT
        assert not loaded.event.unexpected
        assert left in loaded.event.account()

    def test_a_preprocessor_in_the_file_defines_the_normalisation(self, tmp_path: Path) -> None:
        own = filled(retinanet_of_mmdetection(SIZES))
        config = "mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False"
        preprocessor = {
            "data_preprocessor.mean": torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1),
            "data_preprocessor.std": torch.ones(3, 1, 1),
        }
        by_tensors = teacher_of(saved(tmp_path, {"state_dict": own | preprocessor}, "a.pth"), OF_MMDETECTION)
        by_words = teacher_of(saved(tmp_path, {"state_dict": own, "meta": {"config": config}}, "b.pth"), OF_MMDETECTION)
        name = "backbone.body.conv1.weight"
        assert torch.equal(by_tensors.detector.state_dict()[name], by_words.detector.state_dict()[name])
        assert not torch.equal(by_words.detector.state_dict()[name], own["backbone.conv1.weight"])
        assert "folded into the first convolution" in by_tensors.event.account()
        assert "normalises images" in by_tensors.event.account()

    def test_a_normalisation_that_cannot_be_converted_is_refused(self, tmp_path: Path) -> None:
        preprocessor = {"data_preprocessor.mean": torch.zeros(3, 1, 1), "data_preprocessor.std": torch.ones(3, 1, 1)}
        with pytest.raises(WeightsError, match=r"the file expects images as RGB, mean \[0\.0"):
            teacher_of(saved(tmp_path, {"state_dict": weights(RIGHT) | preprocessor}))


class TestUnclearChoice:
    @pytest.fixture
    def pair(self, tmp_path: Path) -> Path:
        both = prefixed("student.", weights(RIGHT)) | prefixed("teacher.", weights(WRONG))
        return saved(tmp_path, {"state_dict": both})

    def test_a_student_and_a_teacher_are_refused_with_both_labels(self, pair: Path) -> None:
        with pytest.raises(WeightsError, match=r"weights_set: state_dict\.student") as caught:
            teacher_of(pair)
        assert caught.value.details["sets"] == ["state_dict.student", "state_dict.teacher"]

    @pytest.mark.parametrize(
        ("wanted", "value"), [("student", RIGHT), ("teacher", WRONG), ("state_dict.teacher", WRONG)]
    )
    def test_the_requested_set_is_loaded(self, pair: Path, wanted: str, value: float) -> None:
        settings = SETTINGS.model_copy(update={"weights_set": wanted})
        loaded = teacher_of(pair, settings)
        assert value_of(loaded.detector) == value
        assert "another set was requested" in loaded.event.account()

    def test_an_unknown_label_is_refused_with_the_known_labels(self, pair: Path) -> None:
        with pytest.raises(WeightsError, match=r"no set of weights named 'ema'.*state_dict\.teacher"):
            teacher_of(pair, SETTINGS.model_copy(update={"weights_set": "ema"}))

    def test_a_file_with_one_set_refuses_weights_set(self, tmp_path: Path) -> None:
        settings = SETTINGS.model_copy(update={"weights_set": "ema"})
        checkpoint = DetectorCheckpoint(
            detector=SETTINGS,
            categories=(Category(id=1, name="cat"), Category(id=2, name="dog")),
            input=InputSpec(),
            record=Record(),
            state=weights(RIGHT),
        )
        save_checkpoint(tmp_path / "ours.pt", checkpoint)
        with pytest.raises(WeightsError, match="remove weights_set"):
            examine(str(tmp_path / "ours.pt"), settings)
        with pytest.raises(SpecError, match="remove weights_set"):
            examine("RetinaNet_ResNet50_FPN_Weights.COCO_V1", RetinaNet(weights_set="ema"))

    @pytest.mark.parametrize("names", [("student_net", "mean_teacher"), ("student", "teacher")])
    def test_a_student_and_a_teacher_in_two_dicts_are_refused(self, names: tuple[str, str], tmp_path: Path) -> None:
        path = saved(tmp_path, {names[0]: weights(RIGHT), names[1]: weights(WRONG)})
        with pytest.raises(WeightsError, match="it is unclear which one to use"):
            teacher_of(path)
        assert value_of(teacher_of(path, SETTINGS.model_copy(update={"weights_set": names[1]})).detector) == WRONG

    def test_the_keys_without_a_prefix_can_be_requested(self, tmp_path: Path) -> None:
        path = saved(tmp_path, weights(RIGHT) | prefixed("student.", weights(WRONG)))
        with pytest.raises(WeightsError, match=r'"" \(without a prefix\)'):
            teacher_of(path)
        assert value_of(teacher_of(path, SETTINGS.model_copy(update={"weights_set": ""})).detector) == RIGHT

    def test_half_precision_weights_are_not_a_copy(self, tmp_path: Path) -> None:
        halves = {key: value.half() if value.is_floating_point() else value for key, value in weights(RIGHT).items()}
        with pytest.raises(WeightsError, match="it is unclear which one to use"):
            teacher_of(saved(tmp_path, {"whole": weights(RIGHT), "half": halves}))

    def test_two_models_side_by_side_are_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path, {"model_a": weights(RIGHT), "model_b": weights(WRONG)})
        with pytest.raises(WeightsError, match=r"model_a \(\d+ keys\), model_b"):
            teacher_of(path)


class TestSafetensors:
    def test_a_file_is_read(self, tmp_path: Path) -> None:
        save_file(weights(RIGHT), tmp_path / "model.safetensors")
        assert value_of(teacher_of(tmp_path / "model.safetensors").detector) == RIGHT

    def test_a_file_is_recognised_by_its_start(self, tmp_path: Path) -> None:
        save_file(weights(RIGHT), tmp_path / "model.bin")
        assert value_of(teacher_of(tmp_path / "model.bin").detector) == RIGHT

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        save_file(weights(RIGHT), tmp_path / "model.safetensors")
        whole = (tmp_path / "model.safetensors").read_bytes()
        (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match="safetensors: it is damaged"):
            teacher_of(tmp_path / "model.safetensors")

    def sharded(self, folder: Path, **places: str) -> Path:
        state = weights(RIGHT)
        halves = {"a.safetensors": dict([*state.items()][:50]), "b.safetensors": dict([*state.items()][50:])}
        for name, half in halves.items():
            save_file(half, folder / name)
        index = {key: name for name, half in halves.items() for key in half} | places
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        return folder / "model.safetensors.index.json"

    def test_the_files_of_an_index_are_joined(self, tmp_path: Path) -> None:
        assert value_of(teacher_of(self.sharded(tmp_path)).detector) == RIGHT

    def test_an_index_cannot_name_a_file_outside_its_folder(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        save_file(weights(WRONG), tmp_path / "secret.safetensors")
        with pytest.raises(WeightsError, match="outside its own folder"):
            teacher_of(self.sharded(tmp_path / "in", extra="../secret.safetensors"))
        (tmp_path / "in/link.safetensors").symlink_to(tmp_path / "secret.safetensors")
        with pytest.raises(WeightsError, match="outside its own folder"):
            teacher_of(self.sharded(tmp_path / "in", extra="link.safetensors"))

    def test_missing_keys_of_an_index_are_counted(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"1 of the \d+ keys of the index"):
            teacher_of(self.sharded(tmp_path, extra="a.safetensors"))


class RunsCode:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("was run",))


class TestRefusedContent:
    @pytest.mark.parametrize("key", ["head.regression_head.bbox_reg.bias", "backbone.body.bn1.running_var"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_keys_with_nan_or_infinite_values_are_named(self, key: str, value: float, tmp_path: Path) -> None:
        state = weights(RIGHT)
        state[key][1] = value
        with pytest.raises(WeightsError, match=r"1 of \d+ weights .* NaN or infinite") as caught:
            teacher_of(saved(tmp_path, {"model": state}))
        assert caught.value.details["not_finite"] == [key]
        assert f"{key} (1 of its values)" in caught.value.message

    def test_a_quantised_tensor_is_refused(self, tmp_path: Path) -> None:
        state = weights(RIGHT) | {PROBE: torch.ones(36, dtype=torch.int8)}
        with pytest.raises(WeightsError, match="int8 where a float32 is expected"):
            teacher_of(saved(tmp_path, state))

    @pytest.mark.parametrize("value", [torch.ones(36).to_sparse(), torch.ones(36, dtype=torch.complex64)])
    def test_a_sparse_or_complex_tensor_is_refused(self, value: Tensor, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"(sparse_coo|complex64) where a (dense tensor|float32) is expected"):
            teacher_of(saved(tmp_path, weights(RIGHT) | {PROBE: value}))

    def test_a_detectron2_file_is_named(self, tmp_path: Path) -> None:
        path = saved(tmp_path, {"model": {"backbone.bottom_up.res2.0.conv1.weight": torch.ones(2)}})
        with pytest.raises(WeightsError, match="detectron2 wrote the file"):
            teacher_of(path)

    def test_half_precision_is_read(self, tmp_path: Path) -> None:
        halves = {key: value.half() if value.is_floating_point() else value for key, value in weights(RIGHT).items()}
        assert value_of(teacher_of(saved(tmp_path, halves)).detector) == RIGHT

    @pytest.mark.parametrize("is_fgds", [True, False], ids=["as ours", "as another's"])
    @pytest.mark.parametrize("how", ["torch", "old torch", "pickle"])
    def test_code_is_refused_and_not_run(
        self, how: str, is_fgds: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        content = {"state_dict": weights(RIGHT), "extra": RunsCode()}
        if how == "pickle":
            (tmp_path / "file.pth").write_bytes(pickle.dumps(content, protocol=4))
        else:
            torch.save(content, tmp_path / "file.pth", _use_new_zipfile_serialization=how == "torch")
        with pytest.raises(WeightsError, match=r"would import or run code: .*builtins\.print") as caught:
            if is_fgds:
                load_teacher(Teacher(checkpoint=str(tmp_path / "file.pth")), resolve=Path)
            else:
                teacher_of(tmp_path / "file.pth")
        assert "damaged" not in caught.value.message
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("is_new", [True, False], ids=["present format", "before PyTorch 1.6"])
    def test_objects_of_trainers_are_ignored(self, is_new: bool, tmp_path: Path) -> None:
        beside: dict[str, object] = {
            "args": argparse.Namespace(lr=0.1, out=Path("runs"), sizes={1, 2}, started=datetime(2026, 1, 1)),
            "config": SimpleNamespace(a=1),
            "log": defaultdict(list, loss=[1.0]),
            "types": {"lr": float, "name": str, "any": Any},
            "rng": (random.getstate(), np.random.default_rng(0).normal(size=3), torch.get_rng_state()),
            "best": np.float32(0.4),
            "device": torch.device("cpu"),
        }
        torch.save({"model": weights(RIGHT), **beside}, tmp_path / "a.pth", _use_new_zipfile_serialization=is_new)
        assert value_of(teacher_of(tmp_path / "a.pth").detector) == RIGHT

    def test_hydra_settings_are_ignored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = a_class(monkeypatch, "omegaconf.dictconfig", "DictConfig")()
        node = a_class(monkeypatch, "omegaconf.nodes", "AnyNode")()
        node.__dict__.update(_val=0.1, _ref_type=Any)
        config.__dict__.update(_content={"lr": node}, _parent=None, _key_type=str)
        path = saved(tmp_path, {"state_dict": prefixed("model.", weights(RIGHT)), "hyper_parameters": config})
        monkeypatch.undo()
        assert value_of(teacher_of(path).detector) == RIGHT

    def test_a_whole_module_is_refused_with_the_cure(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.linear\.Linear.*model\.state_dict\(\)"):
            teacher_of(saved(tmp_path, {"model": nn.Linear(2, 2)}))

    def test_a_pickle_that_torch_did_not_write_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file.pkl").write_bytes(pickle.dumps({"model": {"backbone.conv1.weight": np.ones(3)}}))
        with pytest.raises(WeightsError, match=r"a pickle that torch\.save did not write"):
            teacher_of(tmp_path / "file.pkl")

    def test_torchscript_is_named(self, tmp_path: Path) -> None:
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "file.pt")
        with pytest.raises(WeightsError, match=r"is a TorchScript program"):
            teacher_of(tmp_path / "file.pt")

    def test_a_git_lfs_pointer_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
        with pytest.raises(WeightsError, match="git lfs pull"):
            teacher_of(tmp_path / "file.pth")

    def test_a_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="this is a folder"):
            teacher_of(tmp_path)

    def test_unknown_keys_are_shown(self, tmp_path: Path) -> None:
        path = saved(tmp_path, {"model": {"transformer.encoder.weight": torch.ones(2)}})
        with pytest.raises(WeightsError, match=r"none of its keys \(transformer\.encoder\.weight\)"):
            teacher_of(path)

    def test_every_stand_in_is_our_own_class(self) -> None:
        assert all(stand_in.__module__.startswith("fgd_core.") for stand_in in _STAND_INS.values())

    def test_a_teacher_with_unused_keys_is_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path, weights(RIGHT) | {"mask_branch.weight": torch.ones(2)})
        with pytest.raises(
            WeightsError, match=r"1 key of the source is unknown to the detector and not taken \(mask_branch\.weight\)"
        ):
            teacher_of(path)
        student = build_detector(SETTINGS, 2)
        settings = SETTINGS.model_copy(update={"weights": str(path)})
        event = load_first_weights(student, settings, CLASSES, role="student", resolve=Path)
        assert event is not None and "1 key of the source is unknown to the detector" in event.account()


class TestFgdCheckpoints:
    """Tests of files that claim to be fgd checkpoints."""

    @pytest.fixture
    def content(self, tmp_path: Path) -> Content:
        checkpoint = DetectorCheckpoint(
            detector=SETTINGS,
            categories=(Category(id=1, name="cat"), Category(id=2, name="dog")),
            input=InputSpec(),
            record=Record(),
            state=weights(RIGHT),
        )
        save_checkpoint(tmp_path / "ours.pt", checkpoint)
        content: Content = torch.load(tmp_path / "ours.pt", weights_only=True)
        return content

    @pytest.mark.parametrize("part", ["detector", "categories", "input", "record", "state"])
    @pytest.mark.parametrize("has_it", [True, False], ids=["of another kind", "missing"])
    def test_a_changed_checkpoint_is_refused(self, content: Content, part: str, has_it: bool, tmp_path: Path) -> None:
        altered = {key: value for key, value in content.items() if key != part} | ({part: 3} if has_it else {})
        with pytest.raises(WeightsError, match="it was changed, or written by another version"):
            read_checkpoint(saved(tmp_path, altered))

    def test_nan_weights_are_refused(self, content: Content, tmp_path: Path) -> None:
        content["state"][PROBE][0] = float("nan")
        with pytest.raises(WeightsError, match="NaN or infinite"):
            load_teacher(Teacher(checkpoint=str(saved(tmp_path, content))), resolve=Path)

    def test_the_error_for_another_tools_file_names_teacher_detector(self, tmp_path: Path) -> None:
        save_file(weights(RIGHT), tmp_path / "model.safetensors")
        with pytest.raises(WeightsError, match=r"describe the file's detector in teacher\.detector"):
            load_teacher(Teacher(checkpoint=str(tmp_path / "model.safetensors")), resolve=Path)


class TestOutputs:
    """Tests of the class names of a head's outputs."""

    def test_a_one_stage_head_has_no_background_row(self, tmp_path: Path) -> None:
        path = saved(tmp_path, weights(RIGHT, num_classes=3))
        with pytest.raises(WeightsError, match=r"3 outputs and there are 2 classes \(cat, dog\).*N/A"):
            teacher_of(path)
        with pytest.raises(WeightsError, match=r"3 outputs and there are 2 classes"):
            examine(str(path), SETTINGS, CLASSES)

    @pytest.mark.parametrize("kind", DETECTORS, ids=lambda kind: kind.__name__)
    def test_a_head_with_one_class_more_or_less_is_refused(self, kind: type[AnyDetector], tmp_path: Path) -> None:
        for num_classes in (1, 3):
            path = saved(tmp_path, {"model": weights(RIGHT, SMALL[kind], num_classes)})
            with pytest.raises(WeightsError, match=r"its head has \d outputs.* and there are 2 classes"):
                teacher_of(path, SMALL[kind])
        assert teacher_of(saved(tmp_path, weights(RIGHT, SMALL[kind])), SMALL[kind]).classes == CLASSES

    def test_an_mmdetection_head_with_another_class_count_is_refused(self, tmp_path: Path) -> None:
        sizes = Sizes(blocks=(1, 1, 1, 1), stem=4, is_basic=True, width=8, classes=3)
        path = saved(tmp_path, {"state_dict": filled(retinanet_of_mmdetection(sizes)), "meta": {"CLASSES": CLASSES}})
        with pytest.raises(WeightsError, match=r"3 outputs and the file names 2 classes"):
            teacher_of(path, OF_MMDETECTION, classes=None)

    def test_an_output_can_be_named_as_no_class(self, tmp_path: Path) -> None:
        state = weights(RIGHT, num_classes=3)
        key = "head.classification_head.cls_logits.bias"
        state[key] = torch.arange(3.0).repeat(9)  # by anchor, then by output
        loaded = teacher_of(saved(tmp_path, state), classes=("__background__", *CLASSES))
        assert loaded.classes == CLASSES
        assert loaded.detector.state_dict()[key].view(9, 2).tolist() == [[1.0, 2.0]] * 9

    def test_a_two_stage_head_has_the_background_first(self, tmp_path: Path) -> None:
        settings = FasterRcnn(backbone=TINY, fpn_width=8)
        state = weights(RIGHT, settings)
        key = "roi_heads.box_predictor.cls_score.bias"
        state[key] = torch.tensor([5.0, 1, 2])
        path = saved(tmp_path, {"model": state})
        for classes in (CLASSES, ("__background__", *CLASSES)):
            loaded = load_teacher(
                Teacher(checkpoint=str(path), detector=settings, classes=classes, gate="keys"), resolve=Path
            )
            assert loaded.classes == CLASSES
            assert loaded.detector.state_dict()[key].tolist() == [5.0, 1, 2]
        with pytest.raises(WeightsError, match=r"3 outputs, one of them for the background, and there are 3 classes"):
            teacher_of(path, settings, classes=("cat", "dog", "bird"))

    def test_a_background_named_in_the_file_is_no_class(self, tmp_path: Path) -> None:
        settings = FasterRcnn(backbone=TINY, fpn_width=8)
        path = saved(tmp_path, {"model": weights(RIGHT, settings), "classes": ["background", *CLASSES]})
        assert teacher_of(path, settings, classes=None).classes == CLASSES
        path = saved(tmp_path, {"model": weights(RIGHT, settings), "classes": [*CLASSES, "background"]})
        with pytest.raises(WeightsError, match="3 outputs, one of them for the background, and the file names 3"):
            teacher_of(path, settings, classes=None)

    def test_a_note_reports_names_that_override_the_files_names(self, tmp_path: Path) -> None:
        path = saved(tmp_path, {"model": weights(RIGHT), "classes": ["dog", "cat"]})
        loaded = teacher_of(path)
        assert loaded.classes == CLASSES
        assert "the file names its classes dog, cat" in loaded.event.account()

    @pytest.mark.parametrize("settings", [SETTINGS, FasterRcnn(backbone=TINY, fpn_width=8)], ids=["one", "two stages"])
    def test_91_outputs_are_cocos_ids_with_unused_ids(self, settings: AnyDetector, tmp_path: Path) -> None:
        outputs = 91 if isinstance(settings, RetinaNet) else 90
        state = weights(RIGHT, settings, outputs)
        key = next(key for key in state if key.endswith(("classification_head.cls_logits.bias", "cls_score.bias")))
        state[key] = torch.arange(91.0).repeat(state[key].shape[0] // 91)
        loaded = teacher_of(saved(tmp_path, {"model": state}), settings, classes=None)
        assert (loaded.classes[0], loaded.classes[11], len(loaded.classes)) == ("person", "stop sign", 80)
        ours = loaded.detector.state_dict()[key][-80:]
        assert (ours[0], ours[11]) == (1.0, 13.0)  # COCO's ids: 12 is a gap

    def test_a_teacher_needs_names_of_its_outputs(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"2 outputs and the file does not name their classes"):
            teacher_of(saved(tmp_path, weights(RIGHT)), classes=None)

    def test_a_student_does_not_load_rows_without_names(self, tmp_path: Path) -> None:
        student = build_detector(SETTINGS, 2)
        settings = SETTINGS.model_copy(update={"weights": str(saved(tmp_path, weights(RIGHT)))})
        event = load_first_weights(student, settings, CLASSES, role="student", resolve=Path)
        assert event is not None and value_of(student) == RIGHT
        assert len(event.mismatched) == 2 and "does not name its classes" in event.mismatched[0]
        assert "so the rows of its classes were not loaded" in event.account()

    @pytest.mark.parametrize(
        "names", [{"classes": ["cat", "dog"]}, {"names": {0: "cat", 1: "dog"}}, {"meta": {"classes": ("cat", "dog")}}]
    )
    def test_names_in_the_file_are_read(self, names: dict[str, object], tmp_path: Path) -> None:
        assert teacher_of(saved(tmp_path, {"model": weights(RIGHT), **names}), classes=None).classes == CLASSES

    def test_names_that_differ_in_case_stay_two_classes(self, tmp_path: Path) -> None:
        twins = ("cell", "Cell")
        path = saved(tmp_path, {"model": weights(RIGHT), "classes": list(twins)})
        student = build_detector(SETTINGS, 2)
        settings = SETTINGS.model_copy(update={"weights": str(path)})
        event = load_first_weights(student, settings, twins, role="student", resolve=Path)
        assert event is not None and event.num_matched == event.num_total

    def test_torchvisions_files_are_recognised_by_name_and_digest(self, tmp_path: Path) -> None:
        url = torchvision.models.get_weight("RetinaNet_ResNet50_FPN_Weights.COCO_V1").url
        content = saved(tmp_path, weights(RIGHT)).read_bytes()
        (tmp_path / Path(url).name).write_bytes(content)
        assert published_name(tmp_path / Path(url).name) is None
        named = tmp_path / f"retinanet-{hashlib.sha256(content).hexdigest()[:8]}.pth"
        named.write_bytes(content)
        assert is_as_published(named)

    def test_torchvisions_checkpoints_need_torchvisions_convention(self, tmp_path: Path) -> None:
        path = saved(tmp_path, LAYOUTS["torchvision's references"]())
        with pytest.raises(SpecError, match="set convention to torchvision"):
            teacher_of(path, OF_MMDETECTION)


class TestBackbones:
    @pytest.mark.parametrize("content", [lambda s: s, lambda s: {"state_dict": prefixed("model.", s)}])
    def test_a_classifier_loads_into_the_backbone(self, content: Callable[[State], object], tmp_path: Path) -> None:
        body = {key.removeprefix("backbone.body."): value for key, value in weights(RIGHT).items() if ".body." in key}
        path = saved(tmp_path, content(body | {"fc.weight": torch.ones(10, 32), "fc.bias": torch.ones(10)}))
        student = build_detector(SETTINGS, 2)
        settings = SETTINGS.model_copy(update={"weights": str(path)})
        event = load_first_weights(student, settings, CLASSES, role="student", resolve=Path)
        assert event is not None and event.num_matched == event.num_total and not event.missing
        assert float(student.state_dict()["backbone.body.conv1.weight"].max()) == RIGHT
        assert "a detector does not use the classifier on top" in event.account()

    def test_an_mmpretrain_classifier_loads_in_both_conventions(self, tmp_path: Path) -> None:
        layout = retinanet_of_mmdetection(SIZES)
        body = {key: value for key, value in filled(layout).items() if key.startswith("backbone.")}
        path = saved(tmp_path, {"state_dict": body | {"head.fc.weight": torch.ones(10, 32)}, "meta": {}})
        for given in (SETTINGS, OF_MMDETECTION):
            student = build_detector(given, 2)
            settings = given.model_copy(update={"weights": str(path)})
            event = load_first_weights(student, settings, CLASSES, role="student", resolve=Path)
            assert event is not None and event.num_matched == event.num_total and not event.unexpected
            assert torch.equal(student.state_dict()["backbone.body.conv1.weight"], body["backbone.conv1.weight"])

    def test_a_classifier_is_refused_as_a_teacher(self, tmp_path: Path) -> None:
        body = {key.removeprefix("backbone.body."): value for key, value in weights(RIGHT).items() if ".body." in key}
        with pytest.raises(WeightsError, match="only a backbone and no detector"):
            teacher_of(saved(tmp_path, body))
