"""trail: an append-only log of every operation, whose history cannot be rewritten unseen.

`merkle` is the arithmetic of RFC 6962, `note` signs what the log says of itself, `tiles` keeps the
tree's hashes, `log` keeps the entries and makes them durable, `entry` is what they say.
"""
