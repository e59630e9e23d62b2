"""The array code that emitted files consist of besides their formulas; these modules are copied, not imported."""
