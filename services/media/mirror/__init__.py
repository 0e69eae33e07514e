"""rtpengine's sessions, kept where the other media servers find them (docs/decisions/0007)."""
