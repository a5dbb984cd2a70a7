"""PostGIS: the private cluster, its tables, and every query. Nothing else knows SQLAlchemy."""
