"""Deliberate faults, planted into builds from outside, so that the audit can be seen to find them.

The product has no switch for any of this. A test builds with an interpreter of its own (`hook`): a
shell script that puts `plugin/` in front of the module path before it runs Python. Python imports
`sitecustomize` from there, and that changes functions of the pipeline in the memory of this one
process. `catalogue` lists the faults, and what the audit has to say about each.
"""
