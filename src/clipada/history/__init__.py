"""The history: verdicts stored in a database, delivered to sinks, and watched for drift."""
