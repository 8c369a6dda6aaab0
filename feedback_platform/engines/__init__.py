"""How a stage's SQL body and batch functions are run, and the linter that keeps the bodies portable."""
