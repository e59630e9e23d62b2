"""Networks that are trained: tasks, multilayer perceptrons, and a loop that gives the same bits for the same seed."""

from infgeo.training.activation_modules import activation_module
from infgeo.training.contrastive import BarlowTwins, ContrastiveLoss, ContrastiveNetwork, SimCLR, projector
from infgeo.training.image_tasks import cifar10, mnist
from infgeo.training.loop import Callback, TrainingResult, train
from infgeo.training.perceptrons import mlp
from infgeo.training.readout import linear_readout
from infgeo.training.recipe import RECIPES, Recipe
from infgeo.training.resnet import ResNet, resnet34, small_resnet
from infgeo.training.tasks import Task, digits, noisy_xor, patches, sinusoid, xor
from infgeo.training.views import CIFAR_CROPS, COLOUR_32, GREY_8, Augmentation, RandomView, TwoViews

__all__ = [
    "CIFAR_CROPS",
    "COLOUR_32",
    "GREY_8",
    "RECIPES",
    "Augmentation",
    "BarlowTwins",
    "Callback",
    "ContrastiveLoss",
    "ContrastiveNetwork",
    "RandomView",
    "Recipe",
    "ResNet",
    "SimCLR",
    "Task",
    "TrainingResult",
    "TwoViews",
    "activation_module",
    "cifar10",
    "digits",
    "linear_readout",
    "mlp",
    "mnist",
    "noisy_xor",
    "patches",
    "projector",
    "resnet34",
    "sinusoid",
    "small_resnet",
    "train",
    "xor",
]
