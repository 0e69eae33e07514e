"""Whether alerts can reach anybody, and no password goes over the network in the clear."""

from __future__ import annotations

from ipaddress import ip_address

from pbxctl.spec.draft import Draft, Report


def check(draft: Draft, report: Report) -> None:
    """Alerts and their mail server."""
    alerts, smtp = draft.alerts, draft.alerts.smtp
    if "" in alerts.email:
        report.add(("alerts", "email"), "an address is empty")
    if smtp is None:
        broken = any(one.path.startswith("alerts.smtp") for one in report.problems)
        if alerts.email and not broken:
            report.warn(("alerts",), "nobody is mailed without alerts.smtp", key=True)
        return
    if not alerts.email:
        report.warn(("alerts", "smtp"), "nobody is mailed without alerts.email", key=True)
    where = ("alerts", "smtp")
    if smtp.username and smtp.password is None:
        report.add(where, "username needs a password", key=True)
    if smtp.password is not None and not smtp.username:
        report.add(where, "password needs a username", key=True)
    if smtp.username and smtp.encryption == "none" and not _is_here(smtp.host):
        report.add(
            (*where, "encryption"),
            f"the password would go to {smtp.host} in the clear; expected starttls or tls",
        )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
