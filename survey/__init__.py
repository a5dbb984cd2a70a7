"""Statistics and field data: no raster, no database, no web."""
