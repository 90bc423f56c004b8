"""What keeps and serves verdicts: the history."""
