"""Work on SymPy expressions and straight-line programs, whatever they mean."""
