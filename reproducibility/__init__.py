"""Comparing, explaining and reporting: is an image what it claims to be, and if not, why not.

    sources      what can be compared, opened as one model: images, platforms, layers
    compare      index -> manifest -> config -> layer -> entry -> content; compare_* one noun each
    attribute    from two contents to the cause of their difference; patterns, ordering: its words
    diffoscope   the deep look at the files that differ, as a process on a leash
    findings     the result as values, with a JSON form; report_* render it
    commands     the command line, one module a command

May import `pipeline`; `pipeline` never imports this.
"""
