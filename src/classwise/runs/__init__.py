"""What a run leaves on disk."""

from classwise.runs.directory import RunDirectory

__all__ = ["RunDirectory"]
