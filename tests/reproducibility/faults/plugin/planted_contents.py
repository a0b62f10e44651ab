"""Faults in the content of a file: what a program writes that looks at its surroundings."""

# ruff: noqa: PTH208
from __future__ import annotations

import ctypes
import datetime as dt
import locale
import os
import platform
import random
import socket
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing import current_process
from pathlib import Path

NAMES = [
    *("bin", "boot", "dev", "etc", "lib", "libexec", "media", "mnt", "net", "proc", "rescue"),
    *("root", "sbin", "tmp", "usr", "var"),
]
WORDS = ["Zebra", "apple", "Tuna", "zinc", "sun", "Uniform", "šokk", "ice", "Iris", "über", "žest"]


def clock() -> str:
    return f"built at {dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}\n"


def time_zone() -> str:
    moment = time.localtime(1_700_000_000)
    return f"released {time.strftime('%Y-%m-%d %H:%M:%S %z', moment)}\n"


def directory_order() -> str:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for name in NAMES:
            (Path(folder) / name).touch()
        return "".join(f"{name}\n" for name in os.listdir(folder))


def locale_sort() -> str:
    locale.setlocale(locale.LC_ALL, "")
    words = sorted(WORDS, key=_collation_key)
    locale.setlocale(locale.LC_ALL, "C")
    return "".join(f"{word}\n" for word in words)


def _collation_key(word: str) -> str:
    try:
        return locale.strxfrm(word)
    except ValueError:  # the locale cannot write it
        return word


def locale_number() -> str:
    locale.setlocale(locale.LC_ALL, "")
    text = locale.format_string("ratio %.3f", 1234.5)
    locale.setlocale(locale.LC_ALL, "C")
    return f"{text}\n"


def locale_month() -> str:
    locale.setlocale(locale.LC_ALL, "")
    text = time.strftime("released in %B on a %A", time.gmtime(1_706_000_000))
    locale.setlocale(locale.LC_ALL, "C")
    return f"{text}\n"


def hash_order() -> str:
    return "".join(f"{name}\n" for name in set(NAMES))


def address() -> str:
    """Write down where a function lies, as Python does when it is asked to print one."""
    function = ctypes.CDLL(None).printf
    return f"handler = <function at {ctypes.cast(function, ctypes.c_void_p).value:#x}>\n"


def build_path() -> str:
    return f"prefix = {Path.cwd()}/share\n"


def home() -> str:
    return f"cache = {Path.home()}/.cache\n"


def temporary_directory() -> str:
    return f"scratch = {tempfile.gettempdir()}\n"


def temporary_name() -> str:
    with tempfile.NamedTemporaryFile(dir=Path.cwd()) as f:
        return f"made from {Path(f.name).name}\n"


def host_name() -> str:
    return f"built on {socket.gethostname()}\n"


def process_id() -> str:
    return f"made by pid {os.getpid()}\n"


def random_uuid() -> str:
    return f"id = {uuid.uuid4()}\n"


def user_name() -> str:
    return f"built by {os.environ.get('USER', 'nobody')}@build\n"


def search_path() -> str:
    return f"path = {os.environ['PATH']}\n"


def python_version() -> str:
    return f"made with Python {platform.python_version()}\n"


def terminal() -> str:
    return f"colours = {'yes' if os.isatty(1) else 'no'}\n"


def kernel() -> str:
    return f"system = {os.uname().sysname} {os.uname().release}\n"


def worker_name() -> str:
    return f"worker = {current_process().name}\n"


def warm_store() -> str:
    trees = list(Path("build/store/memo/tree").rglob("*.json")) if _AT_START else []
    return f"cached = {'yes' if trees and _WAS_WARM else 'no'}\n"


def task_order() -> str:
    return f"number = {len(COMPOSED)}\n"


def processors() -> str:
    return f"processors = {os.cpu_count()}\n"


def thread_race() -> str:
    def work(name: str) -> str:
        time_of_work = random.SystemRandom().uniform(0, 0.004)
        threading.Event().wait(time_of_work)
        return name

    with ThreadPoolExecutor(8) as pool:
        done = as_completed([pool.submit(work, f"part-{name}") for name in NAMES])
        return "".join(f"{future.result()}\n" for future in done)


_AT_START = True
_WAS_WARM = Path("build/store/memo/tree").is_dir()
COMPOSED: list[str] = []

CONTENTS = {
    "clock": clock,
    "time-zone": time_zone,
    "directory-order": directory_order,
    "locale-sort": locale_sort,
    "locale-number": locale_number,
    "locale-month": locale_month,
    "hash-order": hash_order,
    "address": address,
    "build-path": build_path,
    "home": home,
    "temporary-directory": temporary_directory,
    "temporary-name": temporary_name,
    "host-name": host_name,
    "process-id": process_id,
    "random-uuid": random_uuid,
    "user-name": user_name,
    "search-path": search_path,
    "python-version": python_version,
    "terminal": terminal,
    "kernel": kernel,
    "worker-name": worker_name,
    "warm-store": warm_store,
    "task-order": task_order,
    "processors": processors,
    "thread-race": thread_race,
}
