"""The gallery: docs/paper/gallery.md, made of the records of the small figures and of nothing else.

`python docs/make_gallery.py` runs every small figure (finished seeds are kept and not run again), copies
pictures and records to docs/paper/gallery/, and writes the page. With --page it writes the page
anew from the records there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from infgeo.errors import InfgeoError, InvalidInput
from infgeo.files import write_whole
from infgeo.interruption import termination_as_interrupt
from infgeo.progress import figures_progress
from infgeo.reproduce.claims import Claim, from_document
from infgeo.reproduce.record import SeedResult, caption, make_folder
from infgeo.reproduce.registry import FIGURES

HEAD = """# Gallery: the paper's figures at small scale

Made by `make gallery` from the records in `docs/paper/gallery/`, one for each figure, which hold every
hyperparameter, seed, version and statistic; `infgeo reproduce NAME` makes one of them. Do not edit by hand.

Means are over seeds, with 95 % intervals (Student's t over seeds). *p* is that of the sign-flip test over seeds (at
least 1/32 = 0.031 for five). A claim is stated beforehand, a number on one side of 0: it **holds** where the whole
interval is on that side and p is at most 0.05, *does not hold* where it is on the other side, and is else *not
significant*. Numbers without a claim are described. *p within*, of tests that move the volume of a network against its
boundary, combined over seeds, stands beside and does not decide.
"""


def page(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page of the records {figure: record}, in the order of the registry."""
    parts = [HEAD, verdicts(records)]
    parts += [section(record) for name in FIGURES if (record := records.get(name)) is not None]
    return "\n".join(parts)


def verdicts(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of seeds, cost, and how many claims of each figure hold."""
    lines = ["| figure | seeds | time | holds | does not hold | not significant |", "|---|---|---|---|---|---|"]
    for name in FIGURES:
        if name in records:
            record = records[name]
            found = [claim["verdict"] for claim in record["claims"]]
            counts = [found.count(verdict) for verdict in ("holds", "does not hold", "not significant")]
            numbers = [len(record["seeds"]), FIGURES[name].cost["small"], *counts]
            lines.append(f"| [{name}](#{name.lower()}) | {' | '.join(map(str, numbers))} |")
    if missing := [name for name in FIGURES if name not in records]:
        lines += ["", f"Not yet run at these settings: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def section(record: Mapping[str, Any]) -> str:
    """Return the section of one figure: the picture, its caption, and the folded table of all numbers."""
    name, versions = record["figure"], record["versions"]
    seeds = ", ".join(map(str, record["seeds"])) or "none: nothing is random"
    lines = [
        f"## {name}",
        "",
        f"![{record['title']}](gallery/{name}.png)",
        "",
        caption(record).replace("|", "\\|"),
        "",
        "<details><summary>All numbers, notes and settings</summary>",
        "",
        *(note + "\n" for note in record["notes"]),
        *(
            f"- {d['key']}: published, {d['published']}; ours, {d['ours']} ({d['effect']})."
            for d in record["departures"]
        ),
        *([""] if record["departures"] else []),
        f"Seeds: {seeds}. {_times(record['seconds']['each_seed'])} infgeo {versions['infgeo']}, torch"
        f" {versions['torch']}, NumPy {versions['numpy']}, Python {versions['python']}. [Record](gallery/{name}.json).",
        "",
        "| quantity | mean [95 % interval] | claimed | p | p within | verdict |",
        "|---|---|---|---|---|---|",
        *(_row(from_document(claim)) for claim in record["claims"]),
        "",
        "</details>",
        "",
    ]
    return "\n".join(lines)


def _times(seconds: Sequence[float]) -> str:
    low, high = min(seconds), max(seconds)
    span = f"{low:.0f} s" if f"{low:.0f}" == f"{high:.0f}" else f"{low:.0f} to {high:.0f} s"
    return f"Time of a seed, one thread, on a machine shared with other work: {span}."


def _row(claim: Claim) -> str:
    interval = "" if claim.low is None or claim.high is None else f" [{claim.low:.3g}, {claim.high:.3g}]"
    claimed = {1: "> 0", -1: "< 0", 0: ""}[claim.direction]
    p, within = ("" if value is None else f"{value:.2g}" for value in (claim.p, claim.p_within))
    verdict = {"holds": "**holds**", "described": ""}.get(claim.verdict, f"*{claim.verdict}*")
    missing = f" ({claim.missing} seeds without)" if claim.missing else ""
    quantity = claim.statement.replace("|", "\\|")
    return f"| {quantity} | {claim.estimate:.3g}{interval}{missing} | {claimed} | {p} | {within} | {verdict} |"


def records_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the records NAME.json of a folder by figure. Raises InvalidInput for one that cannot be read."""
    records = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            records[record["figure"]] = record
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{path} is no record of a figure ({error!r}); remove it, or run make gallery") from None
    return records


def _told(name: str, result: SeedResult) -> None:
    print(f"{name}: seed {result.seed} finished, {result.seconds:.0f} s", file=sys.stderr, flush=True)


def collect(runs: Path, folder: Path) -> None:
    """Run every small figure into `runs`, and copy its picture and record to `folder`."""
    from infgeo.reproduce.run import reproduce

    with figures_progress(tuple(FIGURES)) as progress:
        for name in FIGURES:
            outcome = reproduce(name, out=runs, finished=partial(_told, name), progress=progress(name))
            if outcome.partial:
                raise KeyboardInterrupt
            for ending in ("png", "json"):
                write_whole(folder / f"{name}.{ending}", (runs / f"{name}-small.{ending}").read_bytes())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the figures and write the page; return the exit status."""
    parser = argparse.ArgumentParser(prog="python docs/make_gallery.py", description="write docs/paper/gallery.md")
    parser.add_argument(
        "--docs", default="docs/paper", metavar="DIR", help="where gallery.md and gallery/ are (default: docs/paper)"
    )
    parser.add_argument(
        "--runs", default="out/gallery", metavar="DIR", help="where the runs are (default: out/gallery)"
    )
    parser.add_argument("--page", action="store_true", help="write the page alone, from the records that are there")
    arguments = parser.parse_args(argv)
    try:
        folder = make_folder(Path(arguments.docs) / "gallery")
        if not arguments.page:
            with termination_as_interrupt():
                collect(Path(arguments.runs), folder)
        write_whole(Path(arguments.docs) / "gallery.md", page(records_in(folder)).encode())
    except InfgeoError as error:
        print(f"gallery: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gallery: interrupted; finished seeds are kept, and the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
