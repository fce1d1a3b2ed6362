// POST /jobs puts a job into a list in Redis. POST /work takes one by BLPOP within a second, /wait however long that
// takes, and /trim all of them by LRANGE and LTRIM. REDIS=shared has all requests share one connection, else they take
// theirs from a pool.

import http from 'node:http';
import { createClient, createClientPool } from 'redis';

const create = process.env.REDIS === 'shared' ? createClient : createClientPool;
const redis = create({ url: process.env.REDIS_URL });
redis.on('error', (error) => console.error(error.message));

async function take(seconds) {
  const job = await redis.blPop('jobs', seconds);
  if (job) await redis.rPush('done', job.element);
}

const ways = {
  '/jobs': () => redis.rPush('jobs', 'job'),
  '/work': () => take(1),
  '/wait': () => take(0),
  '/trim': async () => {
    const jobs = await redis.lRange('jobs', 0, -1);
    if (jobs.length) await redis.rPush('done', jobs);
    await redis.lTrim('jobs', 1, 0);
  },
};

const server = http.createServer(async (request, response) => {
  try {
    await ways[request.url]();
    response.writeHead(201).end();
  } catch (error) {
    response.writeHead(500).end(error.message);
  }
});

await redis.connect();
server.listen(Number(process.env.PORT), '127.0.0.1');
