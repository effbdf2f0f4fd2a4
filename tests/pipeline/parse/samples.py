"""Documents of our own making, each made anew when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from tests.pipeline.parse.pages import Mark, paragraph, pdf, picture, rule

_LEFT = [
    "The keeper of the light at Carn Head kept",
    "a book in which each night of forty years",
    "has a line of its own. He wrote down the",
    "wind and the height of the swell, the hour",
    "at which the lamp was lit and when it was",
    "put out again, all in a hand that did not",
    "change from the first page to the last. Of",
    "the wreck of the Anna the book has no more",
]
_RIGHT = [
    "than of any other night: wind south-west,",
    "swell four feet, lamp lit at five. That elev-",
    "en men came up the cliff that night and sat",
    "in his kitchen until the morning is told by",
    "the entry for bread, which is doubled.",
    "   A second book, found in the wall behind",
    "the stove, has the names of all eleven, and",
    "what each of them said about the light.",
]
_ACROSS = [
    "A paragraph as wide as the page comes after both columns above it, and before the columns",
    "that may follow below, since that is how a page with a break in its columns is read.",
]


def _columns() -> bytes:
    """Two columns under a headline, a paragraph across both, and two columns again."""
    page: list[Mark] = [
        (60, 740, 20, "A book of nights"),
        *paragraph(60, 700, _LEFT),
        *paragraph(320, 700, _RIGHT),
        (60, 570, 14, "What the books are for"),
        *paragraph(60, 550, _ACROSS),
        *paragraph(60, 510, _LEFT[:4]),
        *paragraph(320, 510, _RIGHT[:4]),
    ]
    return pdf(page, info="/Title(A book of nights)/Author(R. Tregenna)", catalog="/Lang(en-GB)")


def _sidebar() -> bytes:
    """A column of text with a narrow one beside it, set in smaller type at other distances, drawn first."""
    notes = [
        "Carn Head",
        "Built in 1847 by",
        "John Fox. First lit",
        "in the winter of",
        "1848. Thirty-one",
        "feet high.",
    ]
    return pdf(
        [*paragraph(420, 690, notes, 8, 9.5), *paragraph(60, 700, [*_LEFT, *_RIGHT[:5]]), (60, 740, 20, "The light")]
    )


def _report() -> bytes:
    """Running lines, a table of contents, headings of two levels, lists, tables, a note, code, and a word overleaf."""

    def page(number: int, *marks: Mark) -> list[Mark]:
        return [
            (60, 770, 8, "Harbour board"),
            (440, 770, 8, "Report for 1931"),
            *marks,
            (290, 30, 8, f"Page {number} of 4"),
        ]

    contents = [
        (60, 700 - 14 * at, 10, f"{title} {'.' * 60} {number}")
        for at, (title, number) in enumerate(
            [("1 The harbour", 2), ("1.1 Dredging", 2), ("2 Tolls", 3), ("3 The crane", 4)]
        )
    ]
    first = page(1, (60, 735, 18, "Annual report"), (60, 715, 12, "Contents", "B"), *contents)
    second = page(
        2,
        (60, 735, 14, "1 The harbour"),
        *paragraph(60, 715, _ACROSS),
        (60, 680, 11, "1.1 Dredging", "B"),
        *paragraph(60, 664, ["The channel was dredged three times, in March, June and October, since the bar"]),
        *paragraph(60, 652, ["had silted up by more than a foot a month.¹ What was brought up went", "as follows:"]),
        (70, 620, 10, "• to the farms"),
        (85, 608, 10, "– sand for the lanes"),
        (85, 596, 10, "– marl for the fields"),
        (70, 584, 10, "• to the sea wall, of which a third is new"),
        (60, 560, 10, "The works were let in three parts:"),
        (70, 545, 10, "1. the bar"),
        (70, 533, 10, "2. the basin"),
        (70, 521, 10, "3. the slip"),
        *paragraph(
            60,
            490,
            [
                "The engineer has asked that the next contract be let for the whole of the work, and",
                "that the harbour be closed for as long as it takes to finish what was begun by mid-",
            ],
        ),
        (60, 80, 7, "1 Soundings of the harbour master, taken at low water of spring tides."),
    )
    rows = [
        ("Ship", "Tons", "Toll"),
        ("Anna", "212", "£4 8s"),
        ("Bee of Wick", "98", "£2 1s"),
        ("Three Sisters", "140", "£2 18s"),
    ]
    ruled: list[Mark] = []
    for at, row in enumerate(rows):
        y = 640 - 16 * at
        ruled += [(x, y, 10, text) for x, text in zip((65, 205, 305), row, strict=True)] + [rule(60, y - 4, 380, y - 4)]
    third = page(
        3,
        *paragraph(60, 735, ["winter, at the latest, so that no ship would have to wait outside."]),
        (60, 700, 14, "2 Tolls"),
        *paragraph(60, 680, ["Tolls were taken as before."]),
        *ruled,
        (60, 570, 9, "Table 1: Tolls of the first week of May."),
        (60, 530, 10, "Name"), (160, 530, 10, "What is known of it"),
        (60, 518, 10, "Anna"), (160, 518, 10, "lost with all her cargo in the winter after,"),
        (160, 506, 10, "off Carn Head, the crew being saved"),
        (60, 494, 10, "Bee of Wick"), (160, 494, 10, "sold in 1930"),
        (60, 482, 10, "Three Sisters"), (160, 482, 10, "still at sea"),
    )  # fmt: skip
    fourth = page(
        4,
        (60, 735, 14, "3 The crane"),
        *paragraph(60, 715, ["The crane is set by its own table, which the clerk has copied:"]),
        (60, 695, 9, "def lift(tons):", "M"),
        (81.6, 684, 9, "if tons > 4:", "M"),
        (103.2, 673, 9, "return None", "M"),
        (81.6, 662, 9, "return 3 * tons", "M"),
        *paragraph(60, 640, ["Nothing else was written in the book that year."]),
    )
    outline = [("The harbour", 1), ("Dredging", 1), ("Tolls", 2), ("The crane", 3)]
    return pdf(first, second, third, fourth, outline=outline)


def _form() -> bytes:
    """Form fields beside their names, notes of readers, a link, and what XMP says of the file."""
    rdf = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmp:CreateDate="1931-05-01T09:00:00Z"><dc:title><rdf:Alt><rdf:li xml:lang="x-default">Berth form</rdf:li>'
        "</rdf:Alt></dc:title><dc:creator><rdf:Seq><rdf:li>A. Pascoe</rdf:li><rdf:li>J. Rowe</rdf:li></rdf:Seq>"
        "</dc:creator><dc:language><rdf:Bag><rdf:li>en</rdf:li></rdf:Bag></dc:language></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    page = [(60, 740, 16, "Request for a berth"), (60, 700, 10, "Name of the ship"), (60, 680, 10, "Master"),
            (80, 660, 10, "steam"), (60, 620, 10, "The board answers within a week.")]  # fmt: skip
    return pdf(
        page,
        xmp=rdf,
        fields=[
            "/Subtype/Widget/FT/Tx/T(ship)/V(Three Sisters)/Rect[180 696 320 712]",
            "/Subtype/Widget/FT/Tx/T(master)/V(E. Hocking)/Rect[180 676 320 692]",
            "/Subtype/Widget/FT/Btn/T(steam)/V/Yes/AS/Yes/Rect[60 658 70 668]/AP<</N<</Yes 3 0 R/Off 3 0 R>>>>",
            "/Subtype/Widget/FT/Tx/Ff 8192/T(secret)/V(not to be read)/Rect[60 560 200 580]",
        ],
        annotations=[
            "/Subtype/Text/Contents(She may come in on the evening tide.)/Rect[400 700 420 720]",
            "/Subtype/FreeText/Contents(Berth 4)/DA(/F 10 Tf)/Rect[60 590 160 604]",
            "/Subtype/Link/A<</S/URI/URI(https://example.org/tides)>>/Rect[60 618 220 632]",
            "/Subtype/Text/F 2/Contents(hidden)/Rect[400 600 420 620]",
        ],
    )


def _turned() -> bytes:
    """A page on its side with upright text, and lines up its margin and across it."""
    upright = "0 1 -1 0 600 0 cm "
    body = [f"q {upright}BT /F 10 Tf 60 {y} Td ({line}) Tj ET Q" for y, line in [(540, _ACROSS[0]), (528, _ACROSS[1])]]
    margin = "q 1 0 0 1 500 40 cm BT /F 8 Tf (Received 3 May 1931) Tj ET Q"
    mark = "q .6 .8 -.8 .6 300 300 cm BT /F 40 Tf (DRAFT) Tj ET Q"
    return pdf([*body, margin, mark], rotate=90, box="/CropBox[0 0 600 780]")


def _letters() -> bytes:
    """Chinese lines, Hebrew drawn from the left as it looks, and ligatures."""
    return pdf(
        [
            (60, 740, 12, "灯塔守护人写了四十年的日记，每夜一行，", "U"),
            (60, 724, 12, "从不间断。风向、浪高、点灯的时刻都在", "U"),
            (60, 708, 12, "其中。", "U"),
            (60, 660, 12, "םולש םלוע", "U"),
            (60, 620, 12, "ﬁne ﬂags", "U"),
        ]
    )


def _scan() -> bytes:
    """A page of text, one that is a picture, and one that is empty."""
    return pdf(paragraph(60, 740, _ACROSS), [picture(0, 0, 600, 800)], [])


def _cut() -> bytes:
    """A file whose end, with its table of contents, is lost."""
    whole = pdf(paragraph(60, 740, _ACROSS), paragraph(60, 740, _LEFT))
    return whole[: whole.index(b"xref")].replace(b"/Type/Catalog", b"/Type/Xatalog")


SAMPLES: dict[str, Callable[[], bytes]] = {
    "columns.pdf": _columns,
    "sidebar.pdf": _sidebar,
    "report.pdf": _report,
    "form.pdf": _form,
    "turned.pdf": _turned,
    "letters.pdf": _letters,
    "scan.pdf": _scan,
    "cut.pdf": _cut,
}
