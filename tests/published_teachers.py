"""Layouts of mmdetection's checkpoints that the recipes use as teachers, from the names of the files."""

from fgd_core.spec.backbones import BackboneSpec, ResNet, Swin
from fgd_core.spec.detectors import DetectorSpec
from tests.detectors import mmdetection_layouts as layouts
from tests.detectors.mmdetection_layouts import Layout, Sizes, SwinSizes

_KINDS = {
    "retinanet": layouts.retinanet,
    "faster_rcnn": layouts.faster_rcnn,
    "mask_rcnn": layouts.mask_rcnn,
    "cascade_mask_rcnn": layouts.cascade_mask_rcnn,
    "reppoints_moment": layouts.reppoints,
    "fcos": layouts.fcos,
    "gfl": layouts.gfl,
    "solo": layouts.solo,
}
# Between the kind and the rest of a file's name.
_BACKBONES = ("_x101_", "_r101_", "_swin-s-")
TINY_BLOCKS, TINY_STEM, TINY_EMBED, TINY_WIDTH = (1, 1, 1, 1), 16, 24, 32


def layout_of(file_name: str, *, is_tiny: bool = False) -> Layout:
    """Return names and shapes of the weights from the name of the file; tests compare recipes with them.

    Args:
        is_tiny: use the sizes of `tiny`.
    """
    kind, _, what = file_name.lower().partition(next(part for part in _BACKBONES if part in file_name))
    # The name of RepPoints on X101 does not contain the groups; its settings do: 32x4d.
    is_resnext = "_x101_" in file_name
    sizes = Sizes(
        blocks=TINY_BLOCKS if is_tiny else (3, 4, 23, 3),
        stem=TINY_STEM if is_tiny else 64,
        groups=(64 if what.startswith("64x4d") else 32) if is_resnext else 1,
        base_width=4 if is_resnext else 64,
        deformed=(2, 3, 4) if "dconv_c3-c5" in what else (),
        width=TINY_WIDTH if is_tiny else 256,
        representation=4 * TINY_WIDTH if is_tiny else 1024,
        tower_norm="gn-neck+head" in what,
        neck_norm="gn-neck+head" in what,
        swin=_swin(is_tiny=is_tiny) if "_swin-s-" in file_name else None,
    )
    return _KINDS[kind](sizes)


def _swin(*, is_tiny: bool) -> SwinSizes:
    return SwinSizes(blocks=TINY_BLOCKS, embed=TINY_EMBED) if is_tiny else SwinSizes(blocks=(2, 2, 18, 2))


def config_of(file_name: str) -> str:
    """Return the settings of the backbone that such a file contains."""
    return f"style='{'caffe' if 'caffe' in file_name else 'pytorch'}'"


def tiny(settings: DetectorSpec) -> DetectorSpec:
    """Return the same detector at a size that is fast to build and to run."""
    return settings.model_copy(update={"backbone": _tiny_backbone(settings.backbone), "fpn_width": TINY_WIDTH})


def _tiny_backbone(settings: BackboneSpec) -> BackboneSpec:
    assert isinstance(settings, ResNet | Swin)
    width = {"stem_width": TINY_STEM} if isinstance(settings, ResNet) else {"embed_dim": TINY_EMBED}
    return settings.model_copy(update={**width, "blocks": TINY_BLOCKS})
