import json

import numpy as np
import pytest

from infgeo.errors import InvalidInput
from infgeo.report_text import strict_json
from infgeo.reproduce.record import SeedResult, load_seed, make_folder, save_seed, stacked, versions

RESULT = SeedResult(3, {"a.b": np.arange(6.0).reshape(2, 3)}, {"row": {"x": float("nan"), "y": [1, None]}}, 2.5)


def test_a_seed_comes_back_as_it_was_kept(tmp_path):
    path = tmp_path / "seed.npz"
    save_seed(path, RESULT, "key")
    again = load_seed(path, "key")
    assert (again.seed, again.seconds) == (3, 2.5)
    assert again.statistics == {"row": {"x": "nan", "y": [1, None]}}
    np.testing.assert_array_equal(again.arrays["a.b"], RESULT.arrays["a.b"])
    assert [p.name for p in tmp_path.iterdir()] == ["seed.npz"]


def test_a_seed_of_other_settings_an_absent_and_a_damaged_one_are_none(tmp_path):
    path = tmp_path / "seed.npz"
    assert load_seed(path, "key") is None
    save_seed(path, RESULT, "key")
    assert load_seed(path, "other") is None
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not an archive", whole[:-30]):
        path.write_bytes(content)
        assert load_seed(path, "key") is None


def test_arrays_of_the_seeds_are_stacked_and_odd_ones_kept_apart():
    first = SeedResult(0, {"same": np.zeros(3), "odd": np.zeros(2)}, {}, 0.0)
    second = SeedResult(7, {"same": np.ones(3), "odd": np.zeros(4), "only": np.ones(1)}, {}, 0.0)
    data = stacked([first, second])
    assert data["seeds"].tolist() == [0, 7]
    assert data["same"].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert {name: data[name].shape for name in data if "_seed" in name} == {
        "odd_seed0": (2,), "odd_seed7": (4,), "only_seed7": (1,),
    }  # fmt: skip


def test_json_is_strict():
    text = strict_json({"nan": float("nan"), "array": np.array([1.0, np.inf]), "number": np.float32(0.5)})
    assert json.loads(text, parse_constant=pytest.fail) == {"nan": "nan", "array": [1.0, "inf"], "number": 0.5}


def test_versions_name_what_takes_part():
    assert {"infgeo", "python", "numpy", "torch"} <= set(versions())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"cannot write into the folder .*file.*--out"):
        make_folder(tmp_path / "file" / "below")
