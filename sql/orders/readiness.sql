-- Written by every service each second: one that can only read, or whose disk is full, is not ready.
create table readiness (
    id bool        primary key default true check (id),  -- one row
    at timestamptz not null
);
