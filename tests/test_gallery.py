"""The gallery's page is what the generator makes of the committed records, and the records are what a run gives."""

import json
import re
from pathlib import Path

import pytest

from docs import make_gallery as gallery
from infgeo.errors import InvalidInput
from infgeo.report_text import json_safe
from infgeo.reproduce import FIGURES, reproduce
from infgeo.reproduce.settings import SETTINGS

DOCS = Path(__file__).resolve().parents[1] / "docs" / "paper"
RECORDS = gallery.records_in(DOCS / "gallery")


def test_the_page_is_made_of_the_committed_records():
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == gallery.page(RECORDS)


def test_every_figure_is_there_with_its_picture_and_its_settings():
    assert set(RECORDS) <= set(FIGURES)
    for name, record in RECORDS.items():
        assert (DOCS / "gallery" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert record["settings"] == json.loads(json.dumps(json_safe(SETTINGS[name, "small"]))), name
        assert not record["partial"] and record["scale"] == "small"
        assert len(record["seeds"]) == FIGURES[name].seeds and record["settings_are"] == "published"
    assert sum(path.stat().st_size for path in (DOCS / "gallery").iterdir()) < 4_500_000


def test_links_lead_somewhere():
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / link).exists(), link


def test_figure_d1_is_what_the_record_says(tmp_path, monkeypatch):
    monkeypatch.setattr("infgeo.figure_style.rendered", lambda figure: {})
    record = reproduce("figD1", out=tmp_path).record
    kept = RECORDS["figD1"]
    assert [c["verdict"] for c in record["claims"]] == [c["verdict"] for c in kept["claims"]]
    for name, values in kept["statistics"][0].items():
        if name != "seed":
            for key in ("volume_at_0", "ricci_at_0", "largest_volume", "ricci_range", "share_of_positive_ricci"):
                assert record["statistics"][0][name][key] == pytest.approx(values[key], rel=1e-9), (name, key)


def test_verdicts_follow_from_the_numbers_of_the_seeds():
    """The claims of every record, computed anew from the statistics of its seeds."""
    from importlib import import_module

    from infgeo.reproduce.record import SeedResult

    for name, record in RECORDS.items():
        results = [SeedResult(s["seed"], {}, {k: v for k, v in s.items() if k != "seed"}, 0.0)
                   for s in record["statistics"]]  # fmt: skip
        module = import_module(FIGURES[name].module)
        again = json_safe(module.claims(SETTINGS[name, "small"], results))
        assert [c["verdict"] for c in again] == [c["verdict"] for c in record["claims"]], name
        for new, old in zip(again, record["claims"], strict=True):
            assert new["estimate"] == pytest.approx(old["estimate"], rel=1e-9, abs=1e-12), (name, old["name"])


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "fig1.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"fig1\.json is no record"):
        gallery.records_in(tmp_path)


def test_the_page_alone_is_written_again(tmp_path):
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "figD1.json").write_text((DOCS / "gallery" / "figD1.json").read_text(encoding="utf-8"))
    assert gallery.main(["--docs", str(tmp_path), "--page"]) == 0
    text = (tmp_path / "gallery.md").read_text(encoding="utf-8")
    assert "## figD1" in text and "## fig1" not in text and "Not yet run at these settings: fig1, " in text
