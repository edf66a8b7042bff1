"""What a SQL text says: its operation, its tables, and the text without literals."""
