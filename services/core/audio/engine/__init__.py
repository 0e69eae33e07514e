"""The plane's own process: a loop of 20 ms in which all legs are rows of arrays."""
