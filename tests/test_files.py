"""Files are written whole or not at all, and what is at a path stays what it is: a link, a pipe, its mode, its name."""

import os
import stat
from pathlib import Path

import pytest

import rnncore
from rnncore.charmodel.file import ModelFileError, require_place
from rnncore.files import write_whole

PARAMS = rnncore.init_params("gru", 3, 4, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """As a device is; neither becomes a regular file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        PARAMS.save(pipe)
        content = os.read(reader, 1 << 16)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    (tmp_path / "file").write_bytes(content)
    assert rnncore.Params.load(tmp_path / "file") == PARAMS


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="this system has no such device")
def test_a_device_stays_one() -> None:
    PARAMS.save("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.skipif(os.name != "posix", reason="modes as POSIX has them")
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_a_file_keeps_its_mode_also_through_a_link(tmp_path: Path, mode: int) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(mode)
    link.symlink_to(file)
    for path in (file, link):
        PARAMS.save(path)
        assert stat.S_IMODE(file.stat().st_mode) == mode
        assert link.is_symlink()
        assert rnncore.Params.load(path) == PARAMS


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    longest = os.pathconf(tmp_path, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    path = tmp_path / ("n" * longest)
    write_whole(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("content", [b"to be or not to be", b'{"keep": "me"}', b"PK\x03\x04 and so on"])
def test_a_training_does_not_replace_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"not a model .* not replaced"):
        require_place(path)
    PARAMS.save(path)  # nor parameters
    with pytest.raises(ModelFileError, match="not replaced"):
        require_place(path)
    path.write_bytes(b"")  # as tempfile makes them
    require_place(path)


def test_every_damage_of_a_bit_is_harmless_or_named(tmp_path: Path) -> None:
    """Where the archive says how it is divided, too, which is at its end: what is read there may lie anywhere."""
    path, damaged = tmp_path / "whole", tmp_path / "damaged"
    params = rnncore.init_params("gru", inputs=1, hidden=1, outputs=1)
    params.save(path)
    whole = path.read_bytes()
    refused = 0
    for bit in range(8 * (len(whole) - 200), 8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(changed)
        for load in (rnncore.Params.load, rnncore.load):
            try:
                found = load(damaged)
            except ValueError as error:
                assert "damaged" in str(error)  # noqa: PT017  # most are refused, and all by name
                refused += 1
            else:
                assert getattr(found, "params", found) == params
    assert refused > 100
