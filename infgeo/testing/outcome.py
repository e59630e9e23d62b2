"""What a run of the conformance kit returns: checks with their measured values, and the report that holds them."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from infgeo.display import Displayed
from infgeo.errors import ConformanceError, InvalidInput
from infgeo.report_text import align, json_safe, strict_json


@dataclass(frozen=True)
class Check:
    """One requirement and what was measured.

    Args:
        name: short name, unique in its report, for `skip=` and `report[name]`.
        requirement: what is required, in one sentence.
        status: "passed", "failed" or "skipped".
        measured, bound: the check passed where measured <= bound; None where nothing was measured.
        note: where the worst value is, what went wrong, or why the check was skipped.
    """

    name: str
    requirement: str
    status: str
    measured: float | None = None
    bound: float | None = None
    note: str = ""


@dataclass(frozen=True, repr=False)
class ConformanceReport(Displayed):
    """The outcome of `check_kernel` or `check_activation`: true where it passed.

    Args:
        subject: what was checked, in words.
        checks: one for each requirement, in the order they were made.
        configuration: what the run can be repeated from: values of parameters, dimension, seed.
    """

    subject: str
    checks: tuple[Check, ...]
    configuration: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether something was measured and nothing failed; what was skipped is in `skipped`."""
        return not self.failures and any(check.status == "passed" for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "failed")

    @property
    def skipped(self) -> tuple[Check, ...]:
        """The checks that do not apply, each with its reason as `note`."""
        return tuple(check for check in self.checks if check.status == "skipped")

    def table(self) -> str:
        """Return the report as text: one line for each check, and what was required where a check failed."""
        values = ", ".join(f"{name} = {value}" for name, value in self.configuration.items())
        cells = [["check", "measured", "bound", "", ""]]
        for check in self.checks:
            state = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}[check.status]
            cells.append([check.name, _number(check.measured), _number(check.bound), state, check.note])
        parts = [f"{self.subject}\n{values}", align(cells, left=(0, 3, 4))]
        parts += [f"{check.name} requires: {check.requirement}" for check in self.failures]
        return "\n\n".join([*parts, self._verdict()])

    def _facts(self) -> dict[str, Any]:
        return {"subject": self.subject, "verdict": self._verdict()}

    def to_json(self) -> str:
        """Return the report as a strict JSON document."""
        return strict_json({"passed": self.passed, **json_safe(self)})

    def _verdict(self) -> str:
        made = len(self.checks) - len(self.skipped)
        left_out = f", {len(self.skipped)} skipped" if self.skipped else ""
        if self.failures:
            return f"FAILED: {len(self.failures)} of {made} checks{left_out}"
        return f"PASSED: {made} checks{left_out}" if self.passed else "FAILED: nothing was checked"

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check {name!r}: this report has {', '.join(check.name for check in self.checks)}")

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        return self.table()


Measured = tuple[float, float, str]  # the value, its bound, and a note


class NotApplicable(Exception):
    """Raised inside a check that does not apply, with the reason; it becomes a skipped check."""


@dataclass(frozen=True)
class Requirement:
    """A check before it is made: `measure` returns (measured, bound, note), or raises NotApplicable."""

    name: str
    text: str
    measure: Callable[[], Measured]


Method = TypeVar("Method", bound=Callable[..., Measured])


def required(method: Method) -> Method:
    """Mark a method that measures what its docstring requires, and returns (measured, bound, note)."""
    method.__dict__["required"] = True
    return method


def requirements_in(owner: object) -> list[Requirement]:
    """Return the marked methods of an object, in order: the text of a requirement is the docstring, in one line."""
    found = []
    for name, method in vars(type(owner)).items():
        if getattr(method, "required", False):
            text = " ".join(str(method.__doc__).split()).removesuffix(".")
            found.append(Requirement(name, f"{text[0].lower()}{text[1:]}", getattr(owner, name)))
    return found


def make(requirement: Requirement, skip: Collection[str], prefix: str = "") -> Check:
    """Make one check. An exception of the subject fails it; a measured value that is no number does too."""
    name, text = f"{prefix}{requirement.name}", requirement.text
    if name in skip:
        return Check(name, text, "skipped", note="left out by the caller")
    try:
        with np.errstate(all="ignore"):  # what is not finite is measured, whatever NumPy is told to do about it
            measured, bound, note = requirement.measure()
    except NotApplicable as reason:
        return Check(name, text, "skipped", note=str(reason))
    except Exception as error:  # whatever a user's kernel raises is the outcome of the check
        return Check(name, text, "failed", note=f"raised {type(error).__name__}: {error}")
    return Check(name, text, "passed" if measured <= bound else "failed", float(measured), float(bound), note)


def conclude(
    subject: str, checks: Iterable[Check], configuration: Mapping[str, Any], skip: Collection[str], raises: bool
) -> ConformanceReport:
    """Return the report; with `raises`, raise ConformanceError unless it passed."""
    report = ConformanceReport(subject, tuple(checks), configuration)
    names = [check.name for check in report.checks]
    if unknown := sorted(set(skip) - set(names)):
        raise InvalidInput(f"skip names {', '.join(unknown)}, which are no checks here: {', '.join(names)}")
    if raises and not report.passed:
        failed = "\n".join(f"  {check.name}: {_failure(check)}" for check in report.failures)
        raise ConformanceError(f"{subject}\n{report._verdict()}\n{failed}", report)
    return report


def _failure(check: Check) -> str:
    measured = "" if check.measured is None else f"measured {_number(check.measured)}, bound {_number(check.bound)}; "
    return f"{check.requirement} ({measured}{check.note})".replace("; )", ")")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.2g}" if math.isfinite(value) else str(value)
