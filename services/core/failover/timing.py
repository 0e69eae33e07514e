"""The times of failure detection, in seconds, and why they fit together.

A lease counts from the holder's own stamp, which is earlier than the moment at which the manager
received it; a manager suspects no earlier than `SUSPECT` after it last received one. So at a
suspicion every lease that it granted is over for `SUSPECT` - `LEASE`, whatever the network did, and
only the rates of two clocks are compared, never their readings.
"""

PROBE = 0.1
"""Between two probes of one server."""
LEASE = 0.25
"""How long a grant lasts from the stamp that it answers."""
MISSES = 3
"""Probes in a row without an answer that make a suspicion."""
SUSPECT = 0.35
"""Least silence that makes a suspicion: three probes, and the third has had 50 ms."""
TICK = 0.05
"""How often probing, suspicion and election are looked at when nothing happens."""
PAUSED = 0.15
"""A tick that comes this late says that we were away, not that others were silent."""
PATIENCE = 0.3
"""How long a Call Manager's Kamailio may be silent, in time that it could have used: three OPTIONS,
and the third has had 100 ms."""
LONGEST = 1.0
"""How long it may be silent for whatever reason."""
BACK = 2.0
"""How long a server that was down answers before it counts as up."""
OPINION = 0.5
"""How old another manager's opinion may be."""
OVERLAP = 0.27
"""How long a quorum's silences must have lasted at the same time for a server to have lost its
lease for certain: more than `LEASE`, and less than `SUSPECT` by nearly a `PROBE`, for they are
reported in turn."""
SETTLED = 1.0
"""How long a candidate has been eligible before it competes."""
SHY = 2.0
"""How long who gave a name up leaves it to others, until one has had it, and others to a named
successor."""
REFUSED = 1.0
"""How long a manager may refuse a session that nobody holds by until it is replaced."""
