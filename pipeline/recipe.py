"""What a recipe comes to for one model: a fingerprint a stage, each naming exactly what that stage's output depends on.

A new chunk size changes `chunk` and leaves `parse`; a new model leaves both, unless its tokenizer is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.chunk import CHUNK_VERSION, ChunkRules
from pipeline.config import Recipe, fingerprint
from pipeline.embed.model import Model
from pipeline.parse import PARSE_VERSION


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """One name a stage. `collection` is what a store is stamped with; `whole` covers all of it."""

    parse: str
    chunk: str
    embed: str
    collection: str
    whole: str


@dataclass(frozen=True, slots=True)
class ResolvedRecipe:
    """A recipe made concrete: the model, the rules of chunking, the fingerprints and what they stand for."""

    model: Model
    rules: ChunkRules
    language: str
    fingerprints: Fingerprints
    description: Mapping[str, Any]


def resolve_recipe(recipe: Recipe, model: Model, tokenizer: str) -> ResolvedRecipe:
    """Resolve `recipe` for `model` and the fingerprint of its tokenizer. Raises UsageError if they do not fit."""
    rules = ChunkRules(
        limit=model.chunk_limit(recipe),
        overlap=recipe.overlap_tokens,
        heading_context=recipe.heading_context,
        prompt=model.document_prompt,
    )
    parse = fingerprint("parse", PARSE_VERSION)
    chunk = fingerprint(
        "chunk", parse, CHUNK_VERSION, tokenizer, rules.limit, rules.overlap, rules.heading_context, rules.prompt
    )
    embed = model.fingerprint
    # BM25's words are part of what a collection holds; how its texts were cut is not.
    collection = fingerprint("collection", embed, rules.prompt, recipe.language)
    description = {
        **model.description,
        "document_prompt": rules.prompt,
        "chunk_tokens": rules.limit,
        "overlap_tokens": rules.overlap,
        "heading_context": rules.heading_context,
        "language": recipe.language,
    }
    whole = fingerprint("whole", chunk, embed, recipe.language)
    return ResolvedRecipe(
        model, rules, recipe.language, Fingerprints(parse, chunk, embed, collection, whole), description
    )
