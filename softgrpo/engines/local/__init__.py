"""The project's own engine: one process, one device, groups as prefix trees."""
