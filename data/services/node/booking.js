// Takes pizza orders for 15-minute slots of 100,000 roubles each, in the way that BOOKING names:
//
//   read-then-write            reads what is booked, checks, and writes the sum (the default)
//   select-for-update          the same, with the slot's row locked from the read on
//   serializable-retry         the same at SERIALIZABLE, in five attempts
//   redis-lua-serializable     a script in Redis checks and books; the order is saved at SERIALIZABLE, in five
//                              attempts, and the place is released when that fails
// and mended:
//   conditional-update         one UPDATE checks and books
//   serializable-retry-mended  what is retried is told by its SQLSTATE, however it is wrapped
//   redis-lua-idempotent       a place is booked and released once, and kept while nobody knows whether the order is
//                              saved
//
// DATABASE_URL, REDIS_URL (for redis-...) and PORT (0 for any) configure it; ../booking.sql is its schema.

import http from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { createClientPool } from 'redis';

const CAPACITY = 100_000; // of a slot in Redis
const ATTEMPTS = 5;
const BOOKING = process.env.BOOKING || 'read-then-write';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 25 });
pool.on('error', (error) => console.error(error.message)); // of an idle connection
pool.on('connect', (client) => client.on('error', () => {})); // one in use: its query is told, and Node lives on
// A pool: one connection answers in the order in which it was asked, so that requests that share it wait for each other.
const redis = createClientPool({ url: process.env.REDIS_URL });
redis.on('error', (error) => console.error(error.message));

class Full extends Error {}
class NotFound extends Error {}

async function inTransaction(level, work) {
  const client = await pool.connect();
  let broken;
  try {
    await client.query(level ? `BEGIN ISOLATION LEVEL ${level}` : 'BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch((failed) => { broken = failed; });
    throw error;
  } finally {
    client.release(broken);
  }
}

async function insert(client, { id, customer, slot, amount }, onConflict = '') {
  await client.query(
    `INSERT INTO orders (id, customer, slot, amount) VALUES ($1, $2, $3, $4) ${onConflict}`,
    [id, customer, slot, amount],
  );
}

const save = (level, onConflict) => (order) =>
  inTransaction(level, (client) => insert(client, order, onConflict));

// Decides by what it has read; with a level and a lock it may be right.
const readThenWrite = ({ lock = '', level } = {}) => (order) =>
  inTransaction(level, async (client) => {
    const { rows: [slot] } = await client.query(
      `SELECT booked, capacity FROM slots WHERE id = $1 ${lock}`, [order.slot],
    );
    if (!slot) throw new NotFound('there is no such slot');
    if (slot.booked + order.amount > slot.capacity) throw new Full('the slot is full');
    await client.query('UPDATE slots SET booked = $1 WHERE id = $2', [slot.booked + order.amount, order.slot]);
    await insert(client, order);
  });

// Waits for whoever has the slot's row, and checks again what that has left.
const conditionalUpdate = (order) =>
  inTransaction('', async (client) => {
    const { rowCount } = await client.query(
      'UPDATE slots SET booked = booked + $1 WHERE id = $2 AND booked + $1 <= capacity', [order.amount, order.slot],
    );
    if (!rowCount) throw new Full('the slot is full');
    await insert(client, order);
  });

// Up to five attempts, with exponential backoff and jitter.
const retrying = (isWorthIt, create) => async (order) => {
  for (let attempt = 1; ; attempt++) {
    try {
      return await create(order);
    } catch (error) {
      if (attempt === ATTEMPTS || !isWorthIt(error)) throw error;
      await sleep(10 * 2 ** (attempt - 1) + Math.random() * 10);
    }
  }
};

// Looks at English words.
const isSerializationFailure = ({ message }) => /serialization|deadlock|could not serialize/.test(message);

// By SQLSTATE.
const isRetryable = ({ code }) => code === '40001' || code === '40P01';

// Whether a slot has room is known in Redis: KEYS slot, its orders, the order's place; ARGV order, amount, capacity.
const RESERVE = `
local booked = tonumber(redis.call('GET', KEYS[1]) or '0')
if booked + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], 'slot', KEYS[1], 'amount', ARGV[2])
return 1`;

const RELEASE = `
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
return 1`;

// The same, once for each order: KEYS slot, amounts of its orders; ARGV order, amount, capacity.
const RESERVE_ONCE = `
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 1 end
local booked = tonumber(redis.call('GET', KEYS[1]) or '0')
if booked + tonumber(ARGV[2]) > tonumber(ARGV[3]) then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1`;

const RELEASE_ONCE = `
local amount = redis.call('HGET', KEYS[2], ARGV[1])
if not amount then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DECRBY', KEYS[1], amount)
return 1`;

const run = (script, keys, ...words) => redis.eval(script, { keys, arguments: words.map(String) });

// Asks three times for a place, whatever has gone wrong, so that one order may get two.
async function reserve({ id, slot, amount }) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run(RESERVE, [slot, `${slot}:orders`, `order:slot:${id}`], id, amount, CAPACITY);
    } catch (error) {
      if (attempt === 3) throw error;
      await sleep(5 * 2 ** (attempt - 1));
    }
  }
}

async function reserveThenSave(order) {
  if (!await reserve(order)) throw new Full('the slot is full');
  const upsert = save('SERIALIZABLE', 'ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status');
  try {
    await retrying(isSerializationFailure, upsert)(order);
  } catch (error) {
    await releaseAsDocumented(order);
    throw error;
  }
}

// Looks the place up and then gives it back: two that do so at once give it back twice.
async function releaseAsDocumented({ id }) {
  const { slot, amount } = await redis.hGetAll(`order:slot:${id}`);
  if (slot) await run(RELEASE, [slot, `${slot}:orders`, `order:slot:${id}`], id, amount);
}

// Keeps the place unless the server itself has refused the order: a COMMIT whose answer is lost may have been carried
// out, and whoever sends the order again finds its place.
async function reserveOnceThenSave(order) {
  const { id, slot, amount } = order;
  if (!await run(RESERVE_ONCE, [slot, `${slot}:amounts`], id, amount, CAPACITY)) throw new Full('the slot is full');
  try {
    await save('', 'ON CONFLICT (id) DO NOTHING')(order);
  } catch (error) {
    if (error instanceof pg.DatabaseError) await releaseOnce(order);
    throw error;
  }
}

const releaseOnce = ({ id, slot }) => run(RELEASE_ONCE, [slot, `${slot}:amounts`], id);

const BOOKINGS = {
  'read-then-write': { create: readThenWrite() },
  'select-for-update': { create: readThenWrite({ lock: 'FOR UPDATE' }) },
  'serializable-retry': { create: retrying(isSerializationFailure, readThenWrite({ level: 'SERIALIZABLE' })) },
  'redis-lua-serializable': { create: reserveThenSave, release: releaseAsDocumented },
  'conditional-update': { create: conditionalUpdate },
  'serializable-retry-mended': { create: retrying(isRetryable, readThenWrite({ level: 'SERIALIZABLE' })) },
  'redis-lua-idempotent': { create: reserveOnceThenSave, release: releaseOnce },
};
const booking = BOOKINGS[BOOKING];
if (!booking) throw new Error(`unknown BOOKING ${BOOKING}`);

async function cancel(id) {
  const order = await inTransaction('', async (client) => {
    const { rows: [cancelled] } = await client.query(
      `UPDATE orders SET status = 'cancelled' WHERE id = $1 AND status = 'pending' RETURNING id, slot, amount`, [id],
    );
    if (!cancelled) throw new NotFound('there is no such pending order');
    if (!booking.release) {
      await client.query('UPDATE slots SET booked = booked - $1 WHERE id = $2', [cancelled.amount, cancelled.slot]);
    }
    return cancelled;
  });
  if (booking.release) await booking.release(order);
}

// How full a slot is: `sold` is the sum of its orders, which `booked` should be.
async function slotInfo(id) {
  const { rows: [slot] } = await pool.query(
    `SELECT id AS slot, capacity, booked, (SELECT coalesce(sum(amount), 0)::int FROM orders
     WHERE slot = slots.id AND status = 'pending') AS sold FROM slots WHERE id = $1`, [id],
  );
  if (!slot) throw new NotFound('there is no such slot');
  return booking.release ? { ...slot, booked: Number(await redis.get(id)) } : slot;
}

async function respond(request) {
  const path = request.url.split('/').map(decodeURIComponent);
  const [, what, id, verb] = path;
  if (request.method === 'GET' && what === 'healthz') return [200, { status: 'ok' }];
  if (request.method === 'GET' && what === 'slots') return [200, await slotInfo(id)];
  if (request.method === 'POST' && what === 'orders' && verb === 'cancel') {
    await cancel(id);
    return [200, { id, status: 'cancelled' }];
  }
  if (request.method === 'POST' && what === 'orders' && !id) {
    const order = await json(request).catch(() => ({}));
    if (!(order.amount > 0)) return [400, { reason: 'POST an order with id, customer, slot and amount' }];
    await booking.create(order);
    return [201, order];
  }
  return [404, { reason: 'there is no such page' }];
}

function refusal(error) {
  if (error instanceof NotFound) return [404, { reason: error.message }];
  if (error instanceof Full) return [409, { reason: error.message }];
  if (isRetryable(error) || error.code === '23505') return [409, { reason: `${error.message} (${error.code})` }];
  console.error(error);
  return [500, { reason: error.message }];
}

const server = http.createServer(async (request, response) => {
  const [status, body] = await respond(request).catch(refusal);
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
});

if (booking.release) await redis.connect();
server.listen(Number(process.env.PORT), '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
