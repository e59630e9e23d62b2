"""Exit statuses, and every error in one line."""

import argparse
import builtins
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import infgeo
from infgeo.cli import main
from infgeo.cli.parser import build
from tests.wrong_kinds import CODE

ROOT = Path(infgeo.__file__).parents[1]


VALIDATE = ["validate", "erf", "--input-dim", "2", "--widths", "64,128,256", "--samples", "16", "--jobs", "1"]


def infgeo_process(*arguments, **options):
    command = [sys.executable, "-m", "infgeo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **options)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"infgeo {infgeo.__version__}\n"
    assert main(["--version", "--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"infgeo {infgeo.__version__}" and any(line.startswith("numpy ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["derive", "erff"], "did you mean 'erf'"),
        (["derive", "__import__('os').system('true')"], "is not allowed; an expression has the variable z"),
        (["derive", "erf(z"], "never closed"),
        (["derive", "z^2"], "write **"),
        (["derive", "9**9**9"], "exponent"),
        (["derive", "erf(t)"], "does not contain the variable z"),
        (["derive", "-z"], "goes in parentheses"),
        (["emit", "z.func"], "'.' is not allowed"),
        (["emit", "2*\udcff"], "\\udcff"),
        (["validate", "lambda z: z", *VALIDATE[2:]], "':' is not allowed"),
        (["validate", "erf(a*z)", *VALIDATE[2:]], "a"),
        (["derive", "erf", "--depth", "0"], "'0' is not an integer >= 1"),
        (["derive", "erf", "--depth", "100000000"], "larger than 100"),
        (["emit", "erf", "--depth", "101"], "larger than 100"),
        ([*VALIDATE, "--depth", "101"], "larger than 100"),
        (["derive", "erf", "relu", "--depth", "2"], "--depth 2 with 2 activations"),
        (["derive", "erf", "--weight-std", "0"], "--weight-std = 0 must be"),
        (["derive", "erf", "--weight-std", "z"], "--weight-std z contains z"),
        (["derive", "erf", "--bias-std", "1e400"], "--bias-std '1e400'"),
        (["derive", "erf", "--bias-std", "os.system(1)"], "--bias-std 'os.system(1)'"),
        (["derive", "erf", "--parameter", "beta=1"], "does not contain beta"),
        (["derive", "erf", "--parameter", "d=0"], "d = 0.0 must be > 0"),
        (["derive", "relu", "--of", "ntk", "--quantity", "metric"], "cusp"),
        (["derive", "tanh"], "outside the class"),
        (["derive", "swish"], "did you mean 'silu'"),
        (["emit", "erf(x)"], "does not contain the variable z"),
        (["validate", "leaky_relu", *VALIDATE[2:]], "--parameter alpha=VALUE"),
        (["derive", "erf", "--depth", "1.5"], "'1.5' is not an integer >= 1"),
        (["derive", "erf", "--quantity", "torsion"], "torsion"),
        (["derive"], "ACTIVATION"),
        ([], "required"),
        (["emit", "erf", "--backend", "cupy"], "jax"),
        (["emit", "erf", "-o", "/nowhere/at/all.py"], "cannot write"),
        (["validate", "erf"], "--input-dim"),
        ([*VALIDATE, "--weight-std", "0"], "0"),
        ([*VALIDATE, "--weight-std", "-1"], "-1"),
        ([*VALIDATE, "--weight-std", "nan"], "nan"),
        ([*VALIDATE, "--bias-std", "-0.5"], "-0.5"),
        ([*VALIDATE, "--bias-std", "inf"], "inf"),
        ([*VALIDATE, "--input-dim", "65"], "width 64 < input dimension 65"),
        ([*VALIDATE, "--input-dim", "0"], "'0' is not an integer >= 1"),
        ([*VALIDATE, "--samples", "2"], "samples is 2"),
        ([*VALIDATE, "--seed", "-1"], "'-1' is not an integer >= 0"),
        ([*VALIDATE, "--parameter", "alpha"], "'alpha' is not of the form NAME=VALUE"),
        ([*VALIDATE, "--parameter", "=1"], "'=1' is not of the form NAME=VALUE"),
        ([*VALIDATE, "--parameter", "alpha=x"], "'x' is not a finite number"),
        ([*VALIDATE, "--parameter", "alpha=nan"], "'nan' is not a finite number"),
        ([*VALIDATE, "--parameter", "alpha=0.1"], "alpha"),
        (["validate", "leaky_relu", *VALIDATE[2:]], "alpha"),
        (["validate", "leaky_relu", *VALIDATE[2:], *["--parameter", "alpha=0.1"] * 2], "given twice"),
        (["validate", "leaky_relu", *VALIDATE[2:], "--parameter", "alpha=0.1", "--parameter", "beta=2"], "beta"),
        ([*VALIDATE, "--seed", "x"], "'x' is not an integer >= 0"),
        ([*VALIDATE, "--widths", "64,x"], "'x' is not an integer"),
        ([*VALIDATE, "--json", "/nowhere/r.json"], "cannot write"),
        ([*VALIDATE, "--plot", "/nowhere/r.png"], "cannot write"),
        ([*VALIDATE, "--plot", "r.bmp"], ".png, .pdf, .svg"),
        ([*VALIDATE, "--json", "."], "it is a directory"),
    ],
)
def test_bad_arguments(arguments, words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and words in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["derive"], ["validate"]])
def test_the_help_names_every_exit_status(arguments, capsys):
    assert main([*arguments, "--help"]) == 0
    statuses = capsys.readouterr().out.partition("exit status:")[2]
    assert all(f"{status} " in statuses for status in (0, 1, 2, 130))


def test_an_interrupted_derivation_is_status_130(monkeypatch, capsys):
    from infgeo.cli import commands

    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "derive", interrupt)
    assert main(["derive", "erf"]) == 130
    assert capsys.readouterr().err == "infgeo: interrupted\n"


def test_as_a_process_bad_input_has_no_traceback():
    done = infgeo_process("derive", "rellu")
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "did you mean 'relu'" in done.stderr


def test_a_closed_pipe_is_no_error():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "infgeo", "derive", "erf"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60)
    os.close(write)
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_control_c_leaves_a_partial_report_and_no_traceback(jobs, tmp_path):
    """Ctrl-C reaches the whole process group, workers too."""
    # Background jobs of a shell ignore the signal, and so would what they start.
    program = "import signal, sys; from infgeo.cli import main; "
    program += "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
    command = [
        sys.executable,
        "-c",
        program,
        "validate",
        "erf",
        "--input-dim",
        "2",
        "--jobs",
        jobs,
        "--samples",
        "200",
    ]
    command += ["--widths", "64,128,256,200000", "--json", str(tmp_path / "r.json")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    for line in process.stderr:
        if int(line.split()[1]) > 400:  # of 800: two widths are done
            break
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in err and "PARTIAL" in out
    assert json.loads((tmp_path / "r.json").read_text())["widths_done"][:2] == [64, 128]


@pytest.mark.skipif(os.name != "posix", reason="redirections of a POSIX shell")
@pytest.mark.parametrize(
    ("redirection", "words"), [(">/dev/full", "No space left"), (">&-", "standard output is closed")]
)
def test_an_output_that_cannot_be_written_is_one_line(redirection, words):
    if redirection == ">/dev/full" and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    command = ["sh", "-c", f'"$0" -m infgeo derive erf --quantity kernel {redirection}', sys.executable]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["derive", "tanh"],
        ["emit", "abs(erf(z) + z - 1)"],
        ["validate", "max(z, 0) + sin(z)", "--input-dim", "2"],
        ["emit", "exp(z**4)"],
    ],
)
def test_errors_speak_of_options(command, capsys):
    assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "(...)" not in captured.err and "=..." not in captured.err and "numeric(" not in captured.err


QUICK = {
    "derive": ["erf", "--quantity", "kernel"],
    "emit": ["erf", "--certificate", "none"],
    "evaluate": ["erf", "--points", "points.csv"],
    "validate": ["erf", "--input-dim", "2", "--widths", "8,16,32", "--samples", "8", "--jobs", "1"],
    "reproduce": ["no such figure"],
    "explore": ["--no-browser"],
    "data": ["check", "no such folder"],
    "activations": [],
}
TEXTS = ["", " ", "nan", "-1", "0", "1e400", "9" * 400, CODE, "a,b", "1,", "\0", "/", "x=1", "=", "z", "(("]
NO_VALUE = (argparse._HelpAction, argparse._StoreTrueAction, argparse._StoreConstAction)


@pytest.mark.parametrize("command", QUICK)
def test_wrong_texts_end_in_one_line(command, capsys, monkeypatch, tmp_path):
    """Every option of every command with every wrong text: bad input in one line, or what the text stands for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points.csv").write_text("1,2\n")
    commands = next(action for action in build()._actions if isinstance(action, argparse._SubParsersAction))
    for action in commands.choices[command]._actions:
        if isinstance(action, NO_VALUE):
            continue
        for text in TEXTS:
            option = [*action.option_strings[-1:], text]
            status = main([command, *(QUICK[command] + option if option[1:] else option + QUICK[command][1:])])
            captured = capsys.readouterr()
            where = (action.dest, text)
            assert status in (0, 1, 2) and not builtins.CANARY, where
            assert status < 2 or (captured.out == "" and captured.err.count("\n") == 1), where


def test_the_command_line_is_in_the_table_of_wrong_texts():
    commands = next(action for action in build()._actions if isinstance(action, argparse._SubParsersAction))
    assert set(QUICK) == set(commands.choices)
