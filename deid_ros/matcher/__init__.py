"""The Matcher: which identity a surrogate gets."""

from deid_ros.matcher.create import create_matcher
from deid_ros.matcher.gallery import SCHEMA, Gallery
from deid_ros.matcher.matcher import PRESERVABLE, Matcher
from deid_ros.matcher.policies import POLICIES, Mixture, Policy, policy_index

__all__ = ["POLICIES", "PRESERVABLE", "SCHEMA", "Gallery", "Matcher", "Mixture", "Policy",
           "create_matcher", "policy_index"]
