"""Who is told when something fails: incidents, and the mails about them.

`observations` says what is well, `incidents` what is worth a mail, `wording` what the mail says,
`outbox` who sends it; all four pure. `service` is the shell.
"""

from services.call_manager.alerts.post import Post
from services.call_manager.alerts.service import AlertsPart

__all__ = ["AlertsPart", "Post"]
