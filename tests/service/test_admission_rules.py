from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pytest
from control_plane import ControlPlane, evaluate_spec, train_spec
from memory_cluster import TWO_CORES
from pydantic import ValidationError

from fgd_core.spec.jobs import JOB_SPEC
from service.jobs.admission import reasons
from service.jobs.admission_facts import Facts, NeededJob
from service.jobs.checkpoint_admission import waits_for
from service.jobs.cluster import Capacity, Node, NodeType
from service.jobs.confinement import Places
from service.jobs.named_paths import paths
from service.settings import Settings

COCO = {
    "type": "coco",
    "train": {"images": "/data/train", "annotations": "/data/train.json"},
    "val": {"images": "/data/val", "annotations": "/data/val.json"},
}
_BATCH = "training.batch_size"


def distill_spec(**teacher: Any) -> dict[str, Any]:
    return {
        "kind": "distill",
        "name": "a distillation",
        "student": {"type": "retinanet"},
        "teacher": teacher,
        "method": {"type": "fgd"},
        "data": {"type": "shapes", "num_train": 40, "num_val": 8},
    }


def refused(spec: dict[str, Any], **facts: Any) -> dict[str, tuple[str, str]]:
    """{loc: (code, message)}"""
    found = reasons(JOB_SPEC.validate_python(spec), Facts(**facts))
    return {reason.loc: (reason.code, reason.message) for reason in found}


def chain_spec(*teachers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    stages = [{"teacher": teacher} for teacher in teachers]
    alone = {key: value for key, value in distill_spec().items() if key not in ("kind", "teacher")}
    return {**alone, "kind": "chain", "stages": stages, **fields}


class TestChains:
    def test_all_reasons_against_all_stages_come_at_once_with_their_paths(self) -> None:
        spec = chain_spec(
            {"checkpoint": "job:abc/worst"},
            {"checkpoint": "job:gone/best"},
            {"checkpoint": "ResNet18_Weights.IMAGENET1K_V1"},
            {"checkpoint": "/data/missing.pth", "detector": {"type": "fcos", "backbone": {"name": "resnet50"}}},
        )
        found = refused(spec, paths={"/data/missing.pth": None})
        assert {loc: code for loc, (code, _) in found.items()} == {
            "stages.0.teacher.checkpoint": "bad_reference",
            "stages.1.teacher.checkpoint": "unknown_job",
            "stages.2.teacher.checkpoint": "no_detector",
            "stages.3.teacher.checkpoint": "missing_path",
        }

    def test_the_batch_of_each_stage_must_fit_the_data(self) -> None:
        spec = chain_spec({"checkpoint": "job:abc/best"}, {"checkpoint": "job:abc/best"})
        spec["stages"][1]["training"] = {"batch_size": 41}
        known = {"abc": NeededJob("train", "running", frozenset())}
        assert list(refused(spec, jobs=known)) == ["stages.1.training.batch_size"]

    def test_a_chain_waits_for_the_jobs_of_all_its_teachers(self) -> None:
        spec = JOB_SPEC.validate_python(chain_spec({"checkpoint": "job:a/best"}, {"checkpoint": "job:b/last"}))
        known = {name: NeededJob("train", "running", frozenset()) for name in ("a", "b")}
        assert waits_for(spec, known) == ["a", "b"]

    def test_its_best_checkpoint_can_be_named_and_it_has_no_last_one(self) -> None:
        known = {"abc": NeededJob("chain", "running", frozenset())}
        assert refused(evaluate_spec("job:abc/best"), jobs=known) == {}
        assert refused(evaluate_spec("job:abc/last"), jobs=known)["checkpoint"][0] == "no_checkpoint"

    def test_a_chain_cannot_be_the_base_of_a_sweep(self) -> None:
        base = chain_spec({"checkpoint": "job:a/best"}, {"checkpoint": "job:b/best"})
        with pytest.raises(ValidationError, match="chain"):
            JOB_SPEC.validate_python({"kind": "sweep", "name": "a sweep", "base": base, "space": "fgd-scale"})


class TestResources:
    def test_a_gpu_on_a_cluster_without_gpus_is_refused_with_the_cure(self) -> None:
        code, message = refused(train_spec(resources={"gpus": 1}), capacity=TWO_CORES)["resources.gpus"]
        assert code == "resources_unavailable"
        assert "needs 1 GPU" in message
        assert "largest node has 0" in message
        assert "set resources.gpus to 0" in message

    def test_more_cores_than_the_largest_node_has_are_refused(self) -> None:
        assert (
            "ask for at most 2" in refused(train_spec(resources={"cpus": 3}), capacity=TWO_CORES)["resources.cpus"][1]
        )

    def test_without_a_known_capacity_no_resources_are_refused(self) -> None:
        assert refused(train_spec(resources={"gpus": 1}), capacity=None) == {}


class TestReferences:
    @pytest.mark.parametrize(
        ("job", "code"),
        [
            (None, "unknown_job"),
            (NeededJob("evaluate", "running", frozenset()), "no_checkpoint"),
            (NeededJob("train", "failed", frozenset()), "dependency_failed"),
            (NeededJob("train", "cancelled", frozenset({"best.pt"})), "dependency_failed"),
            (NeededJob("train", "succeeded", frozenset({"last.pt"})), "no_checkpoint"),
        ],
    )
    def test_a_reference_to_a_job_without_a_checkpoint_is_refused(self, job: NeededJob | None, code: str) -> None:
        known = {"abc": job} if job is not None else {}
        found = refused(evaluate_spec("job:abc/best"), jobs=known)
        assert found["checkpoint"][0] == code
        assert "abc" in found["checkpoint"][1]

    def test_a_misspelt_reference_is_refused(self) -> None:
        assert refused(evaluate_spec("job:abc/worst"))["checkpoint"][0] == "bad_reference"

    def test_a_job_waits_for_an_unfinished_job_that_it_refers_to(self) -> None:
        spec = JOB_SPEC.validate_python(evaluate_spec("job:abc/best"))
        assert waits_for(spec, {"abc": NeededJob("train", "running", frozenset())}) == ["abc"]
        assert waits_for(spec, {"abc": NeededJob("train", "succeeded", frozenset({"best.pt"}))}) == []


class TestPaths:
    def test_every_missing_path_is_named(self) -> None:
        spec = train_spec(data=COCO)
        named = paths(JOB_SPEC.validate_python(spec))
        found = refused(spec, paths={item.path: None for item in named} | {"/data/val": "file"})
        assert {loc: code for loc, (code, _) in found.items()} == {
            "data.train.images": "missing_path",
            "data.train.annotations": "missing_path",
            "data.val.images": "wrong_path",
            "data.val.annotations": "missing_path",
        }
        assert "/data/train.json" in found["data.train.annotations"][1]

    def test_a_relative_path_is_refused(self) -> None:
        assert refused(evaluate_spec("best.pt"))["checkpoint"][0] == "relative_path"

    def test_a_name_of_torchvision_is_not_treated_as_a_path(self) -> None:
        backbone, weights = {"name": "resnet18"}, "ResNet18_Weights.IMAGENET1K_V1"
        detector = {"type": "retinanet", "backbone": backbone, "weights": weights}
        assert refused(train_spec(detector=detector)) == {}
        assert refused(distill_spec(checkpoint="FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1")) == {}

    def test_a_checkpoint_of_mmdetection_is_checked_like_any_file(self) -> None:
        spec = distill_spec(checkpoint="/zoo/gfl.pth", detector={"type": "gfl"}, classes=["cat"])
        named = paths(JOB_SPEC.validate_python(spec))
        assert [(item.loc, item.path, item.kind) for item in named] == [("teacher.checkpoint", "/zoo/gfl.pth", "file")]
        roots = Places(roots=(PurePosixPath("/data"),))
        assert refused(spec, places=roots)["teacher.checkpoint"][0] == "outside_data_roots"

    @pytest.mark.parametrize("url", ["s3://bucket/best.pt", "http://10.0.0.1/best.pt", "file:///etc/passwd", "/x://y"])
    def test_a_url_is_refused_in_every_path_field(self, url: str) -> None:
        spec = train_spec(
            detector={"type": "retinanet", "weights": url},
            data={"type": "coco", "train": {"images": url, "annotations": url}, "val": COCO["val"]},
        )
        found = refused(spec)
        assert {loc: code for loc, (code, _) in found.items()} == dict.fromkeys(
            ("detector.weights", "data.train.images", "data.train.annotations"), "url"
        )
        assert refused(evaluate_spec(url))["checkpoint"][0] == "url"

    @pytest.mark.parametrize("path", ["/data/a\x00b", "/" + "x" * 5000, "/" + "é" * 2100])
    def test_an_invalid_path_is_refused(self, path: str) -> None:
        assert refused(evaluate_spec(path))["checkpoint"][0] == "bad_path"

    def test_an_evaluation_needs_no_training_split(self) -> None:
        spec = JOB_SPEC.validate_python(evaluate_spec("/c.pt", data=COCO))
        assert [item.loc for item in paths(spec)] == ["data.val.images", "data.val.annotations", "checkpoint"]


class TestWeights:
    def test_every_field_that_does_not_fit_torchvisions_weights_is_reported(self) -> None:
        detector = {"type": "retinanet", "fpn_width": 64, "weights": "RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1"}
        found = refused(train_spec(detector=detector))
        assert {loc: code for loc, (code, _) in found.items()} == dict.fromkeys(
            ("detector.version", "detector.fpn_width"), "weights_unfit"
        )
        assert "set version to v2 (it is v1)" in found["detector.version"][1]

    def test_weights_of_a_sweeps_base_and_of_its_trials_are_checked(self) -> None:
        base = train_spec(detector={"type": "retinanet", "weights": "ResNet50_Weights.IMAGENET1K_V2"})
        del base["name"]
        sweep = {
            "kind": "sweep",
            "name": "widths",
            "base": base,
            "space": {"detector.backbone.stem_width": {"type": "choice", "values": [32, 64]}},
            "searcher": {"type": "grid"},
            "budget": {"trials": 2},
        }
        assert any(code == "weights_unfit" for code, _ in refused(sweep).values())
        base["detector"]["backbone"] = {"name": "resnet101"}
        sweep["space"] = {"training.epochs": {"type": "choice", "values": [1, 2]}}
        assert refused(sweep)["base.detector.backbone.name"][0] == "weights_unfit"

    def test_a_teacher_must_be_a_whole_detector(self) -> None:
        assert refused(distill_spec(checkpoint="ResNet50_Weights.IMAGENET1K_V2"))["teacher.checkpoint"][0] == (
            "no_detector"
        )
        fcos = distill_spec(checkpoint="FCOS_ResNet50_FPN_Weights.COCO_V1", detector={"type": "retinanet"})
        assert refused(fcos)["teacher.detector.type"][0] == "weights_unfit"

    def test_only_whole_detectors_can_be_evaluated(self) -> None:
        assert refused(evaluate_spec("ResNet50_Weights.IMAGENET1K_V2"))["checkpoint"][0] == "no_detector"
        assert "checkpoint" not in refused(evaluate_spec("RetinaNet_ResNet50_FPN_Weights.COCO_V1"))

    def test_only_checkpoints_of_fgd_can_be_exported(self) -> None:
        spec = {**evaluate_spec("RetinaNet_ResNet50_FPN_Weights.COCO_V1"), "kind": "export"}
        assert refused(spec)["checkpoint"][0] == "no_checkpoint"

    @pytest.mark.parametrize(
        ("teacher", "said"),
        [
            ({"checkpoint": "job:abc/best", "detector": {"type": "gfl"}}, "contains its detector"),
            ({"checkpoint": "/a.pth", "classes": ["cat"]}, "needs a detector too"),
            ({"checkpoint": "/a.pth", "detector": {"type": "gfl", "weights": "/b.pth"}}, "leave out detector.weights"),
        ],
    )
    def test_an_invalid_teacher_is_an_invalid_spec(self, teacher: dict[str, Any], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            JOB_SPEC.validate_python(distill_spec(**teacher))


class TestPictures:
    def pictured(self, **folders: dict[str, str]) -> dict[str, Any]:
        return {"type": "shapes", "num_train": 40, "num_val": 8, "pictures": folders}

    def test_that_a_method_compares_must_be_named_by_the_data(self) -> None:
        spec = distill_spec(checkpoint="/t.pt") | {"method": {"type": "ikd"}}
        assert refused(spec)["data.pictures"][0] == "missing_picture"
        assert refused(spec | {"data": self.pictured(adversarial={"train": "/a"})}) == {}
        assert refused(spec | {"method": {"type": "ikd", "scale": 0}}) == {}

    def test_that_a_teacher_sees_are_also_needed_for_its_gate(self) -> None:
        spec = distill_spec(checkpoint="/t.pt", picture="depth")
        data = self.pictured(depth={"train": "/d"})
        assert refused(spec)["data.pictures"][0] == "missing_picture"
        assert refused(spec | {"data": data})["data.pictures.depth.val"][0] == "missing_picture"
        ungated = distill_spec(checkpoint="/t.pt", picture="depth", gate="keys")
        assert refused(ungated | {"data": data}) == {}

    def test_are_folders_that_must_exist(self) -> None:
        data = self.pictured(depth={"train": "/d/train", "val": "/d/val"})
        named = paths(JOB_SPEC.validate_python(train_spec(data=data)))
        assert [(item.loc, item.path, item.kind) for item in named] == [
            ("data.pictures.depth.train", "/d/train", "folder"),
            ("data.pictures.depth.val", "/d/val", "folder"),
        ]

    def test_of_a_sweep_are_checked_for_its_base(self) -> None:
        base = distill_spec(checkpoint="/t.pt") | {"method": {"type": "ikd"}}
        del base["name"]
        sweep = {"kind": "sweep", "name": "s", "base": base, "space": "ikd-scale"}
        assert refused(sweep)["base.data.pictures"][0] == "missing_picture"

    def test_the_image_itself_is_no_other_picture(self) -> None:
        with pytest.raises(ValidationError, match="is the image itself"):
            JOB_SPEC.validate_python(train_spec(data=self.pictured(image={"train": "/d"})))


class TestPool:
    SHAPES: ClassVar = {"type": "shapes", "num_train": 40, "num_val": 8, "pool": {"images": "/pool"}}

    def test_is_a_folder_that_must_exist_for_a_training_only(self) -> None:
        spec = JOB_SPEC.validate_python(train_spec(data=self.SHAPES))
        assert [(item.loc, item.path, item.kind) for item in paths(spec)] == [("data.pool.images", "/pool", "folder")]
        evaluation = JOB_SPEC.validate_python(evaluate_spec("/c.pt", data=self.SHAPES))
        assert [item.loc for item in paths(evaluation)] == ["checkpoint"]

    def test_does_not_suit_a_student_that_learns_masks(self) -> None:
        spec = distill_spec(checkpoint="/t.pt") | {"data": self.SHAPES}
        masked = spec | {"student": {"type": "mask_rcnn"}}
        assert refused(spec) == {}
        assert refused(masked)["data.pool"] == (
            "unsuited_pool",
            "the distillation learns masks (mask_rcnn), and the images of data.pool have none; change that, or set "
            "pool.weight to 0",
        )
        assert refused(masked | {"pool": {"weight": 0}}) == {}

    def test_of_a_chain_and_of_a_sweep_is_checked_too(self) -> None:
        student = {"student": {"type": "mask_rcnn"}, "data": self.SHAPES}
        teachers = [{"checkpoint": "/a.pt"}, {"checkpoint": "/b.pt"}]
        assert refused(chain_spec(*teachers, **student))["data.pool"][0] == "unsuited_pool"
        base = distill_spec(checkpoint="/t.pt") | student
        del base["name"]
        sweep = {"kind": "sweep", "name": "s", "base": base, "space": "fgd-scale"}
        assert refused(sweep)["base.data.pool"][0] == "unsuited_pool"


class TestSeveralTeachers:
    def spec(self, **second: Any) -> dict[str, Any]:
        return distill_spec(checkpoint="/a.pt") | {"more_teachers": [second]}

    def test_each_is_checked_at_its_own_field(self) -> None:
        wrong = self.spec(checkpoint="FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1", detector={"type": "gfl"})
        assert refused(wrong)["more_teachers.0.detector.type"][0] == "weights_unfit"
        assert refused(self.spec(checkpoint="b.pt"))["more_teachers.0.checkpoint"][0] == "relative_path"

    def test_the_job_waits_for_each(self) -> None:
        job = NeededJob("train", "running", frozenset())
        spec = JOB_SPEC.validate_python(self.spec(checkpoint="job:b/best"))
        assert waits_for(spec, {"b": job}) == ["b"]


class TestTrainingOptions:
    OPTIONS: ClassVar[dict[str, Any]] = {"precision": "float16", "budget": {"gpu_h": 1}}

    def test_that_need_a_gpu_are_refused_without_one(self) -> None:
        spec = {**distill_spec(checkpoint="RetinaNet_ResNet50_FPN_Weights.COCO_V1"), "training": self.OPTIONS}
        found = refused(spec)
        assert found["training.precision"][0] == found["training.budget.gpu_h"][0] == "needs_gpu"
        assert "bfloat16" in found["training.precision"][1] and "budget.wall_h" in found["training.budget.gpu_h"][1]
        assert not any(loc.startswith("training") for loc in refused({**spec, "resources": {"gpus": 1}}))

    def test_that_need_masks_are_refused_for_data_in_a_format_without_them(self) -> None:
        spec = {**distill_spec(checkpoint="RetinaNet_ResNet50_FPN_Weights.COCO_V1")}
        pasting = {**spec, "input": {"augment": [{"type": "mosaic"}, {"type": "copy_paste"}]}}
        code, said = refused({**pasting, "data": {"type": "voc", "folder": "/voc"}})["input.augment.1"]
        assert code == "no_masks" and "convert the data to COCO format" in said
        assert "input.augment.1" not in refused(pasting)

    @pytest.mark.parametrize("options", [{"early_stop": {}}, {"budget": {"wall_h": 1}}, {"average_last": 2}])
    def test_that_end_a_training_are_refused_in_a_sweep(self, options: dict[str, Any]) -> None:
        (name,) = options
        base = {**distill_spec(checkpoint="RetinaNet_ResNet50_FPN_Weights.COCO_V1"), "training": options}
        assert f"training.{name}" not in refused(base)
        code, said = refused({"kind": "sweep", "name": "s", "base": base, "space": "fgd-scale"})[
            f"base.training.{name}"
        ]
        assert code == "ends_trials" and f"leave out {name}" in said


class TestWorkers:
    def spec(self, batch_size: int, **resources: int) -> dict[str, Any]:
        spec = distill_spec(checkpoint="RetinaNet_ResNet50_FPN_Weights.COCO_V1")
        return {**spec, "training": {"batch_size": batch_size}, "resources": resources}

    def test_that_cannot_share_a_batch_evenly_are_refused_with_the_next_size_that_works(self) -> None:
        code, said = refused(self.spec(10, workers=4))["training.batch_size"]
        assert code == "uneven_shards"
        assert "a batch of 10 images" in said
        assert "12" in said

    def test_share_batches_in_the_parts_of_a_step(self) -> None:
        spec = self.spec(12, workers=2)
        assert "training.batch_size" not in refused({**spec, "training": {"batch_size": 12, "accumulate": 3}})
        code, said = refused({**spec, "training": {"batch_size": 12, "accumulate": 4}})["training.batch_size"]
        assert code == "uneven_shards" and "in 4 equal parts each; use a multiple of 8, for example 16" in said

    @pytest.mark.parametrize(("batch_size", "accepted"), [(8, False), (9, False), (12, True)])
    def test_an_elastic_job_shares_its_batch_at_both_ends_of_its_range(self, batch_size: int, accepted: bool) -> None:
        found = refused(self.spec(batch_size, workers=4, min_workers=3))
        assert ("training.batch_size" not in found) is accepted

    def test_a_job_that_does_not_train_has_one(self) -> None:
        spec = evaluate_spec("/data/best.pt", resources={"workers": 2})
        assert refused(spec)["resources.workers"][0] == "one_process"

    def test_each_stage_of_a_chain_shares_its_own_batch(self) -> None:
        spec = chain_spec({"checkpoint": "job:abc/best"}, {"checkpoint": "job:abc/best"}, resources={"workers": 2})
        spec["stages"][1]["training"] = {"batch_size": 3}
        assert refused(spec)["stages.1.training.batch_size"][0] == "uneven_shards"

    def test_of_a_sweep_share_the_batch_of_every_trial(self) -> None:
        spec = {
            "kind": "sweep",
            "name": "wide",
            "base": {key: value for key, value in self.spec(16).items() if key not in ("name", "resources")},
            "space": {"training.batch_size": {"type": "choice", "values": [8, 9]}},
            "resources": {"workers": 2},
        }
        found = refused(spec)
        assert found["space.training.batch_size.values.1"][0] == "uneven_shards"
        assert "space.training.batch_size.values.0" not in found

    def test_that_see_one_image_at_a_time_cannot_compare_images(self) -> None:
        spec = self.spec(4, workers=2) | {"method": {"type": "composed", "transform": "images"}}
        assert "method.transform" not in refused(spec)
        for method in (spec["method"], {"type": "mixed", "parts": {"form": spec["method"]}}):
            of_one = {**spec, "method": method, "training": {"batch_size": 4, "accumulate": 2}}
            code, said = refused(of_one)["method.transform"]
            assert code == "too_few_images" and "it would see 1; give each worker at least 2" in said
            of_one["method"] = {**method, "scale": 0}
            assert "method.transform" not in refused(of_one)

    @pytest.mark.parametrize(
        ("batch_size", "form", "space", "at"),
        [
            (1, "cells", "composed-form", "method.transform.values.3"),
            (4, "images", {_BATCH: [4, 1]}, "training.batch_size.values.1"),
            (4, "cells", {_BATCH: [4, 1], "method.transform": ["cells", "images"]}, "method.transform.values.1"),
        ],
    )
    def test_of_no_trial_of_a_sweep_compare_images_alone(
        self, batch_size: int, form: str, space: str | dict[str, Any], at: str
    ) -> None:
        base = {key: value for key, value in self.spec(batch_size).items() if key not in ("name", "resources")}
        base["method"] = {"type": "composed", "transform": form}
        if isinstance(space, dict):
            space = {path: {"type": "choice", "values": values} for path, values in space.items()}
        found = refused({"kind": "sweep", "name": "forms", "base": base, "space": space})
        assert [loc for loc, (code, _) in found.items() if code == "too_few_images"] == [f"space.{at}"]

    def test_see_two_images_for_a_baseline_whose_published_form_compares_them(self) -> None:
        base = {key: value for key, value in self.spec(1).items() if key not in ("name", "resources")}
        base |= {"student": {"type": "fcos"}, "method": {"type": "composed"}}
        space = {"method.weight": {"type": "choice", "values": [1, 2]}}
        sweep = {"kind": "sweep", "name": "weights", "base": base, "space": space}
        code, said = refused(sweep)["baselines"]
        assert code == "too_few_images" and "in the baseline with the published values" in said
        assert "baselines" not in refused({**sweep, "baselines": False})
        assert "baselines" not in refused({**sweep, "base": {**base, "training": {"batch_size": 2}}})

    def test_must_fit_on_the_nodes_by_their_sizes_and_not_by_their_sum(self) -> None:
        six_and_six = Capacity(tuple(Node(node_id=name, cpus_total=6, cpus_free=6) for name in "ab"))
        assert "resources.workers" not in refused(self.spec(16, workers=2, cpus=4), capacity=six_and_six)
        code, said = refused(self.spec(12, workers=3, cpus=4), capacity=six_and_six)["resources.workers"]
        assert code == "resources_unavailable"
        assert "needs 3 workers of 4 CPUs, each on one node, and the nodes have room for 2" in said
        elastic = self.spec(12, workers=3, min_workers=2, cpus=4)
        assert not [loc for loc in refused(elastic, capacity=six_and_six) if loc.startswith("resources")]

    def test_need_their_cpus_and_their_gpus_on_the_same_node(self) -> None:
        nodes = (
            Node(node_id="cpu", cpus_total=8, cpus_free=8),
            Node(node_id="gpu", cpus_total=1, cpus_free=1, gpus_total=1),
        )
        _, said = refused(self.spec(16, cpus=4, gpus=1), capacity=Capacity(nodes))["resources"]
        assert "no node has 4 CPUs and 1 GPU" in said

    def test_may_need_nodes_that_the_cluster_can_add(self) -> None:
        growing = Capacity((), (NodeType(cpus=4, gpus=1, max_nodes=3),))
        assert not [loc for loc in refused(self.spec(12, workers=3, gpus=1), capacity=growing) if "resources" in loc]
        assert "room for 3" in refused(self.spec(16, workers=4, gpus=1), capacity=growing)["resources.workers"][1]

    def test_the_least_number_is_at_most_the_whole(self) -> None:
        with pytest.raises(ValidationError, match="min_workers is 3, but workers is 2"):
            JOB_SPEC.validate_python(self.spec(16, workers=2, min_workers=3))


@pytest.mark.parametrize(("fraction", "most"), [(1, 40), (0.25, 10)])
def test_a_batch_larger_than_the_training_images_is_refused(fraction: float, most: int) -> None:
    shown = {"sampling": {"fraction": fraction}}
    assert refused(train_spec(training={"batch_size": most}, input=shown)) == {}
    found = refused(train_spec(training={"batch_size": most + 1}, input=shown))
    assert found["training.batch_size"] == (
        "batch_too_large",
        f"a batch of {most + 1} images is larger than the {most} images to train on; use at most {most}",
    )


async def test_all_reasons_are_reported_at_once_and_no_job_is_stored(
    plane: ControlPlane, settings: Settings, tmp_path: Path
) -> None:
    local = ControlPlane(settings.model_copy(update={"local_cluster": True}), plane.cluster, plane.clock)
    (tmp_path / "train").mkdir()
    split = {"images": f"{tmp_path}/train", "annotations": f"{tmp_path}/none.json"}
    spec = train_spec(
        data={"type": "coco", "train": split, "val": split},
        resources={"gpus": 1},
        detector={"type": "retinanet", "weights": "job:nobody/best"},
    )
    answer = await local.http.post("/v1/jobs", json=spec)
    assert answer.status_code == 422
    assert answer.json()["code"] == "admission"
    assert {reason["loc"]: reason["code"] for reason in answer.json()["reasons"]} == {
        "resources.gpus": "resources_unavailable",
        "detector.weights": "unknown_job",
        "data.train.annotations": "missing_path",
        "data.val.annotations": "missing_path",
    }
    assert (await local.http.get("/v1/jobs")).json()["items"] == []
    await local.close()
