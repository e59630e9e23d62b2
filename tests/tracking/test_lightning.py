"""The callback against a stub of Lightning's interface, for the library is not among the pinned packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from infgeo.errors import InvalidInput
from infgeo.tracking import grid, load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def callback(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    stub = ModuleType(request.param)
    stub.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    if request.param == "lightning.pytorch":
        monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, request.param, stub)
    monkeypatch.delitem(sys.modules, "infgeo.tracking.lightning", raising=False)
    from infgeo.tracking.lightning import GeometryCallback

    yield GeometryCallback
    sys.modules.pop("infgeo.tracking.lightning", None)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"net": nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))})


def test_it_records_steps_of_the_optimiser(callback: Any, tmp_path: Path) -> None:
    module, trainer = network(), SimpleNamespace(global_step=4, is_global_zero=True)
    made = callback(grid(points=3), module="net", features="1", every=2, path=tmp_path / "h")
    assert made.tracker is None
    made.on_train_start(trainer, module)
    for batch in range(8):
        trainer.global_step = 4 + (batch + 1) // 2  # two batches accumulate
        made.on_train_batch_end(trainer, module, None, None, batch)
    made.on_exception(trainer, module, KeyboardInterrupt())
    assert load(tmp_path / "h").steps.tolist() == [4, 6, 8]


def test_other_ranks_record_nothing_and_errors_come_at_the_start(callback: Any) -> None:
    trainer = SimpleNamespace(global_step=0, is_global_zero=False)
    made = callback(grid(points=3), module="net", features="7")
    made.on_train_start(trainer, network())
    made.on_train_batch_end(trainer, network(), None, None, 0)
    made.on_train_end(trainer, network())
    assert made.tracker is None
    trainer.is_global_zero = True
    with pytest.raises(InvalidInput, match="layer is '7'"):
        made.on_train_start(trainer, network())


def test_a_missing_library_is_named_with_its_remedy() -> None:
    program = (
        "import sys; sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None\n"
        "try:\n    import infgeo.tracking.lightning\n"
        "except ImportError as error:\n    assert \"pip install 'infgeo[lightning]'\" in str(error)\n"
        "else:\n    raise AssertionError"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
