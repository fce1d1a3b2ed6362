-- Which order ids are taken, over all partitions: what (id, created_at) cannot say. A retry finds its order here,
-- whenever it comes, and with another content it is told so (digest). A voided id was given up before its order was
-- saved: an insert that comes late finds the id taken.
create table order_ids (
    id         uuid        primary key,
    created_at timestamptz not null,
    digest     text        not null default '',
    voided     bool        not null default false
);
