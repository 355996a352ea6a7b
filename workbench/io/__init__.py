"""Files of the project: atomic writes, safe reads of text, where things lie, the source's digest."""
