"""CARLA behind the World contract, and a stand-in server for its own client."""
