"""The task graph of this project; `doit list` is its table of contents."""

from pipeline.tasks.graph import *
