"""What a person sees: plain text for results, a progress bar on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.compact import CompactReport
from pipeline.config import Settings
from pipeline.doctor.diagnosis import Diagnosis
from pipeline.erase import Receipt
from pipeline.findings import KINDS, Audit, Finding
from pipeline.repair import Plan, Repaired
from pipeline.report import DOCUMENTS, Report
from pipeline.search import snippet
from pipeline.types import Hit

_SNIPPET = 220
_REJECTED_SHOWN = 20
_SHOWN = 20
_IDS_SHOWN = 3

# The names of a report's counts, for people.
_CHUNKS = (("", "chunks"), ("embedded", "embedded"), ("reused", "reused"))
_TOKENS = (("", "tokens"), ("embedded", "embedded_tokens"))
_POINTS = (("written", "upserted"), ("patched", "patched"), ("removed", "deleted"))
_ALWAYS = ("documents seen", "tokens embedded", "seconds")


def progress_bar() -> Any:
    """A tqdm bar over documents, on stderr."""
    from tqdm import tqdm

    return tqdm(unit="doc", file=sys.stderr, dynamic_ncols=True, mininterval=0.5, leave=False)


def place(uri: str) -> str:
    """A URI as a person writes it: a local path, from here if it is below; otherwise as it is."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return uri
    path = Path(unquote(parts.path, errors="backslashreplace"))
    shown = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    return shown + (f"#{unquote(parts.fragment)}" if parts.fragment else "")


def figures(planned: Mapping[str, Any], done: Mapping[str, Any] | None) -> list[tuple[str, Any, Any]]:
    """(what, planned, done) for each count of a report; both in the JSON form, done None for a mere plan."""

    def row(name: str, get: Callable[[Mapping[str, Any]], Any]) -> tuple[str, Any, Any]:
        return name, get(planned), None if done is None else get(done)

    rows = [row(f"documents {name}", lambda r, name=name: r["documents"][name]) for name in DOCUMENTS]
    rows += [row(f"chunks {name}".rstrip(), lambda r, key=key: r[key]) for name, key in _CHUNKS]
    rows += [row(f"tokens {name}".rstrip(), lambda r, key=key: r[key]) for name, key in _TOKENS]
    rows += [row(f"points {name}", lambda r, key=key: r["points"][key]) for name, key in _POINTS]
    rows += [row(f"bytes {name}", lambda r, name=name: r["bytes"][name]) for name in ("read", "written")]
    rows.append(row("seconds", lambda r: r["seconds"]["total"] if isinstance(r["seconds"], Mapping) else r["seconds"]))
    return rows


def _table(rows: Sequence[tuple[str, Any, Any]], headings: Sequence[str]) -> list[str]:
    """The counts that are not zero, a line each."""

    def cell(value: Any) -> str:
        if value is None:
            return "unknown"
        return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"

    lines = [f"  {'':<21}" + "".join(f"{heading:>13}" for heading in headings)]
    for name, *values in rows:
        shown = values[: len(headings)]
        if any(shown) or name in _ALWAYS:
            lines.append(f"  {name:<21}" + "".join(f"{cell(value):>13}" for value in shown))
    return lines


def planned(report: Report, settings: Settings) -> str:
    """What a run would do."""
    counts = report.as_dict()
    lines = [f"{settings.collection} in {settings.store}: nothing was done"]
    lines += _table(figures(counts["planned"], None), ["planned"])
    return "\n".join(lines + rejected(counts["rejected"]))


def ingested(report: Report, settings: Settings) -> str:
    """The summary of a run."""
    counts = report.as_dict()
    lines = [f"{settings.collection} in {settings.store}"]
    lines += _table(figures(counts["planned"], counts), ["planned", "done"])
    if report.embedded:
        lines += engine(report.engine)
        started = f", and {report.seconds['engine_start']:.1f} s to start the engine"
        lines.append(f"  {report.tokens_per_second:,.0f} tokens/s{started if report.seconds['engine_start'] else ''}")
    elif report.chunks == 0:
        lines.append("  nothing had changed, nothing was embedded")
    lines += rejected(counts["rejected"])
    lines += [f"  warning    {place(uri)}: {warning}" for uri, warning in report.warnings[:_REJECTED_SHOWN]]
    return "\n".join(lines)


def engine(found: Mapping[str, Any]) -> list[str]:
    """What computed a run's vectors."""
    lines = []
    if settings := found.get("settings"):
        numbers = " ".join(str(settings[name]) for name in ("dtype", "quantization") if settings.get(name))
        if found.get("engines", 1) > 1:
            numbers = f"{found['engines']} side by side, {numbers}"
        graph = "as it stands" if settings.get("enforce_eager") else "compiled"
        batch = f"batches of {settings['max_num_batched_tokens']:,} tokens in {settings['max_num_seqs']} texts at most"
        lines.append(f"  engine     {numbers}, {graph}, texts up to {settings['max_model_len']:,} tokens, {batch}")
    if versions := found.get("versions"):
        lines.append("  with       " + ", ".join(f"{name} {value}" for name, value in versions.items() if value))
    if quality := found.get("quality"):
        lines.append(
            f"  quantized  cosine to unquantized {quality['least_cosine']:.4f} at least, {quality['mean_cosine']:.4f} "
            f"on average, nDCG@10 {quality['ndcg']:.3f}, over {quality['texts']} texts"
        )
    return lines


def rejections(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rejected documents, whole."""
    lines = [
        f"{place(row['uri'])}\n    {row['stage']}, try {row['tries']} at {row['at']}: {row['reason']}" for row in rows
    ]
    return "\n".join(lines) if lines else "nothing is rejected"


def receipt(found: Receipt) -> str:
    """What an erasure removed."""
    lines = [f"erased     {place(uri)}" for uri in found.uris]
    lines.append(
        f"  removed  {found.points:,} points, {found.ledger_rows:,} ledger rows, {found.documents:,} versions of "
        f"documents, {found.chunks:,} chunks, {found.vectors:,} vectors; {found.runs:,} records of runs and "
        f"{found.parts:,} parts written anew"
    )
    if found.vectors_shared:
        lines.append(f"  kept     {found.vectors_shared:,} vectors of texts that other documents have too")
    lines += [f"  still in {name}: erase it there as well" for name in found.elsewhere]
    lines.append(
        "  read back, and nothing was found" if found.verified else "  NOT VERIFIED: run the same command again"
    )
    lines.append(
        "  what its source still lists comes back with the next ingest; a database may keep deleted bytes in its"
    )
    lines.append("  own files until it reuses the room: no query finds them, and a collection made anew has none")
    return "\n".join(lines)


def compacted(report: CompactReport) -> str:
    """What a compaction came to."""
    total = report.as_dict()
    verb = "would make" if report.dry_run else "made"
    lines = [
        f"{verb} {total['parts_before']:,} parts into {total['parts_after']:,}, {total['bytes_before']:,} bytes into "
        f"{total['bytes_after']:,}; dropped {total['dropped']:,} rows and {report.leftovers:,} bytes of leftovers"
    ]
    lines += [
        f"  {change.table}: {change.parts_before:,} → {change.parts_after:,} parts, {change.dropped:,} rows dropped"
        for change in report.tables
        if change.parts_before != change.parts_after or change.dropped
    ]
    return "\n".join([*lines, *(f"  warning    {warning}" for warning in report.warnings)])


def rejected(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rejected documents with their reasons, a line each."""
    lines = [f"  rejected   {place(row['uri'])} ({row['stage']}): {row['reason']}" for row in rows[:_REJECTED_SHOWN]]
    if len(rows) > _REJECTED_SHOWN:
        lines.append(f"  … and {len(rows) - _REJECTED_SHOWN} more: corpusvec rejected lists them all")
    return lines


def audited(found: Audit) -> str:
    """What an audit found, and what it could not find out; the first of each kind."""
    lines = [
        f"{found.collection} in {found.store}, checkpoints in {found.data}",
        f"  audited    {found.documents:,} documents; {found.points:,} points should be there, {found.stored:,} are; "
        f"{found.rejected:,} rejected",
    ]
    lines += [f"  source     {name}" for name in found.sources]
    for kind in KINDS:
        findings = found.of(kind)
        lines += [f"  {kind.replace('_', ' '):<14} {_finding(one)}" for one in findings[:_SHOWN]]
        if len(findings) > _SHOWN:
            lines.append(f"  … and {len(findings) - _SHOWN:,} more {kind.replace('_', ' ')}: --json names them all")
    lines += [f"  unknown        {place(unknown.what)}: {unknown.reason}" for unknown in found.unknown[:_SHOWN]]
    if len(found.unknown) > _SHOWN:
        lines.append(f"  … and {len(found.unknown) - _SHOWN:,} more unknown: --json names them all")
    if found.clean:
        lines.append("  clean: everything is as it should be")
    elif found.unknown:
        lines.append("  nothing is proved of what is unknown: audit it again when it can be read")
    return "\n".join(lines)


def _finding(one: Finding) -> str:
    name = place(one.uri) if one.uri else "(no document)" if one.record_ids else "the collection"
    if not one.record_ids:
        return f"{name} ({one.place}): {one.detail}"
    ids = ", ".join(one.record_ids[:_IDS_SHOWN]) + (", …" if len(one.record_ids) > _IDS_SHOWN else "")
    return f"{name} ({one.place}), {_counted(len(one.record_ids), 'point')}: {one.detail}: {ids}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def repair_plan(plan: Plan) -> str:
    """What a repair would do."""
    of = f" of {_counted(len(plan.write), 'document')}"
    steps = [
        "make the collection anew" if plan.create else "",
        f"write {_counted(plan.points, 'point')}{of}, from the checkpoints" if plan.write else "",
        f"remove {_counted(len(plan.remove), 'point')}" if plan.remove else "",
        "compute BM25's weights again" if plan.tune else "",
        f"have the next ingest look at {_counted(len(plan.doubt), 'document')} again" if plan.doubt else "",
    ]
    return "\n".join(f"  would      {step}" for step in steps if step)


def repaired(result: Repaired) -> str:
    """What a repair did, and what is left."""
    if result.done is None:
        lines = [audited(result.after)] if result.plan.empty else ["  nothing was changed"]
    else:
        done = f"wrote {_counted(result.done['written'], 'point')}, removed {result.done['removed']:,}"
        lines = [f"  repaired   {done}", audited(result.after)]
    if result.plan.ingest:
        lines.append("  what is left is for corpusvec ingest to mend, from the sources")
    return "\n".join(lines)


def hit_dict(hit: Hit) -> dict[str, Any]:
    """A hit's JSON form."""
    wanted = ("score", "record_id", "uri", "title", "section", "page", "text", "metadata")
    values = asdict(hit)
    return {name: values[name] for name in wanted}


def hits(found: Sequence[Hit], query: str) -> str:
    """Hits to read: score, place, page or section, and a snippet with the matched words marked."""
    if not found:
        return "nothing found"
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def mark(word: str) -> str:
        return f"\033[1m{word}\033[0m" if colour else f"[{word}]"

    blocks = []
    for number, hit in enumerate(found, start=1):
        where = [place(hit.uri)]
        if hit.page is not None:
            where.append(f"page {hit.page}")
        if hit.section:
            where.append(hit.section)
        blocks.append(
            f"{number:2}. {hit.score:.4f}  {' · '.join(where)}\n      {snippet(hit.text, query, _SNIPPET, mark)}"
        )
    return "\n".join(blocks)


def timing(seconds: float, engine_start: float) -> str:
    """How long a search took, the engine's start apart."""
    start = f" (and {engine_start:.1f} s to start the engine)" if engine_start else ""
    return f"searched in {seconds:.2f} s{start}"


def status(found: Mapping[str, Any]) -> str:
    """A collection at a glance."""
    lines = [f"{found['collection']} in {found['store']}, checkpoints in {found['data']}"]
    if found["recipe"] is None:
        lines.append("  there is no such collection yet")
    else:
        recipe = ", ".join(f"{name} {value}" for name, value in found["recipe"].items() if value not in ("", None))
        lines.append(f"  recipe     {recipe}")
    lines += [
        f"  source     {row['source']}: {row['loaded']:,} loaded, {row['rejected']:,} rejected"
        for row in found["sources"]
    ]
    lines.append(
        f"  holds      {found['documents']:,} documents, {found['chunks']:,} chunks, {found['tokens']:,} tokens, "
        f"{found['points']:,} points; {found['vectors']:,} vectors in Parquet"
    )
    lines += [
        f"  run        {run['started_at']}  {run['status']}, {run['seconds']:.1f} s, "
        + ", ".join(f"{count} {name}" for name, count in run["documents"].items() if count)
        for run in found["runs"]
    ]
    lines += rejected(found["rejected"])
    return "\n".join(lines)


def diagnosis(found: Diagnosis) -> str:
    """What a check found, and what to do about it, on one line."""
    line = f"{found.state:8} {found.name:12} {found.found}"
    return f"{line} → {found.remedy}" if found.remedy else line


def scores(found: Mapping[str, Mapping[str, float]]) -> str:
    """A table of modes and measures."""
    lines = [f"{'mode':8} {'nDCG@10':>8} {'recall@100':>11}"]
    lines += [f"{mode:8} {row['ndcg@10']:8.4f} {row['recall@100']:11.4f}" for mode, row in found.items()]
    return "\n".join(lines)


def bench(found: Mapping[str, Any]) -> str:
    """The pipeline beside the bare engine."""
    return (
        f"{found['documents']:,} documents, {found['chunks']:,} chunks, {found['tokens']:,} tokens, "
        f"{found['rounds']} rounds, {found['model']} in {found['dtype']} on {found['device']}\n"
        f"  bare LLM.embed     {found['engine_tokens_per_second']:10,.0f} tokens/s\n"
        f"  pool of engines    {found['pool_tokens_per_second']:10,.0f} tokens/s   ratio {found['pool_ratio']:.3f}\n"
        f"  whole pipeline     {found['pipeline_tokens_per_second']:10,.0f} tokens/s\n"
        f"  ratio              {found['ratio']:10.3f}   (files to committed Parquet and index; starting excluded)"
    )
