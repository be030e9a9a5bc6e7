-- Keeps everybody else from changing the generations of a consumer, to the end of the transaction.
-- Binds: $1 consumer. Locks: the rows of its generations.
SELECT g.generation
FROM {schema}.generations g
WHERE g.consumer = $1
ORDER BY g.generation
FOR UPDATE
