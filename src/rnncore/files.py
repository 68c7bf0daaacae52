"""Files that are written whole or not at all, and read to the end."""

import contextlib
import errno
import io
import os
import secrets
import stat
import sys
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that ``path`` holds the old content or all of the new, whatever happens on the way.

    ``write(file)`` goes to a temporary file beside it, which takes its place once the disk has it. A link stays a link,
    and a file keeps its mode and its owner. What is no regular file, a pipe or a device, is written to, once all of it
    has been made.
    """
    path = os.path.realpath(path)  # through a link, to the file
    before = os.stat(path) if os.path.exists(path) else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        _write_into(path, write)
        return
    temporary = os.path.join(os.path.dirname(path), f".rnncore.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if before is not None:
                _take_over(file.fileno(), before)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _cannot_write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # gone, if it took its place
            os.unlink(temporary)


def _write_into(path: str, write: Callable[[IO[bytes]], object]) -> None:
    content = io.BytesIO()
    write(content)
    try:
        with open(path, "wb") as file:
            file.write(content.getbuffer())
    except OSError as error:
        raise _cannot_write_error(path, error) from error


def _take_over(file: int, before: os.stat_result) -> None:
    """Give an open file the mode and, where this process may, the owner that another has: Windows has neither."""
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):
            os.fchown(file, before.st_uid, before.st_gid)
        os.fchmod(file, stat.S_IMODE(before.st_mode))


def _cannot_write_error(path: str, error: OSError) -> OSError:
    return OSError(error.errno, f"cannot write, and nothing was changed: {error.strerror or error}", path)


def read_npz(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return all arrays of an npz file, read to the end, so that its checksums are compared."""
    with open(os.fspath(path), "rb") as opened:  # an integer would be a descriptor, and closed afterwards
        damaged = ValueError("it is no npz file, or not all of one")
        if not zipfile.is_zipfile(opened):
            raise damaged
        opened.seek(0)
        try:
            file = np.load(opened, allow_pickle=False)
            return {name: file[name] for name in file.files}
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise damaged from error  # it names places before its beginning


def not_ours_error(path: str | os.PathLike[str], why: object) -> ValueError:
    """Return the error for a file that is not one of parameters, or damaged."""
    return ValueError(f"{os.fspath(path)!r} is not a whole file of rnncore.Params: {why or type(why).__name__}")
