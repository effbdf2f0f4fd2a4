"""The kinds of words that heads of log lines are made of, as regular expressions, each with what its groups are.

A kind is tried before those that stand below it. A role is a field of a head.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.parse.logs.levels import BRACKETED, LEVELS, pattern_of


class Word(NamedTuple):
    """A kind of word: its pattern, and the role of each of its groups, no role twice."""

    pattern: str
    roles: tuple[str, ...] = ()


_LEVEL = pattern_of(LEVELS)
_CAPITALS = pattern_of(filter(str.isupper, LEVELS))
_BRACKETED = pattern_of(BRACKETED)
#: What a line begins with, after a head of its own, that says more of the event above, as PostgreSQL has it.
MORE = r"(?:DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION|BACKTRACE):  "
_NAME = (
    rf"(?!{_LEVEL}(?![\w.-])|{MORE})(?>%?[A-Za-z_$.][\w.$/@#*+&-]*(?:::?[\w.$<>-]+)*(?:\([\w.-]*\))?)"
    r"(?<!Exception)(?<!Error)"
)
_TAG = r"((?!\d+:)(?:-- )?[^\s:\[\]|=\"]{1,64}(?: v?\d[\d.]*)?)(?:\[(\d+)\])?(?: (?:\([^()]*\)|<\w+>))?:(?:\s|$)"
_HOST = rf"(?!{_CAPITALS}\b)([A-Za-z0-9][\w.:@/-]*(?<!:))"
_PROSE = r"(?!(?:an?|after|and|as|at|before|by|date|for|from|in|is|of|on|since|the|time|to|until|was|with)\b)"

#: What parts the words after a time, and ends them.
GAP = r"(?>[\])>\s|,;]*(?:(?:-{1,3}(?=[\s|\[])|:|\*(?=\s))[\s|]*){0,2})"

#: What may stand before a time. White space may follow each.
BEFORE = {
    # <34>1 as in RFC 5424, and <34> as in RFC 3164
    "rfc5424": Word(r"<(\d{1,3})>1(?=\s)", ("level",)),
    "priority": Word(r"<(\d{1,3})>", ("level",)),
    # 127.0.0.1 - frank [: whoever asked for a page is not where it was logged
    "client": Word(r"(?:[\w.-]+:\d+ )?[\w.:-]+ (?:- \S+|\S+ -) (?=\[)"),
    # INFO  [WARN]  I,
    "level": Word(rf"[\[(<]?({_BRACKETED})(?:[\])>]|(?=[\s:,|\[]))[:,|]?", ("level",)),
    # 1234:M as Redis has it, [1234:5678: as Chromium has it
    "process": Word(r"(\d{1,10}):[A-Z](?=\s)", ("pid",)),
    "processes": Word(r"\[(\d{1,10})(?::\d+)?:", ("pid",)),
    # 1234:20240501:093000.123, right-aligned, as Zabbix has it
    "aligned": Word(r" {0,8}(\d{1,10}):(?=\d{8}:)", ("pid",)),
    # 1131566461 2005.11.09: what a time without a year is near to
    "epoch": Word(r"(1\d{9})(?=\s)", ("epoch",)),
    "figures": Word(r"#?\d[\d.,:/-]*(?=\s)|\d+\]"),
    "weekday": Word(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?(?=\s)"),
    "mark": Word(r"[-|*]+(?=\s)|# Time:(?=\s)|#(?:Start-)?Date:(?=\s)"),
    "bracket": Word(r"\[[^\[\]]*\]|\([^()]*\)|\{[^{}]*\}|<[^<>]*>"),
    # type=SYSCALL  msg=audit(  time=
    "pair": Word(r"[\w.-]+=(?:[\w.-]+(?=\s|\()\(?|(?=[\d\"]))"),
    "file": Word(r"[\w./-]+\.log[\w.:/-]*(?=\s)"),
    "host": Word(r"(?=[\w./@-]*\d)(?=[\w./@-]*[A-Za-z])([\w$][\w.:/@$+-]*)(?<!:)(?=[\s|])\|?", ("host",)),
    "name": Word(r"([\w$+-]*[._/@$-][\w.:/@$+-]*)(?<!:)(?=[\s|])\|?", ("component",)),
    "label": Word(r"[A-Z][A-Z_]+(?=\s)"),
    "word": Word(rf"{_PROSE}([A-Za-z]\w*)(?=[\s|])\|?", ("component",)),
}

#: What may follow a time directly and gives each word its meaning by its place, by the kind of the time.
PLACED = {
    # host sshd[123]: message, and host last message repeated 3 times
    "syslog": Word(
        rf"\s+{_HOST}\s+(?:{_TAG}|(?=(?:last )?message repeated|\d+: |:? ?%[A-Z]|(?:CEF|LEEF):))",
        ("host", "component", "pid"),
    ),
    # the same after a time that has a zone, as journalctl and rsyslog write it, or else with a process
    "zoned": Word(
        rf"(?:(?<=\dZ)|(?<=[+-]\d\d:\d\d)|(?<=[+-]\d{{4}})|(?<= [A-Z]{{3}})|(?<= [A-Z]{{4}}))\s+{_HOST}\s+{_TAG}",
        ("host", "component", "pid"),
    ),
    "journal": Word(rf"\s+{_HOST}\s+([^\s:\[\]|=\"]{{1,64}})\[(\d+)\]:(?:\s|$)", ("host", "component", "pid")),
    # app[web.1]: message, as Heroku has it
    "instance": Word(r"\s+([\w.-]+)\[[\w.-]+\]:(?:\s|$)", ("component",)),
    # host app 123 ID47 [data x="y"] message
    "rfc5424": Word(
        r" (\S{1,255}) (\S{1,48}) (\S{1,128}) \S{1,32} "
        r"(?:-|(?:\[[^\]\"]*(?:\"(?:\\.|[^\"\\])*\"[^\]\"]*)*\])+)(?:\s|$)",
        ("host", "component", "pid"),
    ),
    # 1702  2395 D Some tag: message, as Android has it
    "logcat": Word(
        r"\s+(?:[a-z]\w*\s+)?(\d+)(?:[-\s/]+\d+)?\s+(?:\S+\s+)?([VDIWEFA])[ /]([^:]{1,80}?)\s*:(?:\s|$)",
        ("pid", "level", "component"),
    ),
    # 1702: 2395 W/Some tag ], the message on the lines below
    "apart": Word(r"\s+(\d+): *(?:\d+|0x[0-9a-f]+)\s+([VDIWEFA])/([^\]]{1,80}?)\s*\]$", ("pid", "level", "component")),
    # 12 [Warning] [MY-010068] [Server] message, as MySQL has it
    "coded": Word(
        rf"\s+(\d+)\s+\[({_BRACKETED}|System)\]\s+\[[A-Z]{{2,3}}-\d+\]\s+\[(\w[\w ]*)\](?=\s|$)",
        ("pid", "level", "component"),
    ),
    # D/Some tag( 1702): message
    "tagged": Word(r"\s+([VDIWEFA])/([^\s:(][^:(]{0,80}?)\s*\(\s*(\d+)\):(?:\s|$)", ("level", "component", "pid")),
}
PLACED_AFTER = {
    "syslog": ("syslog",),
    "iso": ("zoned", "journal", "instance", "coded", "logcat", "tagged", "apart"),
    "month_day": ("logcat", "tagged", "apart"),
}

#: What may follow a time in any order.
AFTER = {
    # R02-M1-N0 RAS KERNEL FATAL: the node, the facility, the component, the level
    "labels": Word(
        rf"(?:([\w.:-]*\d[\w.:-]*)\s+)?(?:[A-Z][A-Z_]+\s+){{0,2}}([A-Z][A-Z_]+)\s+({_CAPITALS})(?=\s)",
        ("host", "component", "level"),
    ),
    # [error]  [INFO ]  <Notice>  [I]  and with a component: [core:error]  [Server thread/INFO]:
    "bracketed": Word(rf"[\[(<{{]\s*({_BRACKETED})\s*(?:/[\w-]+)?[\])>}}]:?", ("level",)),
    "channelled": Word(
        rf"[\[(<{{]\s*([\w.-](?:[\w. -]{{0,58}}[\w.-])?)[.:/]({_BRACKETED})\s*[\])>}}]:?", ("component", "level")
    ),
    # INFO  WARN:  INFO/MainProcess]  and with a component: production.ERROR:
    "level": Word(rf"({_LEVEL})(?:/[\w-]+(?=\]))?(?=[\s:|,;\]/\[]|$)", ("level",)),
    "channel": Word(rf"((?>[\w-]+))\.({_CAPITALS})(?=:\s)", ("component", "level")),
    # D WindowManager:  I NETWORK  E |
    "letter": Word(r"([TVDIWECF])(?=\s*[|/]|\]|\s+(?:[A-Z]{2,}\b|\[|[\w.$/-]+\s*:\s))", ("level",)),
    # [1234]  [pid 12:tid 34]  1234#5678:  #1234]  12345 ---  30002312|
    "processes": Word(r"\[(?:pid[ =:]?\s*)?(\d{1,10})(?:[:,] ?(?:tid )?\d+)?\](?=[\s:|,\[(-]):?", ("pid",)),
    "process": Word(r"#?(\d{1,10})(?:#\d+:|(?=\]|\s+---\s|\s*\|))", ("pid",)),
    # 1702  2395 in front of a level, a bracket or a file
    "number": Word(
        rf"(\d{{1,10}})(?:\s+\d{{1,10}})?(?=\s+(?:{_LEVEL}[\s:]|\[{_BRACKETED}\s*\]|[VDIWEFA]\s|[\w.-]+:\d+\]))",
        ("pid",),
    ),
    # [o.e.n.Node ]  {taskinstance.py:123}  [QuorumPeer[myid=1]/::1:2181:FastLeaderElection@774]
    "logger": Word(
        r"[\[({]\s*(?:(?:[^\s\[\]]|\[[^\[\]]*\]){0,120}[:/](?=[\w$]+@))?"
        r"([A-Za-z_]\w*(?:\.[\w$]+)+(?::\d+)?|[A-Za-z_$][\w$]*(?=@\d+\]))(?:@\d+)?\s*[\])}](?=[\s:|,\[(-]):?",
        ("component",),
    ),
    # [info][gc,start    ]
    "tags": Word(r"(?<=\])\[([a-z][\w.,+-]*)\s*\](?=\s)", ("component",)),
    # Europe/Berlin
    "zone": Word(r"(?:Africa|America|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[A-Z][\w/+-]+(?=[\])\s])"),
    # [main]  [req-1 - -]  (MSC service thread 1-2)  <0.123.0>
    "bracket": Word(r"(?:\[(?:[^\[\]]|\[[^\[\]]*\]){0,240}\](?=[\s:|,\[(-]):?|[({<][\w.:/ #-]{1,80}[)}>](?=[\s:]):?)"),
    # sshd[123]:  org.apache.Client:  main.cc:12]
    "named": Word(rf"({_NAME}|[\w.$]+\.\[\S+)(?:\[(\d+)\])?(?:\s*:(?=\s|$)|\](?=\s))\s?", ("component", "pid")),
    # hostd[812] after a level
    "daemon": Word(rf"({_NAME})\[(\d{{1,10}})\](?=\s)", ("component", "pid")),
    # c.e.App -  tag |
    "name": Word(rf"({_NAME})(?:\s\*\d+)?(?=\s+-+\s|\s*\||;\S)", ("component",)),
    # CBS      in a column of its own; Service Control Manager between tabs
    "column": Word(r"((?>[A-Za-z][\w.:]*))(?=\s{3,})", ("component",)),
    "cell": Word(r"(?<=\t)([A-Za-z](?:[\w .:/-]{0,60}[\w.:-])?)(?=\t)", ("component",)),
    # my.module in front of a level, or of what says more of an event
    "front": Word(rf"((?=[\w.$/@-]*[a-z])(?>[\w.$/@-]+))(?=\s+(?:{_CAPITALS}[\s:]|{MORE}))", ("component",)),
    # user=ann,db=shop in front of the same
    "session": Word(rf"\w+=\S*(?=\s+(?:{_CAPITALS}:|{MORE}))"),
    "php": Word(r"(PHP)(?=\s)", ("component",)),
    # c.e.App  app.go:12  root:main.py:12  NETWORK  [conn1], after a level
    "dotted": Word(r"((?>[A-Za-z_$][\w$]*(?:(?:\.|::?)[\w$]+)+)(?=\s)|[A-Z]{2,}(?=\s+\[))", ("component",)),
}


def follows(kind: str, level: bool, component: bool) -> bool:
    """Whether a word of AFTER may come next where a level, or a component, was found already."""
    roles = AFTER[kind].roles
    if (level and "level" in roles) or (component and "component" in roles):
        return False
    return level or kind not in ("dotted", "daemon")


def ends(kind: str) -> bool:
    """Whether the message comes after a word of this kind."""
    return kind in PLACED or kind == "named"
