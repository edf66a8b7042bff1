"""An application as Django developers write them: half of its views repeat queries, half look as if they did."""
