"""One run, measured in a process of its own; prints figures as JSON. For the benchmarks beside it.

The engine is a fake, so that what is measured is what a quiet night is made of: listing, comparing, recording.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from tests.faults import open_corpus, spent_in


def measure(source: str, data: str, **flags: Any) -> dict[str, Any]:
    """Ingest `source`: seconds of the clock and of the CPUs, the process's peak, what was opened, what was embedded."""
    opened: dict[str, list[int]] = {"source": [], "ledger": []}  # the sizes of the files
    below = {"source": f"{Path(source).resolve()}/", "ledger": f"{Path(data).resolve()}/ledger/"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and "r" in (arguments[1] or "r"):
            path = os.path.abspath(arguments[0])  # noqa: PTH100 - a Path would cost more than what is measured
            for kind, start in below.items():
                if path.startswith(start) and not os.path.isdir(path):  # noqa: PTH112
                    opened[kind].append(os.stat(path).st_size)  # noqa: PTH116

    spent = Path(data).with_name("spent")
    spent.unlink(missing_ok=True)
    with open_corpus(None, spent, data=data, store=f"edge:{data}/index", **flags) as corpus:
        _ = corpus.recipe, corpus.tokenizer
        sys.addaudithook(hook)
        started, busy = time.perf_counter(), sum(os.times()[:2])
        report = corpus.ingest(source)
        wall, busy = time.perf_counter() - started, sum(os.times()[:2]) - busy
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert peak is not None
    return {
        "documents": report.as_dict()["documents"],
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(busy, 3),
        "peak_mib": round(int(peak[1]) / 1024, 1),
        "sources_opened": len(opened["source"]),
        "ledger_reads": len(opened["ledger"]),
        "ledger_bytes": sum(opened["ledger"]),
        "engine_tokens": sum(spent_in(spent)),
        "seconds": report.as_dict()["seconds"],
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
