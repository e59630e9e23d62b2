"""Reports of the kit."""

from __future__ import annotations

import json
import pickle

import pytest

import infgeo
from infgeo.errors import ConformanceError
from infgeo.testing import check_kernel

ERF = infgeo.MLP("erf")


GEO = ERF.numeric(1.0, 0.5)


def plain(X, Y=None):
    return GEO.kernel(X, Y)


def test_report_error_and_json():
    with pytest.raises(ConformanceError, match="positive_semidefinite") as caught:
        check_kernel(lambda X, Y=None: -X @ (X if Y is None else Y).T)
    assert isinstance(caught.value, AssertionError)
    report = caught.value.report
    assert pickle.loads(pickle.dumps(caught.value)).report.subject == report.subject
    text = report.table()
    assert "FAILED: 1 of" in text
    assert "requires: the Gram matrix" in text
    assert "k is not computed in torch" in text
    document = json.loads(report.to_json())
    assert document["passed"] is False
    assert document["checks"][0] == {
        "name": "finite",
        "requirement": report["finite"].requirement,
        "status": "passed",
        "measured": 0.0,
        "bound": 0.0,
        "note": "",
    }
    with pytest.raises(KeyError, match="no check 'nothing'"):
        report["nothing"]
    nothing = check_kernel(plain, skip=[check.name for check in report.checks], raises=False)
    assert not nothing.passed
    assert "nothing was checked" in nothing.table()
