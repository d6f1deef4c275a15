-- Sends requests that were prepared in a file (wrk -s prepared.lua URL -- REQUESTS ANSWERS), each
-- once: four bytes of length, then the request. Notes status and `acked` of every answer.

local requests, answers, first

function setup(thread)
  thread:set("marker", true)
end

local function read_one()
  local head = requests:read(4)
  if head == nil or #head < 4 then return nil end
  local a, b, c, d = head:byte(1, 4)
  return requests:read(((a * 256 + b) * 256 + c) * 256 + d)
end

function init(args)
  requests = io.open(args[1], "rb")
  answers = io.open(args[2], "w")
end

local asked = 0
function request()
  asked = asked + 1
  if asked == 1 then  -- wrk looks at one before it begins, and does not send it.
    first = read_one()
    return first
  end
  if asked == 2 then return first end
  local one = read_one()
  if one == nil then
    wrk.thread:stop()
    return first  -- Has been sent already: changes nothing.
  end
  return one
end

function response(status, headers, body)
  answers:write(status, " ", body:match('"acked":(%d+)') or "-", "\n")
end

function done(summary, latency, requests)
  local e = summary.errors
  print(string.format("RESULT %d %d %d %d %d", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.timeout))
end
