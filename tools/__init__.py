"""Tools that come with the repository but not with the package."""
