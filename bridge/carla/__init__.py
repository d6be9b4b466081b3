"""A CARLA server as a World, and a stand-in server to test CARLA clients with."""
