"""A checkpoint of anybody's: the weights in it that are taken, what it says about them, and what is left."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fgd_core.detectors.weights.files.choosing import Choice, Clues, choose
from fgd_core.detectors.weights.files.formats import read_content
from fgd_core.detectors.weights.files.sets import DISTILS, Family, WeightSet, find_sets
from fgd_core.errors import WeightsError

_CLASSES = ("CLASSES", "classes", "class_names", "names")
"""What a list of classes is called, in the order in which it is looked for."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    path: Path
    state: dict[str, Tensor]
    """By the detector's own names, torchvision's or mmdetection's: without what wrappers put before them."""
    family: Family = "mmdetection"
    classes: tuple[str, ...] | None
    """In the order of the outputs; None where the file does not say them."""
    config: str
    """The text of mmdetection's settings it was trained with; empty where the file does not have it."""
    version: str | None
    """Of mmdetection."""
    original: Mapping[str, str] = field(default_factory=dict)
    """Name in `state` -> name in the file, where it had another."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Keys of what lies beside the detector -> why it is not needed."""
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    """The tensors of `others`."""
    taken: str = ""
    """Which set of weights this is, for a person; empty where the file is nothing but weights."""
    left: tuple[str, ...] = ()
    """What the file holds outside this set and why it is not taken, for a person."""
    is_from_training_script: bool = False
    """Whether torchvision's training script wrote it."""

    @property
    def is_backbone(self) -> bool:
        """Whether it holds no part of a detector besides the backbone."""
        return self.family == "backbone" or not any(
            re.match(r"backbone\.fpn\.|(neck|bbox_head|rpn_head|roi_head|mask_head|rpn|roi_heads|head(?!\.fc))\.", name)
            for name in self.state
        )


def read_weights(path: Path, wanted: str | None = None) -> WeightsFile:
    """
    Args:
        wanted: which set of weights, by its label; None: the one that the file's author would evaluate.
    Raises:
        WeightsError: no such file, a damaged one, one that holds code, one without weights, or one with several sets
            of which it is not clear which is meant.
    """
    content = read_content(path)
    _check_author(content, path)
    sets = find_sets(content)
    if not sets:
        raise WeightsError(f"the file holds no weights of a detector or a backbone: {_shown(content)}", path=str(path))
    entries = content if isinstance(content, dict) else {}
    meta = _meta(entries)
    config = _text(meta.get("config")) or _text(meta.get("cfg"))
    choice = choose(sets, _clues(entries, sets, meta, config), wanted, str(path))
    taken = choice.taken
    return WeightsFile(
        path=path,
        state=dict(taken.tensors),
        family=taken.family,
        classes=_classes([meta, *_dicts(meta, "dataset_meta"), *_dicts(entries, "hyper_parameters"), entries]),
        config=config,
        version=_text(meta.get("mmdet_version")) or None,
        original={name: key for name, key in taken.names.items() if name != key},
        others=taken.beside,
        beside={key: taken.lies_in[key] for key in taken.beside},
        taken=_described(choice),
        left=tuple(_left(choice, entries)),
        is_from_training_script={"lr_scheduler", "args"} <= entries.keys(),
    )


def _clues(entries: Mapping[Any, Any], sets: Sequence[WeightSet], meta: Mapping[str, Any], config: str) -> Clues:
    predicts_on = re.search(r"predict_on\s*=\s*['\"](student|teacher)['\"]", config)
    averaged = entries.get("ema_state_dict")
    is_of_mmengine = (
        "message_hub" in entries
        or "mmengine_version" in meta
        or _text(meta.get("mmdet_version")).startswith("3")
        or (isinstance(averaged, dict) and "steps" in averaged)  # PyTorch's own count is `n_averaged`
    )
    return Clues(
        is_of_mmengine=is_of_mmengine,
        is_distilled=any(why == DISTILS for each in sets for why in each.beside.values()),
        predicts_on=predicts_on[1] if predicts_on is not None else None,
    )


def _described(choice: Choice) -> str:
    label = f"`{choice.taken.label}`" if choice.taken.label else ""
    if not choice.why:
        return label
    return f"{label or 'the keys without a prefix'} ({choice.why})"


def _left(choice: Choice, entries: Mapping[Any, Any]) -> Iterator[str]:
    for each, why in choice.left:
        yield f"{each.num_keys} keys of `{each.label or 'no prefix'}`: {why}"
    labels = [each.label.split(".")[0] for each in (choice.taken, *(each for each, _ in choice.left))]
    rest = [str(key) for key, value in entries.items() if not isinstance(value, Tensor) and str(key) not in labels]
    if rest:
        yield f"{', '.join(rest[:6])}{', …' if len(rest) > 6 else ''}: no weights"


def _meta(entries: Mapping[Any, Any]) -> Mapping[str, Any]:
    said = entries.get("meta")
    return said if isinstance(said, dict) else {}


def _dicts(within: Mapping[Any, Any], key: str) -> list[Mapping[str, Any]]:
    found = within.get(key)
    return [found] if isinstance(found, dict) else []


def _classes(places: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    for said in places:
        for key in _CLASSES:
            names = said.get(key)
            if isinstance(names, str) and key in ("CLASSES", "classes"):
                names = (names,)
            if isinstance(names, dict) and names.keys() == set(range(len(names))):
                names = [names[place] for place in range(len(names))]  # by output, as Ultralytics has them
            if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
                return tuple(names)
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _check_author(content: object, path: Path) -> None:
    """
    Raises:
        WeightsError: detectron2 wrote the file.
    """
    for key in _keys(content):
        if key.startswith(("backbone.bottom_up.", "proposal_generator.")):
            raise WeightsError(
                "detectron2 wrote the file; its names and its boxes are not read here, so take the same model of "
                "torchvision or mmdetection, or convert it to mmdetection's names",
                path=str(path),
                key=key,
            )


def _keys(content: object) -> list[str]:
    """The names in the largest of the dicts at the top, for there the weights are."""
    if not isinstance(content, dict):
        return []
    inner = [value for value in content.values() if isinstance(value, dict) and value]
    return [str(key) for key in max(inner, key=len, default=content)]


def _shown(content: object) -> str:
    if not isinstance(content, dict):
        return f"it is of type {type(content).__name__} and not a dict of tensors"
    keys = _keys(content)
    if not keys:
        return "it is empty"
    return (
        f"none of its keys ({', '.join(keys[:5])}{', …' if len(keys) > 5 else ''}) is a tensor under a name that "
        "torchvision, mmdetection or fgd gives to a part of a detector"
    )
