"""`fgd weights check`: the library reads the file, the client shows the result."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from service.client.cli import group
from tests.detectors.mmdetection_layouts import Sizes, filled, retinanet

SIZES = Sizes(blocks=(1, 1, 1, 1), stem=4, is_basic=True, width=8, classes=2)
DETECTOR = {
    "type": "retinanet",
    "convention": "mmdetection",
    "backbone": {"name": "resnet18", "stem_width": 4, "blocks": [1, 1, 1, 1]},
    "fpn_width": 8,
}


def check(folder: Path, capfd: pytest.CaptureFixture[str], **changes: object) -> tuple[int, str]:
    torch.save({"state_dict": filled(retinanet(SIZES))}, folder / "epoch_12.pth")
    (folder / "detector.yaml").write_text(yaml.safe_dump(DETECTOR | changes))
    command = ["weights", "check", str(folder / "epoch_12.pth"), "--detector", str(folder / "detector.yaml")]
    with pytest.raises(SystemExit) as end:
        group().main([*command, "--classes", "cat,dog", "--json"], prog_name="fgd")
    return int(end.value.code or 0), capfd.readouterr().out


def test_a_fitting_file_is_shown_key_by_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    exit_code, shown = check(tmp_path, capfd)
    assert exit_code == 0
    report = json.loads(shown)
    assert report["is_complete"] and report["classes"] == ["cat", "dog"]
    becomes = {row["key"]: row["becomes"] for row in report["keys"]}
    assert becomes["bbox_head.retina_cls.weight"] == "head.classification_head.cls_logits.weight"
