"""The generator: identity codes, expressions and poses become faces."""

from deid_ros.generator.face_space import FaceSpace
from deid_ros.generator.surrogate import SurrogateGenerator, TextureNetwork

__all__ = ["FaceSpace", "SurrogateGenerator", "TextureNetwork"]
