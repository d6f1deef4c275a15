"""monitor-lite: every app of the host is watched, and nobody is woken for nothing.

`probes` look, `conditions` judge, `watch` keeps the rhythm, `alerts` decide what is told and
`deliver` tells it; `store` remembers, `objectives` count what was promised, `page` shows it.
"""
