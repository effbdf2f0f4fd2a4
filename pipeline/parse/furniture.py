"""What stands around the content of a web page: menus, banners, side columns, notices about cookies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_ROLES = {"navigation", "banner", "contentinfo", "search", "menu", "menubar", "toolbar", "dialog", "alertdialog"}
_TAGS = {"header", "footer", "aside"}
# Inside of these, a header or footer is one of the text, and a list of links may be what the text is about.
_CONTENT = {"main", "article"}
_NAMES = re.compile(
    r"(?:\A|[\s_-])(?:cookies?|consent|breadcrumbs?|navbar|nav|navigation|menu|sidebar|footer|skip|share|sharing|newsletter"
    r"|advert|advertisement|ads|sponsored|related)(?:\Z|[\s_-])",
    re.I,
)
_LISTS = {"ul", "ol", "div", "p", "section", "table", "td", "form", "menu"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_SILENT = {"script", "style", "noscript", "template", "head"}
_LEAST_MAIN = 200  # characters
_LEAST_LINKS = 4
_LONGEST_LABEL = 40  # characters in a link of a menu, on average


@dataclass(slots=True)
class _Share:
    """How much text an element holds, and how much of that is links; in characters that are not blank."""

    text: int = 0
    linked: int = 0
    links: int = 0
    headings: int = 0


def around_content(root: Any, events: Iterator[tuple[str, Any]]) -> set[Any]:
    """The elements of a page whose text is not what the page is about; `events` are the starts and ends in `root`.

    A page that marks its main part (one `main` element, or one `article`) is that part. Otherwise the header, footer
    and asides of the page go, elements with the role or the name of furniture, and lists of nothing but short links;
    unless that would be most of what there is to read.
    """
    shares = _measure(events)
    whole = shares[root].text
    main = _main(root)
    if main is not None and shares[main].text >= max(_LEAST_MAIN, 0.1 * whole):
        return set(_beside(main))
    found: dict[Any, None] = {}
    todo: list[Any] = [root]
    while todo:
        element = todo.pop()
        for child in element:
            if not isinstance(child.tag, str) or child.tag in _CONTENT or child.get("role") in ("main", "article"):
                continue
            if child in shares and _is_furniture(child, shares[child], whole):
                found[child] = None
            else:
                todo.append(child)
    said = sum(shares[element].text - shares[element].linked for element in found)
    total = shares[root].text - shares[root].linked
    # What is left must be most of what is not links: a page of links is about them.
    return set(found) if total - said >= max(_LEAST_MAIN, 0.5 * total) else set()


def _measure(events: Iterator[tuple[str, Any]]) -> dict[Any, _Share]:
    shares: dict[Any, _Share] = {}
    open_: list[_Share] = [_Share()]
    in_link = silent = 0
    for event, element in events:
        tag = element.tag if isinstance(element.tag, str) else "script"
        if event == "start":
            shares[element] = share = _Share(links=tag == "a", headings=tag in _HEADINGS)
            open_.append(share)
            in_link += tag == "a"
            silent += tag in _SILENT
            size = 0 if silent else len("".join((element.text or "").split()))
            share.text += size
            share.linked += size if in_link else 0
        else:
            in_link -= tag == "a"
            silent -= tag in _SILENT
            share = open_.pop()
            around = open_[-1]
            size = 0 if silent else len("".join((element.tail or "").split()))
            around.text += share.text + size
            around.linked += share.linked + (size if in_link else 0)
            around.links += share.links
            around.headings += share.headings
    return shares


def _main(root: Any) -> Any:
    for path in ("//main|//*[@role='main']", "//article|//*[@itemprop='articleBody']"):
        found = set(root.xpath(path))
        outermost = [one for one in found if found.isdisjoint(one.iterancestors())]
        if found:
            return outermost[0] if len(outermost) == 1 else None
    return None


def _beside(main: Any) -> Iterator[Any]:
    """All that is not `main`, nor in it, nor around it; but a page's first heading may stand above it."""
    kept = {main, *main.iterancestors()}
    title = next(iter(main.getroottree().xpath("//h1")), None)
    if title is not None:
        kept |= {title, *title.iterancestors()}
    for around in kept - {main, title}:
        yield from (child for child in around if isinstance(child.tag, str) and child not in kept)


def _is_furniture(element: Any, share: _Share, whole: int) -> bool:
    if element.tag == "body" or not share.text:
        return False
    if element.get("role") in _ROLES or element.get("aria-hidden") == "true":
        return True
    if element.tag in _TAGS:
        return not share.headings or element.tag != "header"
    if element.tag in _LISTS:
        menu = share.links >= _LEAST_LINKS and share.linked >= 0.8 * share.text
        if menu and share.linked <= _LONGEST_LABEL * share.links:
            return True
    named = f"{element.get('id') or ''} {element.get('class') or ''}"
    return share.text <= 0.2 * whole and not share.headings and bool(_NAMES.search(named))
