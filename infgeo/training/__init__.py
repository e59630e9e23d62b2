"""What is trained: networks, losses, tasks and the loop. Torch only; knows no theory."""

from infgeo.training.contrastive import BarlowTwins, ContrastiveLoss, ContrastiveNetwork, SimCLR, projector
from infgeo.training.readout import linear_readout
from infgeo.training.resnet import ResNet, resnet34, small_resnet
from infgeo.training.views import COLOUR_32, GREY_8, Augmentation, TwoViews

__all__ = [
    "COLOUR_32",
    "GREY_8",
    "Augmentation",
    "BarlowTwins",
    "ContrastiveLoss",
    "ContrastiveNetwork",
    "ResNet",
    "SimCLR",
    "TwoViews",
    "linear_readout",
    "projector",
    "resnet34",
    "small_resnet",
]
