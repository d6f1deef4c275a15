"""monitor-lite: looking at services, keeping what was seen, and telling people once.

Imports `model`, `_kit` and `errors` only; `host` joins it with the rest.
"""
