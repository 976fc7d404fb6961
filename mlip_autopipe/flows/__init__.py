"""Makers that wire jobs into jobflow flows."""
