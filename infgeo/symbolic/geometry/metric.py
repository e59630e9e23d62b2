"""Rotation-invariant metrics g = A(s) I + B(s) x x^T, s = |x|^2, and their curvature at symbolic dimension.

Every such metric is a warped product dr^2 h + r^2 A dOmega^2 with h = A + s B: the eigenvalues are A (d - 1 times,
tangential) and h (radial). With logarithmic quantities (a prime is d/ds)

    a = A'/A,   alpha = s a,   delta = (B - 2 A')/A,   beta = s delta,   eta = h/A = 1 + 2 alpha + beta,

    K_tan = (delta - a alpha) / (A eta),
    K_rad = ((1 + alpha) beta' - 2 alpha' (alpha + beta)) / (A eta^2),
    R = (d - 1) (2 K_rad + (d - 2) K_tan),

positive on spheres, and without 1/s. For one layer delta = 0 (the metric is a Hessian metric).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sympy import (
    And,
    Eq,
    Expr,
    I,
    ImmutableMatrix,
    Integer,
    Matrix,
    Or,
    Rational,
    Symbol,
    atan,
    atan2,
    cancel,
    eye,
    false,
    latex,
    nan,
    oo,
    true,
    zoo,
)
from sympy.core.function import AppliedUndef
from sympy.logic.boolalg import Boolean

from infgeo import conventions as conv
from infgeo import shorthand
from infgeo.arguments import instance, shown
from infgeo.errors import InvalidInput
from infgeo.expressions import exact
from infgeo.symbolic.algebra.conditions import in_words, zeros_and_poles
from infgeo.symbolic.algebra.graph import substituted, symbols_of
from infgeo.symbolic.algebra.limits import ALGEBRAIC_LIMIT, FACTOR_LIMIT
from infgeo.symbolic.algebra.naming import SCALES, assigned, by_name, check_distinct, renamed
from infgeo.symbolic.algebra.program import Program
from infgeo.symbolic.algebra.simplify import best, collected, longer, power_product, tidy
from infgeo.symbolic.geometry.anisotropic import AnisotropicMetric, checked_scales
from infgeo.symbolic.geometry.polar_form import PolarForm
from infgeo.symbols import coordinates

if TYPE_CHECKING:
    from infgeo import NumericGeometry

s, d = conv.s, conv.d
HALF = Rational(1, 2)


class WithNumbers:
    """A kernel or a metric as a formula, of which numeric functions are made."""

    def numeric(
        self, /, backend: str = "numpy", parameters: Mapping[str, object] | None = None, **named: object
    ) -> NumericGeometry:
        """Return numeric functions: of a metric metric, volume_element, log_volume_element and ricci_scalar.

        A kernel has kernel, kernel_diag and kernel_distance, and those of its metric, where that exists.

        Args:
            backend: "numpy", "torch", "jax" or "mpmath".
            parameters: values of the symbols, by name; sigma_w and sigma_b are 1 unless given.
            named: the same, as keywords.

        >>> import numpy as np
        >>> from infgeo.kernels import rbf
        >>> rbf().numeric(length_scale=2.0).kernel(np.array([[0.0, 0.0], [2.0, 0.0]])).round(6)
        array([[1.      , 0.606531],
               [0.606531, 1.      ]])
        >>> from infgeo.symbols import s
        >>> RadialMetric.from_functions(4 / (1 + s) ** 2, 0).numeric().ricci_scalar(np.array([0.3, 0.4]))
        np.float64(2.0)
        """
        geometry: NumericGeometry = shorthand.numeric(self, {"backend": backend}, parameters, named)
        return geometry


@dataclass(frozen=True)
class RadialTensor:
    """A rotation-invariant symmetric tensor A(s) I + B(s) x x^T with s = |x|^2."""

    A: Expr
    B: Expr
    dimension: Expr = field(default=d, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        for name in ("A", "B"):
            value = exact(getattr(self, name), name)
            if value.has(I, nan, oo, zoo):
                raise InvalidInput(f"{name} = {shown(value)} must be real and finite")
            object.__setattr__(self, name, value)

    @property
    def assumptions(self) -> str:
        """The domain that the symbols of the formulas stand for, in words."""
        return assumptions_of(self.A.free_symbols | self.B.free_symbols)

    def matrix(self, dimension: int) -> ImmutableMatrix:
        """Return the matrix in coordinates x_1 ... x_d, with s = x_1^2 + ... + x_d^2 substituted.

        Raises InvalidInput unless `dimension` is a positive integer, that of the tensor if it has one.
        """
        x = coordinates(dimension)
        dimension = len(x)
        if self.dimension.is_number and self.dimension != dimension:
            raise InvalidInput(f"dimension = {dimension}, but this tensor was taken at d = {self.dimension}")
        radius = sum((xi**2 for xi in x), Integer(0))
        A, B = (part.subs({s: radius, d: dimension}) for part in (self.A, self.B))
        return (A * eye(dimension) + B * Matrix(x) * Matrix(x).T).as_immutable()

    def __str__(self) -> str:
        return f"A = {self.A}\nB = {self.B}\n  ({self.assumptions})"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \left({latex(self.A)}\right) I + \left({latex(self.B)}\right) x x^\top$"


def assumptions_of(free: set[Symbol]) -> str:
    """Return what the symbols among `free` stand for, in words."""
    words = {
        conv.d: "integer d >= 1 is the input dimension",
        conv.s: "s = |x|^2 >= 0",
        conv.sigma_w: "sigma_w > 0",
        conv.sigma_b: "sigma_b >= 0",
        conv.s_x: "s_x = |x|^2",
        conv.s_y: "s_y = |y|^2",
        conv.xy: "xy = x.y",
    }
    stated = [text for symbol, text in words.items() if symbol in free]
    stated += [f"{symbol} real" for symbol in sorted(free - set(words), key=str)]
    return ", ".join(stated) or "no free symbols"


@dataclass(frozen=True)
class RadialMetric(RadialTensor, WithNumbers, PolarForm):
    """The metric A(s) I + B(s) x x^T of a kernel, with its volume element and curvatures.

    `A` and `B` are closed forms in s = |x|^2. `program` is the same metric as a straight-line program with outputs
    A, B, alpha = s A'/A, shear = s B/A, eta = h/A, h, K_rad, K_tan, R: what numeric functions are emitted from, and the
    readable form at depth >= 2.

    `domain` is the condition under which it is finite, `singular_set` where it degenerates. The Ricci scalar is
    positive on spheres. `dimension` is the input dimension, d unless `at` has given another.
    """

    program: Program = field(repr=False)
    domain: Boolean = field(default=true, repr=False)
    at_origin: Boolean | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.A.is_number and self.A.is_nonpositive:
            raise InvalidInput(f"A = {shown(self.A)} is the square of a length across x: pass a function > 0")
        instance(self.program, "program", Program, "what RadialMetric.from_functions makes of A and B")
        for name in ("domain", "at_origin"):
            value = getattr(self, name)
            if isinstance(value, bool):
                object.__setattr__(self, name, true if value else false)
            elif not (value is None and name == "at_origin"):
                instance(value, name, Boolean, "a SymPy condition such as s < 1, or true")

    @classmethod
    def from_functions(cls, A: Expr, B: Expr, domain: Boolean = true, at_origin: Boolean | None = None) -> RadialMetric:
        """Return the metric with the given A(s), B(s), expressions in the symbol s; curvature by differentiation.

        Symbols called s, d, sigma_w and sigma_b are those of `infgeo.symbols`, whatever their assumptions; others are
        parameters. `domain` is where it is finite, `at_origin` the condition under which it vanishes at s = 0, if that
        is known to be the only place where it may.

        Raises InvalidInput for what is no expression, for other public symbols and for two symbols of one name.

        >>> from sympy import Symbol
        >>> RadialMetric.from_functions(4 / (1 + Symbol("s")) ** 2, 0).ricci_scalar
        d*(d - 1)
        """
        known, functions = (s, d, *SCALES), RadialTensor(A, B)
        A, B = (by_name(part, known, name) for part, name in ((functions.A, "A"), (functions.B, "B")))
        check_distinct(symbols_of(A, B), f"A = {A}, B = {B}")
        if isinstance(domain, Boolean):
            domain = renamed(domain, {symbol.name: symbol for symbol in known})
        return cls(A, B, program_of(A, B), domain, at_origin)

    def at(self, values: Mapping[Any, Any] | None = None, /, **named: object) -> RadialMetric:
        """Return the metric at values of the dimension, the scales and the parameters, by name.

        Args:
            values: symbols, or names, -> values, for what cannot be written as a keyword.
            named: names -> values: exact numbers, floats (0.1 is taken as 1/10) or expressions.

        Raises InvalidInput for a name that the metric does not have, a value outside the domain of its symbol, or where
        the metric does not exist.

        >>> import infgeo
        >>> infgeo.MLP("erf").metric.at(d=2, sigma_w=1, sigma_b=0).ricci_scalar
        -2*pi*s/sqrt(2*s + 1)
        """
        remedy = "metric.program.at(s=...).explicit('R') is R there"
        found = assigned(values, named, {*self.parameters, *self.dimension.free_symbols}, "this metric", {s: remedy})
        if not found:
            return self
        A, B = (tidy(substituted(part, found)) for part in (self.A, self.B))
        domain = self.domain.subs(found)
        if domain == false or any(part.has(nan, zoo, oo) for part in (A, B)):
            where = ", ".join(f"{symbol} = {value}" for symbol, value in found.items())
            raise InvalidInput(f"this metric does not exist at {where}: {self.remarks or 'A or B is infinite'}")
        at_origin = None if self.at_origin is None else self.at_origin.subs(found)
        dimension = substituted(self.dimension, found)
        return RadialMetric(A, B, self.program.substituted(found), domain, at_origin, dimension=dimension)

    def per_coordinate(self, scales: Any) -> AnisotropicMetric:
        """Return the metric of inputs that are first multiplied by scales, one for each coordinate: at d = len(scales).

        That of a network of weight_std 1 is the one of weights w_i ~ N(0, scales_i^2) in the first layer (automatic
        relevance determination); its hidden layers, if they share weight_std, have 1.

        Raises InvalidInput for scales that are no list, not positive, or hold coordinates.

        >>> import infgeo
        >>> from sympy import symbols
        >>> g = infgeo.MLP("erf", weight_std=1, bias_std=0).metric.per_coordinate(symbols("sigma_1 sigma_2"))
        >>> g.ricci_scalar
        -2*pi*(sigma_1**2*x_1**2 + sigma_2**2*x_2**2)/sqrt(2*sigma_1**2*x_1**2 + 2*sigma_2**2*x_2**2 + 1)
        """
        found = checked_scales(scales)
        if self.dimension.is_number and self.dimension != len(found):
            raise InvalidInput(f"scales has {len(found)} values, but this metric was taken at d = {self.dimension}")
        return AnisotropicMetric(self if self.dimension.is_number else self.at(d=len(found)), found)

    @cached_property
    def singular_set(self) -> Boolean:
        """Where the metric is degenerate (A or A + s B vanishes) or infinite, so that it has no curvature there.

        A SymPy condition on s and the parameters; false where there is no such point. For networks of layers with
        biases it is false; without biases it is s = 0 where phi'(0) = 0. What is not decided stays an equation.

        Example:
            >>> import infgeo
            >>> infgeo.MLP("square").metric.singular_set
            Eq(s, 0) & Eq(sigma_b, 0)
        """
        if self.at_origin is not None:
            return And(Eq(s, 0), self.at_origin)
        return Or(zeros_and_poles(self.A), zeros_and_poles(self.h))

    @property
    def parameters(self) -> tuple[Symbol, ...]:
        """The symbols of the formulas besides s and d, sorted by name."""
        free = symbols_of(self.A, self.B, self.domain) | set(self.program.inputs)
        return tuple(sorted(free - {s, d}, key=lambda symbol: symbol.name))

    @property
    def remarks(self) -> str:
        """The domain and the singular set in words, a line each; empty where the metric is regular everywhere."""
        lines = [f"finite where {in_words(self.domain)}"] if self.domain != true else []
        lines += [f"singular where {in_words(self.singular_set)}"] if self.singular_set != false else []
        return "\n".join(lines)

    def __str__(self) -> str:
        return "\n".join(filter(None, (super().__str__(), self.remarks)))

    def _repr_latex_(self) -> str:
        if longer(self.A, FACTOR_LIMIT) or longer(self.B, FACTOR_LIMIT):
            return self.program.select(["A", "B"])._repr_latex_()
        return super()._repr_latex_()

    @cached_property
    def h(self) -> Expr:
        """The radial eigenvalue h = A + s B."""
        return self._publish("h")

    @cached_property
    def volume_element(self) -> Expr:
        """The volume element sqrt(det g) = A^((d-1)/2) h^(1/2)."""
        if self.h == self.A:
            return power_product((self.A, self.dimension * HALF))
        return power_product((self.A, (self.dimension - 1) * HALF), (self.h, HALF))

    @cached_property
    def ricci_scalar(self) -> Expr:
        """The Ricci scalar R = (d - 1) (2 K_rad + (d - 2) K_tan), positive on spheres."""
        return self._publish("R")

    @cached_property
    def sectional_curvature(self) -> tuple[Expr, Expr]:
        """The curvatures (K_rad, K_tan) of planes that contain the radial direction, and of planes orthogonal to it.

        K_rad needs d >= 2, K_tan needs d >= 3.
        """
        return self._publish("K_rad"), self._publish("K_tan")

    @cached_property
    def ricci_tensor(self) -> RadialTensor:
        """The Ricci tensor, as a pair (A, B) of its own.

        Its eigenvalues relative to g are (d - 1) K_rad (radial) and K_rad + (d - 2) K_tan (tangential), so that the
        coefficient of x x^T is ((d - 1) K_rad h - (K_rad + (d - 2) K_tan) A) / s, in which s cancels.
        """
        (radial, tangential), d = self.sectional_curvature, self.dimension
        if radial == tangential == 0:
            return RadialTensor(Integer(0), Integer(0), dimension=d)
        across = radial + (d - 2) * tangential
        A = tidy(across * self.A)
        shear = (radial - tangential) / s
        shear = tidy(shear if longer(shear, FACTOR_LIMIT) else cancel(shear))
        B = tidy((d - 2) * shear * self.A + (d - 1) * radial * self.B)
        return RadialTensor(A, B, dimension=d)

    @property
    def is_flat(self) -> bool:
        """Whether both sectional curvatures vanish identically."""
        return all(self._vanishes(name) for name in ("K_rad", "K_tan"))

    def _vanishes(self, name: str) -> bool:
        if self.program.outputs[name] == 0:
            return True
        if self.program.outputs[name].has(AppliedUndef):  # which have no numbers
            return bool(tidy(self.program.explicit(name)) == 0)
        # One number other than 0 settles it; a proof of 0 is asked for only without one.
        program = self.program.select([name])
        point = {x: Rational(7, 5 + i) for i, x in enumerate(program.inputs)}
        rough, value = (program.evaluate(name, point, digits) for digits in (30, 60))
        if value.is_number and value.is_finite and value != 0 and abs(rough - value) < abs(value) / 10**6:
            return False
        return self.program.explicit(name).equals(0) is True

    def _publish(self, name: str) -> Expr:
        expr = self.program.explicit(name)
        return collected(tidy(expr, limit=FACTOR_LIMIT if expr.has(atan, atan2) else ALGEBRAIC_LIMIT))


def curvature_outputs(log: dict[str, Expr], let: Callable[[str, Expr], Expr] = lambda _, e: e) -> dict[str, Expr]:
    """Return K_rad, K_tan and R from A, eta and the logarithmic quantities of the module's docstring.

    `log` holds A, eta, a, alpha, delta, beta, and alpha' and beta' divided by eta: eta^2 underflows at large s where
    these do not. `let` binds the numerators over A, so that 1/(A eta), which overflows, is never formed.
    """
    A, eta, a, alpha, delta, beta = (log[key] for key in ("A", "eta", "a", "alpha", "delta", "beta"))
    radial = (1 + alpha) * log["beta_prime_by_eta"] - 2 * log["alpha_prime_by_eta"] * (alpha + beta)
    K_rad, K_tan = let("radial_sum", radial / A) / eta, let("tangential_sum", (delta - a * alpha) / A) / eta
    return {"K_rad": K_rad, "K_tan": K_tan, "R": (d - 1) * (2 * K_rad + (d - 2) * K_tan)}


def program_of(A: Expr, B: Expr) -> Program:
    """Return the straight-line program of any metric A(s) I + B(s) x x^T."""
    a = tidy(tidy(A.diff(s)) / A)
    delta = tidy(tidy(B - 2 * A.diff(s)) / A)
    alpha, beta = s * a, s * delta
    h = best(A + s * B, tidy(A + s * B))
    eta = tidy(h / A)
    log = {
        "A": A,
        "eta": eta,
        "a": a,
        "alpha": alpha,
        "alpha_prime_by_eta": tidy(tidy(alpha.diff(s)) / eta),
        "delta": delta,
        "beta": beta,
        "beta_prime_by_eta": tidy(tidy(beta.diff(s)) / eta),
    }
    curvature = {name: tidy(value) for name, value in curvature_outputs(log).items()}
    shear = tidy(2 * alpha + beta)
    return Program((), {"A": A, "B": B, "alpha": alpha, "shear": shear, "eta": log["eta"], "h": h, **curvature})
