"""Forms of the formulas that keep their digits in float arithmetic; only `infgeo.numeric` uses them."""
