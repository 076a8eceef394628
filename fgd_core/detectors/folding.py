"""Folds norms that do not train into the convolutions before them."""

from itertools import pairwise
from typing import cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import FrozenBatchNorm2d


@torch.no_grad()
def fold_norms(network: nn.Module) -> None:
    """Change a network in eval mode so that no batch norm follows a convolution as its next sibling.

    The results differ by rounding, and each norm saves a pass over its map. Folded convolutions have new weights, and
    the network no longer holds the old ones: its memory does not grow, and weights that other networks share with it
    stay as they are. The names of the weights change, so fold only what is not saved or compared by name later. In the
    modules of our detectors, siblings run in their order; a contract test compares the maps of each.
    """
    for module in [*network.modules()]:
        for (name, layer), (name_of_norm, norm) in pairwise([*module.named_children()]):
            if isinstance(layer, nn.Conv2d) and _is_frozen(norm):
                setattr(module, name, fuse_conv_bn_eval(layer, cast(nn.BatchNorm2d, norm)))
                setattr(module, name_of_norm, nn.Identity())


def _is_frozen(layer: nn.Module) -> bool:
    return isinstance(layer, FrozenBatchNorm2d) or (isinstance(layer, nn.BatchNorm2d) and not layer.training)
