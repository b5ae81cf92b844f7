"""Trains the rows of a table one by one, and writes the table.

`plan` reads what is compared, `stages` runs the recipes and survives kills,
`measure` evaluates a model in a process of its own, `results` joins what was
found, `pictures` and `report` show it.
"""
