"""How long an expression may be for what is done with it: the thresholds of symbolic/, each with its reason.

None changes a value: they decide in which form it is written, and where a refusal comes before a long wait. What
activations that are given as text may hold is bounded in `algebra.bounded_sympy`.
"""

# In operations, as SymPy counts them.
FACTOR_LIMIT = 120  # that `tidy` factors: of longer ones it takes seconds and helps nobody
ALGEBRAIC_LIMIT = 400  # that is factored of a curvature without arcs: a second at most
EXPAND_LIMIT = 1000  # of a kernel without quotients that is multiplied out before it is factored
COEFFICIENT_LIMIT = 300  # of a coefficient of an expansion that is factored
NUMBERS_LIMIT = 60  # the same where roots of numbers are in it, over which factoring takes long
NAMED_LIMIT = 60  # of a coefficient that is factored before it gets a name
RADICALS_LIMIT = 500  # of a coefficient whose roots are brought out of denominators
HYPERBOLIC_LIMIT = 40  # that `trigsimp` takes with hyperbolic functions in it: long sums take minutes
PRINTED_LIMIT = 60  # that an error message shows

# Exponentials are powers of one of them to SymPy's polynomials.
LARGEST_DEGREE = 32  # in that one: polynomials of a larger degree, cos(z)^8, do not factor in time
NESTED_POWERS = 8  # m + n of moments of u^m v^n that are left nested: higher ones share parts and are multiplied out

# SymPy's own walks visit a subexpression as often as it stands in others.
DISTINCT_LIMIT = 400  # distinct subexpressions of what is short enough for them
FACTORS_LIMIT = 8  # factors of a coefficient that has no name yet
WRITTEN_LIMIT = 12000  # parts of a coefficient that is written out
SMOOTH_ORDER = 24  # of the highest derivative that is looked at for a jump; beyond, an activation counts as smooth
