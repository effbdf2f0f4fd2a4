"""Formats of Office 97-2003, which LibreOffice turns into those of today, if it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pipeline.errors import Rejected
from pipeline.parse import docx, pptx
from pipeline.types import Parsed
from pipeline.workers.family import kill_family

_SECONDS = 180
# Macros, scripts and what a document links to stay where they are.
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="DisableMacrosExecution" oor:op="fuse"><value>true</value></prop>
<prop oor:name="DisableActiveContent" oor:op="fuse"><value>true</value></prop>
<prop oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop></item>
</oor:items>
"""


def doc(data: bytes, uri: str) -> Parsed:
    """A Word 97-2003 document. Raises Rejected, also if LibreOffice is not installed."""
    return docx.parse(convert(data, "doc", "docx", "a Word 97-2003 document", "libreoffice-writer"), uri)


def ppt(data: bytes, uri: str) -> Parsed:
    """A PowerPoint 97-2003 file. Raises Rejected, also if LibreOffice is not installed."""
    return pptx.parse(convert(data, "ppt", "pptx", "a PowerPoint 97-2003 file", "libreoffice-impress"), uri)


def convert(data: bytes, old: str, new: str, what: str, package: str) -> bytes:
    """`data`, which is `what` people call it, from the format `old` to `new`, both named by their extensions.

    `package` is what has the part of LibreOffice that is needed, as Debian calls it.

    LibreOffice runs with a profile of its own, without macros, without a network where the system can take that away,
    and for three minutes at most. Raises Rejected.
    """
    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        raise Rejected(
            f"{what} needs LibreOffice to be read, and there is no program `soffice` on this machine: install "
            f"LibreOffice (Debian and Ubuntu: apt install {package})"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source = Path(folder) / f"document.{old}"
        source.write_bytes(data)
        # Two LibreOffices that share a profile wait for each other.
        profile = Path(folder) / "profile"
        (profile / "user").mkdir(parents=True)
        (profile / "user" / "registrymodifications.xcu").write_text(_PROFILE, encoding="utf-8")
        options = ["--headless", "--norestore", "--nolockcheck", f"-env:UserInstallation={profile.as_uri()}"]
        finished = _run([*_offline(), office, *options, "--convert-to", new, "--outdir", folder, str(source)], folder)
        if not finished:
            raise Rejected(f"LibreOffice needed more than {_SECONDS} s for it and was stopped")
        try:
            return source.with_suffix(f".{new}").read_bytes()
        except OSError as error:
            raise Rejected(
                f"LibreOffice could not convert it: it is damaged or encrypted, or {package} is not installed"
            ) from error


def _run(command: Sequence[str], home: str) -> bool:
    """Run to the end, whatever that is; False if it took too long and was stopped, with all that it had started."""
    known = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    with subprocess.Popen(
        command,
        env={**known, "HOME": home, "TMPDIR": home},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        # In the group of the worker that runs it, so that it ends when that is killed.
        try:
            process.wait(_SECONDS)
            return True
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                kill_family(process.pid)


@cache
def _offline() -> tuple[str, ...]:
    """What to run a program with so that it has no network: nothing where the system does not let us."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    command = (unshare, "--map-root-user", "--net", "--")
    return command if subprocess.run([*command, "true"], capture_output=True).returncode == 0 else ()
