"""Studies beside the leaderboards: what happens when one thing about the annotators changes."""
