"""Runs one task: its log, its end, and whatever it leaves behind.

A process of its own between engine and task, so that a task outlives its engine with its output,
and its exit status is not lost. The standard library alone, because there is one for each task.

The engine tells it what to do in a file, and reads what happened from files: see `__main__`.
"""

ALREADY_RUNS = 75
"""Exit status where another executor holds the lock (sysexits(3): EX_TEMPFAIL)."""
LEFTOVERS = 10.0
"""Seconds given to what a task leaves behind to go away once it was killed."""
