"""Data models: the user's input, the plan, and every stored document."""
