"""What one request or task knows of itself in this process: its queries, transactions, findings."""
