"""Evaluation: how anonymous the output is, and what it is still good for."""

from deid_ros.evaluation.attackers import ATTACKERS, Attacker
from deid_ros.evaluation.evaluate import Evaluation, GalleryPeople, Run, evaluate
from deid_ros.evaluation.people import Person, find_people, read_contributors
from deid_ros.evaluation.report import as_json, as_table

__all__ = ["ATTACKERS", "Attacker", "Evaluation", "GalleryPeople", "Person", "Run", "as_json",
           "as_table", "evaluate", "find_people", "read_contributors"]
