"""The only place that opens spans: light ones, how they fold, and what hands them to processors."""
