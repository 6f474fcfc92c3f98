"""A Matcher from the parameters of the node ``matcher``, as all runtimes make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deid_ros.config import as_list, file_of
from deid_ros.errors import ConfigError
from deid_ros.matcher.gallery import Gallery
from deid_ros.matcher.matcher import Matcher, silent
from deid_ros.resources import face_space_of, sha256_of

__all__ = ["create_matcher"]


def create_matcher(options: Mapping[str, Any], *,
                   warn: Callable[[str], None] = silent) -> Matcher:
    """The matcher of a configuration.

    Args:
        options: parameter -> value, checked, all of the node ``matcher``
            (``config.load()['matcher']``).
        warn: as for ``Matcher``.

    Raises:
        ConfigError: settings that cannot work together.
        GalleryError: a gallery that is missing, broken, or of another extractor or
            face space.
        ModelError: the generator's face space is missing or altered.
    """
    path = file_of(options["gallery"])
    gallery = Gallery.load(path)
    gallery.require_extractor(options["extractor"])
    space = face_space_of(file_of(options["generator"]))
    gallery.require_space(sha256_of(space), path=path, space=space)
    enrolled = None
    if options["policy"] == "k_same":
        if not options["enrolled"]:
            raise ConfigError("The policy 'k_same' needs the enrolled people; give enrolled a file "
                              "made of a picture of each of them with: deid db build FOLDER -o "
                              "FILE")
        people = Gallery.load(file_of(options["enrolled"]))
        people.require_extractor(options["extractor"])
        enrolled = people.ids.tolist(), people.embeddings
    return Matcher(gallery, policy=options["policy"], mix=options["mix"],
                   preserve=as_list(options["preserve"]), key=options["key"],
                   memory_seconds=options["memory_seconds"],
                   min_distance=options["min_distance"] or None, k=options["k"],
                   enrolled=enrolled, warn=warn)
