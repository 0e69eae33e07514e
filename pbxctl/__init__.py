"""The operator's command line and compiler. It never carries a call."""

__version__ = "0.1.0"
