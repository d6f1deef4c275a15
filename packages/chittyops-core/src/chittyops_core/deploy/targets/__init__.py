"""Where releases run. One package or module a target, each imported only when it is chosen."""
