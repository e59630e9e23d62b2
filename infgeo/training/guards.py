"""What a training run borrows and gives back: the random state and the modes of the modules."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from infgeo.finite.evaluation import changed


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of torch's global generators, on the CPU and on `device`."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Set the state of torch's global generators; that of a device only where `state` has it."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch's global generators (of dropout) start from `seed` inside the block; put them back after it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.default_generators[index].manual_seed(seed)
        yield


@contextmanager
def training_mode(model: nn.Module, training: bool = True) -> Iterator[None]:
    """Put every module in training (or eval) mode inside the block, and each in its own mode after it."""
    with changed([(module, "training", module.training) for module in model.modules()]):
        model.train(training)  # which a module may have redefined
        yield


@contextmanager
def deterministic_kernels(device: torch.device) -> Iterator[None]:
    """Have cuDNN take algorithms that give the same bits each time; nothing on other devices."""
    cudnn = torch.backends.cudnn
    with changed([(cudnn, "benchmark", False), (cudnn, "deterministic", True)] if device.type == "cuda" else []):
        yield
