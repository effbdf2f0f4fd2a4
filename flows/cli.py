"""The command line. Results go to stdout, progress and the log to stderr; exit codes: 0 done, 1 failed, 2 wrong usage.

Only argparse is imported until a command is known, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

_PARSE = """\
What the parser sees of a file: its kind (told by its content), title, language and metadata, its text in blocks with
page, place on the page and heading path, the events of a log, and the documents inside of an archive or a message.
Nothing is stored."""
_PARSE_JSON = """\
With --json: an object for one FILE, a list of them for several. Its keys:
  file, uri     as given; and what an index calls it
  rejected      why it cannot be used; then there are no other keys
  media_type, title, language (ISO 639-1, "" if nobody can tell), metadata, warnings
  blocks        kind, level, page, box (left, bottom, right, top in points from the page's lower left corner),
                heading_path (outermost first, without the heading itself), start, end (characters), text, details
  members       name, uri, bytes, media_type, mtime, refused ("" or why it could not be taken out)
  events        of logs: timestamp, level, component, host, pid, template, line_from, line_to, text
  chunks        with --chunks: position, tokens, section, page, page_to, start, end, context, text, details"""

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    _quiet()
    # What stops a service or a container is a request to end cleanly, as Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from pipeline.errors import CorpusvecError, UsageError

    try:
        command: Command = getattr(importlib.import_module("flows.commands"), options.run)
        return command(options)
    except UsageError as error:
        print(f"corpusvec: {error}", file=sys.stderr)
        return 2
    except CorpusvecError as error:
        print(f"corpusvec: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("corpusvec: stopped; run the same command again, and it goes on where this one ended", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="corpusvec", description="Turn a corpus of documents into a vector database that can be trusted."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="FILE", help="settings (default: corpusvec.toml, if there is one)")
    common.add_argument("--data", metavar="ROOT", help="where Parquet lives, a folder or an fsspec URL (default: data)")
    common.add_argument(
        "--store", metavar="URL",
        help="edge:PATH, qdrant:URL, milvus:PATH.db or milvus:URL (default: edge:data/index)",
    )  # fmt: skip
    common.add_argument("--collection", metavar="NAME", help="the collection in the store (default: documents)")
    common.add_argument("--model", metavar="NAME", help="minilm, a model folder, or a name on the Hugging Face hub")
    common.add_argument("--json", action="store_true", help="print one JSON value on stdout and nothing else")

    sources = argparse.ArgumentParser(add_help=False)
    sources.add_argument(
        "sources", nargs="*", metavar="SOURCE",
        help="a file, a folder, a glob, an fsspec URL, jsonl:PATH or hf:NAME (default: `sources` of the settings)",
    )  # fmt: skip
    whole = argparse.ArgumentParser(add_help=False)
    whole.add_argument(
        "--max-delete-fraction", type=float, metavar="X",
        help="stop if more than this part of a source is gone (default: 0.2)",
    )  # fmt: skip
    whole.add_argument("--retry-rejected", action="store_true", help="try again what was rejected and has not changed")
    waiting = argparse.ArgumentParser(add_help=False)
    waiting.add_argument(
        "--wait", type=float, nargs="?", const=float("inf"), metavar="SECONDS",
        help="if another run has the collection, wait for it (default: say who, and stop)",
    )  # fmt: skip

    commands.add_parser(
        "ingest", parents=[common, sources, whole, waiting], help="bring a collection to the state of its sources"
    )
    commands.add_parser("plan", parents=[common, sources, whole], help="what ingest would do, touching nothing")

    backfill = commands.add_parser(
        "backfill", parents=[common, sources, waiting], help="ingest a range of documents, by date and place"
    )
    backfill.add_argument("--since", type=_date, metavar="DATE", help="documents dated on or after it (2026-01-31)")
    backfill.add_argument("--until", type=_date, metavar="DATE", help="documents dated on or before it")
    backfill.add_argument("--partition", metavar="PATTERN", help="documents whose path or URI fits, such as 'hr/*.pdf'")
    backfill.add_argument("--force", action="store_true", help="embed and write them again, whatever there is")

    audit = commands.add_parser(
        "audit", parents=[common, sources, waiting],
        help="compare sources, checkpoints and store, by name; exit code 1 if they differ or cannot be read",
    )  # fmt: skip
    audit.add_argument("--repair", action="store_true", help="mend the store from the checkpoints, and audit it again")
    audit.add_argument("--yes", action="store_true", help="repair without asking")
    audit.add_argument(
        "--max-delete-fraction", type=float, metavar="X",
        help="1 lets a repair remove points although the checkpoints know less than half of what the store has",
    )  # fmt: skip

    commands.add_parser("rejected", parents=[common], help="what could not be used: where, why, since when, how often")

    erase = commands.add_parser("erase", parents=[common, waiting], help="remove every trace of documents")
    erase.add_argument("uris", nargs="+", metavar="URI", help="as search prints it: a URI, or a local path")
    compact = commands.add_parser(
        "compact", parents=[common, waiting], help="merge small Parquet parts, drop the unused"
    )
    compact.add_argument("--dry-run", action="store_true", help="only say what it would come to")

    search = commands.add_parser("search", parents=[common], help="ask a collection")
    search.add_argument("query", metavar="WORDS")
    search.add_argument("-k", type=_positive, default=10, metavar="N", help="how many hits (default: 10)")
    search.add_argument("--mode", choices=("hybrid", "dense", "bm25"), default="hybrid")
    search.add_argument(
        "--filter", action="append", default=[], metavar="FIELD=VALUE",
        help="also !=, <, <=, >, >=; FIELD is a payload field or metadata.NAME; may be repeated, all must hold",
    )  # fmt: skip

    parse = commands.add_parser(
        "parse", help="what the parser sees of a file, storing nothing; exit code 1 if one is rejected",
        formatter_class=argparse.RawDescriptionHelpFormatter, description=_PARSE, epilog=_PARSE_JSON,
    )  # fmt: skip
    parse.add_argument(
        "files", nargs="+", metavar="FILE", help="a local file, FILE!/NAME for what is in it, - for stdin"
    )
    parse.add_argument("--chunks", action="store_true", help="cut it into chunks as the configured recipe does")
    parse.add_argument("--config", metavar="FILE", help="settings (default: corpusvec.toml, if there is one)")
    parse.add_argument("--model", metavar="NAME", help="whose tokenizer counts: minilm, a model folder, or a hub name")
    parse.add_argument("--json", action="store_true", help="print one JSON value on stdout and nothing else")

    commands.add_parser("status", parents=[common], help="what a collection and its checkpoints hold")

    doctor = commands.add_parser("doctor", parents=[common], help="what is wrong with this machine and these settings")
    doctor.add_argument("--no-engine", action="store_true", help="leave out the live embedding")
    doctor.add_argument("--documents", type=_positive, metavar="N", help="is there room for N documents?")

    evaluate = commands.add_parser("eval", parents=[common], help="measure search on a judged collection (BEIR layout)")
    evaluate.add_argument("folder", metavar="BEIR_FOLDER", help="with corpus.jsonl, queries.jsonl, qrels/test.tsv")
    evaluate.add_argument("--modes", default="dense,bm25,hybrid", metavar="A,B", help="default: dense,bm25,hybrid")

    bench = commands.add_parser("bench", parents=[common], help="the pipeline's speed beside the bare engine's")
    bench.add_argument("sources", nargs="*", metavar="SOURCE", help="default: documents made for the purpose")
    bench.add_argument("--documents", type=_positive, default=1_000, metavar="N", help="how many to make (1000)")
    bench.add_argument("--rounds", type=_positive, default=3, metavar="N", help="measured rounds (3)")

    bench.add_argument(
        "--shape", choices=("qwen3-0.6b", "qwen3-4b", "qwen3-8b"), help="a model of this shape, on one or more GPUs"
    )
    bench.add_argument("--dummy", action="store_true", help="with --shape: its weights are made up")
    bench.add_argument("--tokens-per-chunk", type=_positive, metavar="N", help="chunks of at most N tokens")
    bench.add_argument("--gpus", type=_positive, metavar="N", help="how many of the visible GPUs (all)")

    deploy = commands.add_parser("deploy", help="serve the Prefect deployments from this process until it is stopped")
    deploy.add_argument("--config", metavar="FILE", help="settings of the schedule and of the runs")
    for name, command in commands.choices.items():
        command.set_defaults(run="evaluate" if name == "eval" else name)
    return parser


def settings_flags(options: argparse.Namespace) -> dict[str, Any]:
    """The options that override settings, as `load_settings` takes them."""
    flags: dict[str, Any] = {name: getattr(options, name, None) for name in ("data", "store", "collection")}
    if options.model:
        flags["recipe"] = {"model": options.model}
    if getattr(options, "max_delete_fraction", None) is not None:
        flags["limits"] = {"max_delete_fraction": options.max_delete_fraction}
    return flags


def _date(text: str) -> date:
    return date.fromisoformat(text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _quiet() -> None:
    """Libraries keep their notices to themselves; ours go to stderr."""
    import logging

    logging.basicConfig(stream=sys.stderr, level=os.environ.get("CORPUSVEC_LOG", "WARNING"), format="%(message)s")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


if __name__ == "__main__":
    raise SystemExit(main())
