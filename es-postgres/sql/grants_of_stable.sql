-- The statements that give what readers use to those who may read it now.
-- Binds: none; {stable} is replaced by its name. Columns: a statement. Order: any. Locks: none.
SELECT format(
           'GRANT %s ON %s TO %s%s',
           a.privilege_type,
           '{stable}',
           CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
           CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
       )
FROM pg_catalog.pg_class c
CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) AS a
WHERE c.oid = '{stable}'::regclass AND a.grantee <> c.relowner
