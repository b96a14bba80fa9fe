"""Tasks and data sets: synthetic generators, piano rolls, character corpora."""
