"""From SymPy to source text: the formulas of a network as functions of arrays."""
