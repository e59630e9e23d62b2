"""Two random views of each image, by augmentations from kornia (the optional extra "ssl")."""

import math
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch

from infgeo.arguments import instance, items, optional_import, positive_integer, real_number, seed_integer, shown
from infgeo.errors import InvalidInput
from infgeo.training.guards import own_random_state

_ROUNDING = 1e-4  # of data that were normalised in float32, in units of the range


def _numbers(value: Any, name: str, length: int | None = None, minimum: float = 0.0) -> tuple[float, ...]:
    numbers = tuple(real_number(one, name, minimum=minimum) for one in items(value, name))
    if length is not None and len(numbers) != length:
        raise InvalidInput(f"{name} is {shown(value)}; pass {length} numbers")
    return numbers


@dataclass(frozen=True)
class Augmentation:
    """How a view is drawn from an image with values in [0, 1]; a step with value 0 or None is left out.

    Args:
        crop: least and largest share of the image's area that a random crop keeps, before it is resized to the image's
            shape.
        padding: pixels of 0 around the image before a part of the image's shape is cut out at random.
        flip: probability of a mirror image.
        jitter: largest relative change of brightness, contrast and saturation, and largest shift of the hue (in turns);
            for colour images.
        jitter_probability: probability of these changes.
        grey: probability of a grey image; for colour images.
        degrees: largest rotation.
        shift: largest shift, as a share of the image's side; what comes in is 0.
        zoom: least and largest scale.
        shear: largest shear, in degrees.
        contrast: largest relative change of the contrast, for grey images.
        noise: standard deviation of Gaussian noise on each pixel.
        blur: probability of a Gaussian blur, of 0.1 to 2 pixels.
        solarise: probability that what is above 1/2 is turned to its negative.
    """

    crop: tuple[float, float] | None = None
    padding: int = 0
    flip: float = 0.0
    jitter: tuple[float, float, float, float] | None = None
    jitter_probability: float = 0.8
    grey: float = 0.0
    degrees: float = 0.0
    shift: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    solarise: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "padding", positive_integer(self.padding, "padding", minimum=0, maximum=10_000))
        for name in (field.name for field in fields(self) if isinstance(field.default, float)):
            object.__setattr__(self, name, real_number(getattr(self, name), name, minimum=0.0))
        for name in ("flip", "jitter_probability", "grey", "blur", "solarise"):
            if getattr(self, name) > 1:
                raise InvalidInput(f"{name} is {getattr(self, name):g}; pass a probability, from 0 to 1")
        for name, length in (("crop", 2), ("zoom", 2), ("jitter", 4)):
            if getattr(self, name) is not None or name == "zoom":
                object.__setattr__(self, name, _numbers(getattr(self, name), name, length))


# SimCLR's (Chen et al. 2020, appendix B.9 on CIFAR-10: no blur), with crops of at least a fifth of the image.
COLOUR_32 = Augmentation(crop=(0.2, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.4, 0.1), grey=0.2)
# Those of arXiv 2301.11375's scripts: SimCLR's with blur, and the two of Barlow Twins, which differ.
SIMCLR = Augmentation(crop=(0.08, 1.0), flip=0.5, jitter=(0.8, 0.8, 0.8, 0.2), grey=0.2, blur=0.5)
BARLOW = Augmentation(crop=(0.08, 1.0), flip=0.5, jitter=(0.4, 0.4, 0.2, 0.1), grey=0.2, blur=1.0)
BARLOW_SECOND = replace(BARLOW, blur=0.1, solarise=0.2)
# Digits of 8 × 8 pixels: a mirror image is another digit or none, and a crop cuts off strokes.
GREY_8 = Augmentation(degrees=12.0, shift=0.1, zoom=(0.85, 1.15), shear=8.0, contrast=0.3, noise=0.05)
# What CIFAR-10 is trained with: shifts of up to 4 pixels, and mirror images.
CIFAR_CROPS = Augmentation(padding=4, flip=0.5)


@dataclass(frozen=True)
class RandomView:
    """Draws a view of each image of a batch: for `Recipe(augmentation=...)`.

    Args:
        augmentation: `COLOUR_32`, `GREY_8`, or one's own.
        mean: what was subtracted from each channel of the images (`Task.mean`), None where nothing was.
        std: what each channel was divided by.
    """

    augmentation: Augmentation
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        instance(self.augmentation, "augmentation", Augmentation, "an infgeo.training.Augmentation")
        for name, least in (("mean", -math.inf), ("std", 0.0)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _numbers(value, name, minimum=least))

    def __call__(self, images: torch.Tensor, seed: int | None = None) -> torch.Tensor:
        """Return a view of each of the images (N, C, H, W), normalised as these are.

        Random numbers are those of torch's global generators, or with a seed those that belong to it: the global state
        is then left as it is.

        Raises:
            InvalidInput: for images that are not in [0, 1] once mean and std are taken back, or of a wrong shape.
            MissingExtra: where kornia is not installed.
        """
        _refuse_shape(images)
        offset, scale = (self._channels(v, images, n) for v, n in ((self.mean, 0.0), (self.std, 1.0)))
        plain = images.detach() * scale + offset
        low, high = (float(plain.min()), float(plain.max())) if plain.numel() else (0.0, 1.0)
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise InvalidInput(
                f"images have values from {low:.4g} to {high:.4g} once mean = {self.mean} and std = {self.std} are "
                "taken back; views are drawn of values in [0, 1]: pass the mean and std of the data's normalisation"
            )
        pipeline = _pipeline(self.augmentation, tuple(images.shape[1:]))
        random = nullcontext() if seed is None else own_random_state(seed_integer(seed, 32), images.device)
        with torch.no_grad(), random:
            view = pipeline(plain.clamp(0.0, 1.0))
        return (view - offset) / scale

    @staticmethod
    def _channels(values: tuple[float, ...] | None, images: torch.Tensor, default: float) -> torch.Tensor:
        channels = (default,) * images.shape[1] if values is None else values
        if len(channels) != images.shape[1]:
            raise InvalidInput(f"mean or std has {len(channels)} channel(s) and the images have {images.shape[1]}")
        return images.new_tensor(channels)[:, None, None]


@dataclass(frozen=True)
class TwoViews(RandomView):
    """Draws two views of each image of a batch; arguments as for `RandomView`, and the `second` view's augmentation."""

    second: Augmentation | None = None

    def __call__(  # type: ignore[override]
        self, images: torch.Tensor, seed: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two views of images (N, C, H, W); random numbers and errors as for `RandomView`."""
        _refuse_shape(images)
        if self.second is not None:
            other = RandomView(self.second, self.mean, self.std)
            with nullcontext() if seed is None else own_random_state(seed_integer(seed, 32), images.device):
                return super().__call__(images), other(images)
        first, second = super().__call__(torch.cat([images, images]), seed).chunk(2)
        return first, second


def _refuse_shape(images: torch.Tensor) -> None:
    instance(images, "images", torch.Tensor, "a tensor (N, channels, height, width)")
    if images.ndim != 4:
        raise InvalidInput(f"images have shape {tuple(images.shape)}; pass (N, channels, height, width)")


@lru_cache(maxsize=8)
def _pipeline(a: Augmentation, shape: tuple[int, int, int]) -> Any:
    """Return kornia's module for images (C, H, W)."""
    with optional_import("drawing views of images", "ssl"):
        import kornia.augmentation as kornia
    colour = shape[0] == 3
    if not colour and (a.jitter is not None or a.grey):
        raise InvalidInput(f"jitter and grey are for images of 3 channels, and these have {shape[0]}; leave them out")
    moved = a.degrees or a.shift or a.shear or a.zoom != (1.0, 1.0)
    shift, shear = (a.shift, a.shift) if a.shift else None, a.shear or None
    steps: list[Any] = [
        a.crop and kornia.RandomResizedCrop(shape[1:], scale=a.crop),
        a.padding and kornia.RandomCrop(shape[1:], padding=a.padding),
        moved and kornia.RandomAffine(a.degrees, shift, a.zoom, shear, p=1.0),
        a.flip and kornia.RandomHorizontalFlip(p=a.flip),
        a.jitter and kornia.ColorJitter(*a.jitter, p=a.jitter_probability),
        a.grey and kornia.RandomGrayscale(p=a.grey),
        a.contrast and kornia.RandomContrast((1.0 - a.contrast, 1.0 + a.contrast), p=1.0),
        a.blur and kornia.RandomGaussianBlur((3, 3), (0.1, 2.0), p=a.blur),
        a.solarise and kornia.RandomSolarize((0.5, 0.5), (0.0, 0.0), p=a.solarise),
        a.noise and kornia.RandomGaussianNoise(std=a.noise, p=1.0),
    ]
    return torch.nn.Sequential(*filter(None, steps))
