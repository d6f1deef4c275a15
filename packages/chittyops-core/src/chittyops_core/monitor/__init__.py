"""monitor-lite: probes, objectives, alerts (pure), the store, the outbox and its deliverer.

Here lives what looks, judges, keeps and tells. It knows `model`, `_kit` and `errors` only; what
joins it to deploys, secrets and the host stands in `host/`. Importing this package loads nothing.
"""
