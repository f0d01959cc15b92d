"""The local store: schema, migrations, engine and the ways to read and write it."""
