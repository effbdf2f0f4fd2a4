"""Encodings: the text that was meant, from bytes alone."""

from __future__ import annotations

from encodings.aliases import aliases
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.parse import parse
from pipeline.parse.decode import decode

ENGLISH = "The ferry leaves at seven; the last one comes back at ten."


@settings(deadline=None)
@given(
    st.binary() | st.text().map(lambda text: text.encode("utf-16")),
    st.none() | st.text(max_size=12) | st.sampled_from(sorted({*aliases.values(), "idna", "punycode", "undefined"})),
)
def test_any_bytes_decode(data: bytes, declared: str | None) -> None:
    """Decoding never fails, whatever the bytes are and whatever encoding is claimed."""
    text, warning = decode(data, declared)
    text.encode()
    assert "\r" not in text
    assert warning is None or "could not be read" in warning


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\0\ufeff")))
def test_utf8_is_read_exactly(text: str) -> None:
    """UTF-8 comes back as it went in, with or without a byte order mark."""
    assert decode(b"\xef\xbb\xbf" + text.encode()) == (text, None)
    assert "\0" in text or decode(text.encode()) == (text, None)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@pytest.mark.parametrize("text", [ENGLISH, "Die Fähre fährt um sieben — täglich, außer bei Sturm."])
def test_wide_encodings_are_known_with_and_without_a_mark(encoding: str, text: str) -> None:
    """UTF-16 and UTF-32 are told by their mark, and without one by their zero bytes."""
    assert decode(text.encode(encoding)) == (text, None)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Größe: „zwölf“ Äpfel – 3,50 €"),
        ("iso8859-1", "können\n\näöüß"),
        ("iso8859-1", "El niño comió mañana"),
        ("cp1251", "Паром отправляется в семь часов утра, последний возвращается в десять часов вечера. " * 3),
        ("shift_jis", "フェリーは朝七時に出発し、最終便は夜十時に戻ります。天気が悪い日は欠航することがあります。" * 3),
        ("gb18030", "渡轮早上七点出发，最后一班晚上十点返回。天气不好的时候可能会停航，请注意通知。" * 3),
        ("euc_kr", "여객선은 아침 일곱 시에 출발하고 마지막 배는 밤 열 시에 돌아옵니다. 날씨가 나쁘면 결항합니다." * 3),
    ],
)
def test_code_pages_are_guessed(encoding: str, text: str) -> None:
    """Text in an old code page is read as its letters, short western texts included."""
    assert decode(text.encode(encoding)) == (text, None)


def test_what_a_document_declares_is_believed_unless_it_is_utf8() -> None:
    """A declared encoding decides between code pages, but bytes that read as UTF-8 are UTF-8."""
    assert decode("żółw".encode("iso8859-2"), "ISO-8859-2") == ("żółw", None)
    assert decode("żółw".encode(), "iso-8859-1") == ("żółw", None)
    assert decode("日本".encode("iso2022_jp"), "iso-2022-jp") == ("日本", None)


def test_a_few_bad_bytes_cost_themselves_only() -> None:
    """UTF-8 with a broken spot, or cut off within a character, stays UTF-8, and what is lost is counted."""
    good = "Die Fähre fährt täglich um fünf nach zwölf über die Förde, außer wenn Stürme wüten. "
    text, warning = decode(good.encode() * 3 + b"\xff" + good.encode())
    assert text == good * 3 + "\ufffd" + good
    assert warning is not None and warning.startswith("1 character ")
    assert decode((good + "ü").encode()[:-1])[0] == good + "\ufffd"


def test_real_files_in_many_encodings_say_the_same(corpora: Path) -> None:
    """A text saved as UTF-16 (three ways) or UTF-32 says what it said; umlauts survive Latin-1."""
    office = corpora / "office"
    for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        text = parse((office / f"fake-text-{name}.txt").read_bytes(), f"{name}.txt").text
        assert text.split()[-14:] == "- Hamburgers are delicious - Dogs are the best - I love fuzzy blankets".split()
    latin, utf8 = ((office / name).read_bytes() for name in ("umlauts-non-utf8.md", "umlauts-utf8.md"))
    assert latin != utf8
    assert parse(latin, "a.md").text == parse(utf8, "a.md").text == "können\n\nkönnen\n\näöüß"
