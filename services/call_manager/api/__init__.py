"""The Call Manager's admin API: one file a resource, each a router made from `Parts`."""
