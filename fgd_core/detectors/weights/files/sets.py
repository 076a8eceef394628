"""Finds the sets of weights in a file, and the keys that belong to each set.

A set is recognised by its names, which are those of a detector (`backbone.…`) or of a backbone (`conv1.…` and
`layer1.…`) after any prefix of a wrapper. So no list of wrappers has to be complete.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

Family: TypeAlias = Literal["torchvision", "mmdetection", "backbone"]
"""The tool whose names the keys have; fgd's names are torchvision's."""

# Parts of a name without meaning, from DDP, torch.compile, FSDP, Lightning Fabric, activation checkpointing.
_WRAPPERS = frozenset({"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_DETECTOR_KEY = re.compile(
    r"(?P<prefix>(?:[^.]+\.)*?)(?:backbone|neck|bbox_head|rpn_head|roi_head|mask_head|head|rpn|roi_heads)\."
)
_BACKBONE_KEY = re.compile(r"(?P<prefix>(?:[^.]+\.)*?)(?:conv1|bn1|gn1|layer[1-4]|fc|features|classifier)\.")
_TORCHVISION_KEY = re.compile(r"backbone\.(?:body|fpn)\.|head\.\w+_(?:head|cls|out|conv|convs)\b|rpn\.|roi_heads\.")
_MMDETECTION_KEY = re.compile(r"backbone\.(?!body\.|fpn\.)|neck\.|bbox_head\.|rpn_head\.|roi_head\.|mask_head\.")

_EMA = "ema_"
_EMA_HOOK = "mmcv's EMAHook stores the weights before averaging there; the averaged weights have the plain names"
DISTILLATION_PART = "belongs to the distillation and not to the detector"
# Names of tensors that are saved with a detector but do not belong to it -> why.
_OTHER_TENSORS = (
    (r"data_preprocessor\.", "normalises images, which fgd does before the detector"),
    (r"(n_averaged|steps|num_updates|decay)$", "a counter of the weight averaging"),
    (r"(distill|connectors?\.)", DISTILLATION_PART),
)
_MAX_DEPTH = 6
"""Of dicts within dicts; weights are never deeper."""
_TRAINER_STATE = ("optim", "scheduler", "scaler")
"""Prefixes of the keys of a trainer's own state, whose tensors may have the names of weights."""


@dataclass(frozen=True, eq=False)
class WeightSet:
    """Holds the tensors of one detector or backbone in a file."""

    label: str
    """Path in the file, such as `model_ema` or `state_dict.student`; empty if the file holds only weights."""
    names: Mapping[str, str]
    """Name of each tensor without wrappers and prefix -> the name in the file."""
    tensors: Mapping[str, Tensor]
    """Tensors by the names without wrappers and prefix."""
    left_out: Mapping[str, str]
    """Names in the file of the other tensors in the same dict -> why they do not belong to the set."""
    dict_tensors: Mapping[str, Tensor]
    """All tensors of the same dict, by their names in the file."""

    @property
    def num_keys(self) -> int:
        """Counts the tensors without the counters of batch norms, which are not compared."""
        return sum(not name.endswith("num_batches_tracked") for name in self.tensors)

    @property
    def family(self) -> Family:
        """Finds the tool by the names."""
        if any(_TORCHVISION_KEY.match(name) for name in self.tensors):
            return "torchvision"
        return "mmdetection" if any(_MMDETECTION_KEY.match(name) for name in self.tensors) else "backbone"


def find_sets(content: object) -> list[WeightSet]:
    """Find all sets of weights in the content of a file, in the file's order."""
    return list(_walk(content, (), set()))


def _walk(content: object, path: tuple[str, ...], seen: set[int]) -> Iterator[WeightSet]:
    # A dict may contain itself.
    if not isinstance(content, dict) or len(path) > _MAX_DEPTH or id(content) in seen:
        return
    seen.add(id(content))
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield from _sets_of(tensors, path)
    for key, value in content.items():
        if isinstance(key, str) and not key.startswith(_TRAINER_STATE):
            yield from _walk(value, (*path, key), seen)


def _sets_of(tensors: Mapping[str, Tensor], path: tuple[str, ...]) -> Iterator[WeightSet]:
    """Find the sets in one dict: a detector for each prefix of `backbone.`, or else a backbone for each prefix."""
    keys: dict[str, str] = {}
    for key in tensors:
        name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
        # Two keys that differ only in their wrappers are two tensors: neither may hide the other.
        keys[key if name in keys else name] = key
    ema_names = _ema_hook_names(keys)
    prefixes = {match["prefix"] for name in keys if (match := _DETECTOR_KEY.match(name))}
    prefixes = {prefix for prefix in prefixes if any(name.startswith(f"{prefix}backbone.") for name in keys)}
    if not prefixes:
        prefixes = {match["prefix"] for name in keys if (match := _BACKBONE_KEY.match(name))}
        prefixes = {prefix for prefix in prefixes if _is_backbone(keys, prefix)}
    owners = {name: _owner(name, prefixes) for name in keys if name not in ema_names}
    for prefix in sorted(prefixes):
        of_set = {name.removeprefix(prefix): key for name, key in keys.items() if owners.get(name) == prefix}
        other = {name: why for name in of_set if (why := _why_left_out(name))}
        left_out = {of_set[name]: why for name, why in other.items()}
        outside = f"is outside `{prefix}` and does not belong to the detector"
        left_out |= {keys[name]: _why_left_out(name) or outside for name, owner in owners.items() if owner is None}
        left_out |= {
            keys[name]: _EMA_HOOK for name in ema_names if _owner(name.removeprefix(_EMA), prefixes) in (prefix, None)
        }
        names = {name: key for name, key in of_set.items() if name not in other}
        label = ".".join(filter(None, [*path, prefix.rstrip(".")]))
        yield WeightSet(label, names, {name: tensors[key] for name, key in names.items()}, left_out, tensors)


def _owner(name: str, prefixes: Iterable[str]) -> str | None:
    """Return the longest prefix of a name."""
    return max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=None)


def _is_backbone(names: Iterable[str], prefix: str) -> bool:
    starts = {
        start for start in ("conv1.", "layer1.", "features.") for name in names if name.startswith(prefix + start)
    }
    return {"conv1.", "layer1."} <= starts or "features." in starts


def _ema_hook_names(keys: dict[str, str]) -> frozenset[str]:
    """Find the names of mmcv's EMAHook that duplicate a parameter with a plain name.

    If no plain names exist, the hook's names are the only weights; then this removes the hook's prefix from `keys`.
    """
    flat = {name.replace(".", "_") for name in keys}
    # The hook's names have no dots; `ema_model.backbone.…` is another model.
    hooks = {name: name.removeprefix(_EMA) for name in keys if name.startswith(_EMA)}
    hooks = {name: own for name, own in hooks.items() if "." not in own or _starts_with_part(own)}
    duplicates = frozenset(name for name, own in hooks.items() if own.replace(".", "_") in flat)
    if not duplicates:
        for name, own in hooks.items():
            keys[own] = keys.pop(name)
    return duplicates


def _starts_with_part(name: str) -> bool:
    match = _DETECTOR_KEY.match(name)
    return match is not None and not match["prefix"]


def _why_left_out(name: str) -> str:
    """Explain why a tensor among the parameters does not belong to the detector; empty if it may belong."""
    return next((why for pattern, why in _OTHER_TENSORS if re.match(pattern, name)), "")
