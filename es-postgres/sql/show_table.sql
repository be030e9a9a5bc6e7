-- Lets readers read one generation of a projection's table.
-- Binds: none; {stable} is replaced by the name that readers use, {table} by that of the generation's table.
-- Locks: what readers use, against them.
CREATE OR REPLACE VIEW {stable} AS
SELECT *
FROM {table}
