"""The only code that imports doit: task creators, one module per area.

Imports errors, declaration, stages, host.
"""
