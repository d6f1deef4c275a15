"""monitor-lite: what is watched, how well it is, and who is told. Loaded only by who asks."""
