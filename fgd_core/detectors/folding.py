"""Folds norms that do not train into the convolutions before them."""

import copy
from itertools import chain, pairwise
from typing import TypeVar, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import FrozenBatchNorm2d

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
def with_folded_norms(network: M) -> M:
    """Return a copy of a network in eval mode in which no batch norm follows a convolution as its next sibling.

    The results differ by rounding, and each norm saves a pass over its map. The copy shares all other weights with the
    network. In the modules of our detectors, siblings run in their order; a contract test compares the maps of each.
    """
    # Tensors in the memo count as copied.
    copied = copy.deepcopy(network, {id(each): each for each in chain(network.parameters(), network.buffers())})
    for module in [*copied.modules()]:
        for (name, layer), (name_of_norm, norm) in pairwise([*module.named_children()]):
            if isinstance(layer, nn.Conv2d) and _is_frozen(norm):
                setattr(module, name, fuse_conv_bn_eval(layer, cast(nn.BatchNorm2d, norm)))
                setattr(module, name_of_norm, nn.Identity())
    return copied


def _is_frozen(layer: nn.Module) -> bool:
    return isinstance(layer, FrozenBatchNorm2d) or (isinstance(layer, nn.BatchNorm2d) and not layer.training)
