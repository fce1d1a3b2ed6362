"""The order and slot service of the write-up: ordinary code that takes connections, to be explored, loaded and served.

It imports nothing of the lab but its errors and the path of its files. Everything is written once, as coroutines
over a `session`: on asyncio it is awaited, and on synchronous connections nothing that it awaits ever
waits, so that `session.run_sync` drives it to its end without a loop. The explorer gives it controlled connections, the
gRPC API (`grpc`) a pool. A *strategy* is a file of `strategies`: one transaction that finds, books and saves, with
the level that it is meant for and how often a refusal is run again. `documented` is the write-up's code as it stands;
`example` is the small world in which strategies are explored; SQL is in `sql/orders`.

- **Ids have a registry.** A key of a partitioned table holds the partition key, so `orders` cannot keep an id unique
  over months. `order_ids` can; it is written in the statement that saves the order. An id that carries its month
  (UUIDv7) would save the table, but not what the registry does beside: a repetition with another content is told so
  (digest), and `reconcile` can *void* the id of an order that never came, before it frees its place: if the order
  does come, it finds its id taken. Cost: one more insert.
- **What is one statement is one message.** Where `one-statement`, the function, and orders with a place in Redis are
  served, the server commits before it answers (`Session.at_once`). With BEGIN and COMMIT as messages of their own, the
  slot's row is held while answers are on their way, and a busy client is late. The limit of a caller's deadline
  (`statement_timeout`) is the connection's, and sent only where it is another.
- **A repetition is the remedy for an answer that did not come.** The service asks again with the same id, whatever
  has happened; nothing is released but on the server's word (an SQLSTATE) that the order was not saved.
- **PostgreSQL's orders are the truth**, counters and Redis are accounts that `reconcile` can put right beside
  traffic. The *money statement* (orders = slots = Redis, none over capacity, none lost, none twice) ends every test.
- **No generated code.** `grpc/order.binpb` is `order.proto` compiled; the message classes are made from it when
  imported, so that no version of protobuf is asked for that matches a compiler's. The RPC takes bytes: what cannot be
  parsed is INVALID_ARGUMENT.
- In the lab's notebooks the service's clock stands in 2099, since Redis is told to forget days that are over.
"""
