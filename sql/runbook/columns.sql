-- columns
-- The columns of the table: types, defaults, and which of them make the primary key and the partition key.
-- A unique key of a partitioned table must hold the partition key, so no key can make an id unique across partitions.
select a.attname as "column", format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
       -- Given the table, pg_get_expr opens it, and waits behind ACCESS EXCLUSIVE; a default names no columns.
       pg_get_expr(d.adbin, case when a.attgenerated = '' then 0 else d.adrelid end) as default_or_generated,
       a.attgenerated <> '' as generated,
       coalesce(a.attnum = any (pk.indkey), false) as primary_key,
       coalesce(a.attnum = any (pt.partattrs), false) as partition_key
from pg_attribute a
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join pg_index pk on pk.indrelid = a.attrelid and pk.indisprimary
left join pg_partitioned_table pt on pt.partrelid = a.attrelid
where a.attrelid = to_regclass(:'table') and a.attnum > 0 and not a.attisdropped
order by a.attnum;
