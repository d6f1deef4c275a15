"""Frozen values that every layer shares.

No I/O, no clock, no logging. A module is named by the word it defines.
"""
