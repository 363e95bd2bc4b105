-- Requests for a host whose map entry says `hold` wait here until it says where the host leads: its app is being handed
-- over from one version or node to the next. The agent changes the entry in time; the limit is for one that is dead.
-- The configuration says where the maps are and what the limit is, in seconds.
local dir, limit = os.getenv("TANDEM_MAPS"), tonumber(os.getenv("TANDEM_HOLD"))
local CLOCK = os.getenv("TANDEM_CLOCK")
local PAUSE, LONGEST = 20, 1000 -- milliseconds
local LOOKS = 10 -- in a tenth of a second

local function hosts(name)
    local exact = Map.new(dir .. "/" .. name .. ".map", Map._str)
    local wild = Map.new(dir .. "/" .. name .. "-wild.map", Map._end)
    return function(host) return exact:lookup(host) or wild:lookup(host) end
end

local held = Map.new(dir .. "/held.map", Map._str)
-- What a wait looks at, by the name that the clock is given.
local maps = {
    http = hosts("http"),
    https = hosts("https"),
    app = function(app) return held:lookup(app) end,
}

-- Where many wait, each looks less often, so that so many looks are made in a tenth of a second, whoever makes them: an app
-- that has just started, whose socket may queue no more than ten, gets no more requests at a time. Chance keeps apart what
-- came together. Looks are counted, not those who wait: of a client that goes away nobody is told.
local tenth, looks, pace = 0, 0, PAUSE
local function pause()
    local now = core.now()
    local current = now.sec * 10 + now.usec // 100000
    if current ~= tenth then
        local due = LOOKS * math.max(1, math.min(current - tenth, 100))
        pace = math.max(PAUSE, math.min(pace * looks // due, LONGEST))
        tenth, looks = current, 0
    end
    looks = looks + 1
    return math.random(pace // 2, pace + pace // 2)
end

-- Looks again and again, and returns what the map says in the end.
local function poll(map, key)
    local deadline = core.now().sec + limit
    local to = "hold"
    while to == "hold" and core.now().sec < deadline do
        core.msleep(math.min(pause(), 1000 * (deadline - core.now().sec)))
        to = maps[map](key)
    end
    return to
end

-- The clock, a service on a socket of its own, looks for those who can't: in a rule on the content of a connection a
-- sleep may never end. Where the wake-up is due before HAProxy has noted it, because the machine was busy for as long as
-- PAUSE, the rule is woken only when its inspect-delay is over. A byte that arrives wakes it always.
core.register_service("hold-clock", "tcp", function(applet)
    local map, key = applet:getline():match("^(%l+) (%S+)\n$")
    if maps[map] then poll(map, key) end
    applet:send("look\n")
end)

-- Waits for the clock; where it can't be reached, as a request does.
local function wait(map, key)
    local socket = core.tcp()
    socket:settimeout(limit + 2)
    -- A key may be a name that somebody sent: only one of a host's or an app's characters fits into a line.
    local asked = key:match("^[%w%._~:/@%%%+%[%]-]+$") and socket:connect(CLOCK) and socket:send(map .. " " .. key .. "\n")
    if asked then socket:receive("*l") end
    socket:close()
    return asked and maps[map](key) or poll(map, key)
end

local function holder(name, scope, await)
    return function(txn)
        local host = txn:get_var(scope .. ".host")
        local to = host and await(name, host)
        if to == "hold" then to = "maint" end
        if to then
            txn:set_var(scope .. ".to", to)
        else
            txn:unset_var(scope .. ".to")
        end
    end
end

-- The same for the frontends and backends that an app has of its own: they keep what arrives while the app is listed.
local function app_holder(scope, await)
    return function(txn)
        if await("app", txn:get_var(scope .. ".app")) then
            txn:set_var(scope .. ".held", "over")
        else
            txn:unset_var(scope .. ".held")
        end
    end
end

core.register_action("hold-http", { "http-req" }, holder("http", "txn", poll))
core.register_action("hold-https", { "tcp-req" }, holder("https", "sess", wait))
core.register_action("hold-app-http", { "http-req" }, app_holder("txn", poll))
core.register_action("hold-app-tcp", { "tcp-req" }, app_holder("sess", wait))
