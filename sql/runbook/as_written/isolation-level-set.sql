-- isolation-level-set
-- Warning 25P01 and no effect: outside a transaction block there is no transaction to set.
-- "For current session" is SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL. See isolation-level.
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;
