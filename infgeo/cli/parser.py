"""Arguments and exit statuses of the command line."""

import argparse
import math
from functools import partial
from typing import Any, NoReturn

from infgeo import __version__
from infgeo.errors import MissingExtra

PASSED, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
DEEPEST = 100  # layers: formulas grow with each, and so does the time to derive them
QUANTITIES = ("kernel", "ntk", "metric", "volume_element", "ricci_scalar", "ricci_tensor", "sectional_curvature")
EPILOG = """exit status: 0 passed; 1 a check failed, or validate or reproduce was interrupted and what it wrote
is partial; 2 bad input (one line on stderr); 130 interrupted before there was anything to report"""
ACTIVATION = """a name listed by `infgeo activations`, or an expression of z such as "z*exp(-z**2/2)", of + - * / **,
functions such as erf and max, Piecewise((value, condition), ..., (value, True)), and names of parameters; one that
begins with - goes in parentheses"""


class Completion(argparse.Action):
    """Prints what makes a shell complete the command, see shtab."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: object, values: Any, option: object = None) -> None:
        """Print it and exit; raises MissingExtra."""
        try:
            import shtab
        except ImportError:
            raise MissingExtra("--print-completion", "cli") from None
        print(shtab.complete(parser, values))
        parser.exit()


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with the status of bad input."""
        if "ACTIVATION" in message:  # what begins with - was taken for an option
            message += "; an expression that begins with - goes in parentheses"
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def integer(text: str, least: int = 1) -> int:
    """Parse an integer >= least."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer >= {least}")
    return value


natural = partial(integer, least=0)


def depth(text: str) -> int:
    """Parse a number of layers, up to DEEPEST."""
    value = integer(text)
    if value > DEEPEST:
        raise argparse.ArgumentTypeError(f"{text} is larger than {DEEPEST}, the largest depth of the command line")
    return value


def scale(text: str) -> float:
    """Parse a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def widths(text: str) -> tuple[int, ...]:
    """Parse integers separated by commas."""
    return tuple(integer(part) for part in text.split(","))


def names(text: str) -> tuple[str, ...]:
    """Parse words separated by commas."""
    return tuple(text.split(","))


def assignment(text: str) -> tuple[str, float]:
    """Parse NAME=VALUE with a finite number."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), scale(value)


def build() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="infgeo",
        description="The Riemannian geometry that neural networks induce on their input space.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"infgeo {__version__}")
    parser.add_argument(
        "--print-completion",
        action=Completion,
        choices=("bash", "zsh", "tcsh"),
        help="print what a shell needs to complete this command",
    )
    parser.add_argument("--verbose", action="store_true", help="with --version: also the libraries and the machine")
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="derive | emit | evaluate | validate | reproduce | explore | data | activations",
    )

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=text, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    _derive(command("derive", "print closed forms at infinite width (the Ricci scalar is positive on spheres)"))
    _emit(command("emit", "write the geometry as a standalone module of numeric functions, which checks itself if run"))
    _evaluate(command("evaluate", "compute the geometry at the points of a file: a table as CSV, JSON or Parquet"))
    _validate(command("validate", "compare the closed forms with simulated networks of finite width"))
    _reproduce(command("reproduce", "reproduce a figure of the paper: picture, data and a record of what was measured"))
    explore = command("explore", "write the explorer, a page with the geometry as curves under sliders, and open it")
    explore.add_argument("--out", metavar="FILE", help="an HTML file (default: one in a new temporary folder)")
    explore.add_argument("--no-browser", action="store_true", help="write the page and do not open it")
    data = command("data", "check the files of MNIST and CIFAR-10 as published, for reproduce --scale paper")
    data.add_argument("action", choices=("check",))
    data.add_argument("folder", metavar="FOLDER")
    listed = command(
        "activations", "list the catalogue of activations; derive, emit and validate take any expression of z too"
    )
    for described in (data, listed):
        described.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _layers(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "activation", metavar="ACTIVATION", nargs="+", help=f"{ACTIVATION}; several are the layers, the first first"
    )
    command.add_argument("--depth", type=depth, help="number of equal hidden layers (default 1)")


def _parameter(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--parameter", type=assignment, action="append", default=[], metavar="NAME=VALUE", help=text)


def _described(command: argparse.ArgumentParser) -> None:
    _layers(command)
    for name, letter, bound in (("weight-std", "W", "> 0"), ("bias-std", "B", ">= 0")):
        command.add_argument(
            f"--{name}",
            metavar=f"SIGMA_{letter}",
            help=f"{bound}, a number or text such as sqrt(2)/3 (default: the symbol sigma_{letter.lower()})",
        )
    _parameter(command, "a number for sigma_w, sigma_b, d or a parameter of an activation; may be repeated")


def _derive(command: argparse.ArgumentParser) -> None:
    _described(command)
    command.add_argument(
        "--of",
        choices=("nngp", "ntk"),
        default="nngp",
        help="of which kernel metric, volume element and curvatures are: the NNGP kernel (default) or the tangent one",
    )
    command.add_argument("--quantity", choices=(*QUANTITIES, "all"), default="all")
    command.add_argument("--format", choices=("text", "latex", "python", "json"), default="text")
    command.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    command.add_argument("--explicit", action="store_true", help="substitute the named values of long formulas")


def _emit(command: argparse.ArgumentParser) -> None:
    _described(command)
    command.add_argument("--backend", choices=("numpy", "torch", "jax", "mpmath"), default="numpy")
    command.add_argument(
        "--certificate",
        choices=("required", "stated", "none"),
        help="measure every function against 50 digits and refuse one that misses its bound, or state its error, or"
        " measure nothing (default: required for numpy, stated for torch, none for jax)",
    )
    command.add_argument("-o", "--output", metavar="FILE", help="default: standard output")


def _at_numbers(command: argparse.ArgumentParser) -> None:
    _layers(command)
    command.add_argument("--weight-std", type=scale, metavar="SIGMA_W", help="> 0 (default 1)")
    command.add_argument("--bias-std", type=scale, metavar="SIGMA_B", help=">= 0 (default 1)")
    example = "alpha=0.1 of leaky_relu or of erf(alpha*z)"
    _parameter(command, f"a number for a parameter of the activation, for example {example}; may be repeated")


def _evaluate(command: argparse.ArgumentParser) -> None:
    _at_numbers(command)
    file = ".npy, .csv (a header is skipped) or .parquet, one point a row"
    command.add_argument("--points", metavar="FILE", required=True, help=file)
    command.add_argument("--others", metavar="FILE", help="the other points of pairs (default: the same)")
    command.add_argument(
        "--of",
        type=names,
        metavar="NAME,NAME,...",
        default=("log_volume_element", "ricci_scalar"),
        help="kernel, ntk, kernel_distance (of pairs), kernel_diag, ntk_diag, metric, volume_element,"
        " log_volume_element, ricci_scalar (default: the last two)",
    )
    command.add_argument(
        "--method", choices=("closed_form", "mixture", "quadrature"), help="default: the first there is"
    )
    command.add_argument("--out", metavar="FILE", help=".csv, .json or .parquet (default: CSV on standard output)")
    command.add_argument("--json", action="store_true", help="JSON on standard output")


def _validate(command: argparse.ArgumentParser) -> None:
    _at_numbers(command)
    command.add_argument("--input-dim", type=integer, metavar="D", help="default: that of the points")
    command.add_argument("--seed", type=natural, default=0)
    command.add_argument("--points", metavar="FILE", help=".npy or .csv, one point a row (default: 8 radii, 0.3 to 4)")
    command.add_argument("--widths", type=widths, metavar="N,N,...", help="the ladder of widths")
    command.add_argument("--quantities", type=names, metavar="NAME,NAME,...", help="what is compared (default: all)")
    command.add_argument("--samples", type=integer, metavar="M", help="networks at each width")
    budget = command.add_mutually_exclusive_group()
    for name, text in (
        ("quick", "a tenth of the networks"),
        ("thorough", "40 times the networks: errors of 0.1 %% show"),
    ):
        budget.add_argument(f"--{name}", dest="budget", action="store_const", const=name, default="default", help=text)
    command.add_argument(
        "--against", metavar="ACTIVATION", nargs="+", help="simulate this one instead: a theory that is wrong"
    )
    command.add_argument("--jobs", type=integer, metavar="J", help="worker processes (default: one a core)")
    command.add_argument("--json", metavar="FILE", help="write the report as JSON")
    command.add_argument("--plot", metavar="FILE", help="write a picture: .png, .pdf or .svg")
    command.add_argument("--all-rows", action="store_true", help="print every comparison")


def _reproduce(command: argparse.ArgumentParser) -> None:
    command.add_argument("figure", metavar="FIGURE", nargs="?", help="a name that --list shows, or all")
    command.add_argument("--list", action="store_true", help="say what each figure shows, its source and its cost")
    command.add_argument("--json", action="store_true", help="print the list, or the records of the figures, as JSON")
    command.add_argument(
        "--scale",
        choices=("small", "paper"),
        default="small",
        help="small: minutes on two cores, bundled data (default); paper: the published settings, for a GPU",
    )
    command.add_argument(
        "--settings",
        choices=("published", "ours"),
        default="published",
        help="published: those of the authors' scripts (default); ours: where ours is a considered departure",
    )
    command.add_argument(
        "--rehearse", action="store_true", help="run a few steps of every network and estimate the whole run"
    )
    command.add_argument("--seeds", type=natural, nargs="+", metavar="S", help="default: 0 1 2 3 4, or 20 where cheap")
    command.add_argument("--network", choices=("resnet18", "resnet34"), help="in place of ResNet-34 at scale paper")
    command.add_argument("--activation", metavar="NAME", help="of residual networks in place of GELU, for example elu")
    command.add_argument(
        "--device", nargs="+", default=["cpu"], help="of torch, cuda or cuda:0 cuda:1 for seeds in turn (default: cpu)"
    )
    command.add_argument("--out", default="out/reproduce", metavar="DIR", help="default: out/reproduce")
    command.add_argument("--data", metavar="DIR", help="folder with the files of MNIST or CIFAR-10, for --scale paper")
    command.add_argument("--jobs", type=integer, metavar="J", help="worker processes (default: one a core)")
