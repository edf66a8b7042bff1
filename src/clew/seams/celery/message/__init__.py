"""What several seams of Celery read and write of a message: its headers, attributes, waiting, attempts, metrics."""
