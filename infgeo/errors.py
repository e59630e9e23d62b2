"""Exceptions of infgeo: one base class; every message names the object, the value, the constraint and the remedy."""


class InfgeoError(Exception):
    """Base class of every exception that infgeo raises on purpose."""


class InvalidInput(InfgeoError, ValueError):
    """An argument has a value, shape or type outside its stated domain."""


class UnknownActivation(InvalidInput):
    """A name that is not in the catalogue of activations."""


class NoClosedForm(InfgeoError, NotImplementedError):
    """The Gaussian expectation asked for is outside the class that the engine integrates in closed form."""


class MetricDoesNotExist(InfgeoError, ArithmeticError):
    """The kernel is not twice differentiable at coincident inputs, so that it induces no Riemannian metric.

    For networks `divergence` is the leading order of |Phi(x) - Phi(y)|^2: its exponent, and its coefficient across and
    along x (see `infgeo.symbolic.networks.existence.Divergence`); elsewhere it is None.
    """

    def __init__(self, message: str, divergence: object = None) -> None:
        super().__init__(message)
        self.divergence = divergence


class ExpectationDiverges(InfgeoError, ArithmeticError):
    """A Gaussian expectation is infinite: the activation grows too fast for the variance of its input."""


class NotConverged(InfgeoError, ArithmeticError):
    """A numerical integral did not reach its tolerance."""


class TrainingDiverged(InfgeoError, ArithmeticError):
    """The loss of a training step is not finite."""


class NotAccurate(InfgeoError, ArithmeticError):
    """An emitted function misses the bound on its error."""


class SingularMetric(InfgeoError, ArithmeticError):
    """A metric that must be inverted is singular (for example width < input dimension)."""


class ConformanceError(InfgeoError, AssertionError):
    """A kernel or an activation misses a requirement of `infgeo.testing`; `report` holds all of them."""

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class MissingExtra(InfgeoError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, feature: str, extra: str) -> None:
        """Name the `feature` that needs the optional dependencies of `extra`."""
        super().__init__(f"{feature} needs the optional extra {extra!r}: pip install 'infgeo[{extra}]'")
        self.named = feature, extra

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """Cross processes by what the message names."""
        return type(self), self.named
