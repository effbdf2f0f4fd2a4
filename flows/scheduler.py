"""Whether the Prefect server that PREFECT_API_URL names is there and lets us in: asked as Prefect's own client asks."""

from __future__ import annotations

import base64
import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

import httpx

from pipeline.doctor.diagnosis import Skipped, Unwell
from pipeline.doctor.ports import reach, shown

if TYPE_CHECKING:
    from prefect.settings import Setting

_START = "start it (prefect server start), or correct PREFECT_API_URL"
_SECONDS = 10.0


def check_prefect() -> str:
    """It answers, is a Prefect server, and takes what we say who we are. No key or password is printed."""
    from prefect.settings import PREFECT_API_URL

    url = _setting(PREFECT_API_URL).rstrip("/")
    if not url:
        raise Skipped("PREFECT_API_URL is not set: ingest and search need no server, a schedule does")
    parts, name = _parted(url), shown(url)
    reach("PREFECT_API_URL", url, 443 if parts.scheme == "https" else 80, _START)
    try:
        with httpx.Client(
            headers=_authorization(parts), verify=_certificates(parts), timeout=_SECONDS, follow_redirects=True
        ) as client:
            health = client.get(f"{name}/health")
            # Whether there is health to speak of is told to everybody; this is not.
            version = client.get(f"{name}/admin/version")
    except httpx.TimeoutException as error:
        raise Unwell(f"{name} takes connections, and does not answer within {_SECONDS:g} s", _START) from error
    except httpx.ConnectError as error:
        raise Unwell(f"PREFECT_API_URL is {name}, and no Prefect server answers there: {error}", _START) from error
    except (httpx.LocalProtocolError, UnicodeError) as error:  # their texts may have the key in them
        raise Unwell(
            "PREFECT_API_KEY has a character that cannot be sent", "correct it: a line's end is easily copied with it"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        raise Unwell(
            f"what answers at {name} speaks no HTTP ({type(error).__name__}), so it is no Prefect server",
            "correct the port of PREFECT_API_URL",
        ) from error
    for answer in (health, version):
        if answer.status_code in (401, 403):
            raise Unwell(
                f"{name} does not let us in ({answer.status_code})",
                "set or correct PREFECT_API_AUTH_STRING (user:password), or for Prefect Cloud PREFECT_API_KEY",
            )
    if health.status_code != 200 or health.text.strip() != "true":
        raise Unwell(f"what answers at {name} is no Prefect server", "PREFECT_API_URL ends in /api: correct it")
    return f"{name} answers"


def _setting(setting: Setting) -> str:
    """What the environment says now, or else Prefect's profile; "" if neither does."""
    value: Any = os.environ.get(setting.name) or setting.value()
    return str(getattr(value, "get_secret_value", lambda: value or "")())


def _parted(url: str) -> SplitResult:
    """Raises Unwell, with none of a password in it, for what is no URL."""
    if "@" in shown(url):
        raise Unwell(
            f"PREFECT_API_URL (for {url.rpartition('@')[2]}) cannot be read",
            "write http://USER:PASSWORD@HOST:PORT/api, and in user and password %2F for /, %3F for ?, %23 for #",
        )
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise Unwell(f"PREFECT_API_URL is {shown(url)}, which is no address", "write http://HOST:PORT/api")
    return parts


def _authorization(parts: SplitResult) -> dict[str, str]:
    """The header, from the first that is there: a user in the URL, PREFECT_API_AUTH_STRING, PREFECT_API_KEY."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

    user = _setting(PREFECT_API_AUTH_STRING)
    if parts.username or parts.password:
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    if user:
        return {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    key = _setting(PREFECT_API_KEY)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _certificates(parts: SplitResult) -> ssl.SSLContext | bool:
    from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_TLS_INSECURE_SKIP_VERIFY

    if parts.scheme == "http" or PREFECT_API_TLS_INSECURE_SKIP_VERIFY.value():
        return False
    return ssl.create_default_context(cafile=_setting(PREFECT_API_SSL_CERT_FILE) or None)
