"""The parent: the server that oversees children. Needs the extra `chittyops-core[parent]`.

`database` and `schema` keep, `ingest` takes what children say, `operators` knows who may do what,
`dashboard` shows. The wire is `chittyops_core.bridge.protocol`. Nothing here
knows a lite or a host.
"""
