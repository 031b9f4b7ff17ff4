"""What is said to the server: one script that writes a whole batch, and the names of the keys.

Of one command for each stream, a client in Python makes 30 to 40 µs; of one command for all of them, the streams add
next to nothing. The script also keeps what belongs together together: no key is there without a TTL at any time.
"""

from typing import Final


class Keys:
    """The names of the keys: `about` and `events` of a stream, `inbox` and `lease` of a process."""

    __slots__ = ("prefix",)

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()

    def about(self, name: bytes) -> bytes:
        """A string: what `about.pack` makes."""
        return self.prefix + b"a:" + name

    def events(self, name: bytes) -> bytes:
        """A stream. The ids of its entries are n-0 without a gap in n; each has one of these fields: d = bytes that
        begin an event, m = bytes in the middle of one, e = how it ended; and c = the events that ended before."""
        return self.prefix + b"s:" + name

    def inbox(self, process: bytes) -> bytes:
        """A stream of notes to a process, in the field n."""
        return self.prefix + b"i:" + process

    def lease(self, process: bytes) -> bytes:
        """A string that is there while the process is."""
        return self.prefix + b"r:" + process


INBOX_TTL: Final = 60000
INBOX_NOTES: Final = 10000
"""What nobody reads: milliseconds that it is kept, and notes."""

# ARGV: the prefix; orders, one a line; the bytes that they speak of, one after the other. Returns why the latest order
# failed, and the name of each that did.
WRITE: Final = b"""\
local prefix, data, at, why, failed = ARGV[1], ARGV[3], 1, '', {}
local function take(size)
  at = at + size
  return string.sub(data, at - size, at - 1)
end
local function fail(name, reason)
  why = reason
  failed[#failed + 1] = name
end
local function try(name, ...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    fail(name, answer.err)
    return false
  end
  return true
end
local function add(name, id, least, field, bytes, count)
  local key = prefix .. 's:' .. name
  local answer = redis.pcall('XADD', key, 'NOMKSTREAM', 'MINID', '~', least, id, field, bytes, 'c', count)
  if not answer then
    fail(name, 'gone')
    return false
  end
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'equal or smaller', 1, true) then
      local there = redis.call('XRANGE', key, id, id)[1]
      if there and there[2][1] == field and there[2][2] == bytes and there[2][4] == count then return true end
    end
    fail(name, answer.err)
    return false
  end
  return true
end
local orders = {}
function orders.add(name, id, least, field, size, count)
  add(name, id .. '-0', least .. '-0', field, take(tonumber(size)), count)
end
function orders.create(name, id, ttl, about, field, size, count)
  local head = take(tonumber(about))
  local bytes = take(tonumber(size))
  local key = prefix .. 's:' .. name
  redis.pcall('UNLINK', key)
  if try(name, 'SET', prefix .. 'a:' .. name, head, 'PX', ttl)
    and try(name, 'XADD', key, id .. '-0', field, bytes, 'c', count) then
    try(name, 'PEXPIRE', key, ttl)
  end
end
function orders.finish(name, id, ttl, size, count)
  if add(name, id .. '-0', '0-0', 'e', take(tonumber(size)), count) then
    redis.pcall('PEXPIRE', prefix .. 's:' .. name, ttl)
    redis.pcall('PEXPIRE', prefix .. 'a:' .. name, ttl)
  end
end
function orders.renew(name, ttl)
  redis.pcall('PEXPIRE', prefix .. 'a:' .. name, ttl)
  if redis.pcall('PEXPIRE', prefix .. 's:' .. name, ttl) == 0 then fail(name, 'gone') end
end
function orders.drop(name)
  redis.pcall('UNLINK', prefix .. 's:' .. name, prefix .. 'a:' .. name)
end
function orders.note(process, most, ttl, size)
  local key = prefix .. 'i:' .. process
  if try(process, 'XADD', key, 'MAXLEN', '~', most, '*', 'n', take(tonumber(size))) then
    redis.pcall('PEXPIRE', key, ttl)
  end
end
function orders.lease(process, ttl)
  try(process, 'SET', prefix .. 'r:' .. process, '', 'PX', ttl)
end
for line in string.gmatch(ARGV[2], '[^\\n]+') do
  local words = {}
  for word in string.gmatch(line, '%S+') do words[#words + 1] = word end
  orders[words[1]](unpack(words, 2))
end
table.insert(failed, 1, why)
return failed
"""
