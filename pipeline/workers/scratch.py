"""A folder for temporary files that outlives nobody: not even whoever is killed, since the next one clears up."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = ".corpusvec-parsing-"
_SECONDS = 60.0  # between making a folder and locking it passes less


class Scratch:
    """A new folder `path`, locked for as long as this process lives; those of dead ones are removed first."""

    def __init__(self) -> None:
        _clear_up(Path(tempfile.gettempdir()))
        self.path = tempfile.mkdtemp(prefix=_PREFIX)
        self._lock = _locked(self.path)

    def close(self) -> None:
        """Remove it, with all that is in it. Idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _clear_up(folder: Path) -> None:
    for path in folder.glob(f"{_PREFIX}*"):
        try:
            found = path.lstat()
        except OSError:
            continue
        if found.st_uid != os.getuid() or time.time() - found.st_mtime < _SECONDS:
            continue
        lock = _locked(str(path))
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _locked(path: str) -> int | None:
    """A descriptor that holds the folder's lock; None if somebody else has it, or it cannot be had here."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
