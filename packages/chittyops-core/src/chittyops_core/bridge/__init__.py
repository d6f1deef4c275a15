"""parent-bridge: what a child says to its parent, and how neither can be spoken for.

`protocol` is the wire, `signatures` proves who spoke, `outbox` keeps what is still owed, `client`
carries it, `loop` has the rhythm. docs/protocol.md is normative for all of it.
"""
