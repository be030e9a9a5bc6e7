-- Lets readers of a view read the documents of one generation.
-- Binds: none; {live} is replaced by the qualified name that readers use, {view} by that of the generation's table.
-- Locks: what readers use, against them.
CREATE OR REPLACE VIEW {live} AS
SELECT d.key, d.document
FROM {view} d
