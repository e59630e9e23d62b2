"""Residual networks: their size, that the activation is their only nonlinearity, their names and their draw."""

from __future__ import annotations

import copy

import pytest
import sympy
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import infgeo
from infgeo.errors import InvalidInput
from infgeo.finite import pullback
from infgeo.training import ResNet, resnet34, small_resnet

PUBLISHED = 21_797_672  # parameters of ResNet-34 on ImageNet: stem of 7 × 7 kernels, 1000 classes


def narrow(activation: object = "tanh", **options: object) -> ResNet:
    return small_resnet(activation, **{"widths": (4, 6, 8), "dtype": torch.float64, **options})  # type: ignore[arg-type]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give norms weights and statistics as after a training, and put the model in eval mode."""
    numbers = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low in (
                (part.weight, 0.5),
                (part.bias, -0.5),
                (part.running_mean, -0.5),
                (part.running_var, 0.5),
            ):
                with torch.no_grad():
                    tensor.copy_(low + torch.rand(tensor.shape, generator=numbers))
    return model.eval()


def images(n: int, channels: int = 1, side: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_resnet34_has_the_size_of_the_published_one() -> None:
    stem = 64 * 3 * (7 * 7 - 3 * 3)
    assert count(resnet34("gelu")) == PUBLISHED - stem - (512 + 1) * (1000 - 10)
    assert count(resnet34("relu", in_channels=1, classes=None)) == PUBLISHED - 64 * (3 * 49 - 9) - 513 * 1000
    model = resnet34("gelu")
    convolutions = [part for name, part in model.named_modules() if isinstance(part, nn.Conv2d)]
    assert len([c for c in convolutions if c.kernel_size == (3, 3)]) + 1 == 34  # with the readout: hence the name
    assert [len(getattr(model, f"stage{i}")) for i in (1, 2, 3, 4)] == [3, 4, 6, 3]


def test_stages_halve_the_image() -> None:
    model = resnet34("gelu", classes=7).eval()
    shapes = {}
    for name in model.feature_names:
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out, n=name: shapes.update({n: out.shape[1:]}))
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert shapes["stem"] == shapes["stage1.2"] == shapes["stage1"] == (64, 32, 32)
    assert (shapes["stage2"], shapes["stage3.2"], shapes["stage4"]) == ((128, 16, 16), (256, 8, 8), (512, 4, 4))
    assert shapes["pool"] == (512,)
    assert len(shapes) == len(model.feature_names) == 1 + 16 + 4 + 2


@pytest.mark.parametrize("make", [narrow, resnet34], ids=["small", "resnet34"])
def test_without_its_activation_the_network_is_affine(make: object) -> None:
    """No nonlinearity is hidden anywhere: with the identity as activation, f(x + y) = f(x) + f(y) − f(0)."""
    channels = 3 if make is resnet34 else 1
    model = randomised(make("identity", dtype=torch.float64))  # type: ignore[operator]
    x, y = images(2, channels)[:1], 3 * images(2, channels)[1:]
    with torch.no_grad():
        together, apart = model(x + y), model(x) + model(y) - model(0 * x)
        assert float((together - apart).abs().max()) < 1e-12 * float(together.abs().max())
        assert float((model(x) - model(0 * x)).abs().max()) > 0


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("activation", "operation"), [("gelu", "gelu"), ("relu", "relu"), ("erf", "erf")])
def test_every_activation_is_the_one_asked_for(activation: str, operation: str) -> None:
    model = resnet34(activation).eval()
    with torch.no_grad(), Operations() as seen:
        model(torch.zeros(1, 3, 8, 8))
    places = 1 + 2 * (3 + 4 + 6 + 3)
    assert sum(f"aten.{operation}." in name for name in seen.names) == places
    others = {"gelu", "relu", "erf", "tanh", "sigmoid", "silu", "elu", "clamp", "maximum", "max_pool2d"} - {operation}
    assert not [name for name in seen.names for other in others if f"aten.{other}" in name]


@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        "elu",
        "softplus",
        "tanh(2*z)",
        sympy.erf(sympy.Symbol("t")),
        nn.SiLU,
        nn.SiLU(),
        lambda: nn.Softplus(2.0),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_any_activation(activation: object) -> None:
    """The network is built by hand from its weights, with the activation that was meant."""
    model = randomised(narrow(activation, blocks=(1, 2), widths=(3, 4)))
    expected = {"tanh(2*z)": lambda z: (2 * z).tanh()}.get(str(activation))
    expected = expected or {"relu": torch.relu, "elu": nn.functional.elu, "softplus": nn.functional.softplus}.get(
        str(activation)
    )
    if isinstance(activation, sympy.Basic):
        expected = torch.erf
    elif expected is None:
        expected = (lambda z: nn.functional.softplus(z, 2.0)) if "lambda" in str(activation) else nn.functional.silu
    weights = {n: v.double() for n, v in model.state_dict().items()}

    def convolved(x: torch.Tensor, conv: str, norm: str, stride: int = 1) -> torch.Tensor:
        y = nn.functional.conv2d(
            x, weights[f"{conv}.weight"], stride=stride, padding=weights[f"{conv}.weight"].shape[-1] // 2
        )
        w, b, mean, var = (
            weights[f"{norm}.{k}"][:, None, None] for k in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - mean) / (var + 1e-5).sqrt() * w + b

    x = images(2)
    h = expected(convolved(x, "stem.conv", "stem.norm"))
    for block, stride in (("stage1.0", 1), ("stage2.0", 2), ("stage2.1", 1)):
        inner = expected(convolved(h, f"{block}.conv1", f"{block}.norm1", stride))
        skip = convolved(h, f"{block}.shortcut.0", f"{block}.shortcut.1", 2) if stride == 2 else h
        h = expected(convolved(inner, f"{block}.conv2", f"{block}.norm2") + skip)
    logits = h.mean(dim=(2, 3)) @ weights["readout.weight"].T + weights["readout.bias"]
    torch.testing.assert_close(model(x), logits, rtol=1e-12, atol=1e-13)


def test_parameters_of_an_activation() -> None:
    model = narrow("leaky_relu", parameters={"alpha": 0.25})
    other = narrow(lambda: nn.LeakyReLU(0.25))
    x = images(2)
    torch.testing.assert_close(model.eval()(x), other.eval()(x), rtol=1e-13, atol=1e-14)
    with pytest.raises(InvalidInput, match="alpha"):
        narrow("leaky_relu")
    with pytest.raises(InvalidInput, match="beta"):
        narrow("leaky_relu", parameters={"alpha": 0.25, "beta": 1.0})
    with pytest.raises(InvalidInput, match="which has its own"):
        narrow(nn.LeakyReLU(), parameters={"alpha": 0.25})


def test_each_place_has_its_own_module() -> None:
    model = narrow(nn.PReLU())
    own = [part for part in model.modules() if isinstance(part, nn.PReLU)]
    assert len(own) == len({id(part) for part in own}) == 1 + 2 * 3


def test_a_seed_is_a_network_whatever_the_state_of_torch() -> None:
    state = torch.get_rng_state()
    first = narrow(seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    torch.set_default_dtype(torch.float64)
    try:
        second = narrow(seed=5)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.set_rng_state(state)
    other, single = narrow(seed=6), narrow(seed=5, dtype=torch.float32)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
        assert torch.equal(value, single.state_dict()[name].to(value.dtype))
    assert not torch.equal(first.stem.conv.weight, other.stem.conv.weight)
    weight = resnet34(seed=1).stage4[1].conv1.weight.detach()  # torch's default: uniform in ±1/√fan-in
    bound = (512 * 9) ** -0.5
    assert 0.999 * bound < float(weight.max()) <= bound
    assert abs(float(weight.var()) / (bound**2 / 3) - 1) < 5 * (0.8 / weight.numel()) ** 0.5


def test_every_feature_is_reached_by_name() -> None:
    model = randomised(narrow(classes=5))
    x = images(2)
    for name in model.feature_names:
        result = pullback(model, x[:1], layer=name, input_shape=(1, 8, 8), singular="nan")
        assert result.rank.tolist() == [min(64, result.width)]
    assert result.width == 5
    with pytest.raises(InvalidInput, match="near ones: 'stage3"):
        pullback(model, x, layer="stage3.2", input_shape=(1, 8, 8))
    with pytest.raises(InvalidInput, match=r"training mode.*freeze=True"):
        pullback(copy.deepcopy(model).train(), x, input_shape=(1, 8, 8))


def test_pooled_features_agree_with_the_encoder_without_readout() -> None:
    model, encoder = randomised(narrow()), randomised(narrow(classes=None))
    assert encoder.feature_names[-1] == "pool" and encoder.width == 8
    x = images(1)
    whole = pullback(model, x, layer="pool", input_shape=(1, 8, 8))
    torch.testing.assert_close(whole.metric, pullback(encoder, x, input_shape=(1, 8, 8)).metric, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "rellu"}, "unknown activation 'rellu': did you mean"),
        ({"activation": lambda: 3}, r"activation\(\) is 3; pass a name"),
        ({"blocks": (1, 0), "widths": (2, 2)}, r"blocks\[1\]"),
        ({"blocks": (1, 1)}, r"blocks has 2 stage\(s\) and widths 3"),
        ({"blocks": (), "widths": ()}, r"blocks has 0 stage"),
        ({"in_channels": 0}, "in_channels"),
        ({"classes": -1}, "classes"),
        ({"seed": -1}, "seed"),
        ({"dtype": torch.float16}, "dtype"),
        ({"device": "nowhere"}, "device"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        narrow(**options)


def test_images_of_a_wrong_shape_are_refused() -> None:
    for x in (images(2, 3), images(2)[0], images(2).flatten(1)):
        with pytest.raises(InvalidInput, match=r"1 channel\(s\) is called on a tensor of shape .*input_shape=\(1,"):
            narrow()(x)


def test_weights_survive_torch_save(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model, path = randomised(narrow("erf")), tmp_path / "weights.pt"
    torch.save(model.state_dict(), path)
    other = narrow("erf", seed=9)
    other.load_state_dict(torch.load(path, weights_only=True))
    assert torch.equal(other.eval()(images(2)), model(images(2)))
    assert infgeo.__version__


def test_the_stem_may_have_an_activation_of_its_own() -> None:
    model = small_resnet("gelu", stem="relu")
    assert isinstance(model.stem.activation, torch.nn.ReLU)
    assert {type(m) for m in model.modules() if isinstance(m, torch.nn.ReLU | torch.nn.GELU)} == {
        torch.nn.ReLU,
        torch.nn.GELU,
    }
    assert isinstance(model.stage1[0].activation1, torch.nn.GELU)
