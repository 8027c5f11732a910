"""The command line: thin commands that call services through ``wiring``; nothing slow is imported before it is needed."""
