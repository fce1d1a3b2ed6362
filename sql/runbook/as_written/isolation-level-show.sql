-- isolation-level-show
-- The level of the session that asks, and of nobody else.
-- Not where it comes from, and not what the service's sessions have. See isolation-level.
SHOW transaction_isolation;
