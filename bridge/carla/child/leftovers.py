"""Finds what an earlier client of the same CarlaWorld has left on the server.

A client that dies, or gives up on a frozen server, cannot tell what its last calls did: the
server may carry them out later. So what a CarlaWorld spawns is recognised by its role name.
"""

from __future__ import annotations

from typing import Any


def leftover_ids(world: Any, leftovers: dict[str, Any], ego_role: str) -> list[int]:
    """Ids of the actors to destroy. The client must have seen a tick, or it knows no actors.

    `leftovers`: from the earlier client. "actors": ids that it has spawned. "owner": role name
    of all that it spawns, except of an ego. "ego_after": it began to spawn an ego when this was
    the highest id, so a later vehicle with the role name `ego_role` is its own.
    """
    known = set(leftovers.get("actors", ()))
    owner, ego_after = leftovers.get("owner"), leftovers.get("ego_after")
    found = []
    for actor in world.get_actors():
        role = actor.attributes.get("role_name")
        is_owned = owner is not None and role == owner
        is_ego = ego_after is not None and role == ego_role and actor.id > ego_after
        is_vehicle = actor.type_id.startswith("vehicle.")
        if actor.id in known or is_owned or (is_ego and is_vehicle):
            found.append(actor.id)
    return found


def highest_id(world: Any) -> int:
    """The highest id of all actors; 0 if there are none. Ids of new actors are higher."""
    return max((actor.id for actor in world.get_actors()), default=0)
