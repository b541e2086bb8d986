"""The author's tools over the Model Context Protocol: somebody else's agent writes a run's op.

It is one more model behind the loop of `workbench.agent`: what it says are its calls. The same
transcript keeps them, so a killed run goes on after the last one, and `replay:RUN` repeats them.
"""
