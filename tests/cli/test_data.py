"""infgeo data check: which published data sets a folder holds."""

import hashlib

from infgeo.cli import main
from infgeo.reproduce.rehearsal import write_synthetic
from infgeo.training import image_files


def test_files_that_are_not_published_are_a_failure_that_names_them(tmp_path, capsys):
    write_synthetic(tmp_path)
    assert main(["data", "check", str(tmp_path)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in out] == ["MNIST", "CIFAR-10"]
    assert "train-images-idx3-ubyte" in out[0] and "600 images" in out[1]


def test_published_files_are_counted(tmp_path, capsys, monkeypatch):
    write_synthetic(tmp_path)
    for path in tmp_path.glob("*.bin"):
        path.unlink()
    sums = {n: (hashlib.md5((tmp_path / n).read_bytes()).hexdigest(),) for n in image_files.MNIST_MD5}
    monkeypatch.setattr(image_files, "MNIST_MD5", sums)
    assert main(["data", "check", str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "MNIST: as published, 3000 images to train on, 600 to test on" and "not there" in out[1]


def test_an_empty_folder_fails_and_an_absent_one_is_bad_input(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 1
    assert main(["data", "check", str(tmp_path / "absent")]) == 2
    assert "no folder" in capsys.readouterr().err
