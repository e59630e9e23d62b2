"""Interrupts and progress."""

import json

import infgeo

WIDTHS = (64, 128, 256, 512, 1024)


ERF = infgeo.MLP("erf")


def quick(mlp=ERF, input_dim=2, **arguments):
    return infgeo.validate(mlp, input_dim, **{"widths": WIDTHS, "samples": 400} | arguments)


def interrupt_after(count):
    def progress(done, total):
        if done > count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupt_keeps_the_widths_that_are_done():
    report = quick(samples=64, progress=interrupt_after(64 * 2 + 10))
    whole = quick(samples=64)
    assert report.partial and not report.passed and report.widths_done == WIDTHS[:2]
    assert "PARTIAL" in report.table() and "2 of 5 widths" in report.table()
    kept = [row for row in whole.rows if row.width in WIDTHS[:2]]
    assert [(r.estimate, r.z) for r in report.rows if r.width] == [(r.estimate, r.z) for r in kept]
    assert json.loads(report.to_json())["partial"] is True


def test_an_interrupt_in_the_first_width_leaves_an_empty_partial_report():
    report = quick(samples=64, progress=interrupt_after(0))
    assert report.partial and not report.passed and report.rows == () and "PARTIAL" in report.table()


def test_progress_counts_networks():
    seen = []
    quick(samples=32, widths=(64, 128), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 64) for i in range(1, 65)]
