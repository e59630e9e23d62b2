"""Networks as folds: layers act on a state, and what is computed is the state that one begins with."""
