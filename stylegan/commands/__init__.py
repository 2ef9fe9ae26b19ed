"""The commands of `python -m stylegan`: one module for each family, each with `add_commands(commands)`.

A command sets `run`, a function of the parsed options that does the work and returns the line to print.
"""
