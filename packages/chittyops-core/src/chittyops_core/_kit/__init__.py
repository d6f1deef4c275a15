"""Helpers that could be libraries of their own.

Nothing here knows a word of the domain (release, service, target ...). What does, lives above.
"""
