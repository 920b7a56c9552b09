/** Real Redis servers for tests: one, a group under sentinels, a cluster. */
export { RedisCluster } from './redis-cluster.ts'
export { RedisSentinels } from './redis-sentinels.ts'
export { RedisServer } from './redis-server.ts'
