"""Thin jobflow jobs that call the rooms below."""
