"""Which language a document is written in, from a bounded sample of its prose: the same answer on every machine."""

from __future__ import annotations

import io
import lzma
import re
from functools import cache
from itertools import accumulate
from operator import itemgetter
from typing import Any

from pipeline.types import Parsed

#: What has sentences in it; tables come second, and code and logs are in no language that a person speaks.
_PROSE = {"heading", "paragraph", "list_item", "caption", "footnote"}
_SAMPLE = 4096  # characters; more adds time and changes no answer
_LONGEST_PIECE = 1024
_LEAST = 20  # bytes of UTF-8: about three words, or seven Chinese characters
_SURE = 0.5
# Runs of ASCII with what is in names of files, numbers, identifiers, markup and the like, and not in words.
_NO_WORD = re.compile(r"(?<![!-~])[!-~]*[0-9_\\/=<>{}|#$%&*+~^@][!-~]*")
_LETTER = re.compile(r"[^\W\d_]")
# Languages that the model tells apart and ISO 639-1 has one code for.
_PART_OF = {"arz": "ar", "ary": "ar", "yue": "zh", "wuu": "zh"}
_CODE = re.compile(r"([A-Za-z]{2})(?:[-_].*)?\Z")


def detect_language(parsed: Parsed) -> str:
    """The ISO 639-1 code of the language that most of `parsed` is in; "" for code, logs, numbers, and too few words.

    What the document itself says (`metadata["language"]`) counts only where its words are too few to tell: programs
    fill it in, and pages are copied from pages in other languages.
    """
    prose = _sample(parsed, _PROSE)
    sample = prose if len(prose.encode()) >= _LEAST else f"{prose} {_sample(parsed, {'table'})}"
    if code := _identify(sample):
        return code
    said = _CODE.match(str(parsed.metadata.get("language") or ""))
    return said.group(1).lower() if said and _LETTER.search(prose) and len(prose) < _LONGEST_PIECE else ""


def language_of(text: str) -> str:
    """The ISO 639-1 code of the language of `text`; "" if nobody could tell."""
    return _identify(_words(text))


def _identify(words: str) -> str:
    sizes = (len(found[0].encode()) for found in _LETTER.finditer(words))
    if not any(size >= _LEAST for size in accumulate(sizes)):
        return ""
    shares: dict[str, float] = {}
    for label, share in _identifier().rank(words):
        code = _PART_OF.get(label, label)
        shares[code] = shares.get(code, 0.0) + share
        if shares[code] >= _SURE:  # all of them come to 1
            break
    code, share = max(shares.items(), key=itemgetter(1))
    # Longer codes are of languages that ISO 639-1 does not have; "zxx" is no language at all.
    return code if share >= _SURE and len(code) == 2 else ""


def _sample(parsed: Parsed, kinds: set[str]) -> str:
    """Text of these kinds of blocks, evenly from the whole document."""
    chosen = [block for block in parsed.blocks if block.kind in kinds]
    length = sum(min(block.end - block.start, _LONGEST_PIECE) for block in chosen)
    pieces: list[str] = []
    size = 0
    for block in chosen[:: -(-length // _SAMPLE) or 1]:
        # The longer a piece, the more of it looks like every other; a single one may still have the whole sample.
        piece = parsed.text[block.start : min(block.end, block.start + max(_LONGEST_PIECE, _SAMPLE // len(chosen)))]
        pieces.append(_words(piece))
        size += len(piece)
        if size >= _SAMPLE:
            break
    return " ".join(filter(None, pieces))


def _words(text: str) -> str:
    """`text` without addresses, and without strings of ASCII that are no words."""
    tokens = [token for token in text.split() if "://" not in token]
    return " ".join(_NO_WORD.sub("", " ".join(tokens)).split())


@cache
def _identifier() -> Any:
    import numpy as np
    from py3langid import langid, modelio

    # Its own loader unpacks the model into a temporary file: on a full disk no document could be read.
    packed = (langid.MODEL_DIR / langid.MODEL_FILE).read_bytes()
    with np.load(io.BytesIO(lzma.decompress(packed)), allow_pickle=False) as model:
        moves, rows = modelio._to_array(model["nextmove"]), modelio._to_array(model["nextmove_row"])
        # As stored, in float16, each document's part would be turned into float32 anew: half of what finding it takes.
        shares, priors, output = model["ptc"].astype(np.float32), model["pc"], model["out_feat"].tolist()
        return langid.LanguageIdentifier(
            shares, priors, model["classes"].tolist(), moves, output, norm_probs=True, tk_row=rows
        )
