"""What a flow run needs beside its work: its turn on the device, its server's limit, a mark to be found by.

A deployment has no concurrency limit of its own. Prefect ends a run whose deployment has one as soon as its lease
cannot be renewed, and a server keeps its leases in memory: restarted, it would kill every run minutes later.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from prefect import get_client, get_run_logger, runtime
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy, StateType
from prefect.concurrency.sync import concurrency
from prefect.states import Crashed

from flows.corpus import Corpus
from pipeline.config import load_settings
from pipeline.doctor.ports import shown
from pipeline.errors import Terminal, Transient
from pipeline.ledger import ledger_name
from pipeline.lock import Lock, Mode, held

#: For how long a dead run keeps its slot, in seconds: the least that a server allows.
SLOT_SECONDS = 60.0

#: For how long a run waits for a slot before it looks for who has it: long enough for a dead one's to be freed.
PATIENCE = 2 * SLOT_SECONDS

# Labels of a flow run: which process it is, and which limit's slot it has.
_PROCESS, _SLOT = "corpusvec.process", "corpusvec.slot"


@contextmanager
def served(
    config: str | None, store: str | None, collection: str | None, overrides: dict[str, Any] | None
) -> Iterator[Corpus]:
    """The corpus that a flow's parameters describe. A Terminal error within is the flow run's last: no retry."""
    _label({_PROCESS: _process(os.getpid())})
    try:
        with Served(load_settings(config, **{**(overrides or {}), "store": store, "collection": collection})) as corpus:
            yield corpus
    except Terminal:
        _ask("retries are left on", lambda client, run: client.update_flow_run(run, empirical_policy=_NO_RETRY))
        raise


_NO_RETRY = FlowRunPolicy(retries=0, retry_delay=0)


class Served(Corpus):
    """A corpus that takes turns with the others on its machine's device, and with other machines of its server."""

    @contextmanager
    def _locked(
        self, purpose: str, wait: float | None, mode: Mode = "exclusive", polite: bool = False
    ) -> Iterator[Lock]:
        device: dict[str, Mode] = {f"engine-{socket.gethostname()}": "exclusive"}
        with ExitStack() as stack:
            locks = [stack.enter_context(super()._locked(purpose, wait, mode, polite))]
            if self.settings.embedder == "vllm":  # a server's devices are not ours to take turns on
                locks.append(stack.enter_context(held(self.settings.data, device, purpose, wait, polite=polite)))
            stack.enter_context(slot(f"corpusvec {ledger_name(self.store, self.settings.data)}"))
            yield _All(locks)


class _All:
    def __init__(self, locks: Sequence[Lock]) -> None:
        self._locks = locks

    def check(self) -> None:
        for lock in self._locks:
            lock.check()

    def wanted(self) -> bool:
        return any(lock.wanted() for lock in self._locks)


@contextmanager
def slot(name: str) -> Iterator[None]:
    """Hold the server's concurrency limit `name`, made if there is none: for machines that share no folder.

    Waits for it as long as it takes. A dead run's slot is free after a minute; one that a restarted server lost count
    of, as soon as no run is left that says it has it. A server that does not answer stops nobody: the data is
    protected by the lock beside it.
    """
    with ExitStack() as stack:
        _ask(f"its limit '{name}' is not held", lambda client, run: _take_slot(stack, client, run, name))
        try:
            yield
        finally:
            _ask(f"its limit '{name}' is not given back", lambda client, run: stack.close())


def _take_slot(stack: ExitStack, client: Any, run: str, name: str) -> None:
    client.upsert_global_concurrency_limit_by_name(name, 1)
    while True:
        try:
            stack.enter_context(
                concurrency(
                    name, timeout_seconds=PATIENCE, lease_duration=SLOT_SECONDS,
                    strict=True, raise_on_lease_renewal_failure=False,
                )
            )  # fmt: skip
            break
        except TimeoutError:
            having = [other for other in running(client) if other.labels.get(_SLOT) == name and not is_gone(other)]
            if not having:
                client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
            else:
                get_run_logger().info("waiting for the run %s, which has the limit '%s'", having[0].name, name)
    _label({_SLOT: name})
    stack.callback(_label, {_SLOT: ""})


def crash_lost_runs() -> None:
    """Mark runs as crashed whose process on this machine is gone without a word, so that they can be retried.

    Raises Transient if the server does not answer.
    """
    words = "its process is gone: the machine or the worker was stopped. Retry it, and it does the rest"
    try:
        with get_client(sync_client=True) as client:
            for run in filter(is_gone, running(client)):
                client.set_flow_run_state(run.id, Crashed(message=words), force=True)
    except httpx.HTTPError as error:
        raise Transient(
            f"the Prefect server does not answer: {shown(str(error))}; start one with `prefect server start`, "
            "or correct PREFECT_API_URL"
        ) from error


def running(client: Any) -> list[FlowRun]:
    """The flow runs that the server takes for running."""
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    found: list[FlowRun] = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=state))
    return found


def is_gone(run: FlowRun) -> bool:
    """Whether a run was a process of this machine, and there is no such process any more."""
    host, _, process = str(run.labels.get(_PROCESS, "")).partition(":")
    return host == socket.gethostname() and f"{host}:{process}" != _process(int(process.partition(":")[0]))


def _process(number: int) -> str:
    """host:pid:boot of a living process, "" of any other; after a boot, the same number is another process."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass  # it lives, and is somebody else's
    with suppress(OSError):
        # Dead, and not yet buried by whoever inherited it, which in a container may take its time.
        if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return ""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}:{number}:{boot.read_text().strip() if boot.exists() else ''}"


def _label(labels: dict[str, str]) -> None:
    _ask("its labels are not written", lambda client, run: client.update_flow_run_labels(run, labels))


def _ask(failing: str, question: Callable[[Any, str], Any]) -> None:
    """Ask the server something about this flow run; without an answer the run goes on all the same."""
    try:
        with get_client(sync_client=True) as client:
            question(client, runtime.flow_run.id)
    except Exception as error:  # the client has many, and none of them is worth a night's work
        get_run_logger().warning("the Prefect server does not answer, %s: %s", failing, shown(str(error)))
