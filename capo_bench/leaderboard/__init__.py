"""Leaderboards that anyone can recompute: submissions, their verification, boards, exchange."""
