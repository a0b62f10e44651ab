"""Make and convert the keys that sign images: `python -m pipeline.keys` (`host.keys`)."""

from __future__ import annotations

import sys

from pipeline.host.keys import main

if __name__ == "__main__":
    sys.exit(main())
