"""The Nomad engine: `NomadEngine` runs a cluster's jobs on the hosts of a Nomad cluster."""

from pbxctl.engines.nomad.engine import NomadEngine
from pbxctl.engines.nomad.reach import Note, Place, Reach, place
from pbxctl.engines.nomad.state_dir import read_note

__all__ = ["NomadEngine", "Note", "Place", "Reach", "place", "read_note"]
