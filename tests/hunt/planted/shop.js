// A small shop on node-postgres: four races, two paths without one, and what the races should have been (`?mended=1`).

import http from 'node:http';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
pool.on('error', (error) => console.error(error.message)); // of an idle connection

async function inTransaction(work) {
  const client = await pool.connect();
  let broken;
  try {
    await client.query('BEGIN');
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

const one = async (client, sql, values) => (await client.query(sql, values)).rows[0];

// Reads, and writes what it has computed; mended, the row is locked.
const addPoints = (mended) => inTransaction(async (client) => {
  const { points } = await one(client, `SELECT points FROM customers WHERE id = 1 ${mended ? 'FOR UPDATE' : ''}`);
  await client.query('UPDATE customers SET points = $1 WHERE id = 1', [points + 10]);
  return { points: points + 10 };
});

// Looks for the row, and inserts it; mended, a unique index decides.
const subscribe = (mended) => inTransaction(async (client) => {
  const email = 'eve@example.org';
  if (mended) {
    const sql = 'INSERT INTO members (email) VALUES ($1) ON CONFLICT DO NOTHING';
    return { added: (await client.query(sql, [email])).rowCount };
  }
  if (await one(client, 'SELECT id FROM subscribers WHERE email = $1', [email])) return { added: 0 };
  await client.query('INSERT INTO subscribers (email) VALUES ($1)', [email]);
  return { added: 1 };
});

// Counts, and inserts up to a limit; mended, an advisory lock is held to the end of the transaction.
const seat = (mended) => inTransaction(async (client) => {
  if (mended) await client.query('SELECT pg_advisory_xact_lock(1)');
  const { taken } = await one(client, 'SELECT count(*)::int AS taken FROM seats WHERE workshop = 1');
  if (taken >= 3) return { seat: null };
  await client.query("INSERT INTO seats (workshop, customer) VALUES (1, 'eve')");
  return { seat: taken + 1 };
});

// A session's advisory lock is given back before COMMIT; mended, after it.
async function redeem(mended) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_lock(2)');
    const { uses_left: left } = await one(client, "SELECT uses_left FROM vouchers WHERE code = 'SPRING'");
    if (left > 0) await client.query("UPDATE vouchers SET uses_left = $1 WHERE code = 'SPRING'", [left - 1]);
    if (!mended) await client.query('SELECT pg_advisory_unlock(2)');
    await client.query('COMMIT');
    if (mended) await client.query('SELECT pg_advisory_unlock(2)');
    return { redeemed: left > 0 };
  } finally {
    client.release();
  }
}

const sell = async () => {
  const sql = 'UPDATE stock SET quantity = quantity - 1 WHERE item = 1 AND quantity > 0';
  return { sold: (await pool.query(sql)).rowCount };
};

const stock = async () => one(pool, 'SELECT quantity FROM stock WHERE item = 1');

const ROUTES = {
  'POST /points': addPoints, 'POST /subscribers': subscribe, 'POST /seats': seat, 'POST /redeem': redeem,
  'POST /sell': sell, 'GET /stock': stock,
};

const server = http.createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost');
  const route = ROUTES[`${request.method} ${pathname}`];
  let answer = [404, {}];
  if (route) {
    answer = await route(searchParams.has('mended')).then((body) => [200, body], (error) => [500, { error: error.message }]);
  }
  response.writeHead(answer[0], { 'content-type': 'application/json' }).end(JSON.stringify(answer[1]));
});

server.listen(Number(process.env.PORT), '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
