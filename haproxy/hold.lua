-- Requests for a host whose map entry says `hold` wait here until it says where the host leads: its app is being handed
-- over from one version or node to the next. The agent changes the entry in time; the limit is for one that is dead.
-- The configuration says where the maps are and what the limit is, in seconds: HAProxy 2.6 passes no arguments.
local dir, limit = os.getenv("TANDEM_MAPS"), tonumber(os.getenv("TANDEM_HOLD"))
local PAUSE = 20 -- milliseconds

local function holder(name, scope)
    local exact = Map.new(dir .. "/" .. name .. ".map", Map._str)
    local wild = Map.new(dir .. "/" .. name .. "-wild.map", Map._end)
    return function(txn)
        local host = txn:get_var(scope .. ".host")
        local deadline = core.now().sec + limit
        local to = "hold"
        while host and to == "hold" and core.now().sec < deadline do
            core.msleep(PAUSE)
            to = exact:lookup(host) or wild:lookup(host)
        end
        if to == "hold" then to = "maint" end
        if to then
            txn:set_var(scope .. ".to", to)
        else
            txn:unset_var(scope .. ".to")
        end
    end
end

-- The same for the frontends and backends that an app has of its own: they keep what arrives while the app is listed.
local function app_holder(scope)
    local held = Map.new(dir .. "/held.map", Map._str)
    return function(txn)
        local app = txn:get_var(scope .. ".app")
        local deadline = core.now().sec + limit
        while held:lookup(app) do
            if core.now().sec >= deadline then
                txn:set_var(scope .. ".held", "over")
                return
            end
            core.msleep(PAUSE)
        end
        txn:unset_var(scope .. ".held")
    end
end

core.register_action("hold-http", { "http-req" }, holder("http", "txn"))
core.register_action("hold-https", { "tcp-req" }, holder("https", "sess"))
core.register_action("hold-app-http", { "http-req" }, app_holder("txn"))
core.register_action("hold-app-tcp", { "tcp-req" }, app_holder("sess"))
