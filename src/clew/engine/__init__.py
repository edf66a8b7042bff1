"""How clew stands in other libraries: seams, isolation, redaction, forks; knows neither requests nor tasks."""
