"""One command a file, each with a module variable `command`."""
