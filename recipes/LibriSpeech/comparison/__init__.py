"""Trains the rows of a table one by one, and writes the table.

`plan` reads the plan, `stages` runs the recipes and survives being killed,
`measure` evaluates a model in a process of its own, `results` collects the
results, `pictures` and `report` present them. `estimate` says beforehand what
the trainings cost.
"""
