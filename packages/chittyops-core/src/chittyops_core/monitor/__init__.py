"""monitor-lite: every app on the host is watched, and nobody is woken for nothing.

Imports `model`, `_kit` and `errors` only; `host` joins it with the rest.
"""
