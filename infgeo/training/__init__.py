"""Networks that are trained: tasks, multilayer perceptrons, and a loop that gives the same bits for the same seed."""

from infgeo.training.activations import activation_module
from infgeo.training.images import cifar10, mnist
from infgeo.training.loop import Callback, TrainingResult, train
from infgeo.training.networks import mlp
from infgeo.training.recipe import RECIPES, Recipe
from infgeo.training.tasks import Task, digits, noisy_xor, sinusoid, xor

__all__ = [
    "RECIPES",
    "Callback",
    "Recipe",
    "Task",
    "TrainingResult",
    "activation_module",
    "cifar10",
    "digits",
    "mlp",
    "mnist",
    "noisy_xor",
    "sinusoid",
    "train",
    "xor",
]
