"""One call a figure: measure every seed, state the claims, write picture, data and record."""

import importlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

from infgeo import figure_style as style
from infgeo.arguments import instance, items, one_of, positive_integer, seed_integer, shown
from infgeo.errors import InvalidInput
from infgeo.files import write_whole
from infgeo.finite.inputs import checked_device
from infgeo.processes import cores
from infgeo.report_text import json_safe, strict_json
from infgeo.reproduce.claims import Claim
from infgeo.reproduce.record import SeedResult, as_npz, caption, make_folder, stacked, versions
from infgeo.reproduce.registry import SCALES, Figure, figure_called
from infgeo.reproduce.seed_runs import Place, Progress, run_seeds
from infgeo.reproduce.settings import CHOICES, SOURCE, settings_of, with_network


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a figure gave: the claims, the record as written, the files, and whether seeds are missing."""

    figure: Figure
    claims: tuple[Claim, ...]
    record: Mapping[str, Any]
    files: tuple[Path, ...]
    partial: bool


def reproduce(
    name: str,
    scale: str = "small",
    *,
    seeds: Sequence[int] | None = None,
    device: str | Sequence[str] = "cpu",
    out: str | os.PathLike[str] = "out/reproduce",
    data: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    settings: Any = "published",
    network: str | None = None,
    activation: str | None = None,
    finished: Callable[[SeedResult], None] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Reproduce one figure of the paper and write NAME-SCALE.png, .pdf, .txt (the caption), .npz and .json into `out`.

    Each seed is kept in NAME-SCALE.seeds/ as soon as it is finished, and training is checkpointed there: after an
    interruption (Ctrl-C, SIGTERM) the same call goes on where it was. The record holds every hyperparameter, the seeds,
    the versions, the claims with their verdicts, the statistics of each seed and the times.

    Args:
        name: one of `infgeo.reproduce.FIGURES`.
        scale: "small" (minutes on two cores, bundled data) or "paper" (the published settings, a GPU).
        seeds: integers >= 0, without repetition; by default as many as the registry says. Figures without randomness
            take none.
        device: of torch, for example "cuda"; of several, ("cuda:0", "cuda:1"), seeds take one after the other.
        out: folder of the files.
        data: folder with the files of MNIST or CIFAR-10 as published, for scale "paper".
        jobs: worker processes; by default one a core and at most one a seed, on GPUs one a device.
        executor: any of `concurrent.futures` (Dask's, for other machines) that takes the seeds in place of `jobs`; its
            workers keep seeds in `out` as they see it. In one process, as in a thread pool, seeds follow each other.
        settings: "published", "ours" (where ours is a considered departure, see `infgeo.reproduce.settings`), or a
            value like those of `settings.SETTINGS`, for a variation of the figure.
        network: "resnet18" or "resnet34", in place of that of the published settings.
        activation: of residual networks, such as "elu", in place of theirs.
        finished: called with every seed's result as it comes.
        progress: called as progress(seed, what is trained, epochs done, epochs), some times a second.

    Returns:
        The outcome. `partial` says that the run was interrupted: it has the seeds that were finished.

    Raises:
        InvalidInput: for an unknown figure or scale, bad seeds, an absent device, data files that are not there, a
            folder that cannot be written.
        MissingExtra: where a library is absent that the figure needs.
        KeyboardInterrupt: when interrupted before any seed was finished.

    Source: arXiv 2301.11375v4.
    """
    figure = figure_called(name)
    scale = one_of(scale, "scale", SCALES)
    wanted = _checked_seeds(range(figure.seeds) if seeds is None else seeds) if figure.seeds else (0,)
    choice = one_of(settings, "settings", CHOICES) if isinstance(settings, str) else "custom"
    chosen, departures = settings_of(name, scale, choice)
    if choice == "custom":
        chosen, departures = settings, ()
    chosen = with_network(chosen, network, activation)
    style.require_matplotlib()
    module = importlib.import_module(figure.module)
    devices = [checked_device(one) for one in ((device,) if isinstance(device, str) else items(device, "device"))]
    instance(executor, "executor", (Executor, type(None)), "an executor of concurrent.futures")
    folder = make_folder(out)
    stem = "-".join(filter(None, (name, scale, "ours" if choice == "ours" else "", network, activation)))
    most = (cores() if devices == ["cpu"] else len(devices)) if jobs is None else positive_integer(jobs, "jobs")
    workers = min(most, len(wanted))
    threads = 1 if scale == "small" else max(1, cores() // workers)
    files_of_data = None if data is None else os.fspath(data)
    place = Place(make_folder(folder / f"{stem}.seeds"), devices[0], files_of_data, threads, progress)
    if hasattr(module, "check"):
        module.check(chosen, place)  # data files and libraries, before anything is trained
    start = time.perf_counter()
    places = {seed: replace(place, device=one) for seed, one in zip(wanted, cycle(devices), strict=False)}
    results, complete = run_seeds(figure.module, chosen, places, workers, finished or (lambda _: None), executor)
    if not results:
        raise KeyboardInterrupt
    claims = module.claims(chosen, results)
    record = {
        "figure": name,
        "title": figure.title,
        "shows": figure.shows,
        "source": figure.source,
        "scale": "custom" if choice == "custom" else scale,
        "settings_are": choice,
        "departures": [
            {"key": d.key, "published": d.published, "ours": d.ours, "effect": d.effect, "source": SOURCE}
            for d in departures
        ],
        "settings": chosen,
        "seeds": [r.seed for r in results] if figure.seeds else [],
        "partial": not complete,
        "device": ", ".join(devices),
        "versions": versions(),
        "seconds": {"this_run": time.perf_counter() - start, "each_seed": [r.seconds for r in results]},
        "jobs": workers,
        "notes": module.notes(chosen),
        "claims": claims,
        "statistics": [{"seed": r.seed, **r.statistics} for r in results],
    }
    pictures = style.rendered(module.picture(chosen, results, claims))
    text = strict_json(record, ensure_ascii=False) + "\n"
    record = json_safe(record)
    contents = {
        "json": text.encode(),
        "npz": as_npz(stacked(results)),
        "txt": f"{caption(record)}\n".encode(),
        **pictures,
    }
    files = tuple(folder / f"{stem}.{ending}" for ending in contents)
    for path, content in zip(files, contents.values(), strict=True):
        write_whole(path, content)
    return Outcome(figure, tuple(claims), record, files, not complete)


def _checked_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    wanted = tuple(seed_integer(seed, 32, "a seed") for seed in items(seeds, "seeds"))
    if not wanted:
        raise InvalidInput(f"seeds is {shown(seeds)}; pass a list of integers >= 0")
    if len(set(wanted)) < len(wanted):
        raise InvalidInput(f"seeds is {list(wanted)}; each counts once, remove the repeated ones")
    return wanted
