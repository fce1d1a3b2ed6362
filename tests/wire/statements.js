// Carries out the statements of POST /run?sql=...&sql=... in one transaction: $1 is what the query before has found.
// With `attempts`, at SERIALIZABLE, and so often while it is refused.

import http from 'node:http';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

async function run(statements, begin) {
  const client = await pool.connect();
  try {
    await client.query(begin);
    let found = [];
    for (const text of statements) {
      const values = text.includes('$1') ? found : [];
      const { rows } = await client.query({ name: text, text, values, rowMode: 'array' });
      found = rows.length ? [rows[0][0]] : [];
    }
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    client.release();
  }
}

const isRefusal = ({ code }) => ['40001', '40P01'].includes(code);

async function runOften(statements, attempts) {
  if (!attempts) return run(statements, 'BEGIN');
  for (let left = attempts; ; left--) {
    try {
      return await run(statements, 'BEGIN ISOLATION LEVEL SERIALIZABLE');
    } catch (error) {
      if (!isRefusal(error) || left === 1) throw error;
    }
  }
}

const server = http.createServer(async (request, response) => {
  const words = new URL(request.url, 'http://localhost').searchParams;
  let status = 200;
  try {
    await runOften(words.getAll('sql'), Number(words.get('attempts')));
  } catch (error) {
    status = isRefusal(error) ? 409 : 500;
  }
  response.writeHead(status).end();
});
server.listen(Number(process.env.PORT), '127.0.0.1');
