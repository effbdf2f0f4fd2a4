"""`python -m tests.fuzz --family pdf --count 20000`: what became of so many broken documents, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.fuzz.families import FAMILIES, seeds
from tests.fuzz.mutate import mutate
from tests.fuzz.trial import run


def main() -> int:
    """Exit code 1 if one escaped, broke a law, or took its process down."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--family", choices=FAMILIES, action="append", help="all of them if left out")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="limit of time for each")
    parser.add_argument("--megabytes", type=int, default=1500, help="limit of memory for each")
    parser.add_argument("--keep", type=Path, help="folder for those that should not have been")
    options = parser.parse_args()
    faults = 0
    for family in options.family or FAMILIES:
        started = time.perf_counter()
        numbers = range(options.first, options.first + options.count)
        tally = run(family, numbers, options.workers, options.seconds, options.megabytes)
        told = {
            "family": family,
            "seeds": len(seeds(family)),
            "count": sum(tally.counts.values()),
            **tally.counts,
            "seconds": round(time.perf_counter() - started, 1),
            "slowest": {"seconds": round(tally.slowest[0], 2), "number": tally.slowest[1]},
            "resident_mib": [round(each / 2**20) for each in (tally.resident[:51][-1], max(tally.resident))],
            "reasons": dict(tally.reasons.most_common(8)),
            "hidden_defects": {what: [n, tally.examples[what]] for what, n in tally.hidden.most_common(20)},
            "faults": [f"{fault.number}: {fault.kind}: {fault.detail}" for fault in tally.faults[:20]],
        }
        print(json.dumps(told, indent=1, ensure_ascii=False), flush=True)
        faults += len(tally.faults)
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            kept = {fault.number for fault in tally.faults} | set(tally.examples.values())
            for number in sorted(kept):
                name, data = mutate(seeds(family), number, family)
                (options.keep / f"{family}-{number}-{Path(name).name}").write_bytes(data)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
