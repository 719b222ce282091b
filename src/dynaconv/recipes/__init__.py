"""The recipes that ship, one a file."""
