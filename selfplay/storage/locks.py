"""One writer for a run or a file: locks that end with their process, and names for what is not finished."""

import datetime
import errno
import fcntl
import os
import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sparring.envs.views import printable

LOCK = ".lock"
"""How the names of locked files end; a run's has nothing before."""
PART = ".part"
"""How the names of files and folders end that are not finished, or that are being deleted; they begin with a dot."""
UNFINISHED = re.compile(rf"\.(?:gone-)?(.+?)(?:\.[0-9a-f]{{8}})?{re.escape(PART)}")
"""The name of what is not finished, or is being deleted; its group is the name that is meant."""


def unfinished(path: Path) -> Path:
    """A name beside `path` for what is being written; no two processes get the same."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")


@contextmanager
def locked(path: Path, lock: Path) -> Iterator[None]:
    """Makes this process the only writer of `path`, by a lock on the file `lock` that ends with the block, or with the process however it
    ends. Raises ValueError that says who the writer is where there is another one."""
    descriptor = _lock(path, lock)
    try:
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()} since {now}".encode(), 0)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, lock: Path) -> int:
    """The descriptor of the locked file. Raises as `locked`."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            writer = printable(os.pread(descriptor, 300, 0).decode("utf-8", "replace")) or "another process"
            os.close(descriptor)
            raise ValueError(f"{path} is being written by {writer}: wait until that has ended, or stop it") from None
        except OSError as error:
            # Some network file systems have no locks; there a run goes on without one.
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                os.close(descriptor)
                raise
        # The writer before may have deleted the file between the two calls; a lock on a file without a name excludes nobody.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(lock), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


@contextmanager
def new_file(path: Path) -> Iterator[None]:
    """Makes this process the only writer of a file that does not exist yet. Raises ValueError where it exists, where another process
    writes it, and for a name that is no text."""
    require_text(path)
    if path.exists():
        raise ValueError(f"{path} exists; choose a new file")
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path, path.with_name(f".{path.name}{LOCK}")):
        if path.exists():
            raise ValueError(f"{path} exists; choose a new file")
        for left in path.parent.iterdir():  # by a process that was killed
            name = UNFINISHED.fullmatch(left.name)
            if name is not None and name[1] == path.name:
                left.unlink(missing_ok=True)
        yield


def require_text(path: Path) -> None:
    """Raises ValueError for a path whose bytes are no UTF-8: it can be neither recorded nor printed."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"the path {os.fsencode(path)!r} is no UTF-8 text; choose another name") from None
