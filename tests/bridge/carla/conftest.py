from bridge.carla.standin.fixture import carla_standin  # noqa: F401  (a fixture)
