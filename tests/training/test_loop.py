"""The training loop against a plain loop in torch, its determinism, what it gives back, and what it refuses."""

from __future__ import annotations

import copy
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from infgeo.errors import InvalidInput, TrainingDiverged
from infgeo.training import RECIPES, Recipe, Task, digits, mlp, sinusoid, train, xor

SMALL = sinusoid(130, test_points=50)  # three batches, the last one short
RECIPE = Recipe(learning_rate=0.1, momentum=0.9, batch_size=50, epochs=4)


def network(seed: int = 0) -> nn.Sequential:
    return mlp([2, 12, 2], "sigmoid", seed=seed)


def state(model: nn.Module) -> list[torch.Tensor]:
    return [t.clone() for t in model.state_dict().values()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


RECIPES_TRIED = [
    RECIPE,
    Recipe("adam", 1e-2, weight_decay=1e-3, batch_size=40, epochs=3),
    Recipe(learning_rate=0.2, weight_decay=1e-2, epochs=5),
    replace(RECIPE, drop_last=True),
    replace(RECIPE, loss="squared_error"),
]


@pytest.mark.parametrize("recipe", RECIPES_TRIED)
def test_it_is_a_plain_loop(recipe):
    """The twin: torch.optim and torch's losses, batches from a generator with the same seed."""
    model, twin = network(), network()
    result = train(model, SMALL, recipe, seed=5)
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(twin.parameters(), 1e-2, weight_decay=1e-3)
    else:
        optimizer = torch.optim.SGD(
            twin.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
        )
    order, losses, steps = torch.Generator().manual_seed(5), [], 0
    size = recipe.batch_size or 130
    for _ in range(recipe.epochs):
        seen = []
        for rows in torch.randperm(130, generator=order).split(size):
            if recipe.drop_last and len(rows) < size:
                continue
            optimizer.zero_grad()
            logits, labels = twin(SMALL.inputs[rows]), SMALL.labels[rows]
            if recipe.loss == "squared_error":
                loss = ((logits - torch.eye(2)[labels]) ** 2).sum() / len(rows)
            else:
                loss = nn.CrossEntropyLoss()(logits, labels)
            loss.backward()
            optimizer.step()
            seen.append((loss.item(), len(rows)))
            steps += 1
        losses.append(sum(v * n for v, n in seen) / sum(n for _, n in seen))
    exact = {"rtol": 0, "atol": 0} if recipe.loss == "cross_entropy" else {"rtol": 1e-5, "atol": 1e-6}
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, **exact)
    assert result.losses == pytest.approx(losses, rel=1e-6)
    assert (result.steps, result.epochs, result.interrupted) == (steps, recipe.epochs, False)
    right = (twin(SMALL.inputs).argmax(1) == SMALL.labels).double().mean()
    assert result.accuracy == pytest.approx(float(right))
    assert result.test_accuracy == pytest.approx(
        float((twin(SMALL.test_inputs).argmax(1) == SMALL.test_labels).double().mean())
    )


def test_it_learns():
    result = train(
        mlp([64, 40, 10], "gelu", "torch"), digits().flattened(), Recipe("adam", 1e-3, batch_size=50, epochs=12)
    )
    assert result.test_accuracy > 0.93 and result.losses[-1] < result.losses[0] / 5
    assert train(mlp([2, 8, 2], "sigmoid"), xor(), replace(RECIPES["xor"], learning_rate=0.5)).accuracy == 1.0


def test_no_test_points_no_test_accuracy():
    assert train(network(), xor(), Recipe()).test_accuracy is None


class Noisy(nn.Sequential):
    """A network with dropout (global random state) and batch norm (buffers)."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 2))


def jitter(batch: torch.Tensor) -> torch.Tensor:
    return batch + 0.1 * torch.randn(batch.shape)


def test_a_seed_is_a_run_and_the_global_state_stays():
    recipe = replace(RECIPE, augmentation=jitter)
    models = [Noisy() for _ in range(3)]
    torch.manual_seed(123)
    before = torch.get_rng_state()
    train(models[0], SMALL, recipe, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1000)  # another global state must not matter
    train(models[1], SMALL, recipe, seed=7)
    train(models[2], SMALL, recipe, seed=8)
    assert same(state(models[0]), state(models[1])) and not same(state(models[0]), state(models[2]))


def test_the_data_stay_and_the_mode_of_every_module_is_put_back():
    model, inputs = Noisy(), SMALL.inputs.clone()
    model.eval()
    model[3].train()
    seen = []
    train(model, SMALL, RECIPE, callbacks=[lambda _, m: seen.append(all(x.training for x in m.modules()))])
    assert [m.training for m in model.modules()] == [False, False, False, False, True, False] and all(seen)
    assert torch.equal(SMALL.inputs, inputs) and all(p.grad is None for p in model.parameters())


def test_all_is_put_back_when_a_callback_fails():
    model = Noisy().eval()
    before, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)

    def fail(step: int, _model: nn.Module) -> None:
        if step == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(model, SMALL, RECIPE, callbacks=[fail])
    assert not model.training and torch.equal(before, torch.get_rng_state())
    assert signal.getsignal(signal.SIGINT) is handler


def test_callbacks_hear_every_step_in_order():
    heard: list = []
    train(
        network(), SMALL, RECIPE, callbacks=(lambda s, m: heard.append(("a", s)), lambda s, m: heard.append(("b", s)))
    )
    assert heard == [(name, step) for step in range(13) for name in "ab"]
    model, first = network(), []
    train(model, SMALL, RECIPE, callbacks=lambda s, m: first.append(state(m)))
    assert same(first[0], state(network())) and same(first[-1], state(model)) and not same(first[0], first[1])


def test_frozen_parameters_stay():
    model = network()
    model.hidden1.weight.requires_grad_(False)
    before = model.hidden1.weight.clone()
    train(model, SMALL, RECIPE)
    assert torch.equal(model.hidden1.weight, before) and not torch.equal(model.readout.weight, network().readout.weight)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(InvalidInput, match="nothing to train"):
        train(model, SMALL, RECIPE)


def test_it_trains_where_gradients_are_off():
    model, twin = network(), network()
    with torch.no_grad():
        train(model, SMALL, RECIPE)
    with torch.inference_mode():
        train(twin, SMALL, RECIPE)
    assert same(state(model), state(twin)) and not same(state(model), state(network()))


def test_a_loss_of_ones_own():
    def smooth(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(model(inputs), labels, label_smoothing=0.1)

    model = network()
    assert train(model, SMALL, RECIPE, loss=smooth).accuracy is not None
    assert not same(state(model), state(network()))
    # features that are not one number a class: no accuracy
    features = nn.Sequential(nn.Linear(2, 5))
    result = train(features, SMALL, Recipe(epochs=1), loss=lambda m, x, y: m(x).square().mean())
    assert (result.accuracy, result.test_accuracy) == (None, None)
    for wrong in (lambda m, x, y: 0.0, lambda m, x, y: m(x), lambda m, x, y: torch.tensor(1.0)):
        with pytest.raises(InvalidInput, match="loss returned"):
            train(network(), SMALL, RECIPE, loss=wrong)


def test_progress_counts_to_the_end(capsys):
    heard: list = []
    train(network(), SMALL, RECIPE, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (12, 12) and heard == sorted(heard)
    train(network(), SMALL, RECIPE, progress=True)
    assert "sinusoid: 12 of 12" in capsys.readouterr().err
    train(network(), SMALL, RECIPE)
    assert capsys.readouterr() == ("", "")


def test_a_loss_that_is_not_finite_names_step_and_rate():
    model = mlp([2, 12, 2], "square", seed=1)
    kept: list = []
    with pytest.raises(
        TrainingDiverged, match=r"the loss is (nan|inf) at step \d+ .*learning rate 1e\+06.*smaller"
    ) as caught:
        train(
            model,
            SMALL,
            replace(RECIPE, learning_rate=1e6, momentum=0.0),
            callbacks=[lambda s, m: kept.append(state(m))],
        )
    assert f"at step {len(kept)} " in str(caught.value) and same(kept[-1], state(model))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"model": network().double()},
            "points of task 'sinusoid' are torch.float32, the model's parameters torch.float64",
        ),
        ({"model": mlp([3, 4, 2])}, r"does not take the points of task 'sinusoid', \(50, 2\) a batch"),
        ({"model": mlp([2, 4, 3])}, r"returns \(50, 3\) for a batch of task 'sinusoid'; it must return \(50, 2\)"),
        ({"model": nn.Sequential(nn.Tanh())}, "no parameters"),
        ({"model": nn.Sequential(nn.Linear(2, 2), nn.Flatten(0))}, r"returns \(100,\)"),
        ({"model": lambda x: x}, r"train got \(function, Task, Recipe\)"),
        ({"task": (SMALL.inputs, SMALL.labels)}, r"train got \(Sequential, tuple, Recipe\)"),
        ({"recipe": {"epochs": 3}}, r"train got \(Sequential, Task, dict\)"),
        ({"task": digits()}, r"task.flattened\(\)"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "cuda:77"}, "device is 'cuda:77', which torch cannot use here"),
        ({"callbacks": [3]}, r"callbacks is \[3\]; pass functions"),
        ({"callbacks": 3}, "callbacks is 3; pass functions"),
        ({"checkpoint_every": 3}, "checkpoint_every is 3, without a checkpoint"),
        ({"checkpoint": 3}, "checkpoint is 3; pass a path"),
        ({"checkpoint": ""}, "checkpoint is empty"),
        ({"device": "meta"}, "device is 'meta', which holds no numbers"),
        ({"model": nn.Linear(2, 2, device="meta")}, "the model is on the meta device"),
        ({"model": network().half()}, r"float16; pass model.to\(torch.float32\)$"),
    ],
)
def test_arguments_outside_their_domain(change, said):
    arguments = {"model": network(), "task": SMALL, "recipe": RECIPE} | change
    with pytest.raises(InvalidInput, match=said):
        train(**arguments)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"optimizer": "lbfgs"}, "optimizer is 'lbfgs'; choose from 'sgd', 'adam'"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"learning_rate": 0}, "learning_rate is 0; pass"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"momentum": 0.9, "optimizer": "adam"}, "momentum is 0.9 with optimizer 'adam'"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"augmentation": "flip"}, "augmentation is 'flip'"),
        ({"drop_last": "no"}, "drop_last is 'no'"),
    ],
)
def test_recipes_outside_their_domain(values, said):
    with pytest.raises(InvalidInput, match=said):
        Recipe(**values)


def test_published_recipes():
    """The settings that arXiv 2301.11375 states."""
    sinusoid_, mnist, cifar = RECIPES["sinusoid"], RECIPES["mnist"], RECIPES["cifar10"]
    assert (sinusoid_.optimizer, sinusoid_.learning_rate, sinusoid_.momentum) == ("sgd", 0.1, 0.9)
    assert (sinusoid_.batch_size, sinusoid_.epochs, sinusoid_.weight_decay) == (50, 10_000, 0.0)
    assert (mnist.optimizer, mnist.learning_rate, mnist.weight_decay, mnist.epochs) == ("adam", 1e-3, 1e-4, 200)
    assert (cifar.learning_rate, cifar.momentum, cifar.weight_decay) == (0.01, 0.9, 1e-4)
    assert (cifar.batch_size, cifar.epochs) == (1024, 200)
    assert RECIPES["barlow_twins"].epochs == RECIPES["simclr"].epochs == 1000
    assert RECIPES["sinusoid"].record()["augmentation"] is None
    assert replace(RECIPE, augmentation=jitter).record()["augmentation"].endswith("test_loop.jitter")
    records = [replace(RECIPE, augmentation=partial(torch.mul, other=n)).record()["augmentation"] for n in (2, 2, 3)]
    assert records[0] == records[1] != records[2]


def test_a_batch_larger_than_the_data_is_all_of_them():
    model, twin = network(), network()
    train(model, SMALL, replace(RECIPE, batch_size=1000, drop_last=True))
    train(twin, SMALL, replace(RECIPE, batch_size=None))
    assert same(state(model), state(twin))


def test_a_last_batch_of_one_point_is_said_where_the_model_refuses_it():
    task = sinusoid(101)
    with pytest.raises(InvalidInput, match=r"\(1, 2\) a batch: Expected more than 1 value.*drop_last=True"):
        train(Noisy(), task, RECIPE)
    assert train(Noisy(), task, replace(RECIPE, drop_last=True)).steps == 8
    assert train(network(), task, RECIPE).steps == 12


def test_a_task_of_ones_own():
    x = torch.randn(40, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    task = Task("mine", x, (x.sum((1, 2)) > 0).long(), x[:0], torch.zeros(0, dtype=torch.int64), ("no", "yes"))
    model = nn.Sequential(nn.Flatten(), nn.utils.skip_init(nn.Linear, 12, 2, dtype=torch.float64))
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    assert train(copy.deepcopy(model), task, Recipe(epochs=200)).accuracy > 0.95
