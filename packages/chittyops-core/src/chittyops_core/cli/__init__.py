"""The `chittyops` command: parse, call one public method, render, return a status.

One command a file under `commands/`, imported when it is called. stdout carries the result,
stderr everything else. Exit 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from chittyops_core.cli.app import main

__all__ = ["main"]
