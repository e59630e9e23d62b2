"""Expansions at small and large |x|, and networks of finite width."""
