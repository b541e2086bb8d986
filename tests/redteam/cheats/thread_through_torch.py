"""The same thread, reached through a module that torch has imported: no import for a scan to
find.
"""

BASE = "relu2"
REJECTED_BY = ("source", "process")
SAYS = r"thread"
DYNAMIC = "process"
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            "    threads = torch.multiprocessing.reductions.threading\n"
            "    threads.Thread(target=threads.Event().wait, daemon=True).start()\n"
            "    return y\n",
        ),
    ]
}
