"""Networks that are trained once on many shapes and know what such shapes look like."""
