"""The coding agent: a model that writes an op's files with tools, inside limits that the engine
enforces.
"""
