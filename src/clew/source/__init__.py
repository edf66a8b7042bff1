"""Where in the application's code something happens: frames, call sites, code locations."""
