"""vault: documents that nobody reads without a key, and nobody changes unseen.

`floe` is the format of the content.
"""
