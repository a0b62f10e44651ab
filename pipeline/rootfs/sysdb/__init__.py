"""The databases and links that package scripts would have made, as functions from bytes to bytes.

One module per program: pwd_mkdb (`passwd`), services_mkdb (`services`), cap_mkdb (`capabilities`),
certctl rehash (`certificates`) and ldconfig (`hints`). Nothing is executed. Pure; imports errors
and formats.
"""
