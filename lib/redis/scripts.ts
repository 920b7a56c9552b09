/**
 * What runs inside Redis: each script reads and writes in one step, so that no other node comes in between. Time is that
 * of Redis, the one clock that all nodes share. Every key that is written gets a TTL.
 */
import { createHash } from 'node:crypto'

export interface Script {
  readonly lua: string
  readonly sha: string
}

function script(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

const now = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
`

/** ARGV: window in ms. Returns the count, and the ms left of the window. */
export const countAttempt: Script = script(`
local current = redis.call('INCR', KEYS[1])
local ttl = redis.call('PTTL', KEYS[1])
if ttl < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  ttl = tonumber(ARGV[1])
end
return { current, ttl }
`)

/**
 * ARGV: node, the slots it wants to hold in all, the limit, TTL in ms, nodes whose lease is over. Never lowers what the
 * node has: a script that Redis does not know yet is sent again, and may come after a later one.
 * Returns what the node has now, or the other nodes that hold slots when there are too many.
 */
export const acquireSlots: Script = script(`
for i = 5, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
local held = redis.call('HGETALL', KEYS[1])
local others = {}
local taken = 0
local own = tonumber(ARGV[2])
for i = 1, #held, 2 do
  if held[i] == ARGV[1] then
    own = math.max(own, tonumber(held[i + 1]))
  else
    others[#others + 1] = held[i]
    taken = taken + held[i + 1]
  end
end
if taken + ARGV[2] > tonumber(ARGV[3]) then return others end
redis.call('HSET', KEYS[1], ARGV[1], own)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return own
`)

/** ARGV: node, the slots it holds, TTL in ms. */
export const writeSlots: Script = script(`
if ARGV[2] == '0' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
`)

/**
 * ARGV: node, its lease in ms; 0 gives it up. Returns whether it had one, and all nodes that have one, each with the ms
 * left of it.
 */
export const renewLease: Script = script(`${now}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local had = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local nodes = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 2, #nodes, 2 do nodes[i] = math.floor(nodes[i] - now) end
return { had and 1 or 0, nodes }
`)

/**
 * A token bucket. ARGV: tokens per second, burst, tokens wanted, tokens given back, when those were granted, how long
 * they may be given back in ms, tokens owed. Returns the tokens granted, when, and the ms until there is one.
 */
export const takeBudget: Script = script(`${now}
local perMs = ARGV[1] / 1000
local burst = tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1] or burst)
local at = tonumber(bucket[2] or now)
if now > at then
  tokens = math.min(burst, tokens + (now - at) * perMs)
  at = now
end
if now - ARGV[5] <= tonumber(ARGV[6]) then tokens = math.min(burst, tokens + ARGV[4]) end
tokens = tokens - ARGV[7]
local granted = math.max(0, math.min(tonumber(ARGV[3]), math.floor(tokens)))
tokens = tokens - granted
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.3f', at))
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / perMs) + 1)
return { granted, string.format('%.3f', now), math.max(0, math.ceil((1 - tokens) / perMs)) }
`)

/** ARGV: ticket, TTL in ms. */
export const putTicket: Script = script(`
return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
`)

/** Returns the ticket, once. */
export const takeTicket: Script = script(`
local ticket = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return ticket
`)

/** A log without a life of its own yet: it begins with the first script that looks at it, and is told by its name. */
const log = `${now}
local entries, seqs, ends, meta = unpack(KEYS)
local function live(ms)
  for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
  end
end
local epoch = redis.call('HGET', meta, 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('HSET', meta, 'epoch', epoch)
end
live(86400000)
`

/**
 * ARGV: a name for a new log, id, what is kept, 'later' (the larger number and the longer time hold) or 'last' (the
 * newer one holds), the number, ms to keep, its time or '' for now, the most entries, the channel to tell.
 * Returns the name of the log and the time that holds, or nothing when there is no room.
 */
export const writeOrder: Script = script(`${log}
local id, text, mode, number = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local keep = math.ceil(tonumber(ARGV[6]))
local at = tonumber(ARGV[7]) or now
local endsAt = now + keep
for _, ended in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('HDEL', entries, ended)
  redis.call('ZREM', seqs, ended)
  redis.call('ZREM', ends, ended)
end
local known = redis.call('HGET', entries, id)
if known then
  local knownNumber, knownAt, knownEnd = string.match(known, '^(%S+) (%S+) (%S+) ')
  if mode == 'last' then
    -- A new one is the newer one also where a failover has set the clock back.
    if ARGV[7] == '' then at = math.max(at, knownAt + 0.001) end
    if tonumber(knownAt) >= at then return { epoch, knownAt } end
  else
    if tonumber(knownNumber) >= tonumber(number) then
      number = knownNumber
      if tonumber(knownEnd) >= endsAt - 1000 then return { epoch, knownAt } end
    end
    endsAt = math.max(endsAt, tonumber(knownEnd))
  end
elseif redis.call('ZCARD', seqs) >= tonumber(ARGV[8]) then
  return {}
end
local value = string.format('%s %.3f %.3f %s', number, at, endsAt, text)
redis.call('HSET', entries, id, value)
redis.call('ZADD', seqs, redis.call('HINCRBY', meta, 'seq', 1), id)
redis.call('ZADD', ends, endsAt, id)
live(math.ceil(endsAt - now))
redis.call('PUBLISH', ARGV[9], '')
return { epoch, string.format('%.3f', at) }
`)

/**
 * ARGV: a name for a new log, the log that was read last, the last number read of it, how many at most.
 * Returns the name of the log, the time in ms, and of each entry its id, its number and what is kept.
 */
export const readOrders: Script = script(`${log}
-- A replica that had not heard of the last orders is the master now: this is another log.
if epoch == ARGV[2] and tonumber(ARGV[3]) > tonumber(redis.call('HGET', meta, 'seq') or 0) then
  epoch = ARGV[1]
  redis.call('HSET', meta, 'epoch', epoch)
end
local since = 0
if epoch == ARGV[2] then since = ARGV[3] end
local found = redis.call('ZRANGEBYSCORE', seqs, '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
local result = { epoch, string.format('%.3f', now) }
for i = 1, #found, 2 do
  result[#result + 1] = found[i]
  result[#result + 1] = found[i + 1]
  result[#result + 1] = redis.call('HGET', entries, found[i])
end
return result
`)
