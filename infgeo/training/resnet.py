"""Residual networks for small images, with one activation everywhere and every block reachable by name."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from infgeo.arguments import positive_integer, positive_integers, seed_integer
from infgeo.errors import InvalidInput
from infgeo.finite.inputs import checked_device, float_dtype
from infgeo.training.activation_modules import activation_factory
from infgeo.training.guards import own_random_state


def _convolution(channels_in: int, channels_out: int, kernel: int, stride: int) -> nn.Conv2d:
    # no bias: the norm that follows has one; float32 so that the draw does not depend on torch's default dtype
    padding = kernel // 2
    return nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False, dtype=torch.float32)


class ResidualBlock(nn.Module):
    """The map φ(F(x) + S(x)), F = norm ∘ conv ∘ φ ∘ norm ∘ conv, 3 × 3 kernels; S is x, or a 1 × 1 conv and norm."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        """Make the layers; S is the identity where shapes allow it."""
        super().__init__()
        self.conv1 = _convolution(channels_in, channels_out, 3, stride)
        self.norm1 = nn.BatchNorm2d(channels_out, dtype=torch.float32)
        self.activation1 = activation()
        self.conv2 = _convolution(channels_out, channels_out, 3, 1)
        self.norm2 = nn.BatchNorm2d(channels_out, dtype=torch.float32)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            norm = nn.BatchNorm2d(channels_out, dtype=torch.float32)
            self.shortcut = nn.Sequential(_convolution(channels_in, channels_out, 1, stride), norm)
        self.activation2 = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output (B, C', H', W') of x (B, C, H, W)."""
        inside = self.activation1(self.norm1(self.conv1(x)))
        return self.activation2(self.norm2(self.conv2(inside)) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network: stem, stages of residual blocks, average over positions, and a linear readout.

    Modules by name, for `pullback(model, x, layer=...)` and trackers: "stem", "stage1", "stage2", ... and their blocks
    "stage1.0", "stage1.1", ..., "pool" (the features, `width` of them), and "readout" (the logits) if there is one.
    All but "stem" and "readout" have the activation at their end, "pool" its average over positions.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        activation: Callable[[], nn.Module],
        in_channels: int,
        classes: int | None,
        stem: Callable[[], nn.Module] | None = None,
    ) -> None:
        """Make `blocks[i]` blocks of `widths[i]` channels in stage i; each stage but the first halves the image.

        `stem` makes the activation of the stem, where it is another one.
        """
        super().__init__()
        norm = nn.BatchNorm2d(widths[0], dtype=torch.float32)
        first = OrderedDict(conv=_convolution(in_channels, widths[0], 3, 1), norm=norm)
        self.stem = nn.Sequential(OrderedDict[str, nn.Module](first, activation=(stem or activation)()))
        channels = widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stage_blocks = []
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                stage_blocks.append(ResidualBlock(channels, width, stride, activation))
                channels = width
            self.add_module(f"stage{stage + 1}", nn.Sequential(*stage_blocks))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        if classes is not None:
            self.readout = nn.Linear(channels, classes, dtype=torch.float32)
        self.in_channels, self.width, self.classes = in_channels, channels, classes

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of what can be measured as features, from the input to the output."""
        names = []
        for name, part in self.named_children():
            if name.startswith("stage"):
                names += [f"{name}.{block}" for block, _ in part.named_children()]
            names.append(name)
        return tuple(names)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, classes), or the features (B, width) of a network without readout.

        Raises:
            InvalidInput: for images of a wrong shape.
        """
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise InvalidInput(
                f"a ResNet of {self.in_channels} channel(s) is called on a tensor of shape {tuple(x.shape)}; pass "
                f"images (B, {self.in_channels}, height, width), and input_shape=({self.in_channels}, height, width) "
                "to pullback"
            )
        for part in self.children():  # in the order of the names above
            x = part(x)
        return x


def resnet34(
    activation: Any = "relu",
    *,
    in_channels: int = 3,
    classes: int | None = 10,
    seed: int = 0,
    parameters: Mapping[str, float] | None = None,
    dtype: torch.dtype = torch.float32,
    device: Any = None,
) -> ResNet:
    """Return a ResNet-34 for 32 × 32 images, with `activation` in every place where the network has one.

    Stem of one 3 × 3 convolution without max pooling; stages of 3, 4, 6 and 3 blocks with 64, 128, 256 and 512 channels
    at 32², 16², 8² and 4² positions; then the average over positions, n = 512 features, and a linear readout.
    21 282 122 parameters for 3 channels and 10 classes.

    Args:
        activation: a name of `infgeo.activations` or an expression of `z` as text, a SymPy expression of one symbol, a
            torch module (copied to each place) or a function that makes one (`torch.nn.GELU`).
        in_channels: channels of an image.
        classes: number of logits; None leaves the readout away: the output is the features.
        seed: 0 <= seed < 2^32, of torch's default initialisation: convolutions and readout uniform in
            ±1/√(fan-in), norms at 1 and 0. No global random state is read or changed.
        parameters: values of the activation's own free symbols, by name.
        dtype: torch.float32 or torch.float64; the same draw of float32 numbers.
        device: where the module lives; the same draw on every device.

    Returns:
        The network in training mode, as torch makes modules; `.eval()` it, or pass `freeze=True`, to measure it.

    Raises:
        InvalidInput: for an argument outside its domain.

    Source: He, Zhang, Ren & Sun 2016, table 1, with the stem of their section 4.2 for small images.

    >>> model = resnet34("gelu")
    >>> sum(p.numel() for p in model.parameters())
    21282122
    >>> model.feature_names[:6]
    ('stem', 'stage1.0', 'stage1.1', 'stage1.2', 'stage1', 'stage2.0')
    """
    return small_resnet(
        activation,
        in_channels=in_channels,
        classes=classes,
        blocks=(3, 4, 6, 3),
        widths=(64, 128, 256, 512),
        seed=seed,
        parameters=parameters,
        dtype=dtype,
        device=device,
    )


def small_resnet(
    activation: Any = "relu",
    *,
    in_channels: int = 1,
    classes: int | None = 10,
    blocks: Sequence[int] = (1, 1, 1),
    widths: Sequence[int] = (16, 32, 64),
    stem: Any = None,
    seed: int = 0,
    parameters: Mapping[str, float] | None = None,
    dtype: torch.dtype = torch.float32,
    device: Any = None,
) -> ResNet:
    """Return a small sibling of `resnet34` for CPUs: by default for 8 × 8 images of one channel, n = 64 features.

    Stem and blocks are those of `resnet34`, at 8², 4² and 2² positions for 8 × 8 images. n = d for these, so that the
    metric of the pooled features can have full rank.

    Args:
        blocks: number of blocks in each stage.
        widths: channels in each stage; each stage but the first halves the image.
        stem: the activation of the stem alone, where it is another one.
        activation, in_channels, classes, seed, parameters, dtype, device: as for `resnet34`.

    >>> model = small_resnet("tanh")
    >>> sum(p.numel() for p in model.parameters())
    77754
    """
    counts, channels = positive_integers(blocks, "blocks"), positive_integers(widths, "widths")
    if not counts or len(counts) != len(channels):
        raise InvalidInput(f"blocks has {len(counts)} stage(s) and widths {len(channels)}; pass one of each a stage")
    factory = activation_factory(activation, parameters)
    where, kind, number = checked_device(device), float_dtype(dtype), seed_integer(seed, 32)
    inputs = positive_integer(in_channels, "in_channels")
    outputs = None if classes is None else positive_integer(classes, "classes")
    with own_random_state(number, torch.device("cpu")), torch.device("cpu"):
        model = ResNet(counts, channels, factory, inputs, outputs, None if stem is None else activation_factory(stem))
    return model.to(device=where, dtype=kind)
