-- permissions
-- Who was granted what on the table, on each partition, and on the next partition.
-- Of the access lists, so grants to all roles are shown to everybody. Access through the parent asks for the parent's
-- privileges only; `lacking` is what the grantee has on the parent and not here. `(next partition)` is what
-- ALTER DEFAULT PRIVILEGES gives if the parent's owner makes it; whatever makes partitions may grant more.
with recursive tree as (
    select to_regclass(:'table')::oid as oid, 0 as level
    union all
    select i.inhrelid, tree.level + 1 from pg_inherits i join tree on tree.oid = i.inhparent
),
lists as (
    select tree.level, c.relname::text as relation, coalesce(c.relacl, acldefault('r', c.relowner)) as acl
    from tree join pg_class c on c.oid = tree.oid
    union all
    select 1000000, '(next partition)',
           -- An entry for all schemas takes the place of the built-in default; one for the schema is added.
           coalesce((select defaclacl from pg_default_acl where defaclrole = c.relowner and defaclobjtype = 'r'
                        and defaclnamespace = 0), acldefault('r', c.relowner))
           || coalesce((select defaclacl from pg_default_acl where defaclrole = c.relowner and defaclobjtype = 'r'
                           and defaclnamespace = c.relnamespace), '{}')
    from pg_class c where c.oid = to_regclass(:'table') and c.relkind = 'p'
),
given as (
    select distinct lists.level, lists.relation, acl.grantee, lower(acl.privilege_type) as privilege
    from lists, aclexplode(lists.acl) as acl
),
grid as (
    select lists.level, lists.relation, who.grantee from lists, (select distinct grantee from given) as who
)
select grid.relation, coalesce(r.rolname, 'PUBLIC') as grantee,
       (select string_agg(privilege, ', ' order by privilege) from given g
        where g.relation = grid.relation and g.grantee = grid.grantee) as privileges,
       (select string_agg(privilege, ', ' order by privilege) from given g
        where g.level = 0 and g.grantee = grid.grantee and not exists (
            select from given here where here.relation = grid.relation and here.grantee = grid.grantee
                                     and here.privilege = g.privilege)) as lacking
from grid left join pg_roles r on r.oid = grid.grantee
order by grid.level, grid.relation, grantee;
