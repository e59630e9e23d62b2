"""What the commands do. Each takes the parsed arguments, imports what is heavy, and returns the exit status."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from infgeo.errors import InvalidInput


def _options(arguments: Namespace, names: str) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names.split()}


def activations(arguments: Namespace) -> int:
    """List the catalogue: name, formula, source."""
    from infgeo.report_text import align, strict_json
    from infgeo.symbolic.activations.catalogue import available, get

    if arguments.json:
        print(strict_json({name: {"formula": str(get(name)), "source": get(name).source} for name in available()}))
        return 0
    print(align([[name, str(get(name)), get(name).source] for name in available()], left=(0, 1, 2)))
    return 0


def derive(arguments: Namespace) -> int:
    """Print closed forms."""
    from infgeo.cli.derive import derivation
    from infgeo.cli.network_arguments import network_of

    mlp = network_of(arguments)
    print(derivation(mlp, arguments.quantity, arguments.format, arguments.explicit, arguments.of == "ntk"))
    return 0


def emit(arguments: Namespace) -> int:
    """Write a standalone module."""
    from infgeo.cli.network_arguments import network_of
    from infgeo.files import check_writable, write_whole
    from infgeo.numeric.emit import emit as source_of

    mlp = network_of(arguments)
    if arguments.output is not None:
        check_writable(arguments.output)
    source = source_of(mlp, arguments.backend, arguments.certificate)
    if arguments.output is None:
        print(source, end="")
        return 0
    write_whole(arguments.output, source.encode())
    print(f"wrote {arguments.output}", file=sys.stderr)
    return 0


def evaluate(arguments: Namespace) -> int:
    """Compute the geometry at points, and write a table."""
    from pathlib import Path

    from infgeo.cli.evaluate import as_table, check_ending, values_of
    from infgeo.cli.network_arguments import values_given, with_layers
    from infgeo.cli.points_file import read_points
    from infgeo.files import check_writable, write_whole

    mlp = with_layers(arguments.activation, arguments.depth)
    if arguments.out is not None:
        check_ending(arguments.out)
        check_writable(arguments.out)
    X = read_points(arguments.points)
    Y = None if arguments.others is None else read_points(arguments.others)
    geo = mlp.numeric(parameters=values_given(arguments), **_options(arguments, "weight_std bias_std method"))
    values = values_of(geo, arguments.of, X, Y)
    head = {"network": str(mlp), "parameters": dict(geo.parameters), "kind": geo.kind}
    if arguments.out is not None:
        write_whole(arguments.out, as_table(Path(arguments.out).suffix.lower(), X, values, head))
    if arguments.out is None or arguments.json:
        print(as_table(".json" if arguments.json else ".csv", X, values, head).decode(), end="")
    return 0


def validate(arguments: Namespace) -> int:
    """Compare with simulation; print the table, write JSON and picture."""
    from infgeo.cli.network_arguments import values_given, with_layers
    from infgeo.cli.points_file import read_points
    from infgeo.files import check_writable, write_whole

    mlp = with_layers(arguments.activation, arguments.depth)
    against = None if arguments.against is None else with_layers(arguments.against, arguments.depth)
    points = None if arguments.points is None else read_points(arguments.points)
    if points is None and arguments.input_dim is None:
        raise InvalidInput("the input dimension is missing; give --input-dim D, or --points FILE")
    parameters = values_given(arguments)
    for path in (arguments.json, arguments.plot):
        if path is not None:
            check_writable(path)
    if arguments.json is not None and arguments.plot is not None:
        if os.path.realpath(arguments.json) == os.path.realpath(arguments.plot):
            raise InvalidInput(f"--json and --plot both name {arguments.json}; give each a file of its own")
    if arguments.plot is not None:
        from infgeo.validation.picture import check_format

        check_format(arguments.plot)

    from infgeo.progress import progress_bar
    from infgeo.validation import validate as run
    from infgeo.validation.simulate import simulation_pool

    with simulation_pool(arguments.jobs) as executor, progress_bar("networks") as progress:
        report = run(
            mlp,
            arguments.input_dim if points is None or arguments.input_dim is not None else points.shape[-1],
            points,
            parameters=parameters,
            against=against,
            executor=executor,
            progress=progress,
            **_options(arguments, "weight_std bias_std widths samples seed quantities budget"),
        )
    if arguments.json is not None:
        write_whole(arguments.json, (report.to_json() + "\n").encode())
    if arguments.plot is not None and report.rows:
        report.plot(arguments.plot)
    try:
        print(report.table(arguments.all_rows), flush=True)
    except BrokenPipeError:
        # Whoever reads the table, the exit status is the verdict. Python flushes once more at exit: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if report.passed else 1


def explore(arguments: Namespace) -> int:
    """Write the explorer, and show it in the browser."""
    import tempfile
    import webbrowser
    from pathlib import Path

    from infgeo.files import check_writable, file_path, write_whole

    given = arguments.out
    path = Path(tempfile.mkdtemp(prefix="infgeo-")) / "explorer.html" if given is None else file_path(given, "--out")
    check_writable(path)

    from infgeo.explorer.page import page

    write_whole(path, page().encode())
    print(f"wrote {path}")
    if not arguments.no_browser and not webbrowser.open(path.absolute().as_uri()):
        print(f"infgeo: found no browser; open {path} in one", file=sys.stderr)
    return 0


def data(arguments: Namespace) -> int:
    """Say which published data sets a folder holds; a damaged one is a failure."""
    from infgeo.training.image_files import MissingFiles, read_cifar10, read_mnist

    if not os.path.isdir(arguments.folder):
        raise InvalidInput(f"there is no folder {arguments.folder}; name the one that holds the files")
    said, states = {}, set()
    for name, read in (("MNIST", read_mnist), ("CIFAR-10", read_cifar10)):
        try:
            train, test = read(arguments.folder)
            state = "as published"
            said[name] = f"{state}, {len(train[1])} images to train on, {len(test[1])} to test on"
        except MissingFiles as error:
            state, said[name] = "not there", f"not there: {error}"
        except InvalidInput as error:
            state, said[name] = "damaged", str(error)
        states.add(state)
    print(json.dumps(said, indent=1) if arguments.json else "\n".join(f"{name}: {text}" for name, text in said.items()))
    return 0 if "as published" in states and "damaged" not in states else 1


def reproduce(arguments: Namespace) -> int:
    """Reproduce one figure or all; print the claims. A claim that does not hold is a result, no failure of the run."""
    from infgeo.report_text import strict_json
    from infgeo.reproduce.registry import FIGURES, figure_called, listing

    if arguments.list:
        print(strict_json(list(FIGURES.values())) if arguments.json else listing())
        return 0
    if arguments.figure is None:
        raise InvalidInput("the figure is missing; give a name that infgeo reproduce --list shows")
    names = tuple(FIGURES) if arguments.figure == "all" else (figure_called(arguments.figure).name,)
    from infgeo.progress import figures_progress

    status = 0
    with figures_progress(names) as progress:
        for name in names:
            if arguments.rehearse or arguments.scale == "paper":
                _print_estimate(name, arguments)
            if not arguments.rehearse:
                status = max(status, _figure(name, arguments, progress(name)))
                if status == 130 or (status and len(names) > 1):
                    break
    return status


def _print_estimate(name: str, arguments: Namespace) -> None:
    from infgeo.finite.inputs import checked_device
    from infgeo.reproduce.registry import figure_called
    from infgeo.reproduce.rehearsal import check_data, rehearse

    device, folder = checked_device(arguments.device[0]), None if arguments.rehearse else arguments.data
    if not arguments.rehearse:
        check_data(name, arguments.scale, arguments.settings, folder)
    rehearsal = rehearse(
        name, arguments.scale, device=device, data=folder, **_options(arguments, "settings network activation")
    )
    cost = figure_called(name).cost[arguments.scale]
    said = rehearsal.table() if rehearsal.parts else f"{name}: not rehearsed; it takes {cost}"
    print(said, file=sys.stderr if arguments.json else sys.stdout, flush=True)


def _figure(name: str, arguments: Namespace, progress: Callable[..., object]) -> int:
    from infgeo.report_text import json_safe
    from infgeo.reproduce.run import reproduce as run

    try:
        outcome = run(
            name,
            finished=lambda result: print(
                f"{name}: seed {result.seed} finished, {result.seconds:.0f} s", file=sys.stderr, flush=True
            ),
            progress=progress,
            **_options(arguments, "scale seeds device out data jobs settings network activation"),
        )
    except KeyboardInterrupt:
        print("infgeo: interrupted before a seed was finished; the same command goes on", file=sys.stderr)
        return 130
    if arguments.json:  # a line a figure
        print(json.dumps(json_safe(outcome.record)))
        return 1 if outcome.partial else 0
    print(f"{outcome.figure.name}: {outcome.figure.title} ({outcome.record['scale']}, {arguments.settings} settings)")
    for claim in outcome.claims:
        print(f"  {claim.line()}")
    for note in outcome.record["notes"]:
        print(f"  note: {note}")
    print(f"wrote {', '.join(map(str, outcome.files))}")
    if outcome.partial:
        print("infgeo: interrupted; the finished seeds are kept, and the same command goes on", file=sys.stderr)
    return 1 if outcome.partial else 0
