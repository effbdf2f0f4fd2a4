"""What container tools put in front of each line, or around it: the line that the program wrote is inside."""

from __future__ import annotations

import json
import re
from typing import NamedTuple


class Wrapped(NamedTuple):
    """A line of a program, and what its wrapper tells: who wrote it, when, and where it begins in the whole line.

    `source` tells programs apart whose lines alternate; `time` is ISO 8601 or "". `at` is None if the line stands
    nowhere as such, but escaped. A `partial` line goes on in the next of the same source.
    """

    line: str
    source: str
    time: str = ""
    component: str = ""
    host: str = ""
    at: int | None = None
    partial: bool = False


# 2024-05-01T09:30:00.123456789Z stdout F message: the kubelet's files
_CRI = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP])(?::\S+)? ?")
# [pod/web-7d9f/app] message: kubectl logs --prefix
_KUBECTL = re.compile(r"\[pod/([^/\]\s]+)/([^\]\s]+)\] ?")
# web-1  | message, web.1.x7@node2    | message: docker compose, docker service logs
_COMPOSE = re.compile(r"([a-z0-9][\w.-]*[.-]\d[\w.-]*|[a-z0-9][\w.-]*_\d+)(?:@([\w.-]+))? +\| ?")
# {"log":"message\n","stream":"stderr","time":"2024-..."}: docker's files
_DOCKER = '{"log":'


def unwrap(line: str) -> Wrapped | None:
    """The line inside; None if nothing is around it."""
    if line.startswith(_DOCKER):
        return _unwrap_docker(line)
    if " std" in line[:48] and (cri := _CRI.match(line)):
        return Wrapped(line[cri.end() :], cri[2], cri[1], at=cri.end(), partial=cri[3] == "P")
    if line.startswith("[pod/") and (pod := _KUBECTL.match(line)):
        return Wrapped(line[pod.end() :], pod[0], component=pod[2], host=pod[1], at=pod.end())
    if " | " in line[:64] and (service := _COMPOSE.match(line)):
        return Wrapped(line[service.end() :], service[0], component=service[1], host=service[2] or "", at=service.end())
    return None


def _unwrap_docker(line: str) -> Wrapped | None:
    try:
        value = json.loads(line, strict=False)
    except (ValueError, RecursionError):
        return None
    log, stream, time = (value.get(key) for key in ("log", "stream", "time"))
    if not isinstance(log, str) or not isinstance(time, str):
        return None
    partial = not log.endswith("\n")
    return Wrapped(log.rstrip("\r\n"), str(stream), time, partial=partial)
