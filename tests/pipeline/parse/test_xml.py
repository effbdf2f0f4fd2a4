"""XML of any kind: text, records, feeds; and no entity does harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import parse
from tests.pipeline.parse.law import blocks, levels, obeys_the_law

PIECES = st.lists(
    st.sampled_from(
        ["<a>", "</a>", "<title>", "</title>", "<p x='1'>", "</p>", "words", " ", "&amp;", "&nbsp;", "&x;",
         "<!-- c -->",         "<![CDATA[<b>hi</b>]]>", "<?pi x?>", "<e f='g'/>"]
    )
    | st.text(max_size=5)
)  # fmt: skip


@given(PIECES)
def test_any_soup_obeys_the_law(pieces: list[str]) -> None:
    """Elements in any order, closed or not, are read as far as they go, or there is a reason."""
    try:
        obeys_the_law(parse(("<?xml version='1.0'?><r>" + "".join(pieces)).encode("utf-8", "replace"), "a.xml"))
    except Rejected as rejected:
        assert "text" in str(rejected)


def test_halves_of_characters_are_joined() -> None:
    """References to the two halves of a character are that character; a half on its own is shown as lost, and told."""
    parsed = parse(b"<?xml version='1.0'?><r><p>a &#xD83D;&#xDE00; b</p><p x='&#xDC00;'>c &#55296;</p></r>", "a.xml")
    assert [text for _, text in blocks(parsed)] == ["a \U0001f600 b", "c \ufffd"]
    assert "halves" in parsed.warnings[0]


def test_running_text_stays_together() -> None:
    """Markup inside of a paragraph parts no sentence; titles are headings, by how deep they stand."""
    parsed = parse(
        b"<doc><title>Tides</title><p>High <b>water</b> at&nbsp;noon.</p>"
        b"<sec><title>Neap</title><p>Low.</p></sec></doc>",
        "a.xml",
    )
    assert levels(parsed, "heading") == [(1, "Tides"), (2, "Neap")]
    assert [text for kind, text in blocks(parsed) if kind == "paragraph"] == ["High water at noon.", "Low."]
    assert parsed.title == "Tides"


def test_records_keep_names_and_values() -> None:
    """A record is one block; what is only in attributes is read as well."""
    parsed = parse(
        b"<ports><port id='7' depth='4 m'><name>Wick</name><ship tons='98'>Bee</ship></port><light at='dusk'/></ports>",
        "a.xml",
    )
    assert [text for _, text in blocks(parsed)] == [
        "port: depth: 4 m",
        "name: Wick\nship: Bee (tons: 98)",
        "light: at: dusk",
    ]


def test_pages_inside_a_feed_are_read_as_pages() -> None:
    """A feed's descriptions are HTML written as text: their markup is not shown."""
    item = "<item><title>One</title><description>&lt;p&gt;High &lt;b&gt;water&lt;/b&gt;&lt;/p&gt;</description></item>"
    parsed = parse(f"<rss><channel><title>News</title>{item}</channel></rss>".encode(), "feed")
    assert blocks(parsed) == [("heading", "News"), ("heading", "One"), ("paragraph", "High water")]


def test_encodings_are_those_declared_or_found() -> None:
    """UTF-16 with or without a mark, and what the declaration names."""
    for encoding in ("utf-8", "utf-16", "utf-16-be", "iso-8859-2"):
        declared = f"<?xml version='1.0' encoding='{encoding}'?><a>żółw i morze</a>\n"
        assert parse(declared.encode(encoding), "a.xml").text == "żółw i morze"


def test_a_file_that_breaks_off_is_read_so_far() -> None:
    """With a warning that says where."""
    parsed = parse(b"<a><p>one</p>\n<p>two", "a.xml")
    assert parsed.text.split() == ["one", "two"] and "line 2" in parsed.warnings[0]


def test_entities_do_no_harm(tmp_path: Path) -> None:
    """None is expanded or fetched: neither a billion laughs, nor a large one many times, nor a file of this machine."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    for bomb in (
        f'<!DOCTYPE a [<!ENTITY l0 "lol">{laughs}]><a>&l9;</a>',
        f'<!DOCTYPE a [<!ENTITY l "{"x" * 100_000}">]><a t="{"&l;" * 1000}">{"&l;" * 100_000}</a>',
        '<!DOCTYPE a [<!ENTITY l "&m;"><!ENTITY m "&l;">]><a>&l;</a>',
    ):
        try:
            assert len(parse(bomb.encode(), "a.xml").text) <= len(bomb)
        except Rejected as rejected:
            assert "trap" in str(rejected)
    fetched = f'<!DOCTYPE a [<!ENTITY f SYSTEM "{secret.as_uri()}">]><a><p>It says &f; here.</p></a>'
    parsed = parse(fetched.encode(), "a.xml")
    assert "secret" not in parsed.text and "It says" in parsed.text and "entities" in parsed.warnings[0]


def test_attributes_have_an_end() -> None:
    """An element with more attributes than any document's is told as a trap; a picture in one is fine."""
    with pytest.raises(Rejected, match="attributes"):
        parse(("<r " + " ".join(f'a{n}="x"' for n in range(50_000)) + "/>").encode(), "a.xml")
    assert parse(f'<r><i data="{"QUJD" * 100_000}"/><p>words</p></r>'.encode(), "a.xml").text.endswith("words")


def test_nesting_has_an_end() -> None:
    """Deeper than any document is told as a trap."""
    assert parse(b"<a>" * 250 + b"deep" + b"</a>" * 250, "a.xml").text == "deep"
    with pytest.raises(Rejected, match="nested more than 255 deep"):
        parse(b"<a>" * 100_000 + b"deep" + b"</a>" * 100_000, "a.xml")
