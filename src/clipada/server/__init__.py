"""The inspection server: verdicts over HTTP, each stored before it is sent."""
