"""The history: stores verdicts in a database, delivers them to sinks, and watches them for drift."""
