-- Moves the checkpoints of a generation to 0, wherever they are; see migrations/0003_consumers.sql.
-- Binds: $1 consumer in its generation. Columns: whether it did; not if they are frozen.
-- Locks: the partition epoch (advisory), then their rows.
SELECT coalesce({schema}.reset_checkpoints($1), false)
