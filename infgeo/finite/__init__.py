"""Finite-width networks in torch: sampling, pullback geometry, Monte Carlo estimates. Knows no closed form."""
