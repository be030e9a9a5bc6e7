-- Keeps everybody else from moving a checkpoint, to the end of the transaction.
-- Binds: $1 consumer, in its generation. Columns: position, is_frozen, whether it belongs to a read model.
-- Locks: the consumer's row.
SELECT c.position, c.is_frozen,
       EXISTS (SELECT FROM {schema}.generations g WHERE g.consumer = split_part(split_part($1, '#', 1), '@', 1))
FROM {schema}.checkpoints c
WHERE c.consumer = $1
FOR UPDATE OF c
