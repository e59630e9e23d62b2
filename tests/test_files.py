"""Files are written whole or not at all, with the rights they should have; links stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infgeo.errors import InvalidInput
from infgeo.files import check_writable, file_path, write_whole

ROOT = Path(__file__).resolve().parents[1]
WRITE = "from infgeo.files import check_writable, write_whole; check_writable({0!r}); write_whole({0!r}, b'new')"


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    write_whole(path, b"new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o640

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InvalidInput, match="No space left"):
        write_whole(path, b"newer")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_link_keeps_pointing_and_a_device_is_written_to(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink() and target.read_text() == "new"
    write_whole("/dev/null", b"nothing")
    check_writable("/dev/null")


def test_the_rights_are_those_of_the_umask_which_is_not_touched(tmp_path, monkeypatch):
    old = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to all threads"))
        write_whole(tmp_path / "file", b"new")
        check_writable(tmp_path / "other")
    finally:
        monkeypatch.undo()
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_secret_file_is_never_readable_by_others(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("old")
    (tmp_path / "secret").chmod(0o600)
    seen = []
    synchronise = os.fsync

    def look(handle):
        seen.append(os.fstat(handle).st_mode & 0o077)
        synchronise(handle)

    monkeypatch.setattr(os, "fsync", look)
    write_whole(tmp_path / "secret", b"new")
    assert seen[0] == 0 and (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_the_device_has_the_content_before_the_name_and_then_the_folder(tmp_path, monkeypatch):
    calls = []
    synchronise, replace = os.fsync, os.replace

    def fsync(handle):
        calls.append((os.path.isdir(f"/proc/self/fd/{handle}"), os.fstat(handle).st_size))
        synchronise(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_whole(tmp_path / "file", b"12345")
    assert calls[:2] == [(False, 5), "replace"] and calls[2][0] and len(calls) == 3


def test_links_of_links_and_links_to_nothing_yet(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(Path("folder") / "file")
    write_whole(tmp_path / "one", b"new")
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"
    assert (tmp_path / "one").is_symlink() and (tmp_path / "two").is_symlink()


def test_a_loop_of_links_is_refused_and_stays(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    for write in (check_writable, lambda path: write_whole(path, b"new")):
        with pytest.raises(InvalidInput, match="loop of symbolic links"):
            write(tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_name_as_long_as_names_may_be(tmp_path):
    write_whole(tmp_path / ("n" * 255), b"new")
    assert (tmp_path / ("n" * 255)).read_bytes() == b"new"


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_may_be_a_pipe(path):
    done = subprocess.run([sys.executable, "-c", WRITE.format(path)], stdout=subprocess.PIPE, cwd=ROOT, timeout=60)
    assert done.returncode == 0 and done.stdout == b"new"


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs /dev/stdout")
def test_standard_output_may_be_a_file_that_is_appended_to(tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "log").write_bytes(b"old ")
    with open(tmp_path / "log", "ab") as log:
        subprocess.run([sys.executable, "-c", WRITE.format(str(tmp_path / "link"))], stdout=log, cwd=ROOT, timeout=60)
    assert (tmp_path / "log").read_bytes() == b"old new" and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("path", ["", "a\0b", 3, None, b"bytes"])
def test_what_is_no_path(path):
    with pytest.raises(InvalidInput, match="pass a path"):
        file_path(path, "out")
    with pytest.raises(InvalidInput, match="pass a path"):
        write_whole(path, b"")
