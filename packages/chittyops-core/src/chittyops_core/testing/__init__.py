"""For tests of our own and of others: what a Target must keep, and a load that never retries.

`contracts` needs pytest; `load` needs nothing.
"""
