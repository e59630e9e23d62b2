"""Readers of the published image files, on small files written here in the published form."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from infgeo.errors import InvalidInput, MissingExtra
from infgeo.training import cifar10, image_files, image_tasks, mnist
from infgeo.training.image_files import CIFAR10_FILES, MNIST_MD5, read_cifar10, read_idx, read_mnist


def idx(array: np.ndarray) -> bytes:
    """Return the IDX form of unsigned bytes, written with struct alone."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + bytes(int(v) for v in array.ravel())


def write_mnist(folder: Path, zipped: bool, numbers: np.random.Generator) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for prefix, count in (("train", 30), ("t10k", 7)):
        arrays[f"{prefix}-images-idx3-ubyte"] = numbers.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = numbers.integers(0, 10, count, dtype=np.uint8)
    for name, array in arrays.items():
        content = idx(array)
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(gzip.compress(content) if zipped else content)
    return arrays


def record(label: int, image: np.ndarray) -> bytes:
    """Return a record of CIFAR's binary form: the label, then red, green and blue, row by row."""
    return bytes([label]) + b"".join(bytes(int(v) for v in image[c, i]) for c in range(3) for i in range(32))


def write_cifar(folder: Path, numbers: np.random.Generator, count: int = 3) -> list[list[tuple[int, np.ndarray]]]:
    folder.mkdir(parents=True, exist_ok=True)
    batches = []
    for name in CIFAR10_FILES:
        batch = [
            (int(numbers.integers(10)), numbers.integers(0, 256, (3, 32, 32), dtype=np.uint8)) for _ in range(count)
        ]
        (folder / name).write_bytes(b"".join(record(*r) for r in batch))
        batches.append(batch)
    return batches


@pytest.fixture
def numbers() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (2, 1, 3, 2)])
@pytest.mark.parametrize("zipped", [True, False])
def test_idx_round_trip(tmp_path, numbers, shape, zipped):
    array = numbers.integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    np.testing.assert_array_equal(read_idx(path), array)


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated in its header: 0 bytes"),
        (b"\0\0\x08", "truncated in its header: 3 bytes"),
        (b"P5 4 4 255", "begins with 50 35 20 34"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], r"0x0d \(float32\)"),
        (GOOD[:2] + b"\x07" + GOOD[3:], r"0x07 \(unknown\)"),
        (GOOD[:10], "truncated in its header: 10 bytes, 3 axes"),
        (b"\0\0\x08\0", "truncated in its header"),
        (GOOD[:-1], r"truncated: 23 bytes where its header declares \(2, 3, 4\), 24 bytes"),
        (GOOD[:16], "truncated: 0 bytes"),
        (GOOD + b"\0", "too long: 1 bytes follow"),
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"1234", "truncated: 4 bytes where"),
        (gzip.compress(GOOD)[:-9], "truncated or damaged"),
        (gzip.compress(GOOD)[:15], "truncated or damaged"),
        (gzip.compress(GOOD)[:-8] + b"\1\2\3\4" + gzip.compress(GOOD)[-4:], "truncated or damaged"),  # its CRC
        (gzip.compress(GOOD[:-5]), "truncated: 19 bytes"),
        (gzip.compress(GOOD) + b"rest", "truncated or damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # compressed bytes hold the time
)
def test_damaged_idx_files_are_refused_by_name(tmp_path, content, said):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "_LARGEST", 1000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(10_000)))
    with pytest.raises(InvalidInput, match="unpacks to more than 1000 bytes"):
        read_idx(tmp_path / "bomb.gz")


def test_unreadable_file(tmp_path):
    with pytest.raises(InvalidInput, match=r"cannot read .*: No such file"):
        read_idx(tmp_path / "none")
    with pytest.raises(InvalidInput, match=r"cannot read .*directory"):
        read_idx(tmp_path)


@pytest.mark.parametrize("below", ["", "MNIST/raw", "raw"])
@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_files(tmp_path, numbers, below, zipped):
    arrays = write_mnist(tmp_path / below, zipped, numbers)
    (x, y), (u, v) = read_mnist(tmp_path, verify=False)
    np.testing.assert_array_equal(x[:, 0], arrays["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(v, arrays["t10k-labels-idx1-ubyte"])
    assert (x.shape, y.shape, u.shape) == ((30, 1, 4, 5), (30,), (7, 1, 4, 5))


def test_mnist_task_is_normalised_by_its_training_pixels(tmp_path, numbers):
    arrays = write_mnist(tmp_path, True, numbers)
    pixels = arrays["train-images-idx3-ubyte"] / 255.0
    task = mnist(tmp_path, verify=False, dtype=torch.float64)
    assert task.mean == pytest.approx((pixels.mean(),), rel=1e-12)
    assert task.std == pytest.approx((pixels.std(),), rel=1e-12)
    wanted = (arrays["t10k-images-idx3-ubyte"] / 255.0 - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(task.test_inputs[:, 0].numpy(), wanted, rtol=1e-12)
    low, high = task.value_range
    assert float(low) <= float(task.inputs.min()) and float(task.inputs.max()) <= float(high)
    assert float(low) == pytest.approx(-pixels.mean() / pixels.std())
    raw = mnist(tmp_path, verify=False, normalise=False)
    assert (raw.mean, raw.std, raw.value_range) == (None, None, None)
    np.testing.assert_array_equal(raw.inputs[:, 0].numpy(), pixels.astype(np.float32))
    assert "not verified" in raw.source


def test_a_checksum_that_differs_is_refused_unless_asked_for(tmp_path, numbers):
    write_mnist(tmp_path, True, numbers)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    found, published = hashlib.md5(path.read_bytes()).hexdigest(), MNIST_MD5["train-images-idx3-ubyte"][0]
    with pytest.raises(InvalidInput, match=f"{found}, the published file {published}.*verify=False") as caught:
        mnist(tmp_path)
    assert str(path) in str(caught.value)


def test_the_published_checksum_is_accepted_for_the_file_and_for_its_content(tmp_path, numbers, monkeypatch):
    write_mnist(tmp_path, True, numbers)
    for sums in (lambda raw: raw, gzip.decompress):
        table = {n: (hashlib.md5(sums((tmp_path / f"{n}.gz").read_bytes())).hexdigest(),) for n in MNIST_MD5}
        monkeypatch.setattr(image_files, "MNIST_MD5", table)
        assert len(mnist(tmp_path).inputs) == 30
    for name in MNIST_MD5:
        (tmp_path / name).write_bytes(gzip.decompress((tmp_path / f"{name}.gz").read_bytes()))
        (tmp_path / f"{name}.gz").unlink()
    assert len(mnist(tmp_path).inputs) == 30


def test_mnist_files_that_do_not_fit_one_another(tmp_path, numbers):
    write_mnist(tmp_path, False, numbers)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(np.zeros(29, dtype=np.uint8)))
    with pytest.raises(InvalidInput, match=r"train-labels.*\(29,\).*30 images"):
        read_mnist(tmp_path, verify=False)
    labels.write_bytes(idx(np.array([0] * 4 + [10] + [3] * 25, dtype=np.uint8)))
    with pytest.raises(InvalidInput, match=r"label 4 in .* is 10"):
        read_mnist(tmp_path, verify=False)
    labels.write_bytes(idx(np.zeros((30, 2, 2), dtype=np.uint8)))
    with pytest.raises(InvalidInput, match="train-labels"):
        read_mnist(tmp_path, verify=False)
    write_mnist(tmp_path, False, numbers)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((7, 4, 4), dtype=np.uint8)))
    with pytest.raises(InvalidInput, match="sizes"):
        read_mnist(tmp_path, verify=False)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(InvalidInput, match=r"there is no t10k-images-idx3-ubyte.gz.*download=True.*digits"):
        mnist(tmp_path, verify=False)
    with pytest.raises(InvalidInput, match=r"there is no t10k-images-idx3-ubyte.gz"):
        read_mnist(tmp_path, verify=False)


def archive_of(folder: Path, path: Path, mode: str = "w:gz", skip: str = "") -> Path:
    with tarfile.open(path, mode) as archive:
        for name in CIFAR10_FILES:
            if name != skip:
                archive.add(folder / name, f"cifar-10-batches-bin/{name}")
        note = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
        archive.addfile(note, io.BytesIO(b""))
    return path


@pytest.mark.parametrize("form", ["files", "subfolder", "archive", "archive itself"])
def test_cifar_files(tmp_path, numbers, form):
    folder = tmp_path / ("cifar-10-batches-bin" if form == "subfolder" else "")
    batches = write_cifar(folder, numbers)
    root = tmp_path
    if form.startswith("archive"):
        root = tmp_path / "elsewhere"
        root.mkdir()
        path = archive_of(folder, root / "cifar-10-binary.tar.gz")
        root = path if form == "archive itself" else root
    (x, y), (u, v) = read_cifar10(root, verify=False)
    np.testing.assert_array_equal(x, [image for batch in batches[:5] for _, image in batch])
    np.testing.assert_array_equal(y, [label for batch in batches[:5] for label, _ in batch])
    np.testing.assert_array_equal(u, [image for _, image in batches[5]])
    np.testing.assert_array_equal(v, [label for label, _ in batches[5]])
    task = cifar10(root, verify=False)
    assert (task.input_shape, len(task.mean), task.classes[6]) == ((3, 32, 32), 3, "frog")
    np.testing.assert_allclose(task.inputs.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(task.inputs.std((0, 2, 3), unbiased=False), 1, rtol=1e-5)


def test_damaged_cifar_files(tmp_path, numbers):
    write_cifar(tmp_path, numbers)
    path = tmp_path / "data_batch_3.bin"
    good = path.read_bytes()
    for content in (good[:-1], good + b"\0", b"", good[:100]):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=rf"{path} has {len(content)} bytes, not a multiple of 3073"):
            read_cifar10(tmp_path, verify=False)
    path.write_bytes(good[:3073] + b"\x0b" + good[3074:])
    with pytest.raises(InvalidInput, match=rf"label 1 in {path} is 11"):
        read_cifar10(tmp_path, verify=False)
    path.unlink()
    with pytest.raises(InvalidInput, match=rf"{tmp_path} does not hold data_batch_3.bin; pass cifar10\(root=FOLDER\)"):
        cifar10(tmp_path, verify=False)


def test_a_folder_may_begin_with_the_home_folder(tmp_path, numbers, monkeypatch):
    write_cifar(tmp_path / "images", numbers)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(cifar10("~/images", verify=False).test_inputs)
    monkeypatch.setenv("INFGEO_DATA", "~/images")
    assert len(cifar10(verify=False).test_inputs)


def test_damaged_cifar_archives(tmp_path, numbers):
    write_cifar(tmp_path / "files", numbers)
    path = archive_of(tmp_path / "files", tmp_path / "cifar-10-binary.tar.gz")
    with pytest.raises(InvalidInput, match=r"has MD5 .* published file c32a1d4ab5d03f1284b67883e8d87530"):
        cifar10(tmp_path)
    good = path.read_bytes()
    for content in (good[: len(good) // 2], b"nonsense", b"", good[:20]):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match="truncated or no tar archive") as caught:
            cifar10(tmp_path, verify=False)
        assert "\n" not in str(caught.value)
    archive_of(tmp_path / "files", path, skip="test_batch.bin")
    with pytest.raises(InvalidInput, match=r"does not hold test_batch\.bin"):
        cifar10(tmp_path, verify=False)


def test_unpacked_cifar_files_are_verified_by_their_counts(tmp_path, numbers, monkeypatch):
    write_cifar(tmp_path, numbers, count=4)
    with pytest.raises(InvalidInput, match=r"holds 4 images, the published data_batch_1\.bin 10000.*verify=False"):
        cifar10(tmp_path)
    monkeypatch.setattr(image_files, "CIFAR10_RECORDS", 10)
    image = np.zeros((3, 32, 32), dtype=np.uint8)
    image[0] = 3
    image[:, 5] = 9
    for name in CIFAR10_FILES:
        (tmp_path / name).write_bytes(b"".join(record(label, image) for label in range(10)))
    assert "published" in cifar10(tmp_path, normalise=False).source
    (tmp_path / "test_batch.bin").write_bytes(b"".join(record(label, image) for label in [0, *range(9)]))
    with pytest.raises(InvalidInput, match=r"to test on are 2, 1, .* of each class"):
        cifar10(tmp_path)


def test_the_pickled_version_is_named_and_not_read(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(InvalidInput, match="pickle"):
        cifar10(tmp_path)


@pytest.mark.parametrize("maker", [mnist, cifar10])
def test_without_files_the_error_names_every_way(maker, tmp_path, monkeypatch):
    monkeypatch.delenv("INFGEO_DATA", raising=False)
    for root in (None, tmp_path / "none", tmp_path):
        with pytest.raises(InvalidInput) as caught:
            maker(root)
        for way in ("root=FOLDER", "download=True", "digits()", "INFGEO_DATA", ".gz"):
            assert way in str(caught.value)
    with pytest.raises(InvalidInput, match="root is 3"):
        maker(3)


def test_the_environment_names_the_folder(tmp_path, numbers, monkeypatch):
    write_mnist(tmp_path, True, numbers)
    monkeypatch.setenv("INFGEO_DATA", str(tmp_path))
    assert len(mnist(verify=False).inputs) == 30


def openml(count: int, dim: int, labels: np.ndarray, heard: list) -> object:
    def fetch(name, **options):
        heard.append((name, options))
        data = (np.arange(count)[:, None] + np.arange(dim)) % 256
        return SimpleNamespace(data=data.astype(float), target=labels.astype(str))

    return fetch


def test_openml_is_split_where_its_counts_say(monkeypatch, tmp_path):
    heard: list = []
    test = np.repeat(np.arange(10), 2)
    labels = np.concatenate([np.arange(50) % 7, test])
    monkeypatch.setattr("sklearn.datasets.fetch_openml", openml(70, 784, labels, heard))
    published = replace(image_tasks._MNIST, train=50, test_counts=(2,) * 10)
    parts = image_tasks._openml(published, tmp_path)
    assert heard[0][1]["data_home"] == tmp_path and heard[0][1]["version"] == 1
    assert [x.shape for x, _ in parts] == [(50, 1, 28, 28), (20, 1, 28, 28)]
    np.testing.assert_array_equal(parts[1][1], test)
    assert parts[1][0][3, 0, 0, 5] == (53 + 5) % 256 and parts[0][0].dtype == np.uint8
    with pytest.raises(InvalidInput, match="its order has changed"):
        image_tasks._openml(replace(published, test_counts=(3, 1, *(2,) * 8)), None)
    with pytest.raises(InvalidInput, match=r"it should be bytes \(80, 1, 28, 28\)"):
        image_tasks._openml(replace(published, train=60), None)


def test_openml_out_of_reach(monkeypatch):
    def fetch(*_args, **_options):
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    for maker in (mnist, cifar10):
        with pytest.raises(InvalidInput, match=r"name resolution.*root=FOLDER.*digits\(\)"):
            maker(download=True)


def test_openml_needs_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtra, match=r"infgeo\[sklearn\]"):
        mnist(download=True)
