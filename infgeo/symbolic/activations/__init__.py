"""Activations: their catalogue, how text is read, and their terms."""
