"""Pixels: scenes and orthomosaics to class maps and exact hectares per polygon."""
