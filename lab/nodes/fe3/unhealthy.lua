-- lua.unhealthy: true while /run/unhealthy is there.
core.register_fetches("unhealthy", function()
	local file = io.open("/run/unhealthy")
	if file then
		file:close()
	end
	return file ~= nil
end)
