"""The least that declares a round: none of its inputs has to be there."""

__all__ = ["SURVEY"]

SURVEY = """
[survey]
country = "Meru"
title = "Test"
harvest_year = 2026
reference_date = 2026-02-10
release_date = 2026-06-01
crops = ["poppy"]
admin_level = 2
seed = 1
[inputs]
districts = "d.gpkg"
frame = "f.gpkg"
scenes = "s"
training = "t.gpkg"
submissions = "inbox"
[estimation]
estimator = { poppy = "ratio" }
"""
