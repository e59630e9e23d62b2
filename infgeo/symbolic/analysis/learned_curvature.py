"""The Ricci scalar of a learned metric, to first order: contractions of vectors, at symbolic dimension.

A one-layer metric g = A I + B x x and its change P are Hessians, so that T = dg/2 and Q = dP/2 are symmetric, and

    R(g + P) - R(g) = 2 <T, Q> - 3 <P, T T> - 2 <tr T, tr Q - P.T> + P(tr T, tr T).

P is a sum of I and of products of x and the training examples, e_0 = x and e_i = x_i. With I = (g - B x x)/A all
tensors are made of g, which gives d in contractions, and of the e, which give G_ab = e_a.e_b in the inverse of g.
"""

from itertools import product
from math import prod

from sympy import Expr, Matrix, Rational, Symbol

from infgeo.conventions import d, s
from infgeo.symbolic.algebra.program import Names


def total_derivative(names: Names, expr: Expr, variable: Symbol) -> Expr:
    """Return the derivative of an expression by an input, through the bound names; slopes of names get names."""
    bound = dict(names.bindings)
    result = expr.diff(variable)
    for symbol in sorted(expr.free_symbols & set(bound), key=str):
        name = f"{symbol}_{variable}"
        slope = next((other for other, _ in names.bindings if str(other) == name), None)
        if slope is None:
            slope = names.let(name, total_derivative(names, bound[symbol], variable))
        result += expr.diff(symbol) * slope
    return result


def ricci_shift(names: Names, A: Expr, alone: Expr, p: Matrix, gram: Matrix) -> Expr:
    """Return the shift of R for g = A I + 2 dA/ds x x and P = alone I + sum_ab p_ab e_a e_b; `gram` has e_a.e_b."""
    some = range(p.rows)
    slope, bend = (names.let(f"A_{i}", A.diff(s, i)) for i in (1, 2))
    A = names.let("A", A)
    B, along = 2 * slope, names.let("h", A + 2 * s * slope)

    def named(name: str, of: Matrix) -> Matrix:
        entries = {(i, j): names.let(f"{name}_{i}{j}", of[i, j]) for i, j in product(some, some) if i <= j}
        return Matrix(p.rows, p.rows, lambda i, j: entries[min(i, j), max(i, j)])

    G = named("G", gram / A - B / (A * along) * gram[0, :].T * gram[0, :])
    # T = mu (g x + ...) + tau x x x, P = share g + p e e, Q = (g m + ...) + q e e e.
    X, mu, tau = G[0, 0], names.let("mu", slope / A), names.let("tau", 2 * bend - 3 * B * slope / A)
    share = names.let("a_g", alone / A)
    m = Matrix(1, p.rows, lambda _, i: names.let(f"m_{i}", p[0, i] / (2 * A)))
    slopes: dict[tuple[int, ...], Expr] = {}
    for i, j, k in product(some, some, some):
        if i <= j <= k:
            by_last = total_derivative(names, p[i, j], gram[0, k]) * (1 if k == 0 else Rational(1, 2))
            of_unit = (3 if k == 0 else 1) * B * m[k] if j == 0 else 0
            slopes[i, j, k] = names.let(f"q_{i}{j}{k}", by_last - of_unit)
    p = p - Matrix(p.rows, p.rows, lambda i, j: B * share if i == j == 0 else 0)

    def q(*at: int) -> Expr:
        return slopes[tuple(sorted(at))]

    trace_T = names.let("y", (d + 2) * mu + tau * X)  # times x
    trace_q = Matrix(
        1, p.rows, lambda _, k: names.let(f"w_{k}", sum(q(i, j, k) * G[i, j] for i, j in product(some, some)))
    )
    beside = names.let("p_x", (G[0, :] * p * G[:, 0])[0])
    trace_p = names.let("p_g", sum(p.multiply_elementwise(G)))
    m_x, q_x = (m * G[:, 0])[0], (trace_q * G[:, 0])[0]
    cubes = sum(q(*at) * prod(G[0, i] for i in at) for at in product(some, repeat=3))
    T_Q = 3 * (d + 2) * mu * m_x + 3 * mu * q_x + 3 * tau * X * m_x + tau * cubes
    in_g, in_x = 2 * mu**2 * X, (d + 6) * mu**2 + 6 * X * tau * mu + tau**2 * X**2  # T T = in_g g + in_x x x
    P_TT = share * (d * in_g + X * in_x) + in_g * trace_p + in_x * beside
    P_T = share * trace_T * X + mu * trace_p * X + 2 * mu * beside + tau * X * beside  # times x
    change = (d + 2) * m_x + q_x - P_T
    return names.let("R_1", 2 * T_Q - 3 * P_TT - 2 * trace_T * change + trace_T**2 * (share * X + beside))
