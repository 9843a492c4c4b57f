-- Health of a FinetuneJob for Argo CD. Without it, Argo CD calls a FinetuneJob healthy as soon as it exists.
local status = obj.status or {}

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function holds(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

local function health(code, message)
  return { status = code, message = message }
end

-- The operator has not looked at the newest spec yet: what status says is about an older one.
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the finetune operator")
end
if holds("Complete") then
  local refused = conditions.GatePassed ~= nil and conditions.GatePassed.status == "False"
  return health("Healthy", refused and "Not promoted: " .. conditions.GatePassed.message or status.message)
end
-- Failed for good, or kept from going on until somebody helps.
if holds("Stalled") then
  return health("Degraded", status.message)
end
if holds("Suspended") then
  return health("Suspended", status.message)
end
return health("Progressing", status.message)
