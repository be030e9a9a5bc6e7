-- Whether some process appends, or has ever appended, in the pipelined mode.
-- Binds: none. Columns: is_pipelined; one row. Locks: none.
SELECT f.is_pipelined FROM {schema}.log_floor f
