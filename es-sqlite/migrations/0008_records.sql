-- Small JSON values under ordered keys: the state that coordinates work.

CREATE TABLE es_records (
    key        TEXT    PRIMARY KEY NOT NULL,
    value      TEXT    NOT NULL,
    -- The commit that wrote the record last.
    revision   BLOB    NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
