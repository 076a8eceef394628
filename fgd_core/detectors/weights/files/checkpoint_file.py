"""Reads a checkpoint of any tool: the chosen weights, what the file says about them, and what is left out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from fgd_core.detectors.weights.files.choosing import Choice, Clues, choose
from fgd_core.detectors.weights.files.formats import read_content
from fgd_core.detectors.weights.files.sets import DISTILLATION_PART, Family, WeightSet, find_sets
from fgd_core.errors import WeightsError

_CLASS_KEYS = ("CLASSES", "classes", "class_names", "names")
"""The keys of a list of classes, in the order of preference."""

_Entries: TypeAlias = Mapping[Any, Any]
"""A dict in a file of any tool: its keys and values may have any type."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """Holds the chosen set of weights of a file, and what the file says about it."""

    path: Path
    state: dict[str, Tensor]
    """Tensors by torchvision's or mmdetection's names, without prefixes of wrappers."""
    family: Family = "mmdetection"
    classes: tuple[str, ...] | None
    """In the order of the outputs; None if the file does not name them."""
    config: str
    """The text of the mmdetection settings of the training; empty if the file lacks it."""
    version: str | None
    """The version of mmdetection."""
    original: Mapping[str, str] = field(default_factory=dict)
    """Name in `state` -> name in the file, if it differs."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Keys of tensors that do not belong to the detector -> why they are not needed."""
    left_out_tensors: Mapping[str, Tensor] = field(default_factory=dict)
    """The tensors of `left_out`."""
    taken: str = ""
    """Describes this set of weights for a person; empty if the file holds only weights."""
    left: tuple[str, ...] = ()
    """Describes the other contents of the file and why they are not used, for a person."""
    is_from_training_script: bool = False
    """Whether torchvision's training script wrote the file."""

    @property
    def is_backbone(self) -> bool:
        """Whether the file holds no part of a detector except the backbone."""
        return self.family == "backbone" or not any(
            re.match(r"backbone\.fpn\.|(neck|bbox_head|rpn_head|roi_head|mask_head|rpn|roi_heads|head(?!\.fc))\.", name)
            for name in self.state
        )


def read_weights(path: Path, wanted: str | None = None) -> WeightsFile:
    """Read one set of weights from a file.

    Args:
        wanted: the label of the set; None chooses the set that the file's author would evaluate.
    Raises:
        WeightsError: the file does not exist, is damaged, contains code or no weights, or has several sets and it is
            unclear which one to use.
    """
    content = read_content(path)
    _check_author(content, path)
    sets = find_sets(content)
    if not sets:
        raise WeightsError(
            f"the file holds no weights of a detector or a backbone: {_describe_content(content)}", path=str(path)
        )
    entries = content if isinstance(content, dict) else {}
    meta = _meta(entries)
    config = _text(meta.get("config")) or _text(meta.get("cfg"))
    choice = choose(sets, _find_clues(entries, sets, meta, config), wanted, str(path))
    chosen = choice.taken
    return WeightsFile(
        path=path,
        state=dict(chosen.tensors),
        family=chosen.family,
        classes=_classes([meta, *_dicts(meta, "dataset_meta"), *_dicts(entries, "hyper_parameters"), entries]),
        config=config,
        version=_text(meta.get("mmdet_version")) or None,
        original={name: key for name, key in chosen.names.items() if name != key},
        left_out=chosen.left_out,
        left_out_tensors={key: chosen.dict_tensors[key] for key in chosen.left_out},
        taken=_describe(choice),
        left=tuple(_describe_rest(choice, entries)),
        is_from_training_script={"lr_scheduler", "args"} <= entries.keys(),
    )


def _find_clues(entries: _Entries, sets: Sequence[WeightSet], meta: _Entries, config: str) -> Clues:
    predicts_on = re.search(r"predict_on\s*=\s*['\"](student|teacher)['\"]", config)
    averaged = entries.get("ema_state_dict")
    is_of_mmengine = (
        "message_hub" in entries
        or "mmengine_version" in meta
        or _text(meta.get("mmdet_version")).startswith("3")
        or (isinstance(averaged, dict) and "steps" in averaged)  # PyTorch's own counter is `n_averaged`
    )
    return Clues(
        is_of_mmengine=is_of_mmengine,
        is_distilled=any(why == DISTILLATION_PART for each in sets for why in each.left_out.values()),
        predicts_on=predicts_on[1] if predicts_on is not None else None,
    )


def _describe(choice: Choice) -> str:
    label = f"`{choice.taken.label}`" if choice.taken.label else ""
    if not choice.why:
        return label
    return f"{label or 'the keys without a prefix'} ({choice.why})"


def _describe_rest(choice: Choice, entries: _Entries) -> Iterator[str]:
    for each, why in choice.left:
        yield f"{each.num_keys} keys of `{each.label or 'no prefix'}`: {why}"
    labels = [each.label.split(".")[0] for each in (choice.taken, *(each for each, _ in choice.left))]
    rest = [str(key) for key, value in entries.items() if not isinstance(value, Tensor) and str(key) not in labels]
    if rest:
        yield f"{', '.join(rest[:6])}{', …' if len(rest) > 6 else ''}: no weights"


def _meta(entries: _Entries) -> _Entries:
    meta = entries.get("meta")
    return meta if isinstance(meta, dict) else {}


def _dicts(within: _Entries, key: str) -> list[_Entries]:
    found = within.get(key)
    return [found] if isinstance(found, dict) else []


def _classes(places: Sequence[_Entries]) -> tuple[str, ...] | None:
    for entries in places:
        for key in _CLASS_KEYS:
            names = entries.get(key)
            if isinstance(names, str) and key in ("CLASSES", "classes"):
                names = (names,)
            if isinstance(names, dict) and names.keys() == set(range(len(names))):
                names = [names[index] for index in range(len(names))]  # Ultralytics maps outputs to names
            if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
                return tuple(names)
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _check_author(content: object, path: Path) -> None:
    """Reject files of detectron2.

    Raises:
        WeightsError: detectron2 wrote the file.
    """
    for key in _keys(content):
        if key.startswith(("backbone.bottom_up.", "proposal_generator.")):
            raise WeightsError(
                "detectron2 wrote the file; fgd does not read its names and boxes, so use the same model of "
                "torchvision or mmdetection, or convert the file to mmdetection's names",
                path=str(path),
                key=key,
            )


def _keys(content: object) -> list[str]:
    """Return the keys of the largest dict at the top level, which normally holds the weights."""
    if not isinstance(content, dict):
        return []
    inner = [value for value in content.values() if isinstance(value, dict) and value]
    return [str(key) for key in max(inner, key=len, default=content)]


def _describe_content(content: object) -> str:
    if not isinstance(content, dict):
        return f"it is a {type(content).__name__} and not a dict of tensors"
    keys = _keys(content)
    if not keys:
        return "it is empty"
    return (
        f"none of its keys ({', '.join(keys[:5])}{', …' if len(keys) > 5 else ''}) is a tensor with a name that "
        "torchvision, mmdetection or fgd uses for a part of a detector"
    )
