"""The commands of `stylegan` that need a generator and no pipeline: table.py lists them, parsers.py has their options.

A command is a function of the parsed options that does the work and returns the line to print.
"""
