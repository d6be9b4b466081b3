"""DrivingVectorEnv: many envs, each in its own process, with one renderer for all of them.

- `env.py`: `DrivingVectorEnv`, the Gymnasium interface
- `slot.py`: one env of the vector, across restarts of its process
- `scheduler.py`: which env simulates when, and which images are rendered in one batch
- `worker.py`: the process of one env, seen from the vector
- `child.py`: what runs in that process
- `messages.py`, `shared_memory.py`, `render_requests.py`: how the two talk
"""
