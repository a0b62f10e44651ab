"""Settings of all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.register_profile("explore", deadline=None, max_examples=3000, database=None)
settings.load_profile("repeatable")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts background jobs so, and the programs that tests interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
