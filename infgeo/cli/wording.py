"""What errors advise, in options of the command line: the package speaks of arguments of Python's functions."""

import re

_WHOLE = (
    (re.compile(r"; (\w+\.)?numeric\(\.\.\., method='quadrature'\) integrates it( numerically)?"), ""),
    (re.compile(r"emit\(\.\.\., certificate='stated'\)"), "--certificate stated"),
    (re.compile(r"say which is the variable with variable=\.\.\."), "call the variable z"),
    (re.compile(r"pass (\w+)=\.\.\."), r"give --parameter \1=VALUE"),
)
_PARAMETERS = re.compile(r"parameters=\{([^}]*)\}")
# Those without _ are words of their own, too.
_OPTION = re.compile(
    r"(?<![\w'-])(weight_std|bias_std|input_dim"
    r"|(?:widths|quantities|samples|seed|points|budget|depth|certificate)(?= ?=| is ))"
    r"(?:=\(?([\w', ]+)\)?)?"
)


def in_options(message: str) -> str:
    """Return the message of an error as it reads on the command line, in one line.

    >>> in_options("widths is (64,): pass three widths or more, for example widths=(64, 128, 256)")
    '--widths is (64,): pass three widths or more, for example --widths 64,128,256'
    >>> in_options("activation a*z has parameters without a value: a; pass parameters={'a': ...}")
    'activation a*z has parameters without a value: a; pass --parameter a=VALUE'
    """
    message = " ".join(message.split())
    for pattern, text in _WHOLE:
        message = pattern.sub(text, message)
    message = _PARAMETERS.sub(
        lambda found: " ".join(f"--parameter {name}=VALUE" for name in re.findall(r"'(\w+)'", found[1])), message
    )
    return _OPTION.sub(_option, message)


def _option(found: re.Match[str]) -> str:
    option = f"--{found[1].replace('_', '-')}"
    return option if found[2] is None else f"{option} {found[2].replace(', ', ',').replace(chr(39), '')}"
