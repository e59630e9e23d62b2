"""What the formulas mean: regimes, limits, and networks of finite width."""
