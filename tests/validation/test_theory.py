"""The numbers of the theory."""

import numpy as np
import pytest

from infgeo.validation.theory import log_determinant_factor


def test_determinant_factor():
    assert np.exp(log_determinant_factor(10, 3)) == pytest.approx(10 * 9 * 8 / 1000)
