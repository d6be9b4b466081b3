"""DrivingVectorEnv: many worlds in processes of their own, one renderer for all of them."""
