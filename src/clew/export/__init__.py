"""Where spans go: providers, the OTLP encoding, and trees for a terminal."""
