"""HTML: what a reader of the page would read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.parse.html import parse
from tests.pipeline.parse.law import blocks, levels, obeys_the_law

TAGS = st.sampled_from(
    "p div h1 h3 ul ol li table tr td th pre span b br script style nav a img blockquote svg title body html".split()
)
PIECES = st.lists(
    st.one_of(
        st.text(max_size=10), TAGS.map("<{}>".format), TAGS.map("</{}>".format), st.just("<!-- x -->"), st.just("&amp;")
    )
)


@given(PIECES)
def test_any_tag_soup_obeys_the_law(pieces: list[str]) -> None:
    """Tags in any order, closed or not, give blocks that cover the text."""
    obeys_the_law(parse("".join(pieces).encode("utf-8", "replace"), "a.html"))


def test_structure_is_kept_and_furniture_is_not() -> None:
    """Headings, paragraphs, lists, tables and code are read; scripts, styles, navigation and hidden parts are not."""
    page = """<html lang=en><head><title>The  page</title>
    <meta name=author content="A. B."><style>x</style></head><body>
    <nav><a>Home</a></nav><script>var x</script><h2>Head <b>ing</b></h2><p>One<br>two <i>th</i>ree</p>
    <ul><li>a<ul><li>b</li></ul></li></ul><ol start=4><li><p>c</p></li></ol><p hidden>no</p>
    <div style="display: none">no</div><pre>  x\n   y</pre>tail
    <table><caption>Cap</caption><tr><th>h</th><th>i</th></tr><tr><td>1<br>2</td><td></td></tr></table></body></html>"""
    parsed = parse(page.encode(), "a.html")
    assert blocks(parsed) == [
        ("heading", "Head ing"),
        ("paragraph", "One\ntwo three"),
        ("list_item", "a"),
        ("list_item", "b"),
        ("list_item", "4. c"),
        ("code", "  x\n   y"),
        ("paragraph", "tail"),
        ("caption", "Cap"),
        ("table", "h | i\n1 2"),
    ]
    assert levels(parsed, "list_item") == [(1, "a"), (2, "b"), (1, "4. c")]
    assert (parsed.title, parsed.metadata) == ("The page", {"language": "en", "author": "A. B."})


def test_a_table_that_lays_out_a_page_is_read_through() -> None:
    """Tables with headings, lists or tables inside are layout: what they hold keeps its own structure."""
    parsed = parse(
        b"<table><tr><td><h1>T</h1><p>a</p></td><td><table><tr><td>x<td>y</table></td></tr></table>", "a.html"
    )
    assert blocks(parsed) == [("heading", "T"), ("paragraph", "a"), ("table", "x | y")]


def test_the_declared_encoding_is_used() -> None:
    """A page says its encoding in a meta element or an XML declaration; one that lies about UTF-16 does no harm."""
    page = '<?xml version="1.0" encoding="{0}"?><html><head><meta charset="{0}"></head><body>żółw</body></html>'
    for encoding in ("iso-8859-2", "cp1250", "utf-8", "utf-16"):
        assert parse(page.format(encoding).encode(encoding), "a.html").text == "żółw"
    assert parse(page.format("utf-16").encode(), "a.html").text == "żółw"


def test_a_very_deep_page_is_read() -> None:
    """Nesting of a thousand elements is no obstacle."""
    parsed = parse(b"<div>" * 1000 + b"deep" + b"</div>" * 1000, "a.html")
    assert parsed.text == "deep"
