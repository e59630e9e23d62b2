"""Models as they are called elsewhere: solvers with steps of their own, keywords, dicts, half precision, hints."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.finite import pullback, pullback_slice
from infgeo.tracking import GeometryTracker
from infgeo.tracking import points as probe
from tests.finite.twins import points

DOUBLE = torch.float64


class Flow(nn.Module):
    """An ordinary differential equation, solved by Bogacki and Shampine's pair; one step size for the whole batch."""

    def __init__(self, rtol: float | None = 1e-4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lift, self.rtol = nn.Linear(2, 4, dtype=DOUBLE), rtol
        self.field = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 4)).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, t, h = 4 * self.lift(x), 0.0, 0.2 if self.rtol else 0.1
        while t < 1 - 1e-9:
            h = min(h, 1 - t)
            a = self.field(y)
            b = self.field(y + h / 2 * a)
            c = self.field(y + 3 * h / 4 * b)
            new = y + h * (2 * a + 3 * b + 4 * c) / 9
            if self.rtol is not None:
                error = h * (-5 / 72 * a + b / 12 + c / 9 - self.field(new) / 8)
                ratio = float((error / (self.rtol * (1 + new.abs()))).detach().square().mean().sqrt())
                h_next = h * min(max(0.9 * max(ratio, 1e-9) ** (-1 / 3), 0.2), 5.0)
                if ratio > 1:
                    h = h_next
                    continue
            y, t = new, t + h
            h = h if self.rtol is None else h_next
        return y


def test_solvers_that_choose_the_steps_of_a_batch_are_measured_point_by_point() -> None:
    flow, x = Flow(), points(2, 2, seed=1)
    with pytest.raises(InvalidInput, match=r"depend on the other points.*steps of a solver, pass batched=False"):
        pullback(flow, x)
    found, right = pullback(flow, x, batched=False), pullback(Flow(rtol=None), x)
    torch.testing.assert_close(found.metric, right.metric, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.ricci_scalar, right.ricci_scalar, rtol=0.05, atol=1e-4)
    line = pullback_slice(flow, [[0.0]], x[0], torch.eye(2, dtype=DOUBLE)[:1], batched=False)
    torch.testing.assert_close(line.metric[0, 0, 0], found.metric[0, 0, 0])
    tracker = GeometryTracker(flow, at=probe(x), quantities=("log10_volume", "predictions"), batched=False)
    tracker.record(0)
    volume, logits = (torch.from_numpy(tracker.history.quantity(q)[0]) for q in ("log10_volume", "logits"))
    torch.testing.assert_close(volume, found.log_volume_element / torch.log(torch.tensor(10.0)))
    torch.testing.assert_close(logits, torch.cat([flow(u) for u in x.split(1)]).float().detach())


def test_batches_of_one_point_are_those_of_many() -> None:
    module, x = nn.Sequential(nn.Linear(2, 5), nn.LayerNorm(5), nn.Tanh()).double(), points(4, 2)
    torch.testing.assert_close(pullback(module, x, batched=False).ricci_scalar, pullback(module, x).ricci_scalar)
    with pytest.raises(InvalidInput, match="batched is 0; pass True or False"):
        pullback(module, x, batched=0)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="tighten the tolerance"):  # what is hidden stays refused
        _ = pullback(lambda u: torch.cat((u, u * u.detach()), -1), x, batched=False).metric


@dataclass
class Encoded:
    last_hidden_state: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...] = ()


class Layer(nn.Module):
    """Returns what the layers of language models do."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.linear, self.kind = nn.Linear(4, 4), kind

    def forward(self, h: torch.Tensor) -> Any:
        out, mask = torch.tanh(self.linear(h)), torch.ones(len(h), dtype=torch.long)
        return {
            "tensor": out,
            "tuple": (out, mask),
            "nested": ([mask, (out,)], 3),
            "dict": OrderedDict(mask=mask, last_hidden_state=out, pooled=2 * out),
            "dataclass": Encoded(out, (out, 2 * out)),
        }[self.kind]


class Model(nn.Module):
    """Takes keywords, as language models do, and returns a dict."""

    def __init__(self, kind: str = "tensor") -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embed, self.layer, self.head = nn.Linear(2, 4), Layer(kind), nn.Linear(4, 3)

    def forward(self, ids: Any = None, *, inputs_embeds: Any = None) -> dict[str, torch.Tensor]:
        assert ids is None
        h = self.layer(torch.tanh(self.embed(inputs_embeds)))
        return {"logits": self.head(h if isinstance(h, torch.Tensor) else inputs_embeds.new_ones(1, 4))}


@pytest.mark.parametrize("kind", ["tensor", "tuple", "nested", "dict", "dataclass"])
def test_layers_inside_of_a_function_whatever_they_return(kind: str) -> None:
    model, x = Model(kind).double(), points(3, 2)

    def by_keyword(e: torch.Tensor) -> torch.Tensor:
        return model(inputs_embeds=e)["logits"]

    found = pullback(by_keyword, x, layer="layer")
    right = pullback(lambda e: torch.tanh(model.layer.linear(torch.tanh(model.embed(e)))), x)
    torch.testing.assert_close(found.metric, right.metric, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.ricci_scalar, right.ricci_scalar, rtol=1e-9, atol=1e-12)
    line = pullback_slice(by_keyword, [[0.3]], x[0], x[1:2], layer="layer.linear")
    assert line.width == 4 and not model.layer._forward_hooks


def test_layers_that_a_function_does_not_name_for_sure() -> None:
    model, other, x = Model().double(), Model().double(), points(2, 2)
    both = lambda e: model(inputs_embeds=e)["logits"] + other(inputs_embeds=e)["logits"]  # noqa: E731
    with pytest.raises(InvalidInput, match=r"layer is 'head', which each of Model and Model has; pass a function"):
        pullback(both, x, layer="head")
    with pytest.raises(InvalidInput, match=r"layer is 'layr'.*near ones: 'layer'"):
        pullback(lambda e: model(inputs_embeds=e)["logits"], x, layer="layr")
    with pytest.raises(InvalidInput, match=r"is dict.*name a layer, or wrap"):
        pullback(lambda e: model(inputs_embeds=e), x)


def test_a_dtype_measures_copies_of_the_weights() -> None:
    torch.manual_seed(0)
    x = points(3, 2)
    stack = nn.Sequential(nn.Linear(2, 9), nn.Tanh(), nn.Linear(9, 5), nn.PReLU(), nn.Linear(5, 4), nn.SiLU())
    for module in (stack, nn.Sequential(nn.Linear(2, 5), nn.LayerNorm(5), nn.Tanh())):
        for given in (module, copy.deepcopy(module).bfloat16()):
            exact = copy.deepcopy(given).double()
            with pytest.raises(InvalidInput, match=r"pass.*dtype=torch\.float64|pass x\.to"):
                pullback(given, x)
            found = pullback(given, x.float(), dtype=DOUBLE)
            assert found.x.dtype == DOUBLE and next(given.parameters()).dtype != DOUBLE
            torch.testing.assert_close(found.ricci_scalar, pullback(exact, x.float().double()).ricci_scalar)
            plane = pullback_slice(given, x, x[0], torch.eye(2), dtype=DOUBLE)
            torch.testing.assert_close(plane.metric, pullback(exact, x + x[0]).metric)
    single = pullback(copy.deepcopy(stack).double(), x, dtype=torch.float32)
    assert single.x.dtype == torch.float32
    with pytest.raises(InvalidInput, match=r"dtype is torch\.float16; use torch\.float64 or torch\.float32"):
        pullback(stack, x, dtype=torch.float16)
    with pytest.raises(InvalidInput, match=r"a function that calls a Sequential with parameter '0\.weight'"):
        pullback(lambda u: stack(u), x, dtype=DOUBLE)
    copied = copy.deepcopy(stack).to(DOUBLE)  # the remedy
    assert pullback(lambda u: copied(u), x, dtype=DOUBLE).metric.shape == (3, 2, 2)


def test_modules_that_stand_at_two_places_stay_as_they_are() -> None:
    torch.manual_seed(0)
    layer, norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
    module = nn.Sequential(layer, norm, nn.Tanh(), layer, norm, nn.SiLU()).eval()
    tensors = [*module.parameters(), *module.buffers()]
    found = pullback(module, points(3, 2).float(), dtype=DOUBLE)
    assert all(a is b for a, b in zip(tensors, [*module.parameters(), *module.buffers()], strict=True))
    assert module[0] is module[3] and isinstance(layer.weight, nn.Parameter)
    exact = copy.deepcopy(module).double()
    J = torch.func.vmap(torch.func.jacrev(lambda x: exact(x[None])[0]))(points(3, 2))
    torch.testing.assert_close(found.metric, J.mT @ J)


def test_hints_help_where_they_are_read() -> None:
    norm = nn.LayerNorm(2)
    module = nn.Sequential(nn.Conv2d(2, 2, 2), nn.Flatten()).double()
    x = torch.zeros(2, 1, 3, 3, dtype=DOUBLE)
    with pytest.raises(InvalidInput, match=r"RuntimeError.*pass input_shape=") as guessed:
        pullback(module, x)
    with pytest.raises(InvalidInput, match=r"RuntimeError.*must take points of the shape that was given") as given:
        pullback(module, x, input_shape=(1, 3, 3))
    assert "pass input_shape" not in str(given.value) and "given" not in str(guessed.value)
    with pytest.raises(InvalidInput, match="failed on a batch") as tracked:
        GeometryTracker(module, at=probe(x), quantities=("log10_volume",))
    assert "input_shape" not in str(tracked.value)
    with pytest.raises(InvalidInput, match=r"points are torch\.float64 and the weights behind features torch\.float32"):
        pullback(lambda u: norm(u @ norm.weight.diag()), points(2, 2))
    lists = pullback(lambda u: norm(u), [[0.1, 0.2]])
    assert lists.x.dtype == torch.float32  # what has no dtype follows the weights
