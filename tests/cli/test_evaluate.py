"""infgeo evaluate: the geometry at the points of a file."""

import csv
import io
import json

import numpy as np
import pytest

import infgeo
from infgeo.cli import main

X = np.array([[0.5, 1.0], [-1.0, 2.0], [0.0, 0.25]])


@pytest.fixture
def points(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("first,second\n" + "\n".join(",".join(map(repr, row)) for row in X.tolist()) + "\n")
    return str(path)


def test_a_table_of_quantities(points, capsys):
    arguments = ["--depth", "2", "--bias-std", "0.5", "--of", "ricci_scalar,metric,kernel"]
    assert main(["evaluate", "erf", "--points", points, *arguments]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    metric = ["metric_1_1", "metric_1_2", "metric_2_2"]
    assert rows[0] == ["x_1", "x_2", "ricci_scalar", *metric, "kernel_1", "kernel_2", "kernel_3"]
    geo = infgeo.MLP("erf", depth=2).numeric(bias_std=0.5)
    g = geo.metric(X)
    expected = [X, geo.ricci_scalar(X)[:, None], np.stack([g[:, 0, 0], g[:, 0, 1], g[:, 1, 1]], 1), geo.kernel(X)]
    assert (np.array(rows[1:], float) == np.concatenate(expected, 1)).all()


def test_json_says_what_it_is(points, tmp_path, capsys):
    others = tmp_path / "others.npy"
    np.save(others, X[:2])
    arguments = ["--others", str(others), "--of", "kernel_distance", "--parameter", "beta=2"]
    assert main(["evaluate", "tanh(beta*z)", "--points", points, *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"]["beta"] == 2 and found["kind"].startswith("mixture")
    assert np.array(found["kernel_distance"]).shape == (3, 2) and found["points"] == X.tolist()


def test_json_is_strict_where_a_value_is_no_number(tmp_path, capsys):
    (tmp_path / "zero.csv").write_text("0,0\n1,2\n")
    assert main(["evaluate", "cos", "--points", str(tmp_path / "zero.csv"), "--bias-std", "0", "--json"]) == 0

    def refuse(name):
        raise AssertionError(name)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found["ricci_scalar"][0] == "nan" and found["log_volume_element"][0] == "-inf"


def test_parquet_is_read_and_written(points, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = str(tmp_path / "out.parquet")
    assert main(["evaluate", "relu", "--points", points, "--of", "volume_element", "--out", path]) == 0
    table = parquet.read_table(path)
    assert table.column_names == ["x_1", "x_2", "volume_element"]
    parquet.write_table(table.select(["x_1", "x_2"]), path)
    assert main(["evaluate", "relu", "--points", path, "--of", "volume_element"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [float(row.split(",")[-1]) for row in rows] == table["volume_element"].to_pylist()


@pytest.mark.parametrize("column", [[True, False], ["1", "2"], [np.datetime64("2020-01-01", "s")] * 2])
def test_columns_of_parquet_that_are_no_numbers_are_refused(column, tmp_path, capsys):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = str(tmp_path / "points.parquet")
    parquet.write_table(pyarrow.table({"a": [1, 2], "b": column}), path)
    assert main(["evaluate", "relu", "--points", path]) == 2
    assert "column 'b' holds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--of", "volume"], "ricci_scalar"),
        (["--out", "table.xlsx"], ".parquet"),
        (["--weight-std", "3", "--parameter", "sigma_w=2"], "--weight-std = 3.0 is given, and sigma_w = 2.0"),
        (["--others", "FILE"], "pairs"),
        (["--parameter", "alpha=1"], "alpha"),
        (["--weight-std", "0"], "sigma_w"),
    ],
)
def test_bad_input_is_one_line(arguments, words, points, capsys):
    arguments = [points if part == "FILE" else part for part in arguments]
    assert main(["evaluate", "erf", "--points", points, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and words in captured.err


def test_other_commands_print_json_too(tmp_path, capsys):
    assert main(["derive", "relu", "--depth", "2", "--quantity", "kernel", "--format", "json"]) == 0
    derived = json.loads(capsys.readouterr().out)
    assert set(derived["kernel"]) == {"title", "outputs", "where"} and derived["network"].startswith("MLP(")
    assert main(["reproduce", "--list", "--json"]) == 0
    assert "fig1" in [figure["name"] for figure in json.loads(capsys.readouterr().out)]
    assert main(["activations", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["erf"]["formula"] == "phi(z) = erf(sqrt(2)*z/2)"
    assert main(["data", "check", str(tmp_path), "--json"]) == 1
    assert set(json.loads(capsys.readouterr().out)) == {"MNIST", "CIFAR-10"}


def test_records_of_figures_are_printed(tmp_path, capsys):
    assert main(["reproduce", "figD1", "--json", "--out", str(tmp_path / "out")]) == 0
    assert json.loads(capsys.readouterr().out)["figure"] == "figD1"


def test_shells_complete_the_command(capsys):
    pytest.importorskip("shtab")
    assert main(["--print-completion", "bash"]) == 0
    assert "_shtab_infgeo_evaluate_option_strings" in capsys.readouterr().out
