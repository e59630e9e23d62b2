"""Losses on two views against the papers' formulas, written out in loops; views, heads, and readouts of encoders."""

from __future__ import annotations

import copy
import math
import sys

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput, MissingExtra, NotConverged
from infgeo.finite import pullback
from infgeo.training import (
    CIFAR_CROPS,
    COLOUR_32,
    GREY_8,
    Augmentation,
    BarlowTwins,
    ContrastiveLoss,
    ContrastiveNetwork,
    RandomView,
    Recipe,
    SimCLR,
    Task,
    TwoViews,
    linear_readout,
    projector,
    small_resnet,
    train,
)
from infgeo.training.views import _pipeline


def embeddings(n: int, m: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    first, noise = (torch.randn(n, m, generator=numbers, dtype=torch.float64) for _ in range(2))
    return 3 * first + 1, first.roll(1, 1) + 0.5 * noise - 2


def barlow_twins_as_printed(first: list[list[float]], second: list[list[float]], weight: float) -> float:
    """Equations 1 and 2 of Zbontar et al. 2021, with each coordinate centred over the batch."""
    n, m = len(first), len(first[0])
    centred = [
        [[z[b][i] - math.fsum(row[i] for row in z) / n for i in range(m)] for b in range(n)] for z in (first, second)
    ]
    a, b = centred
    total = 0.0
    for i in range(m):
        for j in range(m):
            cross = math.fsum(a[k][i] * b[k][j] for k in range(n))
            lengths = [math.sqrt(math.fsum(row[i] ** 2 for row in a)), math.sqrt(math.fsum(row[j] ** 2 for row in b))]
            correlation = cross / (lengths[0] * lengths[1])
            total += (1 - correlation) ** 2 if i == j else weight * correlation**2
    return total


def simclr_as_printed(first: list[list[float]], second: list[list[float]], temperature: float) -> float:
    """Equation 1 of Chen et al. 2020, averaged over both views of all images: views 2k and 2k + 1 are a pair."""
    views = [v for pair in zip(first, second, strict=True) for v in pair]

    def similarity(u: list[float], v: list[float]) -> float:
        return math.fsum(a * b for a, b in zip(u, v, strict=True)) / (math.hypot(*u) * math.hypot(*v))

    losses = []
    for i, u in enumerate(views):
        j = i + 1 if i % 2 == 0 else i - 1
        others = [math.exp(similarity(u, v) / temperature) for k, v in enumerate(views) if k != i]
        losses.append(-math.log(math.exp(similarity(u, views[j]) / temperature) / math.fsum(others)))
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize(("n", "m"), [(2, 1), (2, 3), (5, 1), (7, 4), (3, 9)])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_losses_are_those_of_the_papers(n: int, m: int, scale: float) -> None:
    first, second = embeddings(n, m, seed=n + m)
    first = first * scale
    pair = (first.tolist(), second.tolist())
    for weight in (0.005, 1.3):
        loss = float(BarlowTwins(weight, epsilon=0.0)(first, second))
        assert loss == pytest.approx(barlow_twins_as_printed(*pair, weight), rel=1e-12, abs=1e-13)
    for temperature in (0.07, 2.0):
        loss = float(SimCLR(temperature)(first, second))
        assert loss == pytest.approx(simclr_as_printed(*pair, temperature), rel=1e-12, abs=1e-13)


def test_defaults_are_the_published_settings() -> None:
    assert BarlowTwins().redundancy == 0.005 and SimCLR().temperature == 0.07
    first, second = embeddings(40, 6)
    norm = nn.BatchNorm1d(6, affine=False, dtype=torch.float64)
    correlation = norm(first).T @ norm(second) / 40
    expected = (correlation.diagonal() - 1).square().sum()
    expected = expected + 0.005 * (correlation - torch.diag(correlation.diagonal())).square().sum()
    torch.testing.assert_close(BarlowTwins()(first, second), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("objective", [BarlowTwins(), SimCLR()], ids=["barlow", "simclr"])
def test_gradients_and_invariances(objective: BarlowTwins | SimCLR) -> None:
    first, second = (z.requires_grad_() for z in embeddings(5, 3))
    assert torch.autograd.gradcheck(objective, (first, second))
    order = torch.tensor([3, 1, 4, 0, 2])
    for other in (objective(second, first), objective(first[order], second[order])):
        torch.testing.assert_close(other, objective(first, second), rtol=1e-12, atol=0)
    constant = torch.zeros(4, 3, requires_grad=True)  # a collapsed encoder
    loss = objective(constant, constant)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(constant.grad).all()


def test_float32_at_a_low_temperature_neither_over_nor_underflows() -> None:
    first, second = embeddings(6, 3)
    exact = SimCLR(1e-3)(first, second)
    rounded = SimCLR(1e-3)(first.float(), second.float())
    assert math.isfinite(float(rounded)) and float(rounded) == pytest.approx(float(exact), rel=1e-3)


@pytest.mark.parametrize(
    ("first", "second"),
    [((1, 3), (1, 3)), ((4, 3), (4, 2)), ((4, 3), (5, 3)), ((4,), (4,)), ((2, 3, 1), (2, 3, 1))],
)
def test_unpaired_embeddings_are_refused(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    for objective in (BarlowTwins(), SimCLR()):
        with pytest.raises(InvalidInput, match=r"embeddings of two views have shapes"):
            objective(torch.zeros(first), torch.zeros(second))


def test_numbers_outside_their_domain_are_refused() -> None:
    for make in (
        lambda: SimCLR(0.0),
        lambda: SimCLR(math.nan),
        lambda: BarlowTwins(-1.0),
        lambda: BarlowTwins(0.1, -1),
    ):
        with pytest.raises(InvalidInput):
            make()


def pictures(n: int, channels: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("recipe", "channels", "side"), [(COLOUR_32, 3, 32), (GREY_8, 1, 8)], ids=["colour", "grey"])
def test_views_belong_to_their_seed(recipe: Augmentation, channels: int, side: int) -> None:
    x = pictures(6, channels, side)
    before, state = x.clone(), torch.get_rng_state()
    views = TwoViews(recipe)
    first, second = views(x, seed=3)
    again, other = views(x, seed=3), views(x, seed=4)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, before)
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    for a, b in ((first, second), (first, other[0]), (first, x)):
        assert a.shape == x.shape and a.dtype == x.dtype
        assert all(not torch.equal(u, v) for u, v in zip(a, b, strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(8)
        free = views(x)
        assert not torch.equal(torch.get_rng_state(), state)  # without a seed, the global generators are read
        torch.manual_seed(8)
        assert torch.equal(views(x)[1], free[1])


def test_views_of_one_image_resemble_it() -> None:
    """Views are nearer to their own image than to others, so that there is something to learn."""
    x = torch.zeros(8, 1, 8, 8)
    for k in range(8):
        x[k, 0, :, k] = 1.0
    first, second = TwoViews(Augmentation(shift=0.05, noise=0.1))(x, seed=1)
    for view in (first, second):
        nearest = torch.cdist(view.flatten(1), x.flatten(1)).argmin(dim=1)
        assert nearest.tolist() == list(range(8))


def test_each_step_does_what_it_says() -> None:
    x = pictures(5, 3, 8)
    assert torch.equal(TwoViews(Augmentation())(x, seed=0)[0], x)
    torch.testing.assert_close(TwoViews(Augmentation(flip=1.0))(x, seed=0)[1], x.flip(-1))
    grey = TwoViews(Augmentation(grey=1.0))(x, seed=0)[0]
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    noise = TwoViews(Augmentation(noise=0.1))(x, seed=0)[0] - x
    assert abs(float(noise.std()) / 0.1 - 1) < 5 * (0.5 / noise.numel()) ** 0.5
    cut = RandomView(CIFAR_CROPS)(torch.ones(60, 1, 8, 8), seed=0)
    assert 0.5 < float(cut.mean()) < 0.8  # (1 − 2/8)², for a mean of 2.2 pixels lost on each axis
    shifted = TwoViews(Augmentation(shift=0.4))(torch.ones(40, 1, 8, 8), seed=0)[0]
    assert float(shifted.mean(dim=(1, 2, 3)).min()) > (1 - 0.4) ** 2 - 1e-5 and float(shifted.min()) == 0


def test_views_of_normalised_images_are_normalised() -> None:
    x = pictures(4, 3, 8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    offset, scale = (torch.tensor(v)[:, None, None] for v in (mean, std))
    plain = TwoViews(COLOUR_32)(x, seed=2)
    normalised = TwoViews(COLOUR_32, mean, std)((x - offset) / scale, seed=2)
    for a, b in zip(plain, normalised, strict=True):
        torch.testing.assert_close((a - offset) / scale, b, rtol=1e-4, atol=1e-4)
    for wrong in ((x - offset) / scale, x * 16, x * math.nan):
        with pytest.raises(InvalidInput, match=r"images have values from .*normalisation"):
            TwoViews(COLOUR_32)(wrong)


def test_views_refuse() -> None:
    with pytest.raises(InvalidInput, match=r"images have shape \(8, 8\)"):
        TwoViews(GREY_8)(torch.zeros(8, 8))
    with pytest.raises(InvalidInput, match=r"images of 3 channels, and these have 1"):
        TwoViews(COLOUR_32)(pictures(2, 1, 8))
    with pytest.raises(InvalidInput, match=r"1 channel\(s\) and the images have 3"):
        TwoViews(COLOUR_32, (0.5,), (0.2,))(pictures(2, 3, 8))


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    _pipeline.cache_clear()
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    with pytest.raises(MissingExtra, match=r"pip install 'infgeo\[ssl\]'"):
        TwoViews(GREY_8)(pictures(2, 1, 8))


def test_projectors() -> None:
    state = torch.get_rng_state()
    head = projector(6, (5, 4), 3, activation="erf", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    kinds = [type(part).__name__ for part in head]
    assert kinds == ["Linear", "BatchNorm1d", "ElementwiseActivation"] * 2 + ["Linear"]
    same, other = projector(6, (5, 4), 3, activation="erf", seed=1), projector(6, (5, 4), 3, activation="erf", seed=2)
    assert torch.equal(head[0].weight, same[0].weight) and not torch.equal(head[0].weight, other[0].weight)
    for bad in ({"width": 0}, {"width": 4, "hidden": 0}, {"width": 4, "embedding": -1}, {"width": 4, "seed": -1}):
        with pytest.raises(InvalidInput):
            projector(**bad)  # type: ignore[arg-type]


def pixels(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    datasets = pytest.importorskip("sklearn.datasets")
    data = datasets.load_digits()
    return torch.tensor(data.images[:n] / 16.0, dtype=torch.float32)[:, None], torch.tensor(data.target[:n])


@pytest.mark.parametrize("objective", [BarlowTwins(), SimCLR()], ids=["barlow", "simclr"])
def test_pretraining_lowers_the_loss_on_new_views_and_helps_a_readout(objective: BarlowTwins | SimCLR) -> None:
    x, y = pixels(900)
    task = Task("first digits", x[:500], y[:500], x[:0], y[:0], tuple("0123456789"))
    encoder = small_resnet("gelu", classes=None, widths=(8, 16, 32), seed=1)
    head = projector(32, 64, 64, norm=isinstance(objective, BarlowTwins), seed=1)
    network, views = ContrastiveNetwork(encoder, head), TwoViews(GREY_8)
    untrained = copy.deepcopy(network)

    def accuracy(model: ContrastiveNetwork) -> float:
        readout = linear_readout(model.encoder, x[:100], y[:100])
        return float((readout(x[500:]).argmax(1) == y[500:]).float().mean())

    def loss(model: ContrastiveNetwork) -> float:
        model.train()
        with torch.no_grad():
            return float(objective(*(model(view) for view in views(x[500:], seed=0))))

    recipe = Recipe("adam", learning_rate=1e-2, batch_size=125, epochs=4)
    state = torch.get_rng_state()
    result = train(network, task, recipe, seed=0, loss=ContrastiveLoss(objective, views))
    assert torch.equal(torch.get_rng_state(), state) and result.steps == 16
    assert loss(network) < 0.85 * loss(untrained)
    assert accuracy(network) > accuracy(untrained) + 0.1


def test_pretraining_is_the_same_for_the_same_seed_also_when_it_is_resumed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    x, y = pixels(40)
    task = Task("few digits", x, y, x[:0], y[:0], tuple("0123456789"))

    def run(epochs: list[int], seed: int = 3) -> list[torch.Tensor]:
        encoder = small_resnet("tanh", classes=None, widths=(2, 3, 4), seed=1)
        network = ContrastiveNetwork(encoder, projector(4, 5, 6, norm=False, seed=1))
        file = None if len(epochs) == 1 else tmp_path / "checkpoint.pt"
        for count in epochs:
            recipe = Recipe(learning_rate=0.1, batch_size=20, epochs=count)
            train(network, task, recipe, seed=seed, checkpoint=file, loss=ContrastiveLoss(SimCLR(), TwoViews(GREY_8)))
        return list(network.state_dict().values())

    whole, again, other = run([3]), run([1, 3]), run([3], seed=4)
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert not torch.equal(whole[0], other[0])


def test_readout_is_the_logistic_regression_of_scikit_learn() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = pixels(120)
    encoder = small_resnet("tanh", classes=None, widths=(4, 6, 8), dtype=torch.float64)
    x = x.double()
    for classes in (2, 10):
        some = y < classes
        model = linear_readout(encoder, x[some], y[some], strength=0.3)
        with torch.no_grad():
            features = encoder.eval()(x[some]).numpy()
        scaled = (features - features.mean(0)) / features.std(0)
        twin = linear_model.LogisticRegression(C=0.3, max_iter=1000).fit(scaled, y[some].numpy())
        probabilities = torch.softmax(model(x[some]), dim=1)
        torch.testing.assert_close(probabilities, torch.from_numpy(twin.predict_proba(scaled)), rtol=1e-9, atol=1e-11)
        assert model.readout.out_features == classes and not model.training
        assert not any(p.requires_grad for p in model.parameters())


def test_readout_leaves_the_encoder_as_it_is_and_can_be_measured() -> None:
    x, y = pixels(100)
    encoder = small_resnet("tanh", classes=None, widths=(4, 6, 8))
    buffers = {n: b.clone() for n, b in encoder.named_buffers()}
    model = linear_readout(encoder, x, y)
    assert encoder.training and all(p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(b, buffers[n]) for n, b in encoder.named_buffers())
    rank = pullback(model, x[:1], layer="encoder.stage1", input_shape=(1, 8, 8)).rank
    assert rank.tolist() == [64]
    with torch.no_grad():
        encoder.stem.conv.weight.zero_()
    assert float(model.encoder.stem.conv.weight.abs().sum()) > 0  # a copy


def test_readout_refuses() -> None:
    x, y = pixels(40)
    flat = nn.Flatten()
    for labels, message in (
        (y[:-1], r"labels is \(39,\)"),
        (y.float(), "torch.float32"),
        (y.tolist(), "labels is list"),
        (y * 2, "number the classes from 0"),
        (y * 0, "at least two"),
    ):
        with pytest.raises(InvalidInput, match=message):
            linear_readout(flat, x, labels)
    with pytest.raises(InvalidInput, match="not finite"):
        linear_readout(nn.Sequential(flat, nn.Threshold(2.0, math.nan)), x, y)
    with pytest.raises(NotConverged, match="after 1 iterations"):
        linear_readout(flat, x, y, iterations=1)
    with pytest.raises(InvalidInput, match="strength"):
        linear_readout(flat, x, y, strength=0.0)


def test_the_second_view_may_have_an_augmentation_of_its_own():
    x = pictures(6, 3, 8)
    views = TwoViews(Augmentation(), second=Augmentation(solarise=1.0))
    first, second = views(x, seed=0)
    torch.testing.assert_close(first, x)
    torch.testing.assert_close(second, torch.where(x < 0.5, x, 1 - x))
    blurred = TwoViews(Augmentation(blur=1.0), second=Augmentation())(x, seed=0)[0]
    assert float(blurred.var()) < float(x.var())


def test_norms_see_one_view_where_views_are_separate():
    seen = []
    model = nn.Linear(4, 2)
    model.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    views = lambda x: (x, x + 1)  # noqa: E731
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    both = [ContrastiveLoss(BarlowTwins(), views, separate)(model, x) for separate in (False, True)]
    assert seen == [12, 6, 6]
    torch.testing.assert_close(*both)
