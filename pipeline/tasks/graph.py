"""The graph, for `dodo.py`: everything that `doit` needs to know, under doit's names.

Another project's dodo.py is `from pipeline.tasks.graph import *` as well.
"""

from __future__ import annotations

from pipeline.tasks import interrupt  # noqa: F401  - for its effect, and first
from pipeline.tasks.audit import task_audit, task_report
from pipeline.tasks.build import (
    task_build,
    task_fetch,
    task_image,
    task_images,
    task_index,
    task_layer,
    task_layers,
    task_package,
    task_tree,
    task_update,
)
from pipeline.tasks.check import task_check
from pipeline.tasks.config import DOIT_CONFIG
from pipeline.tasks.push import task_archive, task_export, task_push
from pipeline.tasks.trust import task_provenance, task_sbom, task_sign

__all__ = [
    "DOIT_CONFIG",
    "task_archive",
    "task_audit",
    "task_build",
    "task_check",
    "task_export",
    "task_fetch",
    "task_image",
    "task_images",
    "task_index",
    "task_layer",
    "task_layers",
    "task_package",
    "task_provenance",
    "task_push",
    "task_report",
    "task_sbom",
    "task_sign",
    "task_tree",
    "task_update",
]
