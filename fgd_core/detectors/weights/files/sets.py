"""The sets of weights in a file: where they lie, and which keys belong to each.

A set is known by its names: those of a detector (`backbone.…`) or of a backbone (`conv1.…` beside `layer1.…`), behind
whatever a wrapper put before them. So no list of wrappers has to be complete.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

Family: TypeAlias = Literal["torchvision", "mmdetection", "backbone"]
"""Whose names the keys have; ours are torchvision's."""

# Parts of a name that say nothing: DDP, torch.compile, FSDP, Lightning Fabric, activation checkpointing.
_WRAPPERS = frozenset({"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_OF_A_DETECTOR = re.compile(
    r"(?P<prefix>(?:[^.]+\.)*?)(?:backbone|neck|bbox_head|rpn_head|roi_head|mask_head|head|rpn|roi_heads)\."
)
_OF_A_BACKBONE = re.compile(r"(?P<prefix>(?:[^.]+\.)*?)(?:conv1|bn1|gn1|layer[1-4]|fc|features|classifier)\.")
_TORCHVISIONS = re.compile(r"backbone\.(?:body|fpn)\.|head\.\w+_(?:head|cls|out|conv|convs)\b|rpn\.|roi_heads\.")
_MMDETECTIONS = re.compile(r"backbone\.(?!body\.|fpn\.)|neck\.|bbox_head\.|rpn_head\.|roi_head\.|mask_head\.")

_EMA = "ema_"
_EMA_HOOKS = "what mmcv's EMAHook puts aside: its averaged weights are those under the plain names"
DISTILS = "trained beside the detector, to distil it"
# Names of what is saved with a detector and is no parameter of it -> why.
_NO_PARAMETERS = (
    (r"data_preprocessor\.", "how images are normalised, which is done here before the detector"),
    (r"(n_averaged|steps|num_updates|decay)$", "a counter of the averaging"),
    (r"(distill|connectors?\.)", DISTILS),
)
_DEEPEST = 6
"""Dicts within dicts; further down nobody keeps weights."""
_OTHERS = ("optim", "scheduler", "scaler")
"""Beginnings of the names under which a trainer keeps its own state, with tensors named as the weights are."""


@dataclass(frozen=True, eq=False)
class WeightSet:
    label: str
    """Where it lies, for a person: `model_ema`, `state_dict.student`; empty for a file that is nothing but weights."""
    names: Mapping[str, str]
    """Its own name of each tensor, without wrappers and prefix -> the name in the file."""
    tensors: Mapping[str, Tensor]
    """By its own names."""
    beside: Mapping[str, str]
    """Names in the file of what lies beside it in the same dict and is none of its parameters -> why."""
    lies_in: Mapping[str, Tensor]
    """All tensors of that dict, by their names in the file."""

    @property
    def num_keys(self) -> int:
        """Without the counters of batch norms, which count for no match either."""
        return sum(not name.endswith("num_batches_tracked") for name in self.tensors)

    @property
    def family(self) -> Family:
        if any(_TORCHVISIONS.match(name) for name in self.tensors):
            return "torchvision"
        return "mmdetection" if any(_MMDETECTIONS.match(name) for name in self.tensors) else "backbone"


def find_sets(content: object) -> list[WeightSet]:
    """All sets of weights in what a file holds, in its order."""
    return list(_walk(content, (), set()))


def _walk(content: object, path: tuple[str, ...], seen: set[int]) -> Iterator[WeightSet]:
    # A dict may hold itself.
    if not isinstance(content, dict) or len(path) > _DEEPEST or id(content) in seen:
        return
    seen.add(id(content))
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield from _sets_of(tensors, path)
    for key, value in content.items():
        if isinstance(key, str) and not key.startswith(_OTHERS):
            yield from _walk(value, (*path, key), seen)


def _sets_of(tensors: Mapping[str, Tensor], path: tuple[str, ...]) -> Iterator[WeightSet]:
    """The sets in one dict: a detector for each prefix before `backbone.`; without any, a backbone for each."""
    keys: dict[str, str] = {}
    for key in tensors:
        name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
        # Two keys that differ in their wrappers alone are two tensors: neither may hide the other.
        keys[key if name in keys else name] = key
    averaged = _put_aside(keys)
    prefixes = {match["prefix"] for name in keys if (match := _OF_A_DETECTOR.match(name))}
    prefixes = {prefix for prefix in prefixes if any(name.startswith(f"{prefix}backbone.") for name in keys)}
    if not prefixes:
        prefixes = {match["prefix"] for name in keys if (match := _OF_A_BACKBONE.match(name))}
        prefixes = {prefix for prefix in prefixes if _is_backbone(keys, prefix)}
    owners = {name: _owner(name, prefixes) for name in keys if name not in averaged}
    for prefix in sorted(prefixes):
        of_set = {name.removeprefix(prefix): key for name, key in keys.items() if owners.get(name) == prefix}
        known = {name: why for name in of_set if (why := _why_beside(name))}
        beside = {of_set[name]: why for name, why in known.items()}
        outside = f"lies outside `{prefix}` and is no part of the detector"
        beside |= {keys[name]: _why_beside(name) or outside for name, owner in owners.items() if owner is None}
        beside |= {
            keys[name]: _EMA_HOOKS for name in averaged if _owner(name.removeprefix(_EMA), prefixes) in (prefix, None)
        }
        names = {name: key for name, key in of_set.items() if name not in known}
        label = ".".join(filter(None, [*path, prefix.rstrip(".")]))
        yield WeightSet(label, names, {name: tensors[key] for name, key in names.items()}, beside, tensors)


def _owner(name: str, prefixes: Iterable[str]) -> str | None:
    """The longest of the prefixes that a name begins with."""
    return max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=None)


def _is_backbone(names: Iterable[str], prefix: str) -> bool:
    starts = {
        start for start in ("conv1.", "layer1.", "features.") for name in names if name.startswith(prefix + start)
    }
    return {"conv1.", "layer1."} <= starts or "features." in starts


def _put_aside(keys: dict[str, str]) -> frozenset[str]:
    """The names under which mmcv's EMAHook keeps a second value of a parameter that has one under its own name.

    Where there is no other, the hook's are the only weights, and lose its mark.
    """
    flat = {name.replace(".", "_") for name in keys}
    # Its names have no dots; `ema_model.backbone.…` is another model, and not the hook's.
    hooks = {name: name.removeprefix(_EMA) for name in keys if name.startswith(_EMA)}
    hooks = {name: own for name, own in hooks.items() if "." not in own or _begins_with_a_part(own)}
    aside = frozenset(name for name, own in hooks.items() if own.replace(".", "_") in flat)
    if not aside:
        for name, own in hooks.items():
            keys[own] = keys.pop(name)
    return aside


def _begins_with_a_part(name: str) -> bool:
    match = _OF_A_DETECTOR.match(name)
    return match is not None and not match["prefix"]


def _why_beside(name: str) -> str:
    """Why a tensor is no parameter of the detector although it lies among them; empty where that is not known."""
    return next((why for pattern, why in _NO_PARAMETERS if re.match(pattern, name)), "")
