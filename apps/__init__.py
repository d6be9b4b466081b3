"""Command line and composition: the only place that builds things from YAML."""
