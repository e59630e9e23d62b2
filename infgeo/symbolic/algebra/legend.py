"""What the named values of programs stand for: how they are written in LaTeX, and in words.

A name is a stem and an index, that of the layer, with a letter where a layer has several; "sum" and "out" are
printed without an index. A prime is d/ds. The formulas are those of `networks.recursion` and `networks.pair`.
"""

from collections.abc import Iterable

from sympy import Symbol, latex

from infgeo.conventions import xy

STEMS = {
    "u": ("u", r"variance of $w \cdot x$"),
    "v": ("v", "variance of the preactivations"),
    "p": ("p", "variance of the preactivations at x"),
    "q": ("q", "variance of the preactivations at y"),
    "c": ("c", "covariance of the preactivations at x and y"),
    "Theta": (r"\Theta", "tangent kernel of the preactivations"),
    "m": ("m", r"variance of the weights times $E[\phi'^2]$"),
    "A": ("A", "factor of the metric across x"),
    "a": ("a", "2 A'/A; without an index A'/A"),
    "alpha": (r"\alpha", "2 s A'/A; without an index s A'/A"),
    "dalpha": (r"\alpha'", r"derivative of $\alpha$; without an index over $\eta$"),
    "delta": (r"\delta", "(B - 2 A')/A"),
    "beta": (r"\beta", r"$s \delta$"),
    "dbeta": (r"\beta'", r"derivative of $\beta$; without an index over $\eta$"),
    "eta": (r"\eta", "(A + s B)/A"),
    "deta": (r"\eta'", r"derivative of $\eta$"),
    "psi": (r"\psi", r"twice the logarithmic derivative of $E[\phi'^2]$"),
    "x": (r"\Delta a", "what the layer adds to a"),
    "kappa": (r"\kappa", r"what the layer adds to $\alpha$"),
    "dkappa": (r"\kappa'", r"derivative of $\kappa$"),
    "f": ("f", "squared norm of the features"),
    "rate": ("f'", "derivative of f"),
    "w": ("w", "s f'"),
    "df": ("w'", "derivative of w"),
    "mu": (r"\mu", r"$E[\phi^2]' / E[\phi'^2]$ in the variance"),
    "dmu": (r"\mu'", r"derivative of $\mu$"),
    "rho": (r"\rho", r"derivative of $E[\phi^2]$"),
    "zeta": (r"\zeta", "f'/A"),
    "e": ("e", r"$\zeta - 1$"),
    "de": ("e'", "derivative of e"),
    "F": ("F", r"what is divided by: $f + \epsilon$"),
    "g": ("g", "f'/F"),
    "part": (r"\pi", "share of the skip connection in A"),
    "radial": (r"\eta K_\mathrm{rad}", "curvature of planes along x"),
    "tangential": (r"\eta K_\mathrm{tan}", "curvature of planes across x"),
}
OUTPUTS = {
    "kernel": "k(x, y)",
    "ntk": r"\Theta(x, y)",
    "shear": r"\mathrm{shear}",
    "K_rad": r"K_\mathrm{rad}",
    "K_tan": r"K_\mathrm{tan}",
    "eta": r"\eta",
    "alpha": r"\alpha",
}


def written(symbols: Iterable[Symbol]) -> dict[Symbol, str]:
    r"""Return the LaTeX of named values.

    >>> from sympy.abc import x
    >>> written([Symbol("dkappa_2"), Symbol("A_2m"), x])
    {xy: 'x \\cdot y', dkappa_2: "\\kappa'_{2}", A_2m: 'A_{2m}', x: 'x'}
    """
    found = {xy: r"x \cdot y"}
    for symbol in symbols:
        stem, _, index = symbol.name.partition("_")
        index = index.removesuffix("sum").removesuffix("out")
        tex = STEMS[stem][0] if stem in STEMS and stem != symbol.name else latex(Symbol(stem))
        found[symbol] = f"{tex}_{{{index}}}" if index else tex
    return found


def legend(symbols: Iterable[Symbol]) -> dict[str, str]:
    """Return the meaning, in words, of the named values that occur, by their LaTeX."""
    stems = dict.fromkeys(symbol.name.partition("_")[0] for symbol in symbols)
    return {STEMS[stem][0]: STEMS[stem][1] for stem in stems if stem in STEMS}
