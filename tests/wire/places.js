// POST /read-then-add books a place in Redis by GET, a check, and INCRBY; POST /add by INCRBY alone. REDIS=shared has all
// requests share one connection, else they take theirs from a pool.

import http from 'node:http';
import { createClient, createClientPool } from 'redis';

const create = process.env.REDIS === 'shared' ? createClient : createClientPool;
const redis = create({ url: process.env.REDIS_URL });
redis.on('error', (error) => console.error(error.message));

const server = http.createServer(async (request, response) => {
  let status = 201;
  if (request.url === '/read-then-add' && Number(await redis.get('booked')) > 0) status = 409;
  else await redis.incrBy('booked', 5000);
  response.writeHead(status).end();
});

await redis.connect();
server.listen(Number(process.env.PORT), '127.0.0.1');
