"""A residual network that also gives the features of each stage, pooled to one size, as figure 4 has them."""

import torch
from torch import nn

from infgeo.training import ResNet


class PooledStages(nn.Module):
    """The network itself, with modules "pooled1", "pooled2", ...: stage features averaged over patches and flattened.

    Each has as many features as the last stage has channels. Of 512 for ResNet-34 the stages have 2 × 4, 2 × 2, 1 × 2
    and 1 × 1 positions, the averages over 16 × 8, 8 × 8, 8 × 4 and 4 × 4 pixels of the authors' scripts.
    """

    def __init__(self, network: ResNet) -> None:
        """Hold the network, whose weights are trained."""
        super().__init__()
        self.network = network
        stages = [part for name, part in network.named_children() if name.startswith("stage")]
        for index, stage in enumerate(stages, 1):
            positions = network.width // stage[-1].conv2.out_channels  # type: ignore[index]
            rows = 1 << ((positions.bit_length() - 1) // 2)
            pool = nn.Sequential(nn.AdaptiveAvgPool2d((rows, positions // rows)), nn.Flatten())
            self.add_module(f"pooled{index}", pool)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, classes)."""
        for name, part in self.network.named_children():
            x = part(x)
            if name.startswith("stage"):
                self.get_submodule(name.replace("stage", "pooled"))(x)
        return x
