"""Points from files."""

import numpy as np
import pytest

from infgeo.cli import main
from infgeo.cli.points_file import read_points
from infgeo.errors import InvalidInput

VALIDATE = ["validate", "erf", "--input-dim", "2", "--widths", "64,128,256", "--samples", "16", "--jobs", "1"]


def test_validate_takes_points_from_files(tmp_path, capsys):
    points = np.array([[1.0, 2.0], [0.0, 0.5]])
    np.save(tmp_path / "p.npy", points)
    (tmp_path / "p.csv").write_text("1,2\n0,0.5\n")
    tables = []
    for name in ("p.npy", "p.csv"):
        arguments = [a for a in VALIDATE if a not in ("--input-dim", "2")]
        assert main([*arguments, "--points", str(tmp_path / name), "--all-rows"]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] and "2 points" in tables[0]


def npy(header):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def files(tmp_path):
    np.save(tmp_path / "integers.npy", np.ones((2, 2), dtype=int))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(tmp_path / "empty.npy", np.empty((0, 2)))
    np.save(tmp_path / "flat.npy", np.ones(2))
    np.save(tmp_path / "three.npy", np.ones((2, 3)))
    np.save(tmp_path / "complex.npy", np.ones((2, 2), dtype=complex))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "nothing.npy").write_bytes(b"")
    np.savez(tmp_path / "archive.npz", np.ones((2, 2)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "huge.npy").write_bytes(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000, 2)}"))
    (tmp_path / "unclosed.npy").write_bytes(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)"))
    (tmp_path / "words.npy").write_bytes(npy("{'descr': '<f8' 'fortran_order' = False"))
    (tmp_path / "ragged.csv").write_text("1,2\n3\n")
    (tmp_path / "words.csv").write_text("one,two\n")
    (tmp_path / "nothing.csv").write_text("")
    (tmp_path / "inf.csv").write_text("1,inf\n")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "points.txt").write_text("1,2\n")
    return tmp_path


FILES = ["integers.npy", "objects.npy", "nan.npy", "empty.npy", "flat.npy", "three.npy", "complex.npy", "broken.npy"]


FILES += ["nothing.npy", "ragged.csv", "words.csv", "nothing.csv", "inf.csv", "bytes.csv", "points.txt", "missing.npy"]


FILES += ["missing.csv", "archive.npy", "huge.npy", "unclosed.npy", "words.npy"]


@pytest.mark.parametrize("name", FILES)
def test_bad_points_files(name, tmp_path, capsys):
    path = files(tmp_path) / name
    assert main([*VALIDATE, "--points", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert name in captured.err or name == "three.npy"


def test_csv_integers_are_numbers_and_one_row_is_one_point(tmp_path):
    (tmp_path / "p.csv").write_text("1, 2, 3\n")
    assert read_points(str(tmp_path / "p.csv")).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    "text", ['"1","2"\n3,4\n', '"x","y"\n"1","2"\n"3","4"\n', "\ufeff1,2\n3,4\n", "\ufeffx;y\n1,2\n3,4\n"]
)
def test_quotes_and_byte_order_marks_of_spreadsheets(text, tmp_path):
    """A first row of quoted numbers, or one behind a mark, is a point; a header may be quoted or marked, too."""
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    assert read_points(str(tmp_path / "p.csv")).tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("text", ["1;2\n3,4\n", "1\t2\n", "\ufeff1;2\n"])
def test_a_first_row_of_numbers_is_no_header_with_other_separators_either(text, tmp_path):
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"not a table of numbers.*'1(;|.t)2'"):
        read_points(str(tmp_path / "p.csv"))


def test_one_coordinate_behind_a_byte_order_mark(tmp_path):
    (tmp_path / "p.csv").write_text("\ufeff1\n2\n", encoding="utf-8")
    assert read_points(str(tmp_path / "p.csv")).tolist() == [[1.0], [2.0]]
