"""Tests Swin Transformers as backbones: sizes of images, frozen stages, drop paths, and mmdetection's weights."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from fgd_core.detectors import build_detector
from fgd_core.detectors.parts.body import StageMaps
from fgd_core.detectors.parts.pyramid import Pyramid
from fgd_core.detectors.parts.swin import build_swin
from fgd_core.detectors.weights.files import WeightsFile
from fgd_core.detectors.weights.matching import LoadResult, load_weights
from fgd_core.detectors.weights.mmdetection import mmdetection_weights
from fgd_core.detectors.weights.mmdetection.pixels import OURS
from fgd_core.spec import detectors as spec
from fgd_core.spec.backbones import Swin
from tests.detectors import mmdetection_layouts as layouts
from tests.detectors.mmdetection_layouts import Sizes, SwinSizes, filled

STRIDES = (4, 8, 16, 32)
TINY = Swin(embed_dim=12, blocks=(2, 2, 2, 2), window_size=4)
SMALL = SwinSizes(blocks=(2, 2, 2, 1), embed=12, window=2)
"""The last stage does not shift its windows: its map of a small image is one window, where mmdetection shifts."""
SIZES = Sizes(swin=SMALL, width=8, representation=32, classes=3)
DETECTOR = spec.MaskRcnn(
    backbone=Swin(embed_dim=12, blocks=SMALL.blocks, window_size=2),
    fpn_width=8,
    representation_size=32,
    convention="mmdetection",
)


def maps_of(settings: Swin, images: Tensor) -> list[Tensor]:
    torch.manual_seed(0)
    return list(StageMaps(build_swin(settings), STRIDES).eval()(images).values())


class TestSizes:
    @pytest.mark.parametrize("size", [(32, 32), (1, 1), (33, 70), (100, 36), (64, 224)])
    def test_an_image_of_any_size_has_maps(self, size: tuple[int, int]) -> None:
        maps = maps_of(TINY, torch.randn(2, 3, *size))
        for each, stride, width in zip(maps, STRIDES, (12, 24, 48, 96), strict=True):
            assert each.shape == (2, width, -(-size[0] // stride), -(-size[1] // stride))
            assert each.isfinite().all()

    def test_the_last_pixels_of_an_odd_image_count(self) -> None:
        images = torch.randn(1, 3, 33, 42, requires_grad=True)
        (gradient,) = torch.autograd.grad(maps_of(TINY, images)[0].square().sum(), images)
        assert (gradient[..., -1, :].abs().sum() > 0) and (gradient[..., -1].abs().sum() > 0)

    def test_a_cell_depends_only_on_its_window_in_the_first_block(self) -> None:
        images = torch.randn(1, 3, 32, 32)
        changed = images.clone()
        changed[..., 16:, 16:] = 0
        settings = TINY.model_copy(update={"blocks": (1, 1, 1, 1)})
        difference = (maps_of(settings, images)[0] - maps_of(settings, changed)[0]).abs().amax((0, 1)) > 0
        assert difference[4:, 4:].all() and not difference[:4].any() and not difference[:, :4].any()

    def test_every_second_block_lets_windows_exchange(self) -> None:
        images = torch.randn(1, 3, 32, 32)
        changed = images.clone()
        changed[..., 16:, 16:] = 0
        assert (maps_of(TINY, images)[0] - maps_of(TINY, changed)[0])[..., 2:4, 2:4].abs().min() > 0


class TestFrozenStages:
    def test_get_no_gradient_and_skip_no_block(self) -> None:
        settings = TINY.model_copy(update={"frozen_stages": 2, "drop_path_rate": 0.5})
        pyramid = Pyramid(settings, width=8, strides=STRIDES, top="pool").train()
        torch.stack([each.square().sum() for each in pyramid.maps(torch.randn(2, 3, 64, 64))]).sum().backward()
        frozen = {key.split(".")[0] for key, p in pyramid.body.named_parameters() if p.grad is None}
        assert frozen == {"0", "1", "norm0"}
        assert {name for name, child in pyramid.body.named_children() if not child.training} == {
            "whole_patches",
            *frozen,
        }

    def test_of_a_pyramid_without_the_finest_map_are_frozen_too(self) -> None:
        settings = TINY.model_copy(update={"frozen_stages": 3})
        pyramid = Pyramid(settings, width=8, strides=(8, 16, 32), top="P5").train()
        trained = {key.split(".")[0] for key, p in pyramid.body.named_parameters() if p.requires_grad}
        assert trained == {"4", "5", "6", "7", "norm2", "norm3"}


class TestDropPath:
    def test_its_probability_grows_linearly(self) -> None:
        body = build_swin(TINY.model_copy(update={"drop_path_rate": 0.7})).module
        rates = [layer.p for layer in body.modules() if isinstance(layer, StochasticDepth)]
        assert rates == pytest.approx([0.1 * block for block in range(8)])

    def test_it_acts_in_training_only(self) -> None:
        maps = StageMaps(build_swin(TINY.model_copy(update={"drop_path_rate": 0.9})), STRIDES)
        images = torch.randn(1, 3, 64, 64)
        first, second = (maps.train()(images)["3"] for _ in range(2))
        assert not torch.equal(first, second)
        first, second = (maps.eval()(images)["3"] for _ in range(2))
        assert torch.equal(first, second)


@pytest.mark.parametrize("size", [(64, 96), (32, 32)], ids=["many cells", "one cell"])
def test_bfloat16_computes_nearly_the_same_maps_and_finite_gradients(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    maps = StageMaps(build_swin(TINY), STRIDES).eval()
    images = torch.randn(2, 3, *size)
    exact = maps(images)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = maps(images)
    for name in exact:
        torch.testing.assert_close(rounded[name].float(), exact[name], rtol=0.1, atol=0.1)
    torch.stack([each.float().square().sum() for each in rounded.values()]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in maps.parameters())


def a_file(state: dict[str, Tensor], config: str = "") -> WeightsFile:
    return WeightsFile(
        path=Path("epoch_36.pth"), state=state, config=config, classes=("cat", "dog", "bird"), version="2.28.0"
    )


def load(state: dict[str, Tensor], config: str = "") -> tuple[StageMaps, LoadResult]:
    """Build the detector with the weights of a file, and return the body with all four maps."""
    detector = build_detector(DETECTOR, 3).eval()
    weights = mmdetection_weights(a_file(state, config), DETECTOR, ("cat", "dog", "bird"))
    loaded = load_weights(detector, weights, role="teacher", source="epoch_36.pth")
    body = detector.get_submodule("backbone.body")
    assert isinstance(body, StageMaps)
    return body, loaded


class TestMmdetectionsWeights:
    def test_a_file_loads_completely_and_names_each_of_its_keys(self) -> None:
        layout = layouts.mask_rcnn(SIZES)
        _, loaded = load(filled(layout))
        assert loaded.is_complete, (loaded.event.missing, loaded.event.mismatched, loaded.event.unexpected)
        assert {key.key for key in loaded.keys} == set(layout)

    def test_the_maps_are_those_of_mmdetection(self) -> None:
        state = {key: value * 4 for key, value in filled(layouts.mask_rcnn(SIZES)).items() if "index" not in key}
        state |= {key: value for key, value in filled(layouts.mask_rcnn(SIZES)).items() if "index" in key}
        body, _ = load(state)
        # An odd number of cells at each merging, and windows that the maps do not fill.
        images = torch.randn(1, 3, 71, 58)
        with torch.no_grad():
            ours = list(body(images).values())
            theirs = mmdetection_maps(state, images, SMALL)
        assert [each.shape for each in ours] == [each.shape for each in theirs]
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    def test_weights_of_ours_come_back_from_mmdetections_names(self) -> None:
        torch.manual_seed(3)
        detector = build_detector(DETECTOR, 3)
        for parameter in detector.parameters():
            nn.init.normal_(parameter)
        state = detector.state_dict()
        exported = {their_name(key): their_order(key, value) for key, value in state.items() if ".body." in key}
        body, loaded = load({**filled(layouts.mask_rcnn(SIZES)), **exported})
        assert loaded.is_complete
        for key, value in body.state_dict().items():
            assert torch.equal(value, state[f"backbone.body.{key}"]), key

    def test_a_wrong_shape_is_refused_by_name(self) -> None:
        state = filled(layouts.mask_rcnn(SIZES))
        key = "backbone.stages.1.blocks.0.attn.w_msa.relative_position_bias_table"
        state[key] = state[key][:-1]
        _, loaded = load(state)
        (mismatch,) = loaded.event.mismatched
        assert key in mismatch and "backbone.body.3.0.attn.relative_position_bias_table" in mismatch
        assert str(tuple(state[key].shape)) in mismatch

    def test_a_norm_of_a_map_that_the_detector_lacks_is_left_out(self) -> None:
        settings = spec.RetinaNet(backbone=DETECTOR.backbone, fpn_width=8, convention="mmdetection")
        state = filled(layouts.retinanet(SIZES))
        state |= {f"backbone.norm0.{each}": torch.ones(12) for each in ("weight", "bias")}
        weights = mmdetection_weights(a_file(state), settings, ("cat", "dog", "bird"))
        loaded = load_weights(build_detector(settings, 3), weights, role="teacher", source="a")
        assert loaded.is_complete
        assert set(weights.left_out) == {"backbone.norm0.weight", "backbone.norm0.bias"}

    @pytest.mark.parametrize(
        ("config", "mean"),
        [
            ("mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False", (103.53, 116.28, 123.675)),
            ("mean=[102.0, 115.0, 122.0], std=[1.0, 1.0, 1.0], to_rgb=False", (102.0, 115.0, 122.0)),
        ],
        ids=["mean of ImageNet", "other mean"],
    )
    def test_a_network_of_bgr_images_computes_the_same_maps_from_ours(
        self, config: str, mean: tuple[float, float, float]
    ) -> None:
        state = filled(layouts.mask_rcnn(SIZES))
        rgb = torch.randint(0, 256, (1, 3, 64, 48)).float()
        ours = (rgb - torch.tensor(OURS.mean)[:, None, None]) / torch.tensor(OURS.std)[:, None, None]
        bgr = rgb.flip(1) - torch.tensor(mean)[:, None, None]
        with torch.no_grad():
            here, there = load(state, config)[0](ours), load(state)[0](bgr)
        for name in here:
            torch.testing.assert_close(here[name], there[name], rtol=1e-3, atol=1e-3)


def their_name(key: str) -> str:
    """Return mmdetection's name of a parameter of our body."""
    name = key.removeprefix("backbone.body.")
    if name.startswith("norm"):
        return f"backbone.{name}"
    layer, _, rest = name.partition(".")
    if layer == "0":
        kind, _, each = rest.partition(".")
        return f"backbone.patch_embed.{ {'0': 'projection', '2': 'norm'}[kind] }.{each}"
    stage, is_merging = divmod(int(layer) - 1, 2)
    if is_merging:
        return f"backbone.stages.{stage}.downsample.{rest}"
    rest = (
        rest.replace(".attn.", ".attn.w_msa.")
        .replace(".mlp.0.", ".ffn.layers.0.0.")
        .replace(".mlp.3.", ".ffn.layers.1.")
    )
    return f"backbone.stages.{stage}.blocks.{rest}"


def their_order(key: str, value: Tensor) -> Tensor:
    """Return a parameter (…) of our body as mmdetection stores it."""
    if key.endswith("relative_position_index"):
        side = round(len(value) ** 0.5)
        return value.view(side, side)
    if re.fullmatch(r"backbone\.body\.[246]\.(norm|reduction)\.\w+", key):
        # Here the cells are top left, bottom left, top right, bottom right; there the rows are read one by one.
        cells = value.chunk(4, dim=-1)
        return torch.stack([cells[0], cells[2], cells[1], cells[3]], dim=-1).flatten(-2)
    return value


def mmdetection_maps(state: dict[str, Tensor], images: Tensor, sizes: SwinSizes) -> list[Tensor]:
    """Compute the maps of mmdetection's Swin Transformer, window by window.

    Args:
        state: by mmdetection's names.
        images: (1, 3, H, W).
    Returns:
        For each stage (1, C, H / stride, W / stride).
    """
    weights = {key.removeprefix("backbone."): value for key, value in state.items()}
    cells = functional.conv2d(whole(images, 4), *layer(weights, "patch_embed.projection"), stride=4)
    cells = norm(weights, "patch_embed.norm", cells[0].permute(1, 2, 0))  # (H, W, C)
    maps = []
    for stage, blocks in enumerate(sizes.blocks):
        for block in range(blocks):
            name = f"stages.{stage}.blocks.{block}"
            shift = sizes.window // 2 if block % 2 else 0
            attended = norm(weights, f"{name}.norm1", cells)
            cells = cells + attention(
                weights, f"{name}.attn.w_msa", attended, sizes.heads[stage], side=sizes.window, shift=shift
            )
            hidden = functional.linear(norm(weights, f"{name}.norm2", cells), *layer(weights, f"{name}.ffn.layers.0.0"))
            cells = cells + functional.linear(functional.gelu(hidden), *layer(weights, f"{name}.ffn.layers.1"))
        maps.append(norm(weights, f"norm{stage}", cells).permute(2, 0, 1)[None])
        if stage < 3:
            cells = merged(weights, f"stages.{stage}.downsample", cells)
    return maps


def merged(weights: dict[str, Tensor], name: str, cells: Tensor) -> Tensor:
    """Merge each 2 x 2 cells as `nn.Unfold` orders them: (H, W, C) to (H / 2, W / 2, 2 C)."""
    padded = whole(cells.permute(2, 0, 1)[None], 2)
    height, width = padded.shape[2] // 2, padded.shape[3] // 2
    unfolded = functional.unfold(padded, 2, stride=2)[0].T.view(height, width, -1)
    return functional.linear(norm(weights, f"{name}.norm", unfolded), weights[f"{name}.reduction.weight"])


def attention(weights: dict[str, Tensor], name: str, cells: Tensor, heads: int, *, side: int, shift: int) -> Tensor:
    """Attend within windows that are shifted by `shift` cells: (H, W, C) to (H, W, C)."""
    height, width, channels = cells.shape
    padded = whole(cells.permute(2, 0, 1)[None], side)[0].permute(1, 2, 0)
    rolled = padded.roll((-shift, -shift), dims=(0, 1))
    result = torch.zeros_like(rolled)
    rows, columns = (regions(length, side, shift) for length in rolled.shape[:2])
    bias = weights[f"{name}.relative_position_bias_table"][weights[f"{name}.relative_position_index"]]  # (n, n, heads)
    for y in range(0, rolled.shape[0], side):
        for x in range(0, rolled.shape[1], side):
            window = rolled[y : y + side, x : x + side].reshape(side * side, channels)
            query, key, value = functional.linear(window, *layer(weights, f"{name}.qkv")).chunk(3, dim=1)
            region = (rows[y : y + side, None] * 3 + columns[None, x : x + side]).flatten()
            is_apart = region[:, None] != region[None]
            found = []
            for head, (q, k, v) in enumerate(
                zip(query.chunk(heads, 1), key.chunk(heads, 1), value.chunk(heads, 1), strict=True)
            ):
                logits = q @ k.T / (channels // heads) ** 0.5 + bias[..., head] - 100.0 * is_apart
                found.append(logits.softmax(1) @ v)
            out = functional.linear(torch.cat(found, 1), *layer(weights, f"{name}.proj"))
            result[y : y + side, x : x + side] = out.view(side, side, channels)
    return result.roll((shift, shift), dims=(0, 1))[:height, :width]


def regions(length: int, side: int, shift: int) -> Tensor:
    """Number the parts of a rolled side that were neighbours before: (length,)."""
    place = torch.arange(length)
    return (place >= length - side).int() + (place >= length - shift).int()


def whole(maps: Tensor, side: int) -> Tensor:
    """Pad (1, C, H, W) on the right and at the bottom to multiples of `side`."""
    return functional.pad(maps, (0, -maps.shape[3] % side, 0, -maps.shape[2] % side))


def norm(weights: dict[str, Tensor], name: str, cells: Tensor) -> Tensor:
    """Normalise (H, W, C) over the channels."""
    return functional.layer_norm(cells, cells.shape[-1:], *layer(weights, name))


def layer(weights: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def test_the_layout_is_that_of_the_published_network() -> None:
    """Swin-T has 28.3 million parameters with its classifier of 0.77 million, and mmdetection adds four norms."""
    layout = layouts.mask_rcnn(replace(Sizes(), swin=SwinSizes()))
    shapes = [shape for key, shape in layout.items() if key.startswith("backbone.") and "index" not in key]
    count = sum(torch.Size(shape).numel() for shape in shapes)
    norms = 2 * (96 + 192 + 384 + 768)
    classifier = 2 * 768 + 768 * 1000 + 1000
    assert count == 28_288_354 - classifier + norms
