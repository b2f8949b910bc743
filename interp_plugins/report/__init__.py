"""What a study found: `results` is the file that machines read, `page` the one that people read.

Nothing is imported here, so that the command line starts without pydantic, jinja2 and matplotlib.
"""
