"""Formats of logs: what a line says of when, how severe, who and where; and which lines are one event."""

from __future__ import annotations

import pytest

from pipeline.parse.log import events_of, looks_like_log
from pipeline.parse.media import detect_media_type

# A line; its time, level, component, host and process, "-" for none. "~": the log does not say which year.
LINES = [
    # Syslog
    (
        '<165>1 2024-05-01T22:14:15.003Z web1 billing 123 ID47 [x@1 iut="3" s="A]"] An event',
        "2024-05-01T22:14:15.003000+00:00 notice billing web1 123",
    ),
    ("<34>1 2024-05-01T22:14:15Z web1 su - - - failed", "2024-05-01T22:14:15+00:00 fatal su web1 -"),
    ("<34>Oct 11 22:14:15 web1 su: failed for ann", "~10-11T22:14:15+00:00 fatal su web1 -"),
    ("Jun 14 15:16:01 combo sshd(pam_unix)[19939]: failure", "~06-14T15:16:01+00:00 - sshd(pam_unix) combo 19939"),
    ("Jun  4 15:16:01 combo last message repeated 3 times", "~06-04T15:16:01+00:00 - - combo -"),
    (
        "Jul  1 09:00:55 mac com.app.launchd[1] (com.app.look[22]): gone",
        "~07-01T09:00:55+00:00 - com.app.launchd mac 1",
    ),
    ("2024-05-01T09:30:00+0200 web1 systemd[1]: Started a unit.", "2024-05-01T09:30:00+02:00 - systemd web1 1"),
    (
        "2024-05-01T09:30:01.5+02:00 web1 kernel: usb 1-1: new device",
        "2024-05-01T09:30:01.500000+02:00 - kernel web1 -",
    ),
    (
        "May  1 09:30:00 fw kernel: [12345.678901] DROP: IN=eth0 SRC=10.0.0.1 DPT=22",
        "~05-01T09:30:00+00:00 - kernel fw -",
    ),
    (
        "May  1 09:30:00 10.0.0.1 123: *May  1 09:29:59.123: %LINEPROTO-5-UPDOWN: Line down",
        "~05-01T09:30:00+00:00 notice - 10.0.0.1 -",
    ),
    ("May 01 2024 09:30:00 fw : %ASA-3-302014: Teardown", "2024-05-01T09:30:00+00:00 error - fw -"),
    (
        "- 1117838570 2005.06.03 R02-M1 2005-06-03-15.42.50.675872 R02-M1 RAS KERNEL FATAL x",
        "2005-06-03T15:42:50.675872+00:00 fatal KERNEL R02-M1 -",
    ),
    (
        "- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 crond[2915]: closed",
        "2005-11-09T12:01:01+00:00 - crond dn228/dn228 2915",
    ),
    ("[Wed May  1 09:30:00 2024] usb 1-1: new device", "2024-05-01T09:30:00+00:00 - - - -"),
    # Web servers and what stands before them
    ('127.0.0.1 - ann [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 12', "2000-10-10T13:55:36-07:00 - - - -"),
    ("[Sun Dec 04 04:47:44 2005] [notice] x", "2005-12-04T04:47:44+00:00 notice - - -"),
    (
        "[Fri Sep 09 10:42:29.902022 2011] [core:error] [pid 35708:tid 43] [client 10.0.0.9] gone",
        "2011-09-09T10:42:29.902022+00:00 error core - 35708",
    ),
    ('2011/09/09 10:42:29 [error] 1234#5678: *90 open() "/x" failed', "2011-09-09T10:42:29+00:00 error - - 1234"),
    (
        'May  1 09:30:00 lb haproxy[143]: 10.0.1.2:333 [01/May/2024:09:30:00.655] in a/b 10/0/30 200 "GET / HTTP/1.1"',
        "~05-01T09:30:00+00:00 - haproxy lb 143",
    ),
    (
        "1286536309.450    180 10.0.0.2 TCP_MISS/200 411 GET http://x/ - DIRECT/10.0.0.3 text/html",
        "2010-10-08T11:11:49.450000+00:00 - - - -",
    ),
    ("[10.30 16:49:06] chrome.exe *64 - proxy:5070 open", "~10-30T16:49:06+00:00 - chrome.exe - -"),
    ("2024-05-01\t09:30:00\tFRA2\t2390\t192.0.2.10\tGET", "2024-05-01T09:30:00+00:00 - FRA2 - -"),
    # Data bases and queues
    ("2024-05-01 09:30:00.123 CEST [4242] ERROR:  duplicate key", "2024-05-01T09:30:00.123000+02:00 error - - 4242"),
    (
        "2024-05-01T09:30:00.123456Z 12 [ERROR] [MY-010119] [Server] Aborting",
        "2024-05-01T09:30:00.123456+00:00 error Server - 12",
    ),
    (
        "2024-05-01T09:30:00.123456Z 0 [System] [MY-010931] [Server] ready for connections",
        "2024-05-01T09:30:00.123456+00:00 info Server - 0",
    ),
    (
        "2024-05-01 09:30:00.123 UTC [42]: [2-1] user=ann,db=shop ERROR:  no",
        "2024-05-01T09:30:00.123000+00:00 error - - 42",
    ),
    ("1234:20240501:093000.123 agent #1 started", "2024-05-01T09:30:00.123000+00:00 - - - 1234"),
    ("2024-05-01  9:30:00 12 [Note] InnoDB: ready", "2024-05-01T09:30:00+00:00 notice InnoDB - 12"),
    ("1234:M 01 May 2024 09:30:00.123 * Ready", "2024-05-01T09:30:00.123000+00:00 - - - 1234"),
    (
        "[2024-05-01T09:30:00,123][WARN ][o.e.d.x                  ] [node-1] bad",
        "2024-05-01T09:30:00.123000+00:00 warning o.e.d.x - -",
    ),
    ("[2024-05-01 09:30:01,123] ERROR bad (kafka.log.Log)", "2024-05-01T09:30:01.123000+00:00 error kafka.log.Log - -"),
    ("2024-05-01 09:30:00.123 [error] <0.123.0> gen_server ended", "2024-05-01T09:30:00.123000+00:00 error - - -"),
    # Java
    ("2015-10-18 18:01:47,978 INFO [main] a.b.Master: x", "2015-10-18T18:01:47.978000+00:00 info a.b.Master - -"),
    ("081109 203615 148 INFO dfs.DataNode: x", "2008-11-09T20:36:15+00:00 info dfs.DataNode - 148"),
    ("17/06/09 20:10:40 ERROR executor.Backend: x", "2017-06-09T20:10:40+00:00 error executor.Backend - -"),
    (
        "2024-05-01 09:30:00.123  INFO 4242 --- [           main] c.e.demo.App       : Started",
        "2024-05-01T09:30:00.123000+00:00 info c.e.demo.App - 4242",
    ),
    (
        "2015-07-29 19:04:29,071 - WARN  [SendWorker:18:QuorumCnx$SendWorker@679] - leaving",
        "2015-07-29T19:04:29.071000+00:00 warning QuorumCnx$SendWorker - -",
    ),
    (
        "[2024-05-01T09:30:01.123+0200][1.012s][info ][gc,start     ] GC(0) Pause",
        "2024-05-01T09:30:01.123000+02:00 info gc,start - -",
    ),
    (
        "2024-05-01T09:30:00.123+0000: 12.345: [GC (Allocation Failure) 1K->2K(3K)]",
        "2024-05-01T09:30:00.123000+00:00 - - - -",
    ),
    ("01-May-2024 09:30:00.123 SEVERE [main] org.x.Y.z Bad", "2024-05-01T09:30:00.123000+00:00 error org.x.Y.z - -"),
    # Python, Go, Rust, Ruby, PHP, C++
    (
        "2024-05-01 09:30:00,123 - my.module - WARNING - careful",
        "2024-05-01T09:30:00.123000+00:00 warning my.module - -",
    ),
    ("WARNING:my.app:careful", "- warning my.app - -"),
    (
        "2024-05-01 09:30:00.123 | ERROR    | app.db:query:99 - broken",
        "2024-05-01T09:30:00.123000+00:00 error app.db:query:99 - -",
    ),
    ("[2024-05-01 09:30:00,123: ERROR/ForkPoolWorker-1] Task raised", "2024-05-01T09:30:00.123000+00:00 error - - -"),
    (
        "[2024-05-01T09:30:00.123+0000] {task.py:1157} INFO - met",
        "2024-05-01T09:30:00.123000+00:00 info task.py:1157 - -",
    ),
    (
        "app.log.1 2017-05-16 00:00:00.008 25746 INFO nova.wsgi.server [req-38 - -] 10.1.1.1 x",
        "2017-05-16T00:00:00.008000+00:00 info nova.wsgi.server - 25746",
    ),
    ("2024-05-01T09:30:00.123Z\tINFO\tdb\tstarted", "2024-05-01T09:30:00.123000+00:00 info db - -"),
    ("INFO[0003] A walrus appears    size=10", "- info - - -"),
    (
        "E0501 09:30:01.123456   12345 reflector.go:138] Failed",
        "~05-01T09:30:01.123456+00:00 error reflector.go:138 - 12345",
    ),
    ("[2024-05-01T09:30:00Z WARN  my_app::db] slow", "2024-05-01T09:30:00+00:00 warning my_app::db - -"),
    ("E, [2024-05-01T09:30:00.123456 #4242] ERROR -- app: bad", "2024-05-01T09:30:00.123456+00:00 error app - 4242"),
    ("[01-May-2024 09:30:00 UTC] PHP Fatal error:  Uncaught x", "2024-05-01T09:30:00+00:00 fatal PHP - -"),
    ("[1234:5678:0501/093000.123456:ERROR:gpu.cc(12)] failed", "~05-01T09:30:00.123456+00:00 error gpu.cc(12) - 1234"),
    # Telephones and Windows
    ("03-17 16:13:38.811  1702  2395 W WindowManager: x", "~03-17T16:13:38.811000+00:00 warning WindowManager - 1702"),
    (
        "03-17 16:13:38.811 u0_a1  1702  2395 W WindowManager: x",
        "~03-17T16:13:38.811000+00:00 warning WindowManager - 1702",
    ),
    ("E/AndroidRuntime( 123): FATAL EXCEPTION: main", "- error AndroidRuntime - 123"),
    ("20171223-22:16:1:27|Step_LSC|30002312|x", "2017-12-23T22:16:01.027000+00:00 - Step_LSC - 30002312"),
    (
        "2016-09-28 04:30:31, Error                 CSI    0001@2016/9/27 Init",
        "2016-09-28T04:30:31+00:00 error CSI - -",
    ),
    ("05-01 09:30:00.123 E/ActivityManager( 1702): x", "~05-01T09:30:00.123000+00:00 error ActivityManager - 1702"),
    # Builds and machines
    ("2024-05-01T09:30:00.1234567Z ##[error]Process ended", "2024-05-01T09:30:00.123456+00:00 error - - -"),
    ("2024-05-01T09:30:00.123Z info hostd[812] [sub=Vim] x", "2024-05-01T09:30:00.123000+00:00 info hostd - 812"),
    ("2024-05-01T09:30:00.1+0200\tERROR\tdb/db.go:12\tlost", "2024-05-01T09:30:00.100000+02:00 error db/db.go:12 - -"),
    # Records
    (
        '{"timeUnixNano":"1714555800123000000","severityText":"ERROR","body":{"stringValue":"bad"}}',
        "2024-05-01T09:30:00.123000+00:00 error - - -",
    ),
    (
        '{"severity":"ERROR","timestamp":{"seconds":1714555800,"nanos":1},"message":"x"}',
        "2024-05-01T09:30:00+00:00 error - - -",
    ),
    (
        '{"asctime":"2024-05-01 09:30:00,123","levelname":"WARNING","name":"a.b","process":8,"message":"x"}',
        "2024-05-01T09:30:00.123000+00:00 warning a.b - 8",
    ),
    (
        '{"time":"2024-05-01T09:30:00Z","level":"debug","logger":"a.b","pid":7,"host":"h","msg":"x"}',
        "2024-05-01T09:30:00+00:00 debug a.b h 7",
    ),
    (
        '{"level":50,"time":1714555800123,"pid":12,"hostname":"h","msg":"bad"}',
        "2024-05-01T09:30:00.123000+00:00 error - h 12",
    ),
    ('{"level":"error","ts":1714555801.5,"logger":"db","msg":"lost"}', "2024-05-01T09:30:01.500000+00:00 error db - -"),
    (
        '{"@timestamp":"2024-05-01T09:30:00.123Z","log":{"level":"error","logger":"a.c"},"message":"y"}',
        "2024-05-01T09:30:00.123000+00:00 error a.c - -",
    ),
    (
        '{"t":{"$date":"2024-05-01T09:30:00.123+00:00"},"s":"W","c":"NETWORK","ctx":"conn1","msg":"Slow"}',
        "2024-05-01T09:30:00.123000+00:00 warning NETWORK - -",
    ),
    (
        '{"__REALTIME_TIMESTAMP":"1714555800123456","PRIORITY":"3","_HOSTNAME":"h","SYSLOG_IDENTIFIER":"sshd","_PID":"8","MESSAGE":"x"}',
        "2024-05-01T09:30:00.123456+00:00 error sshd h 8",
    ),
    (
        '{"eventTime":"2024-05-01T09:30:00Z","eventSource":"s3.example.com","eventName":"GetObject"}',
        "2024-05-01T09:30:00+00:00 - s3.example.com - -",
    ),
    ('time="2024-05-01T09:30:01Z" level=fatal msg="gone" component=api', "2024-05-01T09:30:01+00:00 fatal api - -"),
    (
        'time=2024-05-01T09:30:00.5+02:00 level=WARN msg="disk low" free=3',
        "2024-05-01T09:30:00.500000+02:00 warning - - -",
    ),
    # What nobody has named
    ("09:30:00.123 [worker-1] ERROR com.x.Z - bad", "~07-01T09:30:00.123000+00:00 error com.x.Z - -"),
    ("2024-05-01 09:30:00 | worker-3 | E | queue full", "2024-05-01T09:30:00+00:00 error worker-3 - -"),
    ("01.05.2024 09:30:00;INFO;Import;Datei gelesen", "2024-05-01T09:30:00+00:00 info Import - -"),
    ("2024-05-01T09:30:00Z|warn|billing|invoice 12 late", "2024-05-01T09:30:00+00:00 warning billing - -"),
    ("(2024-05-01 09:30:00) <ERROR> billing: bad", "2024-05-01T09:30:00+00:00 error billing - -"),
    ("1714555800 app1 ERROR something", "2024-05-01T09:30:00+00:00 error app1 - -"),
    ("2024-05-01 09:30 ERROR x: y", "2024-05-01T09:30:00+00:00 error x - -"),
    ("5/1/2024 9:30:00 PM WARN x: y", "2024-05-01T21:30:00+00:00 warning x - -"),
    ("05/01/2024-09:30:00.123456  [**] [1:2:3] x [**]", "2024-05-01T09:30:00.123456+00:00 - - - -"),
    ("05/01-09:30:00.123456  [**] [1:2:3] x [**]", "~05-01T09:30:00.123456+00:00 - - - -"),
    ("<4>[    2.000000] usb 1-1: slow", "- warning - - -"),
    ("[1714555800] HOST NOTIFICATION: ann;web", "2024-05-01T09:30:00+00:00 - - - -"),
    # Containers
    ("2024-05-01T09:30:00.123456789Z stdout F plain text", "2024-05-01T09:30:00.123456+00:00 - - - -"),
    (
        '2024-05-01T09:30:00.1Z stderr F {"level":"warn","msg":"x","logger":"a"}',
        "2024-05-01T09:30:00.100000+00:00 warning a - -",
    ),
    (
        '{"log":"2024-05-01 09:30:00 ERROR up\\n","stream":"stdout","time":"2024-05-01T09:30:09Z"}',
        "2024-05-01T09:30:00+00:00 error - - -",
    ),
    ("web-1  | 2024-05-01 09:30:00 INFO up", "2024-05-01T09:30:00+00:00 info web-1 - -"),
    ("[pod/web-7d9f/app] 2024-05-01 09:30:00 INFO up", "2024-05-01T09:30:00+00:00 info app web-7d9f -"),
]

# Texts; the lines that each of their events takes up, and its level.
TEXTS = {
    "python": (
        "2024-05-01 09:30:00,1 - a - ERROR - bad\nTraceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n    g()\nValueError: no\n\nDuring handling of the above exception, another '
        "exception occurred:\n\nTraceback (most recent call last):\nKeyError: 1\n"
        "2024-05-01 09:30:02,1 - a - INFO - ok\n",
        [(1, 10, "error"), (11, 11, "info")],
    ),
    "java": (
        "2024-05-01 09:30:01.1 ERROR 42 --- [main] c.e.App : threw\n\njava.lang.IllegalStateException: x\n"
        "\tat a.b.C.d(C.java:1)\n\t... 12 more\nCaused by: java.io.IOException: y\n\tat e.F.g(F.java:2)\n"
        "2024-05-01 09:30:02.1  WARN 42 --- [main] c.e.App : on\n",
        [(1, 7, "error"), (8, 8, "warning")],
    ),
    "java.util.logging": (
        "May 01, 2024 9:30:00 AM org.example.App main\nINFO: Started\n"
        "May 01, 2024 9:30:01 AM org.example.App main\nSEVERE: Broke\n",
        [(1, 2, "info"), (3, 4, "error")],
    ),
    "go": (
        "2024/05/01 09:30:00 up\n2024/05/01 09:30:01 http: panic serving 10.0.0.1:5: x\ngoroutine 12 [running]:\n"
        "main.f()\n\t/a/b.go:1 +0xb9\n2024/05/01 09:30:02 on\n",
        [(1, 1, None), (2, 5, None), (6, 6, None)],
    ),
    "php": (
        "[01-May-2024 09:30:01 UTC] PHP Fatal error:  x in /a.php:1\nStack trace:\n#0 {main}\n  thrown in /a.php\n"
        "[01-May-2024 09:30:02 UTC] PHP Warning:  y\n",
        [(1, 4, "fatal"), (5, 5, "warning")],
    ),
    ".NET": (
        "info: Hosting.Lifetime[14]\n      Now listening\nfail: App.Worker[0]\n      Broke\n"
        "         at App.Worker.Run() in /a/W.cs:line 12\n",
        [(1, 2, "info"), (3, 5, "error")],
    ),
    "postgres": (
        "2024-05-01 09:30:00.1 UTC [42] ERROR:  no\n2024-05-01 09:30:00.1 UTC [42] STATEMENT:  INSERT INTO t\n"
        "\tVALUES (1)\n2024-05-01 09:30:02.1 UTC [17] LOG:  checkpoint\n",
        [(1, 3, "error"), (4, 4, "info")],
    ),
    "postgres, of sessions": (
        "2024-05-01 09:30:00.1 UTC [42] ann@shop ERROR:  no\n2024-05-01 09:30:00.1 UTC [42] ann@shop HINT:  Do.\n"
        "2024-05-01 09:30:01.1 UTC [43]: [7-1] user=bo,db=shop ERROR:  no\n"
        "2024-05-01 09:30:01.1 UTC [43]: [8-1] user=bo,db=shop STATEMENT:  SELECT 1\n"
        "2024-05-01 09:30:01.1 UTC [42] ann@shop ERROR:  again\n",
        [(1, 2, "error"), (3, 4, "error"), (5, 5, "error")],
    ),
    "postgres csvlog": (
        '2024-05-01 09:30:00.1 UTC,"ann","shop",42,"[local]",6631a.2a,1,"INSERT",2024-05-01 09:00:00 UTC,3/1,0,ERROR,'
        '23505,"no, said ""it""","Key (id)",,,,,"INSERT INTO t\nVALUES (1)",,,"psql"\n'
        '2024-05-01 09:30:01.1 UTC,,,17,,6631a.2b,1,,2024-05-01 09:00:00 UTC,,0,LOG,00000,"at last",,,,,,,,,""\n',
        [(1, 2, "error"), (3, 3, "info")],
    ),
    "rows with a header": (
        'time,level,logger,message\n2024-05-01T09:30:00Z,INFO,a.b,"up, at last"\n'
        '2024-05-01T09:30:01Z,ERROR,a.b,"bad\n\nTraceback"\n2024-05-01T09:30:02Z,INFO,a.b,a 6" pipe\n'
        "2024-05-01T09:30:03Z,WARN,a.b,on\n",
        [(1, 1, None), (2, 2, "info"), (3, 5, "error"), (6, 6, "info"), (7, 7, "warning")],
    ),
    "Windows' event viewer": (
        'Level,Date and Time,Source,Event ID,Task Category\nInformation,5/1/2024 9:30:00 AM,Disk,7,None,"It\nis."\n',
        [(1, 1, None), (2, 3, "info")],
    ),
    "mysql slow": (
        "# Time: 2024-05-01T09:30:00.1Z\n# User@Host: app[app] @ localhost []\n# Query_time: 2.0\nSELECT *\nFROM t;\n"
        "# Time: 2024-05-01T09:31:00.1Z\n# Query_time: 3.0\nSELECT 2;\n",
        [(1, 5, None), (6, 8, None)],
    ),
    "mysql slow, in one second": (
        "# Time: 2024-05-01T09:30:00.1Z\n# User@Host: app[app] @ h []\n# Query_time: 2.0\nSET timestamp=1714555800;\n"
        "SELECT 1;\n# User@Host: app[app] @ h []\n# Query_time: 2.0\nSET timestamp=1714555800;\nSELECT 2;\n",
        [(1, 5, None), (6, 9, None)],
    ),
    "logcat -v long": (
        "--------- beginning of main\n[ 05-01 09:30:00.123  1702: 2395 W/Windows ]\nfirst\n\nsecond\n\n"
        "[ 05-01 09:30:01.123  1702: 2395 E/Windows ]\nthird\n\n",
        [(1, 1, None), (2, 5, "warning"), (7, 8, "error")],
    ),
    "zabbix": (
        "  1234:20240501:093000.123 up\n 12345:20240501:093001.123 on\n",
        [(1, 1, None), (2, 2, None)],
    ),
    "W3C": (
        "#Software: x\n#Date: 2024-05-01 09:30:00\n#Fields: time cs-method\n09:30:00 GET\n"
        "#Date: 2024-05-02 09:30:00\n#Fields: time cs-method\n09:30:01 PUT\n",
        [(number, number, None) for number in range(1, 8)],
    ),
    "docker": (
        '{"log":"Traceback (most recent call last):\\n","stream":"stderr","time":"2024-05-01T09:30:01.1Z"}\n'
        '{"log":"  File \\"x\\", line 1\\n","stream":"stderr","time":"2024-05-01T09:30:01.2Z"}\n'
        '{"log":"KeyError: 1\\n","stream":"stderr","time":"2024-05-01T09:30:01.3Z"}\n'
        '{"log":"2024-05-01 09:30:02 INFO on\\n","stream":"stdout","time":"2024-05-01T09:30:02.1Z"}\n',
        [(1, 3, None), (4, 4, "info")],
    ),
    "kubelet": (
        "2024-05-01T09:30:01.1Z stdout P {\"level\":\"warn\",\n2024-05-01T09:30:01.2Z stdout F \"msg\":\"x\"}\n"
        "2024-05-01T09:30:02.1Z stdout F 2024-05-01 09:30:02 ERROR y\n",
        [(1, 2, None), (3, 3, "error")],
    ),
    "wevtutil": (
        "Event[0]:\n  Source: Disk\n  Date: 2024-05-01T09:30:00.1\n  Level: Error\n  Computer: PC1\n  Description:\n"
        "Bad block.\n\nEvent[1]:\n  Source: Disk\n  Date: 2024-05-01T09:31:00.1\n  Level: Information\n",
        [(1, 7, "error"), (9, 12, "info")],
    ),
    "Get-WinEvent": (
        "TimeCreated  : 5/1/2024 9:30:00 AM\nProviderName : Disk\nLevel        : Warning\nMessage      : Bad block.\n"
        "               Again.\n\nTimeCreated  : 5/1/2024 9:31:00 AM\nLevel        : Error\nMessage      : Gone.\n",
        [(1, 5, "warning"), (7, 9, "error")],
    ),
    "journalctl -o export": (
        "__CURSOR=s=a;i=1\n__REALTIME_TIMESTAMP=1714555800123456\nPRIORITY=6\nMESSAGE=on\n\n"
        "__CURSOR=s=a;i=2\n__REALTIME_TIMESTAMP=1714555801123456\nPRIORITY=3\nMESSAGE=off\n",
        [(1, 4, "info"), (6, 9, "error")],
    ),
    "audit": (
        "type=SYSCALL msg=audit(1714555800.123:42): syscall=59\ntype=CWD msg=audit(1714555800.123:42): cwd=\"/root\"\n",
        [(1, 1, None), (2, 2, None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line[:40] for line, _ in LINES])
def test_a_line_is_understood(line: str, expected: str) -> None:
    """Time, level, component, host and process are read, of the first line and of the last; two lines are a log."""
    for log in (line, f"{line}\n" * 8):
        *_, event = events_of(log.encode(), "a.log")
        told = [event[name] for name in ("timestamp", "level", "component", "host", "pid")]
        if expected.startswith("~"):
            assert event["assumed"] in ("year", "date")
            told[0] = f"~{told[0][5:]}"
        assert " ".join("-" if value is None else str(value) for value in told) == expected
        assert event["text"] == line
    assert looks_like_log(f"{line}\n{line}\n") == ("eventTime" not in line)


@pytest.mark.parametrize("name", TEXTS)
def test_events_of_several_lines_stay_together(name: str) -> None:
    """Stack traces, statements and stanzas are one event with the line that they belong to."""
    text, expected = TEXTS[name]
    events = [(event["line_from"], event["line_to"], event["level"]) for event in events_of(text.encode(), "a.log")]
    assert events == expected


# Lines that digits set apart; and their times, levels, components, hosts and processes.
DIGITS = {
    "2024-05-01T09:30:0{n}Z web{n} app{n}[81{n}]: took {n} s": "2024-05-01T09:30:0{n}+00:00 - app{n} web{n} 81{n}",
    "<3{n}>1 2024-05-01T09:30:00Z web app 8 ID{n} - took": "2024-05-01T09:30:00+00:00 {severity} app web 8",
    "2024-05-01 09:30:00 web: %LINK-{n}-UPDOWN: on": "2024-05-01T09:30:00+00:00 {urgency} web - -",
    "R0{n}-M1 - 2024-05-01-09.30.00.00000{n} R0{n}-M1 RAS KERNEL INFO core.{n} made":
        "2024-05-01T09:30:00{fraction}+00:00 info KERNEL R0{n}-M1 -",
}  # fmt: skip


@pytest.mark.parametrize("line", DIGITS)
def test_each_digit_counts(line: str) -> None:
    """However many lines a log has that differ in digits only, what digits say is read of each of them."""
    priorities = ["info", "debug", "fatal", "fatal", "fatal", "error", "warning"]  # 30 to 36
    urgencies = ["fatal", "fatal", "fatal", "error", "warning", "notice", "info"]
    numbers = [n % 7 for n in range(60)]
    log = "".join(f"{line.format(n=n)}\n" for n in numbers)
    for n, event in zip(numbers, events_of(log.encode(), "a.log"), strict=True):
        told = [event[name] for name in ("timestamp", "level", "component", "host", "pid")]
        expected = DIGITS[line].format(
            n=n, severity=priorities[n], urgency=urgencies[n], fraction=f".00000{n}" if n else ""
        )
        assert " ".join("-" if value is None else str(value) for value in told) == expected


def test_a_time_is_read_whole() -> None:
    """Among many lines without a level, the times of those that have one are read whole."""
    lines = [f"2024-05-01 09:30:{n:02},123 {'ERROR [a] ' * (n % 9 == 8)}b c" for n in range(40)]
    times = [event["timestamp"] for event in events_of("\n".join(lines).encode(), "a.log")]
    assert times == [f"2024-05-01T09:30:{n:02}.123000+00:00" for n in range(40)]


def test_priorities_may_be_padded() -> None:
    """A priority with zeros before it is read as one without."""
    (event,) = events_of(b"<034>May  1 09:30:00 web1 su: denied\n", "a.log")
    assert (event["level"], event["host"], event["component"]) == ("fatal", "web1", "su")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("time,level,message\n2024-05-01T09:30:00Z,info,up\n", "text/x-log"),
        ("Date;Time;Severity;Text\n01.05.2024;09:30:00;WARNING;up\n01.05.2024;09:30:01;ERROR;down\n", "text/x-log"),
        ("date,priority,description\n2024-05-01,High,roof\n2024-05-02,Low,door\n", "text/csv"),
        ("time,message\n2024-05-01T09:30:00Z,up\n2024-05-01T09:30:01Z,down\n", "text/csv"),
        ("time,level,message\n2024-05-01T09:30:00Z,12.5 m,high water\n", "text/csv"),
    ],
)
def test_a_table_is_a_log_if_it_has_times_levels_and_messages(table: str, expected: str) -> None:
    """Rows are events if the first names a time, a level and a message, and cells hold a time and a level."""
    assert detect_media_type(table.encode(), "a.csv") == expected
    if expected == "text/x-log":
        *_, event = events_of(table.encode(), "a.csv")
        assert event["timestamp"].startswith("2024-05-01T09:30:0")
        assert event["level"] is not None


def test_a_quote_that_never_closes_costs_nothing() -> None:
    """Where a row of a log opens a quote that nothing closes, every row from there on is still an event."""
    rows = "".join(f"2024-05-01T09:30:00Z,INFO,{n} loaves\n" for n in range(3000))
    events = list(events_of(f'time,level,message\n2024-05-01T09:30:00Z,INFO,"a 6 inch pipe\n{rows}'.encode(), "a.csv"))
    assert len(events) == 3002
    assert all(event["level"] == "info" for event in events[1:])
