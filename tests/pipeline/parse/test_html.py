"""HTML: what a reader of the page would read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import parse as parse_any
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


@settings(deadline=None)
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
    """Nesting of a thousand elements is no obstacle; of a hundred thousand it is told as a trap, at once."""
    parsed = parse(b"<div>" * 1000 + b"deep" + b"</div>" * 1000, "a.html")
    assert parsed.text == "deep"
    for element in (b"<div>", b"<b>", b"<ul><li>", b"<table><tr><td>"):
        with pytest.raises(Rejected, match="nested too deeply"):
            parse(element * 100_000 + b"deep", "a.html")


def test_a_page_without_text_is_no_trap() -> None:
    """Many elements that show nothing are no deep ones."""
    parsed = parse(b"<style>" + b"<br>" * 1000, "a.html")
    assert (parsed.blocks, parsed.warnings) == ([], [])


@pytest.mark.parametrize("end", ["</body></html>", "</main></body></html>", "</html>\n\n<!-- x -->\n"])
def test_what_follows_the_end_of_a_page_is_read(end: str) -> None:
    """Pages one after the other are read one after the other, and so is what stands after the end of one."""
    rest = "<main><p>and <b>after</b>.</main>"
    for again in (rest, f"<!DOCTYPE html><html><body>{rest}</body></html>"):
        parsed = parse(f"<html><body><p>Before{end}{again}".encode(), "a.html")
        obeys_the_law(parsed)
        assert parsed.text.split() == ["Before", "and", "after."]


WORDS = "The keeper lights the lamp at dusk and puts it out again when the sun has risen over the bay. "


def page(content: str) -> str:
    return f"""<body><header><a href=/>Home</a> Harbour board</header>
    <div class="cookie-consent">We use cookies.</div>
    <ul id=top><li><a>Tides</a><li><a>Ships</a><li><a>Tolls</a><li><a>Contact</a></ul>
    {content}<aside><p>Also read this.</aside><div aria-hidden=true>x</div>
    <footer>All rights reserved.</footer></body>"""


@pytest.mark.parametrize(
    "around", ["<main>{}</main>", "<div role=main>{}</div>", "<article>{}</article>", "<div>{}</div>"]
)
def test_what_stands_around_the_content_is_left_out(around: str) -> None:
    """Menus, banners, side columns, footers and notices about cookies are not what a page is about."""
    text = "<h1>The light</h1><p>" + WORDS * 3 + "<ul><li><a href=1>One</a> is <a href=2>lit</a> first</ul>"
    parsed = parse(page(around.format(text)).encode(), "a.html")
    assert blocks(parsed) == [
        ("heading", "The light"),
        ("paragraph", (WORDS * 3).strip()),
        ("list_item", "One is lit first"),
    ]


def test_a_page_that_is_nothing_else_is_read_whole() -> None:
    """A page of links is about its links, and a short one about all it says."""
    links = "".join(f"<li><a href={n}>Port {n}</a>" for n in range(9))
    assert len(parse(f"<footer>f</footer><ul>{links}</ul>".encode(), "a.html").blocks) == 10
    assert "All rights reserved." in parse(page("<p>Closed.").encode(), "a.html").text


def test_headings_above_the_main_part_stay() -> None:
    """A page's first heading may stand in its banner."""
    text = f"<body><header><nav>x</nav><h1>Title</h1></header><main><p>{WORDS * 3}</main>"
    assert blocks(parse(text.encode(), "a.html"))[0] == ("heading", "Title")


def test_merged_cells_keep_their_columns() -> None:
    """A cell that spans rows is repeated in each; one that spans columns leaves the others empty."""
    text = """<table><tr><th rowspan=2>Watch<th colspan=2>Hours<tr><th>from<th>to
    <tr><td>first<td>8<td rowspan=2>12<tr><td>last<td>9</table>"""
    assert blocks(parse(text.encode(), "a.html")) == [
        ("table", "Watch | Hours\nWatch | from | to\nfirst | 8 | 12\nlast | 9 | 12")
    ]


def test_formulas_are_read() -> None:
    """A formula is what its author wrote, if the page says, else the signs that it shows; in a table, too."""
    signs = "<math><semantics><mi>x</mi><mo>=</mo><mn>1</mn><annotation>x=1</annotation></semantics></math>"
    written = '<math alttext="a^{2}"><msup><mi>a</mi><mn>2</mn></msup></math>'
    table = f"<table><tr><td>sum</td><td>{signs}</td></tr></table>"
    page = f'<p>Where {signs} and {written}.</p><p style="display:none">no {signs}</p>{table}'
    assert blocks(parse(page.encode(), "a.html")) == [("paragraph", "Where x=1 and a^{2}."), ("table", "sum | x=1")]


def test_items_have_the_numbers_that_they_say() -> None:
    """An item that says its number has that, and the next goes on from there."""
    page = b'<ol start="3"><li>a</li><li value="7">b</li><li>c</li><li value="x">d</li></ol>'
    assert [text for _, text in blocks(parse(page, "a.html"))] == ["3. a", "7. b", "8. c", "9. d"]


def test_a_table_that_names_its_columns_may_hold_lists() -> None:
    """Lists in cells are part of their rows where columns have names; a table without names only lays out a page."""
    rows = "<tr><{0}>Ship</{0}><{0}>Cargo</{0}></tr><tr><td>Anna</td><td><ul><li>oil</li><li>tar</li></ul></td></tr>"
    named, unnamed = (f"<table>{rows.format(tag)}</table>".encode() for tag in ("th", "td"))
    assert blocks(parse(named, "a.html")) == [("table", "Ship | Cargo\nAnna | oil tar")]
    assert ("list_item", "oil") in blocks(parse(unnamed, "a.html"))


def test_a_page_that_scripts_fill_says_so() -> None:
    """A page without text whose scripts would fetch it is rejected with that reason."""
    with pytest.raises(
        Rejected, match="no text in this HTML page that can be read: scripts would fetch it in a browser"
    ):
        parse_any(b"<html><body><noscript>Enable it.</noscript><div id=root></div></body></html>", "a.html")


def test_columns_that_no_page_has_are_said_to_be_left_out() -> None:
    """Of a row a thousand columns are kept, and a warning says that there were more."""
    parsed = parse(b"<table><tr>" + b"<td>x</td>" * 1001 + b"</tr></table>", "a.html")
    assert parsed.text.count("x") == 1000
    assert parsed.warnings == ["a table has more than 1,000 columns: those are kept"]
