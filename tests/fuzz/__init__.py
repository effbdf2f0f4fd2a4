"""Documents broken at random, parsed in processes of their own: whatever happens, it happens in there.

`python -m tests.fuzz --family pdf --count 20000` tells what became of them and keeps what should not have been. The
same numbers are the same inputs on every machine that has the same seeds.
"""
